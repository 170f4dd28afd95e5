//! Finding the factors.

use super::CpdModel;
use super::similarity::{InteractionTensor, SimilarityGradients};
use crate::bilinear::image::ImageModel;
use crate::progress::{OnStop, Progress, StopShield};
use crate::train::{History, MuonOptions, OptimizerKind, cosine};
use crate::{Error, Result};

/// How to fit a [`CpdModel`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpdFit {
    /// Number of steps; 1,000.
    pub steps: usize,
    /// The optimiser; [`MuonOptions::default`]. Its learning rate falls to zero along a cosine.
    pub optimizer: OptimizerKind,
}

impl Default for CpdFit {
    fn default() -> Self {
        Self { steps: 1_000, optimizer: OptimizerKind::Muon(MuonOptions::default()) }
    }
}

impl CpdModel {
    /// Maximises the similarity to `model`; returns a row a step: `loss` (1 − similarity) and
    /// `similarity`, both before that step. When Stop is pressed, the call fails, the factors keep what
    /// they have, and `stopped::<History>()` returns the completed steps.
    ///
    /// # Errors
    /// No steps; settings out of range; as [`CpdModel::similarity`]; [`Error::Stopped`] when Stop is
    /// pressed.
    pub fn fit(&self, model: &ImageModel, options: CpdFit) -> Result<History> {
        if options.steps == 0 {
            return Err(Error::invalid("the number of steps", "at least 1", 0));
        }
        let target = InteractionTensor::of(model)?;
        let factors = vec![self.left.clone(), self.right.clone(), self.down.clone()];
        let mut optimizer = options.optimizer.build(factors)?;
        let rate = options.optimizer.learning_rate();
        let mut history = History::new("step", &["loss", "similarity"]);
        let mut progress = Progress::new("fitting factors", options.steps as u64, "step");
        let _shield = StopShield::new();
        for step in 0..options.steps {
            optimizer.set_learning_rate(rate * cosine(step, options.steps));
            let SimilarityGradients { similarity, left, right, down } = target.gradients(self)?;
            optimizer.step(&[left, right, down])?;
            history.push(&[1.0 - similarity, similarity])?;
            progress.note(format!("similarity {similarity:.4}"));
            if progress.advance(1) && step + 1 < options.steps {
                history.interrupted = true;
                return OnStop::EndCell.end_fit(step + 1, options.steps, "step", history);
            }
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::bilinear::image::ImageConfig;
    use crate::train::AdamWOptions;

    fn model() -> ImageModel {
        let config =
            ImageConfig { height: 3, width: 3, classes: 4, d_hidden: 6, ..Default::default() };
        ImageModel::new(config, 0, &Device::Cpu).unwrap()
    }

    #[test]
    fn both_optimisers_find_the_factors() {
        let adamw = AdamWOptions { learning_rate: 0.03, ..AdamWOptions::default() };
        for optimizer in [CpdFit::default().optimizer, OptimizerKind::AdamW(adamw)] {
            let cpd = CpdModel::new(&model(), 8, 0).unwrap();
            let history = cpd.fit(&model(), CpdFit { steps: 800, optimizer }).unwrap();
            let similarity = cpd.similarity(&model()).unwrap();
            assert!(similarity > 0.99, "{optimizer:?}: {similarity}");
            assert!((history.last("similarity").unwrap() - similarity).abs() < 1e-3);
        }
    }

    #[test]
    fn a_seed_repeats_a_run_exactly() {
        let run = || {
            let cpd = CpdModel::new(&model(), 3, 5).unwrap();
            let history = cpd.fit(&model(), CpdFit { steps: 20, ..CpdFit::default() }).unwrap();
            (history, cpd.left().to_vec2::<f32>().unwrap())
        };
        assert_eq!(run(), run());
    }

    #[test]
    fn bad_settings_are_refused() {
        let cpd = CpdModel::new(&model(), 3, 5).unwrap();
        let none = CpdFit { steps: 0, ..CpdFit::default() };
        assert!(cpd.fit(&model(), none).unwrap_err().to_string().contains("steps"));
        let bad = MuonOptions { learning_rate: -1.0, ..MuonOptions::default() };
        let bad = CpdFit { steps: 1, optimizer: OptimizerKind::Muon(bad) };
        assert!(cpd.fit(&model(), bad).unwrap_err().to_string().contains("learning rate"));
    }
}
