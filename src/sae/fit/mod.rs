//! Training an autoencoder on a model's activations.

mod build;
mod dense;
mod device;
mod engine;
mod host;
mod learner;
mod many;
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

use self::learner::Learner;
use self::many::{ManyFits, fit_many};
use self::metrics::HistoryRow;
use self::source::{ActivationMap, ActivationSource};
use super::record::model_name;
use super::{Origin, PositionSlice, Sae, TrainingRecord};
use crate::Result;
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::progress::OnStop;
use crate::train::{Checkpoint, Fit, FitLoop, FitRow, History, TakeTensor};

pub(crate) use self::many::FitSize;
pub use self::options::SaeOptions;
pub(crate) use self::shape::Widths;
pub(crate) use self::small::SmallFit;
pub(crate) use self::source::{FitSource, buffer_of, mean_row, root_mean_square};
pub(crate) use self::step::Batch;

impl SaeOptions {
    /// The training loop; `settings` are what a checkpoint depends on beside the options.
    fn fit_loop(&self, what: &'static str, settings: &str, device: &Device) -> FitLoop {
        let checkpoint = self.checkpoint.clone().map(|folder| {
            let asked = Self { checkpoint: None, on_stop: OnStop::default(), ..self.clone() };
            Checkpoint::new(folder, format!("{asked:?} {settings}"))
        });
        FitLoop {
            warmup: self.warmup,
            report: self.report,
            checkpoint,
            device: device.clone(),
            ..FitLoop::new(what, self.steps, self.learning_rate)
        }
    }
}

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
        let source = ActivationSource::new(model, point, text, options, None)?;
        Self::fit_from(source, options, FitPlace::of(model, point, options))
    }

    /// [`Sae::fit`] of what `map` makes of the activations; `name` tells it from others in a
    /// checkpoint.
    ///
    /// # Errors
    /// As [`Sae::fit`]; those of the map.
    pub(crate) fn fit_mapped(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
        (name, map): (&str, &ActivationMap),
    ) -> Result<(Self, History)> {
        options.check()?;
        let source = ActivationSource::new(model, point, text, options, Some(map))?;
        let place = FitPlace::of(model, point, options);
        let settings = format!("{name} {}", place.settings);
        Self::fit_from(source, options, FitPlace { settings, ..place })
    }

    /// [`Sae::fit`] of an autoencoder of each of `sizes`, of the same stream of activations. `on_stop`
    /// is left to the caller.
    ///
    /// # Errors
    /// As [`Sae::fit`].
    pub(crate) fn fit_sizes(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        sizes: &[FitSize],
        options: &SaeOptions,
    ) -> Result<ManyFits> {
        for &FitSize { expansion, k } in sizes {
            SaeOptions { expansion, k, ..options.clone() }.check()?;
        }
        let source = ActivationSource::new(model, point, text, options, None)?;
        fit_many(source, sizes, options, &FitPlace::of(model, point, options))
    }

    /// [`Sae::fit`] of the activations that `source` hands out.
    pub(crate) fn fit_from(
        source: impl FitSource,
        options: &SaeOptions,
        place: FitPlace<'_>,
    ) -> Result<(Self, History)> {
        let learner = Learner::new(options, &source, place.device)?;
        let mut fit = SaeFit { source, learner };
        let mut history = History::new("row", &["step", "nmse", "l0", "dead"]);
        let run = options.fit_loop("training features", &place.settings, place.device);
        run.run(&mut fit, &mut history)?;
        let sae = fit.learner.finish(&fit.source, place.device)?.with_origin(place.origin);
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

impl<'a> FitPlace<'a> {
    /// Of the activations of a model at `point`.
    fn of(model: &'a Decoder, point: HookPoint, options: &SaeOptions) -> Self {
        let skipped = options.skip_positions;
        let positions = PositionSlice { start: Some(skipped as i64), ..PositionSlice::default() };
        let origin = Origin {
            point: Some(point),
            hook_out: options.target.map(|target| target.to_string()),
            model: model_name(model),
            training: TrainingRecord {
                positions: (skipped > 0).then_some(positions),
                ..TrainingRecord::of_fit(
                    model.dtype(),
                    options.length,
                    &options.skip_tokens,
                    Some(false),
                )
            },
            ..Origin::default()
        };
        let settings = format!("at {point} of {:?}", model.config());
        Self { origin, settings, device: model.device() }
    }
}

/// An autoencoder in training, and where its activations come from.
struct SaeFit<S> {
    source: S,
    learner: Learner,
}

impl<S: FitSource> Fit for SaeFit<S> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        self.learner.step(self.source.next()?, step, learning_rate)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let HistoryRow { nmse, l0, dead } = self.learner.row(done);
        let note = format!("nmse {nmse:.3}, L0 {l0:.1}, dead {:.1} %", 100. * dead);
        Ok(FitRow { metrics: vec![done as f64, nmse, l0, dead], note })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        self.learner.state()
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.learner.restore(done, take)?;
        self.source.skip(done)
    }
}
