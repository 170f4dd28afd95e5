//! Training an autoencoder on a model's activations.

#[cfg(test)]
mod against_autograd;
mod choose;
mod dense;
mod engine;
mod host;
mod masks;
mod metrics;
mod options;
mod part;
mod setup;
mod source;
mod sparse;
mod sums;
mod tensors;
#[cfg(test)]
mod tests;
mod update;
mod whole;

use self::engine::Engine;
use self::metrics::Metrics;
use self::setup::{Moment, Setup};
use self::source::Source;
use super::record::model_name;
use super::{Origin, Sae, TrainingRecord};
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::progress::{OnStop, Progress, StopShield};
use crate::train::{Checkpoint, History, cosine, warmup};
use crate::{Error, Result};

pub use self::options::{Objective, SaeOptions};

impl Sae {
    /// Trains an autoencoder of the activations at `point` on text, or a transcoder from there to
    /// `target`, to what the [`Objective`] makes small, and returns it with a row for every `report`
    /// steps: `nmse`, the error's share of the variance about the mean, `Σ‖t − x̂‖² / Σ‖t − t̄‖²`, and
    /// `l0`, the features in a code, over the activations of those steps, and `dead`, the share of
    /// features that were in no code for `dead_after` steps. What is left of the model with it is
    /// told by [`Sae::patched_loss`].
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
    ///     objective: Objective::jump_relu(0.01),
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
    /// be written; [`Error::Stopped`] when Stop is pressed.
    pub fn fit(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
    ) -> Result<(Self, History)> {
        Self::fit_until(model, point, text, options, options.steps)
    }

    /// The first `end` steps of [`Sae::fit`].
    fn fit_until(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
        end: usize,
    ) -> Result<(Self, History)> {
        options.check()?;
        let mut source = Source::new(model, point, text, options)?;
        let setup = Setup::new(options, source.widths())?;
        let start = setup.start(&source, options.seed)?;
        let mut metrics = Metrics::new(setup.m, setup.widths[1]);
        let mut engine = Engine::new(&setup, start, model.device())?;
        let mut history = History::new("row", &["step", "nmse", "l0", "dead"]);
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                SaeOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} at {point} of {:?}", model.config()))
        });
        let first = match &checkpoint {
            Some(checkpoint) => {
                checkpoint.restore_with(&mut history, model.device(), |step, take| {
                    engine.restore(step, take)?;
                    metrics.restore(take)
                })?
            }
            None => 0,
        };
        source.skip(first)?;
        let mut progress =
            Progress::new("training features", (options.steps - first) as u64, "step");
        let _shield = StopShield::new();
        for step in first..end {
            let dead = metrics.dead(step, options.dead_after);
            let rate = cosine(step, options.steps) * warmup(step, options.warmup);
            let penalty = options.objective.penalty().unwrap_or(0.0);
            let moment = Moment {
                learning_rate: options.learning_rate * rate,
                penalty: penalty * warmup(step, options.sparsity_warmup),
                dead: &dead,
            };
            let batch = source.next()?;
            let outcome = engine.step(batch, &moment)?;
            if !outcome.loss.is_finite() {
                let expected = "small enough for the loss to stay finite";
                return Err(Error::invalid("the learning rate", expected, options.learning_rate));
            }
            metrics.add(batch, &outcome, step + 1);
            let last = step + 1 == options.steps;
            if (step + 1) % options.report == 0 || last {
                let row = metrics.row(step + 1, options.dead_after);
                history.push(&[(step + 1) as f64, row.nmse, row.l0, row.dead])?;
                let (nmse, l0, dead) = (row.nmse, row.l0, 100. * row.dead);
                progress.note(format!("nmse {nmse:.3}, L0 {l0:.1}, dead {dead:.1} %"));
                if let Some(checkpoint) = &checkpoint {
                    let mut all = engine.state()?;
                    all.extend(metrics.state()?);
                    checkpoint.save_all(step + 1, all, &history)?;
                }
            }
            if progress.advance(1) && !last {
                history.interrupted = true;
                break;
            }
        }
        let points = [Some(point), options.target];
        let weights = engine.weights()?;
        let scales = source.scales();
        let sae = setup.finish(&weights, scales, metrics.threshold(), points, model.device())?;
        let training = TrainingRecord::of_fit(model, options.length, &options.skip_tokens);
        let origin = Origin { model: model_name(model), training, ..sae.origin().clone() };
        let sae = sae.with_origin(origin);
        if !history.interrupted {
            return Ok((sae, history));
        }
        let access = "`stopped::<(Sae, eigenlens::train::History)>()?` gives the autoencoder as far \
                      as it was trained.";
        options.on_stop.end("the training of the autoencoder", (sae, history), access)
    }
}
