//! The metrics of the original, with the way it merges batches.

use std::fmt;

use crate::Result;
use crate::check::{check_not_negative, check_positive, check_sizes};
use crate::display::show_as_text;
use crate::multilayer::codes::{LayerCodes, check_layers_and_latents};
use crate::multilayer::scores::{LayerScores, check_batch};

/// Constants of the original's metrics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OriginalOptions {
    /// What a value must be above to count in L0; 1e-3.
    pub dead_threshold: f64,
    /// Tokens per which a latent must have been chosen once not to be dead; 10,000,000.
    pub dead_tokens_threshold: f64,
    /// The factor of the auxiliary loss; 1/32.
    pub auxk_coef: f64,
}

impl Default for OriginalOptions {
    fn default() -> Self {
        Self { dead_threshold: 1e-3, dead_tokens_threshold: 1e7, auxk_coef: 1.0 / 32.0 }
    }
}

/// Values of the original's metrics, under its names.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalMetrics {
    /// `Σ (x − x̂)² / (N d)` of each layer, mean over batches.
    pub layerwise_mse: Vec<f64>,
    /// That over the variance of all entries about one number; ratio of sums over batches.
    pub layerwise_fvu: Vec<f64>,
    /// Mean of `layerwise_fvu` over layers: the training loss.
    pub mse_loss: f64,
    /// `coef · Σ(e − aux)² / Σ(e − mean_d e)²` of all layers together, sum over batches; 0 without.
    pub auxiliary_loss: f64,
    /// Values above the threshold per token.
    pub layerwise_l0: Vec<f64>,
    /// `Σ |value|` per token.
    pub layerwise_l1: Vec<f64>,
    /// The share of latents that were chosen in fewer than tokens/threshold entries, zeros included.
    pub dead_latents: f64,
    /// `KL(patched ‖ true)` summed over tokens and divided by the number of *contexts*, sum over
    /// batches. NaN without logits.
    pub logit_kl_div: Vec<f64>,
    /// Mean squared error of a logit, sum over batches. NaN without logits.
    pub logit_mse: Vec<f64>,
    /// Loss with reconstructions less loss without, sum over batches. NaN without losses.
    pub loss_delta: Vec<f64>,
}

impl OriginalMetrics {
    /// Names and values as a training step of the original logs them, before the losses; `layers`
    /// are the layers' own numbers.
    pub fn logged(&self, layers: &[usize]) -> Vec<(String, f64)> {
        let mut logged = vec![("train/dead/rel".to_owned(), self.dead_latents)];
        for (prefix, values) in [
            ("train/fvu/", &self.layerwise_fvu),
            ("train/l1/", &self.layerwise_l1),
            ("train/mse/", &self.layerwise_mse),
        ] {
            logged.extend(original_names(prefix, layers).into_iter().zip(with_mean(values)));
        }
        logged
    }
}

/// The values of the layers and their mean, in the order of [`original_names`].
fn with_mean(values: &[f64]) -> impl Iterator<Item = f64> {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.iter().copied().chain([mean])
}

/// The original's names of a metric's values: one for each layer, by its own number, and one for their
/// mean.
///
/// ```
/// use eigenlens::multilayer::original_names;
/// assert_eq!(original_names("fvu/", &[2, 5]), ["fvu/layer_2", "fvu/layer_5", "fvu/avg"]);
/// ```
pub fn original_names(prefix: &str, layers: &[usize]) -> Vec<String> {
    let own = layers.iter().map(|layer| format!("{prefix}layer_{layer}"));
    own.chain([format!("{prefix}avg")]).collect()
}

/// The metrics as the original computes them. What each of them really is, is in
/// [`OriginalMetrics`]; [`Evaluation`](crate::multilayer::Evaluation) has the usual definitions.
///
/// Values depend on the way batches go in, because four metrics add over batches and are merged as
/// means: [`metrics`](Self::metrics) is after `update` of each, [`merged`](Self::merged) after
/// `forward`, which is what a run logs at its end, and [`last`](Self::last) is what `forward` returns,
/// which a training step logs.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::{
///     EvaluatedLayer, LayerCodes, LayerScores, OriginalEvaluation, OriginalOptions,
/// };
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 3.0], [1.0, 3.0]], &Device::Cpu)?;
/// let layer = EvaluatedLayer {
///     inputs: Some(x.clone()),
///     reconstructions: Some((x + 0.5)?),
///     ..EvaluatedLayer::default()
/// };
/// let codes = LayerCodes::new([Codes::new(3, [vec![(0, 1.0)], vec![(1, 0.5)]])?])?;
/// let mut found = OriginalEvaluation::new(1, 3, OriginalOptions::default())?;
/// found.add(&[LayerScores::of(&layer)?], &codes, 1)?;
/// // No dimension varies; about the mean of all entries they do, by 4/3.
/// assert!((found.metrics().layerwise_fvu[0] - 0.25 / (4.0 / 3.0)).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct OriginalEvaluation {
    options: OriginalOptions,
    state: MetricSums,
    last: Option<MetricSums>,
}

/// Sums over batches.
#[derive(Debug, Clone)]
struct MetricSums {
    batches: f64,
    tokens: f64,
    layers: Vec<LayerMetricSums>,
    auxiliary: f64,
    /// Entries in which each latent was chosen.
    chosen: Vec<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LayerMetricSums {
    mse: f64,
    variance: f64,
    above_threshold: f64,
    absolute: f64,
    kl: f64,
    logit_mse: f64,
    loss_delta: f64,
}

impl MetricSums {
    fn new(layers: usize, latents: usize) -> Self {
        let (layers, chosen) = (vec![LayerMetricSums::default(); layers], vec![0; latents]);
        Self { batches: 0.0, tokens: 0.0, layers, auxiliary: 0.0, chosen }
    }

    fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.tokens += other.tokens;
        self.auxiliary += other.auxiliary;
        for (own, other) in self.layers.iter_mut().zip(&other.layers) {
            own.mse += other.mse;
            own.variance += other.variance;
            own.above_threshold += other.above_threshold;
            own.absolute += other.absolute;
            own.kl += other.kl;
            own.logit_mse += other.logit_mse;
            own.loss_delta += other.loss_delta;
        }
        self.chosen.iter_mut().zip(&other.chosen).for_each(|(own, other)| *own += other);
    }

    fn metrics(&self, options: &OriginalOptions) -> OriginalMetrics {
        let each =
            |of: &dyn Fn(&LayerMetricSums) -> f64| self.layers.iter().map(of).collect::<Vec<_>>();
        let layerwise_fvu = each(&|own| own.mse / own.variance);
        let least = self.tokens / options.dead_tokens_threshold;
        let dead = self.chosen.iter().filter(|count| (**count as f64) < least).count();
        OriginalMetrics {
            layerwise_mse: each(&|own| own.mse / self.batches),
            mse_loss: layerwise_fvu.iter().sum::<f64>() / layerwise_fvu.len() as f64,
            layerwise_fvu,
            auxiliary_loss: self.auxiliary,
            layerwise_l0: each(&|own| own.above_threshold / self.tokens),
            layerwise_l1: each(&|own| own.absolute / self.tokens),
            dead_latents: dead as f64 / self.chosen.len() as f64,
            logit_kl_div: each(&|own| own.kl),
            logit_mse: each(&|own| own.logit_mse),
            loss_delta: each(&|own| own.loss_delta),
        }
    }
}

impl OriginalEvaluation {
    /// Of so many layers and latents, before the first batch.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no layers or no latents, or a threshold or factor
    /// that cannot be.
    pub fn new(layers: usize, latents: usize, options: OriginalOptions) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        check_not_negative("`dead_threshold`", options.dead_threshold)?;
        check_positive("`dead_tokens_threshold`", options.dead_tokens_threshold)?;
        check_not_negative("`auxk_coef`", options.auxk_coef)?;
        Ok(Self { options, state: MetricSums::new(layers, latents), last: None })
    }

    /// Takes in a batch of `contexts` contexts: the scores of each layer, and the codes of the same
    /// rows with all entries that were chosen.
    ///
    /// # Errors
    /// As [`Evaluation::add`](crate::multilayer::Evaluation::add), and for no contexts.
    pub fn add(
        &mut self,
        scores: &[LayerScores],
        codes: &LayerCodes,
        contexts: usize,
    ) -> Result<()> {
        let MetricSums { layers, chosen, .. } = &self.state;
        check_batch(scores, codes, layers.len(), chosen.len())?;
        check_sizes(&[("the number of contexts", contexts), ("the rows", codes.rows())])?;
        let mut batch = MetricSums::new(layers.len(), chosen.len());
        batch.batches = 1.0;
        batch.tokens = codes.rows() as f64;
        let mut auxiliary = [0.0; 2];
        for ((state, scores), codes) in batch.layers.iter_mut().zip(scores).zip(codes.iter()) {
            let rows = scores.rows as f64;
            state.mse = scores.squared_error / (rows * scores.width as f64);
            state.variance = scores.entries.spread(0).variance;
            let logits = scores.logits.as_ref();
            state.kl = logits.map_or(f64::NAN, |own| own.reverse_kl / contexts as f64);
            state.logit_mse =
                logits.map_or(f64::NAN, |own| own.squared_error / (rows * own.vocabulary as f64));
            state.loss_delta = scores.losses.map_or(f64::NAN, |[own, patched]| patched - own);
            let more = scores.auxiliary.unwrap_or_default();
            auxiliary.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
            for row in 0..codes.rows() {
                for (latent, value) in codes.row(row) {
                    let value = f64::from(value);
                    batch.chosen[latent as usize] += 1;
                    state.absolute += value.abs();
                    state.above_threshold +=
                        f64::from(u8::from(value > self.options.dead_threshold));
                }
            }
        }
        let ratio = self.options.auxk_coef * auxiliary[0] / auxiliary[1];
        batch.auxiliary = if ratio.is_nan() { 0.0 } else { ratio };
        self.state.add(&batch);
        self.last = Some(batch);
        Ok(())
    }

    /// The values after `update` with every batch.
    pub fn metrics(&self) -> OriginalMetrics {
        self.state.metrics(&self.options)
    }

    /// The values after `forward` with every batch: where metrics that add are merged as means,
    /// `logit_kl_div`, `logit_mse` and `loss_delta` are means over batches, and `layerwise_mse` is
    /// divided by their number twice.
    pub fn merged(&self) -> OriginalMetrics {
        let (mut metrics, batches) = (self.metrics(), self.state.batches);
        let OriginalMetrics { layerwise_mse, logit_kl_div, logit_mse, loss_delta, .. } =
            &mut metrics;
        for values in [layerwise_mse, logit_kl_div, logit_mse, loss_delta] {
            values.iter_mut().for_each(|value| *value /= batches);
        }
        metrics
    }

    /// The values of the last batch alone; none before the first.
    pub fn last(&self) -> Option<OriginalMetrics> {
        Some(self.last.as_ref()?.metrics(&self.options))
    }
}

show_as_text!(OriginalMetrics);

impl fmt::Display for OriginalMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mse_loss {:.4}, auxiliary_loss {:.4}", self.mse_loss, self.auxiliary_loss)?;
        write!(f, ", dead_latents {:.4}", self.dead_latents)?;
        for (name, values) in [
            ("layerwise_mse", &self.layerwise_mse),
            ("layerwise_fvu", &self.layerwise_fvu),
            ("layerwise_l0", &self.layerwise_l0),
            ("layerwise_l1", &self.layerwise_l1),
            ("logit_kl_div", &self.logit_kl_div),
            ("logit_mse", &self.logit_mse),
            ("loss_delta", &self.loss_delta),
        ] {
            write!(f, "\n{name:13}")?;
            values.iter().try_for_each(|value| write!(f, " {value:>9.4}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::multilayer::codes::tests::random_codes;
    use crate::multilayer::scores::EvaluatedLayer;
    use crate::multilayer::scores::tests::random_layer;

    #[test]
    fn batches_merge_as_the_original_merges_them() {
        let options = OriginalOptions { dead_tokens_threshold: 3.0, ..Default::default() };
        let mut both = OriginalEvaluation::new(1, 8, options).unwrap();
        let mut each = Vec::new();
        for seed in 0..2 {
            let scores = [LayerScores::of(&random_layer(seed)).unwrap()];
            let codes = random_codes(seed, [1, 10, 3, 8]);
            let mut own = OriginalEvaluation::new(1, 8, options).unwrap();
            own.add(&scores, &codes, 2).unwrap();
            both.add(&scores, &codes, 2).unwrap();
            each.push(own.metrics());
        }
        let (sum, merged) = (both.metrics(), both.merged());
        let own = |of: &dyn Fn(&OriginalMetrics) -> f64| of(&each[0]) + of(&each[1]);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(sum.logit_kl_div[0], own(&|m| m.logit_kl_div[0]));
        close(merged.logit_kl_div[0], own(&|m| m.logit_kl_div[0]) / 2.0);
        close(merged.logit_mse[0], own(&|m| m.logit_mse[0]) / 2.0);
        close(sum.layerwise_mse[0], own(&|m| m.layerwise_mse[0]) / 2.0);
        close(merged.layerwise_mse[0], own(&|m| m.layerwise_mse[0]) / 4.0);
        close(sum.layerwise_l0[0], own(&|m| m.layerwise_l0[0]) / 2.0);
        close(sum.loss_delta[0], 1.0);
        assert_eq!(both.last().unwrap(), each[1]);
        assert_eq!(sum.mse_loss, sum.layerwise_fvu[0]);
        assert_eq!(sum.auxiliary_loss, 0.0);
        let logged = sum.logged(&[4]);
        assert_eq!(logged.len(), 7);
        assert_eq!(
            (logged[1].0.as_str(), logged[2].0.as_str()),
            ("train/fvu/layer_4", "train/fvu/avg")
        );
        assert_eq!(logged[1].1, logged[2].1);
        assert!(sum.to_string().contains("layerwise_fvu"), "{sum}");
    }

    #[test]
    fn the_auxiliary_loss_by_hand() {
        // Errors (1, −1) and (2, 0); about their means (1, −1) and (1, −1).
        let tensor = |values: [[f32; 2]; 2]| Some(Tensor::new(&values, &Device::Cpu).unwrap());
        let layer = EvaluatedLayer {
            inputs: tensor([[1.0, -1.0], [2.0, 0.0]]),
            reconstructions: tensor([[0.0; 2]; 2]),
            auxiliary: tensor([[1.0, 0.0], [0.0, 0.0]]),
            ..EvaluatedLayer::default()
        };
        let mut found = OriginalEvaluation::new(1, 4, OriginalOptions::default()).unwrap();
        let scores = [LayerScores::of(&layer).unwrap()];
        found.add(&scores, &random_codes(0, [1, 2, 1, 4]), 1).unwrap();
        assert!((found.metrics().auxiliary_loss - 5.0 / 4.0 / 32.0).abs() < 1e-15);
        assert!(found.metrics().loss_delta[0].is_nan());
        assert!(found.add(&scores, &random_codes(0, [1, 2, 1, 4]), 0).is_err());
        let options = OriginalOptions { auxk_coef: -1.0, ..Default::default() };
        assert!(OriginalEvaluation::new(1, 4, options).is_err());
    }
}
