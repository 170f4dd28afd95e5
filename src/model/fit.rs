//! Training on text.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Tensor};

use super::{Decoder, Hooks};
use crate::check::check_sizes;
use crate::data::text::Tokens;
use crate::progress::{OnStop, safe_point};
use crate::random::Rng;
use crate::train::{
    AdamWOptions, Checkpoint, Fit, FitLoop, FitRow, History, OptimizerKind, TakeTensor, Trained,
    gradients,
};
use crate::{Error, Result};

/// Windows that a loss is measured on at a time.
const GROUP: usize = 16;

/// How [`Decoder::fit`] trains.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// Optimiser steps; 1,000.
    pub steps: usize,
    /// Windows of text a step; 16.
    pub batch: usize,
    /// Tokens a window; 128.
    pub length: usize,
    /// Highest learning rate, after the warm-up; 1e-3. From there it falls to zero along a cosine.
    pub learning_rate: f64,
    /// Steps in which the learning rate rises to its highest; 100.
    pub warmup: usize,
    /// Decoupled weight decay; 0.1.
    pub weight_decay: f64,
    /// Longest gradient, all parameters together; longer ones are shortened to it; 1.
    pub clip: f64,
    /// Steps between two rows of the history; 50.
    pub report: usize,
    /// Windows of held-out text that the loss is measured on at each of them; 64.
    pub held_out: usize,
    /// Seed of the draws of text; 0.
    pub seed: u64,
    /// A folder to save to at every row of the history, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            steps: 1_000,
            batch: 16,
            length: 128,
            learning_rate: 1e-3,
            warmup: 100,
            weight_decay: 0.1,
            clip: 1.0,
            report: 50,
            held_out: 64,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl Decoder {
    /// Trains to predict the next token with AdamW, on windows drawn from `train`. Returns a row
    /// for every `report` steps: `train_loss`, the mean over those steps, and `val_loss`, on
    /// `test`, both in nats a token.
    ///
    /// With a checkpoint folder it saves itself at every row, and a fit that was cut off, by Stop
    /// or by a crash, goes on from there when it is called again with the same options: the
    /// weights in the end are the same as without the break. The same seed gives the same run. When
    /// Stop is pressed, the model keeps the weights it has and [`OnStop`] says what is returned.
    ///
    /// # Errors
    /// Options of zero; windows longer than the texts or the context; tokens that are not in the
    /// vocabulary; a loss that diverges; a checkpoint of another fit, or that cannot be written;
    /// [`Error::Stopped`] when Stop is pressed.
    pub fn fit(&self, train: &Tokens, test: &Tokens, options: &TrainOptions) -> Result<History> {
        self.check_options(train, test, options)?;
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            beta2: 0.95,
            weight_decay: options.weight_decay,
            ..AdamWOptions::default()
        };
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                TrainOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} for {:?}", self.config()))
        });
        let run = FitLoop {
            warmup: options.warmup,
            report: options.report,
            checkpoint,
            device: self.device().clone(),
            ..FitLoop::new("training", options.steps, options.learning_rate)
        };
        let mut fit = TextFit {
            model: self,
            train,
            test,
            options,
            trained: Trained::new(self.variables(), &OptimizerKind::AdamW(settings))?,
            losses: Vec::new(),
        };
        let history = History::new("row", &["step", "train_loss", "val_loss"]);
        run.train(&mut fit, history, options.on_stop)
    }

    /// Mean next-token cross-entropy on `windows` windows of `length` tokens, spread over the
    /// text, in nats a token. The first token of a window is not predicted.
    ///
    /// # Errors
    /// Windows longer than the text or the context; tokens that are not in the vocabulary.
    pub fn mean_loss(&self, text: &Tokens, windows: usize, length: usize) -> Result<f64> {
        self.mean_loss_with(text, windows, length, &Hooks::new())
    }

    /// [`Decoder::mean_loss`] with `hooks` acting in every forward pass.
    ///
    /// # Errors
    /// As [`Decoder::mean_loss`] and [`Decoder::run`]; [`Error::Interrupted`] when Stop is pressed.
    pub fn mean_loss_with(
        &self,
        text: &Tokens,
        windows: usize,
        length: usize,
        hooks: &Hooks,
    ) -> Result<f64> {
        let windows = text.windows(windows, length, self.device())?;
        let count = windows.dim(0)?;
        let mut sum = 0.0;
        for start in (0..count).step_by(GROUP) {
            safe_point("measuring the loss")?;
            let group: Tensor = windows.narrow(0, start, GROUP.min(count - start))?;
            let loss = self.loss_with(&group, hooks, false)?.to_dtype(DType::F64)?;
            sum += group.dim(0)? as f64 * loss.to_scalar::<f64>()?;
        }
        Ok(sum / count as f64)
    }

    fn check_options(&self, train: &Tokens, test: &Tokens, options: &TrainOptions) -> Result<()> {
        check_sizes(&[
            ("the number of steps", options.steps),
            ("the batch", options.batch),
            ("the steps a row", options.report),
            ("the number of held-out windows", options.held_out),
        ])?;
        let most = self.config().context.min(train.len()).min(test.len());
        if options.length < 2 || options.length > most {
            let expected = format!("between 2 and {most}, the context or the shorter text");
            return Err(Error::invalid("the length of a window", expected, options.length));
        }
        let vocab = self.config().vocab;
        let highest = train.as_slice().iter().chain(test.as_slice()).max().copied();
        match highest.filter(|token| *token as usize >= vocab) {
            Some(token) => {
                let expected = format!("below {vocab}, the model's vocabulary");
                Err(Error::invalid("every token", expected, token))
            }
            None => Ok(()),
        }
    }
}

/// A model in training, and the losses since the last row of the history.
struct TextFit<'a> {
    model: &'a Decoder,
    train: &'a Tokens,
    test: &'a Tokens,
    options: &'a TrainOptions,
    trained: Trained,
    losses: Vec<f64>,
}

impl Fit for TextFit<'_> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let TrainOptions { batch, length, seed, .. } = *self.options;
        // Each step has its stream: a fit that goes on draws what it would have drawn.
        let mut rng = Rng::stream(seed, step as u64);
        let batch = self.train.draw(batch, length, &mut rng, self.model.device())?;
        let loss = self.model.loss(&batch)?;
        let gradients = gradients(&loss, &self.trained.parameters)?;
        self.trained.step_clipped(&gradients, self.options.clip, learning_rate)?;
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        self.losses.push(loss);
        Ok(loss)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let mean = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
        self.losses.clear();
        let TrainOptions { held_out, length, .. } = *self.options;
        let val = self.model.mean_loss(self.test, held_out, length)?;
        let note = format!("loss {mean:.3}, held out {val:.3}");
        Ok(FitRow { metrics: vec![done as f64, mean, val], note })
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
    use crate::train::tests::{assert_resumes, stop_after};

    fn model() -> Decoder {
        let config = Config { vocab: 7, context: 16, ..Config::bilinear(2, 2, 16, 16) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    /// A text in which each token is followed by the one two above it.
    fn text(length: usize) -> Tokens {
        Tokens::from((0..length).map(|i| (2 * i % 7) as u32).collect::<Vec<_>>())
    }

    fn options() -> TrainOptions {
        TrainOptions {
            steps: 60,
            batch: 4,
            length: 8,
            learning_rate: 0.02,
            warmup: 5,
            report: 20,
            held_out: 3,
            ..TrainOptions::default()
        }
    }

    fn weights(model: &Decoder) -> Vec<Vec<f32>> {
        let flat = |(_, tensor): (String, Tensor)| tensor.flatten_all().unwrap().to_vec1().unwrap();
        model.weights().into_iter().map(flat).collect()
    }

    #[test]
    fn it_learns_what_follows_and_a_seed_repeats_it_exactly() {
        let (one, two) = (model(), model());
        let history = one.fit(&text(200), &text(50), &options()).unwrap();
        assert_eq!(history.column("step").unwrap(), [20., 40., 60.]);
        assert!(history.last("val_loss").unwrap() < 0.1, "{history}");
        assert_eq!(two.fit(&text(200), &text(50), &options()).unwrap(), history);
        assert_eq!(weights(&one), weights(&two));
        let three = model();
        three.fit(&text(200), &text(50), &TrainOptions { seed: 1, ..options() }).unwrap();
        assert_ne!(weights(&one), weights(&three));
    }

    #[test]
    fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let options = TrainOptions { checkpoint: Some(folder.path().join("fit")), ..options() };
        let undisturbed = model();
        let without = TrainOptions { checkpoint: None, ..options.clone() };
        let history = undisturbed.fit(&text(200), &text(50), &without).unwrap();

        let first = model();
        first.fit(&text(200), &text(50), &options).unwrap();
        assert_eq!(weights(&first), weights(&undisturbed));
        // The folder as a crash after the second row leaves it.
        let state = folder.path().join("fit/state.json");
        let whole = std::fs::read_to_string(&state).unwrap();
        std::fs::remove_dir_all(folder.path().join("fit")).unwrap();
        let cut = TrainOptions { on_stop: OnStop::ReturnPartial, ..options.clone() };
        stop_after(40, || model().fit(&text(200), &text(50), &cut)).unwrap();
        std::fs::write(folder.path().join("fit/step-60.safetensors"), "torn").unwrap();
        let resumed = model();
        assert_eq!(resumed.fit(&text(200), &text(50), &options).unwrap(), history);
        assert_eq!(weights(&resumed), weights(&undisturbed));
        assert_eq!(std::fs::read_to_string(&state).unwrap(), whole);

        let other = TrainOptions { batch: 5, ..options };
        let message = model().fit(&text(200), &text(50), &other).unwrap_err().to_string();
        assert!(message.contains("a fit with the settings") && message.contains("batch: 5"));
    }

    #[test]
    fn stop_loses_no_more_than_the_steps_of_a_row() {
        for dtype in [DType::F32, DType::BF16] {
            assert_resumes(&[(19, 0), (20, 20), (47, 40)], 60, |checkpoint| {
                let model = model().to_dtype(dtype).unwrap();
                let on_stop = OnStop::ReturnPartial;
                let options = TrainOptions { checkpoint, on_stop, ..options() };
                let history = model.fit(&text(200), &text(50), &options).unwrap();
                let weight = |(_, tensor): (String, Tensor)| {
                    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
                };
                let weights: Vec<Vec<f32>> = model.weights().into_iter().map(weight).collect();
                (history, weights)
            });
        }
    }

    #[test]
    fn bad_options_and_texts_are_refused() {
        let message = |options: TrainOptions, train: &Tokens| {
            model().fit(train, &text(50), &options).unwrap_err().to_string()
        };
        assert!(message(TrainOptions { steps: 0, ..options() }, &text(200)).contains("steps"));
        assert!(message(TrainOptions { length: 17, ..options() }, &text(200)).contains("and 16"));
        assert!(message(options(), &text(5)).contains("and 5"));
        let foreign = Tokens::from(vec![7; 200]);
        assert!(message(options(), &foreign).contains("below 7"));
        let wild = TrainOptions { learning_rate: 1e30, warmup: 0, ..options() };
        assert!(message(wild, &text(200)).contains("learning rate"));
    }
}
