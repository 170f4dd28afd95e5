//! Training of several autoencoders on one stream of activations.

use std::collections::HashMap;

use candle_core::Tensor;

use super::FitPlace;
use super::learner::Learner;
use super::metrics::HistoryRow;
use super::options::SaeOptions;
use super::source::FitSource;
use crate::Result;
use crate::sae::Sae;
use crate::train::{Fit, FitRow, History, TakeTensor};

/// What each row of a history has of an autoencoder, beside the step.
const METRICS: [&str; 3] = ["nmse", "l0", "dead"];

/// The size of an autoencoder among several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FitSize {
    /// Features for each dimension of the activation.
    pub(crate) expansion: usize,
    /// Features that a code keeps.
    pub(crate) k: usize,
}

/// Autoencoders that were trained together.
#[derive(Debug)]
pub(crate) struct ManyFits {
    /// Each with its history.
    pub(crate) fits: Vec<(Sae, History)>,
    /// Whether Stop ended the training before its last step.
    pub(crate) interrupted: bool,
}

/// Trains an autoencoder of each of `sizes` on the activations that `source` hands out, each of which
/// all of them see in the same step. Each ends with the weights of [`Sae::fit_from`] with its size in
/// the options. A checkpoint is that of all of them; `on_stop` is the caller's.
///
/// # Errors
/// As [`Sae::fit_from`].
pub(crate) fn fit_many(
    source: impl FitSource,
    sizes: &[FitSize],
    options: &SaeOptions,
    place: &FitPlace<'_>,
) -> Result<ManyFits> {
    let learners = sizes.iter().map(|&FitSize { expansion, k }| {
        let own = SaeOptions { expansion, k, ..options.clone() };
        Learner::new(&own, &source, place.device)
    });
    let learners = learners.collect::<Result<Vec<_>>>()?;
    let mut fit = ManyFit { source, sizes, learners, diverged: None };
    let names: Vec<String> =
        (0..sizes.len()).flat_map(|at| METRICS.map(|name| format!("{name}.{at}"))).collect();
    let columns = ["step"].into_iter().chain(names.iter().map(String::as_str));
    let mut all = History::new("row", &columns.collect::<Vec<_>>());
    let settings = format!("of {sizes:?} {}", place.settings);
    let run = options.fit_loop("training autoencoders", &settings, place.device);
    run.run(&mut fit, &mut all)?;
    let fits = fit.learners.iter().enumerate().map(|(at, learner)| {
        let sae = learner.finish(&fit.source, place.device)?;
        Ok((sae.with_origin(place.origin.clone()), history_of(&all, at)?))
    });
    Ok(ManyFits { fits: fits.collect::<Result<_>>()?, interrupted: all.interrupted })
}

/// The part of a common history that is of one autoencoder.
fn history_of(all: &History, at: usize) -> Result<History> {
    let mut own = History::new("row", &["step", METRICS[0], METRICS[1], METRICS[2]]);
    for row in all.rows() {
        let first = 2 + METRICS.len() * at;
        own.push(&[&row[1..2], &row[first..first + METRICS.len()]].concat())?;
    }
    own.interrupted = all.interrupted;
    Ok(own)
}

/// Several autoencoders in training.
struct ManyFit<'a, S> {
    source: S,
    sizes: &'a [FitSize],
    learners: Vec<Learner>,
    /// The one whose loss is not finite.
    diverged: Option<FitSize>,
}

impl<S: FitSource> Fit for ManyFit<'_, S> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let batch = self.source.next()?;
        let mut sum = 0.0;
        for (learner, size) in self.learners.iter_mut().zip(self.sizes) {
            let loss = learner.step(batch, step, learning_rate)?;
            if !loss.is_finite() {
                self.diverged = Some(*size);
                return Ok(loss);
            }
            sum += loss;
        }
        Ok(sum)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let mut metrics = vec![done as f64];
        let mut worst = 0f64;
        for learner in &mut self.learners {
            let HistoryRow { nmse, l0, dead } = learner.row(done);
            metrics.extend([nmse, l0, dead]);
            worst = worst.max(nmse);
        }
        let best = metrics.iter().skip(1).step_by(METRICS.len()).copied().fold(worst, f64::min);
        Ok(FitRow { metrics, note: format!("nmse {best:.3} to {worst:.3}") })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::new();
        for (at, learner) in self.learners.iter().enumerate() {
            let own = learner.state()?.into_iter();
            all.extend(own.map(|(name, tensor)| (format!("{at}.{name}"), tensor)));
        }
        Ok(all)
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        for (at, learner) in self.learners.iter_mut().enumerate() {
            learner.restore(done, &mut |name, shape| take(&format!("{at}.{name}"), shape))?;
        }
        self.source.skip(done)
    }

    fn diverged_part(&self) -> Option<String> {
        let FitSize { expansion, k } = self.diverged?;
        Some(format!("the autoencoder with expansion {expansion} and k {k}"))
    }
}
