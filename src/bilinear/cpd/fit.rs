//! Finding the factors.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::Tensor;

use super::CpdModel;
use super::similarity::{InteractionTensor, SimilarityGradients};
use crate::bilinear::image::ImageModel;
use crate::progress::OnStop;
use crate::train::{
    Checkpoint, Fit, FitLoop, FitRow, History, MuonOptions, OptimizerKind, STEPS_PER_CHECKPOINT,
    TakeTensor, Trained,
};
use crate::{Error, Result};

/// How to fit a [`CpdModel`].
#[derive(Debug, Clone, PartialEq)]
pub struct CpdFit {
    /// Number of steps; 1,000.
    pub steps: usize,
    /// The optimiser; [`MuonOptions::default`]. Its learning rate falls to zero along a cosine.
    pub optimizer: OptimizerKind,
    /// A folder to save to every 50 steps, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for CpdFit {
    fn default() -> Self {
        Self {
            steps: 1_000,
            optimizer: OptimizerKind::Muon(MuonOptions::default()),
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl CpdModel {
    /// Maximises the similarity to `model`; returns a row a step: `loss` (1 − similarity) and
    /// `similarity`, both before that step. When Stop is pressed, the factors keep what they have, and
    /// [`OnStop`] says what is returned.
    ///
    /// With a checkpoint folder it saves itself every 50 steps, and a fit that was cut off, by Stop or
    /// by a crash, goes on from there when it is called again with the same model and options: the
    /// factors in the end are the same as without the break.
    ///
    /// # Errors
    /// No steps; settings out of range; a similarity that is not finite; as [`CpdModel::similarity`]; a
    /// checkpoint of another fit, or that cannot be written; [`Error::Stopped`] when Stop is pressed.
    pub fn fit(&self, model: &ImageModel, options: CpdFit) -> Result<History> {
        if options.steps == 0 {
            return Err(Error::invalid("the number of steps", "at least 1", 0));
        }
        let target = InteractionTensor::of(model)?;
        let factors = vec![self.left.clone(), self.right.clone(), self.down.clone()];
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked = CpdFit { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            let rank = self.rank();
            Checkpoint::new(folder, format!("{asked:?}, rank: {rank} of {:?}", model.config()))
        });
        let run = FitLoop {
            checkpoint,
            rows_per_save: STEPS_PER_CHECKPOINT,
            device: self.left.device().clone(),
            ..FitLoop::new("fitting factors", options.steps, options.optimizer.learning_rate())
        };
        let mut fit = FactorFit {
            factors: self,
            target,
            trained: Trained::new(factors, &options.optimizer)?,
            similarity: f64::NAN,
        };
        run.train(&mut fit, History::new("step", &["loss", "similarity"]), options.on_stop)
    }
}

/// Factors that are being found.
struct FactorFit<'a> {
    factors: &'a CpdModel,
    target: InteractionTensor,
    trained: Trained,
    /// Before the last step.
    similarity: f64,
}

impl Fit for FactorFit<'_> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let SimilarityGradients { similarity, left, right, down } =
            match self.target.gradients(self.factors) {
                // Factors that had a length and have none any more have diverged.
                Err(Error::Invalid { .. }) if step > 0 => return Ok(f64::NAN),
                other => other?,
            };
        self.trained.step(&[left, right, down], learning_rate)?;
        self.similarity = similarity;
        Ok(1.0 - similarity)
    }

    fn row(&mut self, _: usize) -> Result<FitRow> {
        let similarity = self.similarity;
        let note = format!("similarity {similarity:.4}");
        Ok(FitRow { metrics: vec![1.0 - similarity, similarity], note })
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
    use crate::bilinear::image::ImageConfig;
    use crate::train::AdamWOptions;
    use crate::train::tests::assert_resumes;

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
            let history =
                cpd.fit(&model(), CpdFit { steps: 800, optimizer, ..CpdFit::default() }).unwrap();
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
    fn a_fit_that_was_cut_off_ends_with_the_same_factors() {
        for optimizer in
            [CpdFit::default().optimizer, OptimizerKind::AdamW(AdamWOptions::default())]
        {
            let train = |rank: usize, checkpoint| {
                let cpd = CpdModel::new(&model(), rank, 5).unwrap();
                let on_stop = OnStop::ReturnPartial;
                let options = CpdFit { steps: 120, optimizer, checkpoint, on_stop };
                let history = cpd.fit(&model(), options)?;
                let factors = [cpd.left(), cpd.right(), cpd.down()];
                Ok::<_, Error>((history, factors.map(|factor| factor.to_vec2::<f32>().unwrap())))
            };
            assert_resumes(&[(30, 0), (50, 50), (119, 100)], 120, |folder| {
                train(3, folder).unwrap()
            });

            let folder = tempfile::tempdir().unwrap();
            train(3, Some(folder.path().to_owned())).unwrap();
            let message = train(4, Some(folder.path().to_owned())).unwrap_err().to_string();
            assert!(message.contains("`rank: 4 of ImageConfig`"), "{message}");
        }
    }

    #[test]
    fn a_similarity_that_is_not_finite_names_the_learning_rate() {
        let muon = MuonOptions { learning_rate: 1e30, ..MuonOptions::default() };
        let options = CpdFit { optimizer: OptimizerKind::Muon(muon), ..CpdFit::default() };
        let cpd = CpdModel::new(&model(), 3, 5).unwrap();
        let message = cpd.fit(&model(), options).unwrap_err().to_string();
        assert!(message.contains("the loss to stay finite (it is NaN at step 2"), "{message}");
    }

    #[test]
    fn bad_settings_are_refused() {
        let cpd = CpdModel::new(&model(), 3, 5).unwrap();
        let none = CpdFit { steps: 0, ..CpdFit::default() };
        assert!(cpd.fit(&model(), none).unwrap_err().to_string().contains("steps"));
        let bad = MuonOptions { learning_rate: -1.0, ..MuonOptions::default() };
        let bad = CpdFit { steps: 1, optimizer: OptimizerKind::Muon(bad), ..CpdFit::default() };
        assert!(cpd.fit(&model(), bad).unwrap_err().to_string().contains("learning rate"));
    }
}
