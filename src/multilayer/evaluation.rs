//! How well an autoencoder does at each layer.

use std::fmt;

use super::codes::{LayerCodes, check_layers_and_latents};
use super::moments::RunningMoments;
use super::scores::{LayerScores, check_batch};
use crate::Result;
use crate::display::show_as_text;

/// What an autoencoder does at one layer, means over positions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerEvaluation {
    /// The layer's place among those evaluated.
    pub layer: usize,
    /// Positions, N.
    pub rows: u64,
    /// Active latents per position.
    pub l0: f64,
    /// Sum of activations per position.
    pub l1: f64,
    /// Fraction of variance unexplained, `Σ‖x − x̂‖² / Σ‖x − x̄‖²`, x̄ the mean of each dimension.
    pub fvu: f64,
    /// Mean squared error of an entry, `Σ‖x − x̂‖²/(N d)`.
    pub mse: f64,
    /// Mean cosine of x and x̂.
    pub cosine: f64,
    /// `KL(true ‖ patched)` of the next token's distribution, nats a token.
    pub kl: Option<f64>,
    /// Mean squared error of a logit.
    pub logit_mse: Option<f64>,
    /// Loss of the model as it is, nats a token.
    pub loss: Option<f64>,
    /// Loss with reconstructions in place of this layer's activations.
    pub patched_loss: Option<f64>,
}

impl LayerEvaluation {
    /// What the reconstruction costs, `patched_loss − loss`, nats a token.
    pub fn added_loss(&self) -> Option<f64> {
        Some(self.patched_loss? - self.loss?)
    }
}

/// The sums of one layer, over batches.
#[derive(Debug, Clone)]
struct EvaluationSums {
    rows: u64,
    active: u64,
    activation: f64,
    squared_error: f64,
    inputs: RunningMoments,
    cosines: f64,
    /// `[Σ KL, Σ(logit error)², rows · vocabulary, rows]`.
    logits: [f64; 4],
    /// `[Σ rows · loss, Σ rows · patched loss, rows]`.
    losses: [f64; 3],
}

/// How well an autoencoder does at each of L layers: everything per position and pooled over
/// batches, so that the size of batches changes nothing.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::{EvaluatedLayer, Evaluation, LayerCodes, LayerScores};
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 0.0], [-1.0, 0.0]], &Device::Cpu)?;
/// let layer = EvaluatedLayer {
///     inputs: Some(x.clone()),
///     reconstructions: Some((x * 0.5)?),
///     ..EvaluatedLayer::default()
/// };
/// let codes = LayerCodes::new([Codes::new(3, [vec![(0, 1.0)], vec![(1, 0.5), (2, 0.5)]])?])?;
/// let mut evaluation = Evaluation::new(1, 3)?;
/// evaluation.add(&[LayerScores::of(&layer)?], &codes)?;
/// let found = evaluation.layers()[0];
/// assert_eq!((found.l0, found.l1, found.fvu, found.mse), (1.5, 1.0, 0.25, 0.125));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Evaluation {
    latents: usize,
    states: Vec<EvaluationSums>,
    alive: Vec<bool>,
}

impl Evaluation {
    /// Of so many layers and latents, before the first batch.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no layers or no latents.
    pub fn new(layers: usize, latents: usize) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        let state = EvaluationSums {
            rows: 0,
            active: 0,
            activation: 0.0,
            squared_error: 0.0,
            inputs: RunningMoments::start(0),
            cosines: 0.0,
            logits: [0.0; 4],
            losses: [0.0; 3],
        };
        Ok(Self { latents, states: vec![state; layers], alive: vec![false; latents] })
    }

    /// Takes in a batch: the scores of each layer, and the codes of the same rows.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for another number of layers, latents or rows, or activations of another
    /// width than before.
    pub fn add(&mut self, scores: &[LayerScores], codes: &LayerCodes) -> Result<()> {
        check_batch(scores, codes, self.states.len(), self.latents)?;
        for ((state, scores), codes) in self.states.iter_mut().zip(scores).zip(codes.iter()) {
            state.rows += scores.rows;
            state.squared_error += scores.squared_error;
            state.cosines += scores.cosines;
            state.inputs.merge(&scores.inputs)?;
            let rows = scores.rows as f64;
            if let Some(own) = scores.logits {
                let entries = rows * own.vocabulary as f64;
                let more = [own.kl, own.squared_error, entries, rows];
                state.logits.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            if let Some([loss, patched]) = scores.losses {
                let more = [rows * loss, rows * patched, rows];
                state.losses.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            }
            for row in 0..codes.rows() {
                for (latent, value) in codes.row(row).filter(|(_, value)| *value > 0.0) {
                    state.active += 1;
                    state.activation += f64::from(value);
                    self.alive[latent as usize] = true;
                }
            }
        }
        Ok(())
    }

    /// The numbers of each layer; NaN before the first batch.
    pub fn layers(&self) -> Vec<LayerEvaluation> {
        let of = |(layer, state): (usize, &EvaluationSums)| {
            let rows = state.rows as f64;
            let [kl, logit_error, entries, logit_rows] = state.logits;
            let [loss, patched, loss_rows] = state.losses;
            let known = |sum: f64, count: f64| (count > 0.0).then(|| sum / count);
            LayerEvaluation {
                layer,
                rows: state.rows,
                l0: state.active as f64 / rows,
                l1: state.activation / rows,
                fvu: state.squared_error / state.inputs.total_squares(),
                mse: state.squared_error / (rows * state.inputs.mean().len() as f64),
                cosine: state.cosines / rows,
                kl: known(kl, logit_rows),
                logit_mse: known(logit_error, entries),
                loss: known(loss, loss_rows),
                patched_loss: known(patched, loss_rows),
            }
        };
        self.states.iter().enumerate().map(of).collect()
    }

    /// The fraction of variance unexplained of all layers together,
    /// `Σ_l Σ‖x − x̂‖² / Σ_l Σ‖x − x̄_l‖²`: layers with larger activations weigh more.
    pub fn pooled_fvu(&self) -> f64 {
        let error: f64 = self.states.iter().map(|state| state.squared_error).sum();
        error / self.states.iter().map(|state| state.inputs.total_squares()).sum::<f64>()
    }

    /// The mean of the layers' [fractions](LayerEvaluation::fvu): layers weigh the same.
    pub fn mean_fvu(&self) -> f64 {
        let layers = self.layers();
        layers.iter().map(|layer| layer.fvu).sum::<f64>() / layers.len() as f64
    }

    /// The share of latents that were active nowhere.
    pub fn dead(&self) -> f64 {
        self.alive.iter().filter(|alive| !**alive).count() as f64 / self.latents as f64
    }
}

show_as_text!(Evaluation);

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "layer     L0      FVU   cosine        KL     Δ loss")?;
        for own in self.layers() {
            let LayerEvaluation { layer, l0, fvu, cosine, .. } = own;
            write!(f, "\n{layer:>5} {l0:>6.1} {fvu:>8.4} {cosine:>8.4}")?;
            for value in [own.kl, own.added_loss()] {
                match value {
                    Some(value) => write!(f, " {value:>9.4}")?,
                    None => write!(f, " {:>9}", "–")?,
                }
            }
        }
        let (mean, pooled, dead) = (self.mean_fvu(), self.pooled_fvu(), 100.0 * self.dead());
        write!(
            f,
            "\nFVU mean {mean:.4}, pooled {pooled:.4}; {dead:.1} % of latents not active on this text"
        )
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::codes::tests::random_codes;
    use super::super::scores::EvaluatedLayer;
    use super::super::scores::tests::random_layer;
    use super::*;

    #[test]
    fn batches_of_any_size_give_the_same_numbers() {
        let codes = random_codes(4, [1, 10, 3, 8]);
        let layer = random_layer(5);
        let mut whole = Evaluation::new(1, 8).unwrap();
        whole.add(&[LayerScores::of(&layer).unwrap()], &codes).unwrap();
        let mut parts = Evaluation::new(1, 8).unwrap();
        for part in 0..2 {
            let cut = |tensor: &Option<Tensor>| Some(tensor.as_ref()?.get(part).unwrap());
            let own = EvaluatedLayer {
                inputs: cut(&layer.inputs),
                reconstructions: cut(&layer.reconstructions),
                logits: cut(&layer.logits),
                patched_logits: cut(&layer.patched_logits),
                ..layer.clone()
            };
            let codes = codes.keeping(|row| row / 5 == part).unwrap();
            parts.add(&[LayerScores::of(&own).unwrap()], &codes).unwrap();
        }
        let (whole, own) = (whole.layers()[0], parts.layers()[0]);
        for (a, b) in [
            (whole.fvu, own.fvu),
            (whole.mse, own.mse),
            (whole.cosine, own.cosine),
            (whole.kl.unwrap(), own.kl.unwrap()),
            (whole.logit_mse.unwrap(), own.logit_mse.unwrap()),
            (whole.l0, own.l0),
            (whole.l1, own.l1),
            (0.5, own.added_loss().unwrap()),
        ] {
            assert!((a - b).abs() < 1e-12, "{a} {b}");
        }
        assert!((parts.pooled_fvu() - whole.fvu).abs() < 1e-12);
        assert!(parts.to_string().contains("not active"), "{parts}");
    }

    #[test]
    fn a_perfect_layer_and_an_empty_one_by_hand() {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 2.0], [2.0, 5.0]], &Device::Cpu).unwrap();
        let mean = Tensor::new(&[[2f32, 3.0]; 3], &Device::Cpu).unwrap();
        let scores = |reconstructions: &Tensor| {
            let reconstructions = Some(reconstructions.clone());
            let inputs = Some(x.clone());
            LayerScores::of(&EvaluatedLayer { inputs, reconstructions, ..Default::default() })
        };
        let codes = random_codes(0, [2, 3, 1, 2]);
        let mut found = Evaluation::new(2, 2).unwrap();
        found.add(&[scores(&x).unwrap(), scores(&mean).unwrap()], &codes).unwrap();
        let [perfect, empty] = found.layers()[..] else { panic!("two layers") };
        assert!(perfect.fvu == 0.0 && (perfect.cosine - 1.0).abs() < 1e-15);
        assert!((empty.fvu - 1.0).abs() < 1e-15 && perfect.kl.is_none());
        assert_eq!((found.mean_fvu(), found.pooled_fvu()), (0.5, 0.5));
        let error = found.add(&[scores(&x).unwrap()], &codes).unwrap_err().to_string();
        assert!(error.contains("of 2 layers"), "{error}");
        let few = codes.keeping(|row| row > 0).unwrap();
        let both = [scores(&x).unwrap(), scores(&x).unwrap()];
        assert!(found.add(&both, &few).unwrap_err().to_string().contains("of 2 rows"));
    }
}
