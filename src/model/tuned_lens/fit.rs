//! Training of a tuned lens.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Tensor, Var};

use super::TunedLens;
use super::divergences::{lens_divergence, streams};
use super::translator::translated;
use crate::check::check_sizes;
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::progress::OnStop;
use crate::random::Rng;
use crate::train::{
    AdamWOptions, Checkpoint, Fit, FitLoop, FitRow, History, OptimizerKind, TakeTensor, Trained,
    gradients,
};
use crate::{Error, Result};

/// How a [`TunedLens`] is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct LensOptions {
    /// Steps; 250.
    pub steps: usize,
    /// Windows of text per step; 8.
    pub batch: usize,
    /// Tokens of a window; 128.
    pub length: usize,
    /// The highest learning rate, which falls along a cosine; 1e-3.
    pub learning_rate: f64,
    /// Decoupled weight decay, toward a lens that changes nothing; 1e-3.
    pub weight_decay: f64,
    /// The gradients are shortened to this length; 1.
    pub clip: f64,
    /// Steps per row of the history; 25.
    pub report: usize,
    /// Windows for measuring on text that is not trained on; 16.
    pub held_out: usize,
    /// Seed of the windows; 0.
    pub seed: u64,
    /// A folder for going on after a break; none.
    pub checkpoint: Option<PathBuf>,
    /// What happens when Stop is pressed.
    pub on_stop: OnStop,
}

impl Default for LensOptions {
    fn default() -> Self {
        Self {
            steps: 250,
            batch: 8,
            length: 128,
            learning_rate: 1e-3,
            weight_decay: 1e-3,
            clip: 1.0,
            report: 25,
            held_out: 16,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl TunedLens {
    /// Trains a lens for every layer with AdamW, from one that changes nothing, to minimise
    ///
    /// ```text
    /// Σ over layers i of the mean over tokens of KL(model ‖ unembed(h_i + W_i h_i + b_i))
    /// ```
    ///
    /// on windows drawn from `train`; the model stays as it is. The history has `train_divergence` and
    /// `val_divergence`, on `test`, the means over layers in nats a token. The same seed gives the
    /// same lens, and with a checkpoint folder a fit that was cut off goes on where it was.
    ///
    /// # Errors
    /// Options of zero; windows longer than the texts or the context; a loss that diverges; a
    /// checkpoint of another fit, or that cannot be written; [`Error::Stopped`] when Stop is pressed,
    /// after which `stopped::<(TunedLens, History)>()` returns the lens as far as it was trained.
    pub fn fit(
        model: &Decoder,
        train: &Tokens,
        test: &Tokens,
        options: &LensOptions,
    ) -> Result<(Self, History)> {
        options.check(model, train, test)?;
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            ..AdamWOptions::default()
        };
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                LensOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} for a lens of {:?}", model.config()))
        });
        let run = FitLoop {
            report: options.report,
            checkpoint,
            device: model.device().clone(),
            ..FitLoop::new("training the lens", options.steps, options.learning_rate)
        };
        let variables = variables(model, DType::F32)?;
        let mut fit = LensFit {
            model,
            train,
            test,
            options,
            trained: Trained::new(variables, &OptimizerKind::AdamW(settings))?,
            losses: Vec::new(),
        };
        let mut history = History::new("row", &["step", "train_divergence", "val_divergence"]);
        run.run(&mut fit, &mut history)?;
        let lens = Self { origin: "trained here".into(), ..fit.lens()? };
        if !history.interrupted {
            return Ok((lens, history));
        }
        let access = "`stopped::<(TunedLens, eigenlens::train::History)>()?` gives the lens as far \
                      as it was trained.";
        options.on_stop.end("the training of the lens", (lens, history), access)
    }
}

impl LensOptions {
    fn check(&self, model: &Decoder, train: &Tokens, test: &Tokens) -> Result<()> {
        check_sizes(&[
            ("the number of steps", self.steps),
            ("the batch", self.batch),
            ("the length of a window", self.length),
            ("the steps a row", self.report),
            ("the number of held-out windows", self.held_out),
        ])?;
        let most = model.config().context.min(train.len()).min(test.len());
        if self.length > most {
            let expected = format!("at most {most}, the context or the shorter text");
            return Err(Error::invalid("the length of a window", expected, self.length));
        }
        Ok(())
    }
}

/// A weight and a bias for each layer, all zero.
fn variables(model: &Decoder, dtype: DType) -> Result<Vec<Var>> {
    let (d, device) = (model.config().d_model, model.device());
    let mut all = Vec::with_capacity(2 * model.config().layers);
    for _ in 0..model.config().layers {
        all.push(Var::zeros((d, d), dtype, device)?);
        all.push(Var::zeros(d, dtype, device)?);
    }
    Ok(all)
}

/// A lens in training.
struct LensFit<'a> {
    model: &'a Decoder,
    train: &'a Tokens,
    test: &'a Tokens,
    options: &'a LensOptions,
    trained: Trained,
    /// Mean divergences since the last row of the history.
    losses: Vec<f64>,
}

impl LensFit<'_> {
    fn lens(&self) -> Result<TunedLens> {
        let pairs = self.trained.parameters.chunks(2);
        let copied = |var: &Var| var.as_detached_tensor().copy();
        let pairs = pairs.map(|pair| Ok((copied(&pair[0])?, copied(&pair[1])?)));
        TunedLens::of_translators(pairs.collect::<Result<Vec<_>>>()?)
    }

    /// The sum over layers of the mean divergence, with gradients.
    fn loss(&self, tokens: &Tensor) -> Result<Tensor> {
        let layers = self.model.config().layers;
        let points: Vec<HookPoint> = (0..layers).map(HookPoint::ResidPre).collect();
        let (streams, last) = streams(self.model, tokens, &points)?;
        let logits = self.model.unembed(&last)?.detach();
        let mut sum: Option<Tensor> = None;
        for (stream, pair) in streams.iter().zip(self.trained.parameters.chunks(2)) {
            let stream = stream.detach().to_dtype(pair[0].dtype())?;
            let guess = translated(&stream, &pair[0], &pair[1])?;
            let mean = lens_divergence(&logits, &self.model.unembed(&guess)?)?.mean_all()?;
            sum = Some(match sum {
                None => mean,
                Some(sum) => (sum + mean)?,
            });
        }
        sum.ok_or_else(|| Error::invalid("the layers of the model", "at least one", 0))
    }
}

impl Fit for LensFit<'_> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let LensOptions { batch, length, seed, .. } = *self.options;
        // Each step has its stream: a fit that goes on draws what it would have drawn.
        let mut rng = Rng::stream(seed, step as u64);
        let tokens = self.train.draw(batch, length, &mut rng, self.model.device())?;
        let loss = self.loss(&tokens)?;
        let gradients = gradients(&loss, &self.trained.parameters)?;
        self.trained.step_clipped(&gradients, self.options.clip, learning_rate)?;
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        self.losses.push(loss / self.model.config().layers as f64);
        Ok(loss)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let train = mean(&self.losses);
        self.losses.clear();
        let LensOptions { held_out, length, .. } = *self.options;
        // Stop is for the loop, which saves what there is.
        let size = [held_out, length];
        let found = self.lens()?.measured(self.model, self.test, size, |_| false)?;
        let val = mean(&found.tuned);
        let note = format!("divergence {train:.3}, held out {val:.3}");
        Ok(FitRow { metrics: vec![done as f64, train, val], note })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        self.trained.state()
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.trained.restore(done, take)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;
    use crate::train::tests::{assert_gradients, assert_resumes};

    fn model() -> Decoder {
        let config = Config { vocab: 9, context: 16, ..Config::llama(3, 2, 8, 16) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    /// A text in which each token is followed by the one two above it.
    fn text(length: usize) -> Tokens {
        Tokens::from((0..length).map(|i| (2 * i % 9) as u32).collect::<Vec<_>>())
    }

    fn options() -> LensOptions {
        LensOptions {
            steps: 60,
            batch: 4,
            length: 8,
            learning_rate: 0.02,
            report: 20,
            held_out: 3,
            ..LensOptions::default()
        }
    }

    #[test]
    fn the_divergence_falls_below_that_of_the_logit_lens() {
        let model = model();
        let fitted = crate::model::TrainOptions {
            steps: 40,
            batch: 4,
            length: 8,
            learning_rate: 0.02,
            held_out: 3,
            ..Default::default()
        };
        model.fit(&text(200), &text(50), &fitted).unwrap();
        let (lens, history) = TunedLens::fit(&model, &text(200), &text(50), &options()).unwrap();
        let column = history.column("val_divergence").unwrap();
        assert!(column.len() == 3 && column[2] < column[0], "{history}");
        let found = lens.divergences(&model, &text(50), 3, 8).unwrap();
        for (tuned, logit) in found.tuned.iter().zip(&found.logit) {
            assert!(tuned < logit, "{found}");
        }
        let none = TunedLens::identity(&model).unwrap().divergences(&model, &text(50), 3, 8);
        assert_eq!(none.unwrap().tuned, found.logit);
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let model = model().to_dtype(DType::F64).unwrap();
        let (options, text) = (options(), text(200));
        let variables = variables(&model, DType::F64).unwrap();
        for var in &variables {
            let some = Rng::seed(3).normal(var.shape(), &Device::Cpu).unwrap();
            var.set(&(some * 0.1).unwrap().to_dtype(DType::F64).unwrap()).unwrap();
        }
        let kind = OptimizerKind::AdamW(AdamWOptions::default());
        let fit = LensFit {
            model: &model,
            train: &text,
            test: &text,
            options: &options,
            trained: Trained::new(variables.clone(), &kind).unwrap(),
            losses: Vec::new(),
        };
        let tokens = text.windows(2, 8, &Device::Cpu).unwrap();
        assert_gradients(&variables, || fit.loss(&tokens));
    }

    #[test]
    fn a_fit_that_was_cut_off_ends_with_the_same_lens() {
        assert_resumes(&[(19, 0), (47, 40)], 60, |checkpoint| {
            let on_stop = OnStop::ReturnPartial;
            let options = LensOptions { checkpoint, on_stop, ..options() };
            let (lens, history) =
                TunedLens::fit(&model(), &text(200), &text(50), &options).unwrap();
            let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let weights: Vec<Vec<f32>> =
                lens.translators().iter().map(|(weight, _)| flat(weight)).collect();
            (history, weights)
        });
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        let text_of = |options: LensOptions| {
            let found = TunedLens::fit(&model(), &text(200), &text(50), &options);
            found.unwrap_err().to_string()
        };
        assert!(text_of(LensOptions { steps: 0, ..options() }).contains("number of steps"));
        assert!(text_of(LensOptions { length: 17, ..options() }).contains("at most 16"));
    }
}
