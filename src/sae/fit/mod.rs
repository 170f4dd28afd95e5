//! Training an autoencoder on a model's activations.

mod build;
mod dense;
mod device;
mod engine;
mod host;
mod metrics;
mod options;
mod reconstruction;
mod setup;
mod shape;
mod small;
mod source;
mod sparse;
mod step;
mod sums;
#[cfg(test)]
mod tests;
mod update;
mod weights;

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use self::build::engine;
use self::engine::Engine;
use self::metrics::{HistoryRow, Metrics};
use self::setup::Units;
use self::shape::FitShape;
pub(crate) use self::shape::Widths;
pub(crate) use self::source::{FitSource, buffer_of, mean_row, root_mean_square};
pub(crate) use self::step::Batch;

use self::source::ActivationSource;
use self::step::StepSettings;
use super::record::model_name;
use super::{Origin, Sae, TrainingRecord};
use crate::Result;
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::progress::OnStop;
use crate::train::{Checkpoint, Fit, FitLoop, FitRow, History, TakeTensor, warmup};

pub use self::options::SaeOptions;
pub(crate) use self::small::SmallFit;

impl Sae {
    /// Trains an autoencoder of the activations at `point` on text, or a transcoder from there to
    /// `target`, to minimise its [`Objective`](crate::sae::Objective). Returns it with a history, one
    /// row for every `report` steps: `nmse`, the error's share of the variance about the mean,
    /// `Σ‖t − x̂‖² / Σ‖t − t̄‖²`, and `l0`, the features in a code, over the activations of those steps,
    /// and `dead`, the share of features that were in no code for `dead_after` steps.
    /// [`Sae::patched_loss`] says how much of the model survives.
    ///
    /// The decoder's columns have length one: gradients along them are taken out and they are
    /// scaled back after each step. The encoder begins as the decoder's transpose, and b as the
    /// mean activation. Adam without weight decay; the same seed gives the same run. With a checkpoint
    /// folder, a fit that was cut off goes on when it is called again with the same model and options,
    /// and ends with the same weights as without the break.
    ///
    /// When Stop is pressed, [`OnStop`](crate::progress::OnStop) says what is returned; by default the
    /// call fails, so that a `save` after it does not run, and `stopped::<(Sae, History)>()` returns
    /// the autoencoder as far as it was trained.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::sae::Objective;
    /// # fn main() -> Result<()> {
    /// # let config = Config { vocab: 9, context: 16, ..Config::bilinear(1, 2, 8, 16) };
    /// # let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// # let text = Tokens::from((0..99).map(|i| i * i % 9).collect::<Vec<u32>>());
    /// let options = SaeOptions {
    ///     objective: Objective::BatchTopK,
    ///     steps: 20,
    ///     batch: 64,
    ///     buffer: 256,
    ///     length: 16,
    ///     ..SaeOptions::default()
    /// };
    /// let (sae, history) = Sae::fit(&model, HookPoint::MlpOut(0), &text, &options)?;
    /// println!("{sae}\n{history}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Options of zero or out of range, k above the features, a hook that cannot fire, windows longer
    /// than the text or the context, a loss that diverges, a checkpoint of another fit or that cannot
    /// be written; [`Error::Stopped`](crate::Error::Stopped) when Stop is pressed.
    pub fn fit(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
    ) -> Result<(Self, History)> {
        options.check()?;
        let source = ActivationSource::new(model, point, text, options, options.is_rescaled())?;
        let settings = format!("at {point} of {:?}", model.config());
        let origin = Origin {
            point: Some(point),
            hook_out: options.target.map(|target| target.to_string()),
            model: model_name(model),
            training: TrainingRecord::of_fit(model.dtype(), options.length, &options.skip_tokens),
            ..Origin::default()
        };
        Self::fit_from(source, options, FitPlace { origin, settings, device: model.device() })
    }

    /// [`Sae::fit`] of the activations that `source` hands out.
    pub(crate) fn fit_from(
        source: impl FitSource,
        options: &SaeOptions,
        place: FitPlace<'_>,
    ) -> Result<(Self, History)> {
        let recipe = options.recipe(source.widths().input);
        let shape = FitShape::new(options, &recipe, source.widths())?;
        let metrics = Metrics::new(shape.m, shape.widths.output);
        let start = shape.start(&source, options.seed)?;
        let lambda = recipe.lambda().unwrap_or(0.0);
        let engine = engine(&recipe, shape, start, place.device)?;
        let mut fit = SaeFit { options, source, lambda, engine, metrics };
        let mut history = History::new("row", &["step", "nmse", "l0", "dead"]);
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                SaeOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} {}", place.settings))
        });
        let run = FitLoop {
            warmup: options.warmup,
            report: options.report,
            checkpoint,
            device: place.device.clone(),
            ..FitLoop::new("training features", options.steps, options.learning_rate)
        };
        run.run(&mut fit, &mut history)?;
        let sae = fit.finish(place.device)?.with_origin(place.origin);
        if !history.interrupted {
            return Ok((sae, history));
        }
        let access = "`stopped::<(Sae, eigenlens::train::History)>()?` gives the autoencoder as far \
                      as it was trained.";
        options.on_stop.end("the training of the autoencoder", (sae, history), access)
    }
}

/// What a fit has to know beside its options and activations.
#[derive(Debug)]
pub(crate) struct FitPlace<'a> {
    /// What the autoencoder is said to belong to.
    pub(crate) origin: Origin,
    /// Beside the options, what a checkpoint must be of.
    pub(crate) settings: String,
    pub(crate) device: &'a Device,
}

/// An autoencoder in training.
struct SaeFit<'a, S> {
    options: &'a SaeOptions,
    source: S,
    /// λ, 0 without a penalty.
    lambda: f64,
    engine: Box<dyn Engine>,
    metrics: Metrics,
}

impl<S: FitSource> SaeFit<'_, S> {
    /// The autoencoder of the weights as they are now.
    fn finish(&self, device: &Device) -> Result<Sae> {
        let [input, output] = self.source.scales();
        let units = Units { input, output, threshold: self.metrics.threshold() };
        self.engine.finish(units, device)
    }
}

impl<S: FitSource> Fit for SaeFit<'_, S> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let dead = self.metrics.dead(step, self.options.dead_after);
        let settings = StepSettings {
            learning_rate,
            lambda: self.lambda * warmup(step, self.options.sparsity_warmup),
            dead: &dead,
        };
        let batch = self.source.next()?;
        let outcome = self.engine.step(batch, &settings)?;
        self.metrics.add(batch, &outcome, step + 1);
        Ok(outcome.loss)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let HistoryRow { nmse, l0, dead } = self.metrics.row(done, self.options.dead_after);
        let note = format!("nmse {nmse:.3}, L0 {l0:.1}, dead {:.1} %", 100. * dead);
        Ok(FitRow { metrics: vec![done as f64, nmse, l0, dead], note })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.engine.state()?;
        all.extend(self.metrics.state()?);
        Ok(all)
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.engine.restore(done, take)?;
        self.metrics.restore(take)?;
        self.source.skip(done)
    }
}
