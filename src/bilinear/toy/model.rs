//! The model and its training.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};

use super::operation::{Operation, pairs};
use crate::bilinear::{interactions, symmetrise};
use crate::display::show_as_text;
use crate::linalg::matmul_nt;
use crate::progress::OnStop;
use crate::random::Rng;
use crate::train::{
    AdamWOptions, Checkpoint, Fit, FitLoop, FitRow, History, OptimizerKind, STEPS_PER_CHECKPOINT,
    TakeTensor, Trained, gradients, mean_squared_error,
};
use crate::{Error, Result};

/// Sizes of a [`ToyModel`], and what it is to learn.
#[derive(Debug, Clone, PartialEq)]
pub struct ToyConfig {
    /// What each output computes of its pair of inputs.
    pub operation: Operation,
    /// Number of inputs n; there are n(n − 1)/2 outputs.
    pub inputs: usize,
    /// Number of hidden neurons, each a product of two linear functions.
    pub hidden: usize,
}

impl ToyConfig {
    /// `inputs` inputs and `hidden` neurons for `operation`, as `"and"` or `"or1_nand0.5"`.
    ///
    /// # Errors
    /// An operation that cannot be read, fewer than two inputs, no hidden neuron.
    pub fn new(operation: &str, inputs: usize, hidden: usize) -> Result<Self> {
        let config = Self { operation: operation.parse()?, inputs, hidden };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if self.inputs < 2 {
            return Err(Error::invalid("the number of inputs", "at least 2", self.inputs));
        }
        if self.hidden == 0 {
            return Err(Error::invalid("the number of hidden neurons", "at least 1", 0));
        }
        Ok(())
    }
}

/// How to train a [`ToyModel`].
#[derive(Debug, Clone, PartialEq)]
pub struct ToyFit {
    /// Number of steps; 2,000.
    pub steps: usize,
    /// Random inputs a step; 256.
    pub batch: usize,
    /// Probability that an input is 1; 0.5.
    pub density: f64,
    /// Learning rate at the start, falling to zero along a cosine; 0.03.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0.
    pub weight_decay: f64,
    /// Seed of the inputs; 0.
    pub seed: u64,
    /// A folder to save to every 50 steps, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for ToyFit {
    fn default() -> Self {
        Self {
            steps: 2_000,
            batch: 256,
            density: 0.5,
            learning_rate: 0.03,
            weight_decay: 0.0,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

/// A bilinear layer for binary operations: `y = P (Lx ⊙ Rx)`. A cheap handle: clones share weights.
#[derive(Debug, Clone)]
pub struct ToyModel {
    config: ToyConfig,
    left: Var,
    right: Var,
    out: Var,
}

impl ToyModel {
    /// A model with random weights, uniform in ±1/√fan-in.
    ///
    /// # Errors
    /// Fewer than two inputs, no hidden neuron.
    pub fn new(config: ToyConfig, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let mut rng = Rng::seed(seed);
        let ToyConfig { inputs, hidden, .. } = config;
        let outputs = inputs * (inputs - 1) / 2;
        let left = rng.linear(hidden, inputs, device)?;
        let right = rng.linear(hidden, inputs, device)?;
        let out = rng.linear(outputs, hidden, device)?;
        Self::from_weights(config.operation, &left, &right, &out)
    }

    /// A model with given weights: `left` and `right` `[hidden, inputs]`, `out` `[outputs, hidden]`.
    ///
    /// # Errors
    /// Shapes that do not match each other or the number of pairs.
    pub fn from_weights(
        operation: Operation,
        left: &Tensor,
        right: &Tensor,
        out: &Tensor,
    ) -> Result<Self> {
        let (hidden, inputs) = match (left.dims(), right.dims()) {
            (&[hidden, inputs], other) if other == [hidden, inputs] => (hidden, inputs),
            dims => return Err(Error::shape("left and right", "[hidden, inputs] each", dims)),
        };
        let config = ToyConfig { operation, inputs, hidden };
        config.check()?;
        let outputs = inputs * (inputs - 1) / 2;
        if out.dims() != [outputs, hidden] {
            let expected = format!("[{outputs}, {hidden}]: one row for each pair of inputs");
            return Err(Error::shape("out", expected, out.dims()));
        }
        let var = |weights: &Tensor| Var::from_tensor(weights);
        Ok(Self { config, left: var(left)?, right: var(right)?, out: var(out)? })
    }

    /// Sizes and operation.
    pub fn config(&self) -> ToyConfig {
        self.config.clone()
    }

    /// Left weights L, `[hidden, inputs]`.
    pub fn left(&self) -> Tensor {
        self.left.as_detached_tensor()
    }

    /// Right weights R, `[hidden, inputs]`.
    pub fn right(&self) -> Tensor {
        self.right.as_detached_tensor()
    }

    /// Output weights P, `[outputs, hidden]`.
    pub fn out(&self) -> Tensor {
        self.out.as_detached_tensor()
    }

    /// The pair of inputs of each output.
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        pairs(self.config.inputs)
    }

    /// `P (Lx ⊙ Rx)`, `[n, inputs]` to `[n, outputs]`.
    ///
    /// # Errors
    /// Another number of inputs.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match *x.dims() {
            [_, inputs] if inputs == self.config.inputs => {}
            _ => {
                let expected = format!("[n, {}]", self.config.inputs);
                return Err(Error::shape("x", expected, x.dims()));
            }
        }
        let hidden = (matmul_nt(x, &self.left)? * matmul_nt(x, &self.right)?)?;
        matmul_nt(&hidden, &self.out)
    }

    /// What the outputs should be, `[n, outputs]`.
    ///
    /// # Errors
    /// An `x` that is no matrix.
    pub fn target(&self, x: &Tensor) -> Result<Tensor> {
        self.config.operation.target(x)
    }

    /// Mean squared error on `x`, over samples and outputs: a scalar with a gradient.
    ///
    /// # Errors
    /// Another number of inputs.
    pub fn loss(&self, x: &Tensor) -> Result<Tensor> {
        mean_squared_error(&self.forward(x)?, &self.target(x)?)
    }

    /// Raw interaction matrices, `[outputs, inputs, inputs]`.
    ///
    /// # Errors
    /// None that the user can cause.
    pub fn interactions(&self) -> Result<Tensor> {
        interactions(&self.out(), &self.left(), &self.right())
    }

    /// Symmetric interaction matrices ½(B + Bᵀ), `[outputs, inputs, inputs]`.
    ///
    /// # Errors
    /// None that the user can cause.
    pub fn interactions_symmetric(&self) -> Result<Tensor> {
        symmetrise(&self.interactions()?)
    }

    /// Trains on fresh random inputs each step; returns the loss of each. When Stop is pressed, the
    /// model keeps its weights, and [`OnStop`] says what is returned.
    ///
    /// With a checkpoint folder it saves itself every 50 steps, and a fit that was cut off, by Stop or
    /// by a crash, goes on from there when it is called again with the same options: the weights in the
    /// end are the same as without the break.
    ///
    /// # Errors
    /// No steps, an empty batch, a density outside `(0, 1)`, a loss that diverges; a checkpoint of
    /// another fit, or that cannot be written; [`Error::Stopped`] when Stop is pressed.
    pub fn fit(&self, options: ToyFit) -> Result<History> {
        if options.steps == 0 {
            return Err(Error::invalid("the number of steps", "at least 1", 0));
        }
        if options.batch == 0 {
            return Err(Error::invalid("the batch", "at least 1", 0));
        }
        if !(options.density > 0.0 && options.density < 1.0) {
            return Err(Error::invalid("the density", "between 0 and 1", options.density));
        }
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            ..AdamWOptions::default()
        };
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked = ToyFit { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} for {:?}", self.config))
        });
        let run = FitLoop {
            checkpoint,
            rows_per_save: STEPS_PER_CHECKPOINT,
            device: self.left.device().clone(),
            ..FitLoop::new("training", options.steps, options.learning_rate)
        };
        let parameters = vec![self.left.clone(), self.right.clone(), self.out.clone()];
        let mut fit = OperationFit {
            model: self,
            options: &options,
            trained: Trained::new(parameters, &OptimizerKind::AdamW(settings))?,
            rng: Rng::seed(options.seed),
            loss: f64::NAN,
        };
        run.train(&mut fit, History::new("step", &["loss"]), options.on_stop)
    }
}

show_as_text!(ToyModel);

impl fmt::Display for ToyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ToyConfig { operation, inputs, hidden } = &self.config;
        let outputs = pairs(*inputs).len();
        write!(
            f,
            "bilinear toy model: {operation} of pairs, {inputs} inputs → {hidden} hidden → \
             {outputs} outputs"
        )
    }
}

/// A model in training.
struct OperationFit<'a> {
    model: &'a ToyModel,
    options: &'a ToyFit,
    trained: Trained,
    /// Draws the inputs.
    rng: Rng,
    /// Of the last step.
    loss: f64,
}

impl Fit for OperationFit<'_> {
    fn step(&mut self, _: usize, learning_rate: f64) -> Result<f64> {
        let left = &self.model.left;
        let shape = (self.options.batch, self.model.config.inputs);
        let x = self.rng.uniform(0.0, 1.0, shape, left.device())?;
        let x = x.lt(self.options.density)?.to_dtype(left.dtype())?;
        let loss = self.model.loss(&x)?;
        self.trained.step(&gradients(&loss, &self.trained.parameters)?, learning_rate)?;
        self.loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(self.loss)
    }

    fn row(&mut self, _: usize) -> Result<FitRow> {
        Ok(FitRow { metrics: vec![self.loss], note: format!("loss {:.2e}", self.loss) })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.trained.state()?;
        all.extend([self.rng.state()?]);
        Ok(all)
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.rng.restore(&mut *take)?;
        self.trained.restore(done, take)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::IndexOp;

    use super::*;
    use crate::train::tests::{assert_gradients, assert_resumes};

    fn model(operation: &str, seed: u64) -> ToyModel {
        ToyModel::new(ToyConfig::new(operation, 4, 6).unwrap(), seed, &Device::Cpu).unwrap()
    }

    #[test]
    fn and_is_learnt_and_each_interaction_sits_at_its_pair() {
        let model = model("and", 0);
        let history = model.fit(ToyFit::default()).unwrap();
        assert!(history.last("loss").unwrap() < 1e-6, "{}", history.last("loss").unwrap());
        let b = model.interactions_symmetric().unwrap();
        for (output, (i, j)) in model.pairs().into_iter().enumerate() {
            let entry: f32 = b.i((output, i, j)).unwrap().to_scalar().unwrap();
            assert!((entry - 0.5).abs() < 1e-2, "{entry}");
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let wide = |weights: Tensor| weights.to_dtype(DType::F64).unwrap();
        let f32s = model("or1_nand0.5", 3);
        let operation = f32s.config().operation;
        let (left, right, out) = (wide(f32s.left()), wide(f32s.right()), wide(f32s.out()));
        let model = ToyModel::from_weights(operation, &left, &right, &out).unwrap();
        let x =
            Tensor::new(&[[0f64, 1., 1., 0.], [1., 1., 0., 1.], [0., 0., 0., 1.]], &Device::Cpu);
        let x = x.unwrap();
        let vars = [model.left.clone(), model.right.clone(), model.out.clone()];
        assert_gradients(&vars, || model.loss(&x));
    }

    #[test]
    fn a_seed_repeats_a_run_exactly() {
        let run = || {
            let model = model("xor", 1);
            let history = model.fit(ToyFit { steps: 40, seed: 9, ..ToyFit::default() }).unwrap();
            (history, model.left().to_vec2::<f32>().unwrap())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
        let train = |options: ToyFit| {
            let model = model("xor", 1);
            let options = ToyFit { steps: 130, on_stop: OnStop::ReturnPartial, ..options };
            let history = model.fit(options)?;
            let weights = [model.left(), model.right(), model.out()];
            Ok::<_, Error>((history, weights.map(|weight| weight.to_vec2::<f32>().unwrap())))
        };
        let fit = |checkpoint| train(ToyFit { checkpoint, ..ToyFit::default() }).unwrap();
        assert_resumes(&[(49, 0), (50, 50), (129, 100)], 130, fit);

        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Some(folder.path().to_owned());
        fit(checkpoint.clone());
        let other = ToyFit { density: 0.25, checkpoint, ..ToyFit::default() };
        let message = train(other).unwrap_err().to_string();
        assert!(
            message.contains("`density: 0.25`") && message.contains("`density: 0.5`"),
            "{message}"
        );
    }

    #[test]
    fn bad_settings_are_refused() {
        assert!(ToyConfig::new("and", 1, 6).unwrap_err().to_string().contains("inputs"));
        assert!(ToyConfig::new("and", 3, 0).unwrap_err().to_string().contains("hidden"));
        let model = model("and", 0);
        let message = |fit: ToyFit| model.fit(fit).unwrap_err().to_string();
        assert!(message(ToyFit { steps: 0, ..ToyFit::default() }).contains("steps"));
        assert!(message(ToyFit { batch: 0, ..ToyFit::default() }).contains("batch"));
        assert!(message(ToyFit { density: 1.5, ..ToyFit::default() }).contains("density"));
        let wild = ToyFit { learning_rate: 1e30, ..ToyFit::default() };
        assert!(message(wild).contains("learning rate"));
        let narrow = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert!(model.forward(&narrow).unwrap_err().to_string().contains("[n, 4]"));
    }
}
