//! Statistics of a multi-layer autoencoder on a text.

use candle_core::{D, DType, Tensor};

use super::codes::LayerCodes;
use super::decomposition::VarianceDecomposition;
use super::distributions::LayerDistributions;
use super::evaluation::Evaluation;
use super::examples::{ExampleRule, LayerExampleOptions, LayerExamples};
use super::mlsae::Mlsae;
use super::original::{CountedEntries, OriginalEvaluation, OriginalOptions, OriginalVariances};
use super::pass::{LayerBatch, LayerScan, LayerScanOptions};
use super::persistence::Persistence;
use super::residual::{ResidualMeans, ResidualStatistics};
use super::scores::{EvaluatedLayer, LayerScores};
use crate::Result;
use crate::data::text::Contexts;
use crate::model::Hooks;
use crate::train::{cross_entropy, loss_of_each_row};

/// Every call goes over `text` once, but for [`Mlsae::residual_statistics`], which does twice;
/// [`Contexts::spread`] makes contexts of [`Tokens`](crate::data::text::Tokens). Positions of
/// [skipped](Mlsae::skipped) tokens take no part. Errors are those of [`Mlsae::for_each_batch`].
impl Mlsae {
    fn sizes(&self) -> (usize, usize) {
        (self.layers().len(), self.sae().features())
    }

    /// How the activations of each latent are distributed over layers. If the options count the
    /// entries of the original, codes are those [before the ReLU](Mlsae::before_relu). A scan with a
    /// `checkpoint` goes on where it was cut off, and ends with the same bits.
    ///
    /// # Errors
    /// - As [`Mlsae::for_each_batch`] and [`Mlsae::before_relu`].
    /// - [`Error::Format`](crate::Error::Format) for the checkpoint of another model, text or options.
    /// - [`Error::Stopped`](crate::Error::Stopped) when Stop is pressed, with a checkpoint.
    pub fn distributions(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
    ) -> Result<LayerDistributions> {
        let (layers, latents) = self.sizes();
        let mut found = LayerDistributions::counting(options.counted, layers, latents)?;
        let own = match options.counted {
            CountedEntries::Active => self.clone(),
            CountedEntries::Original => self.before_relu()?,
        };
        let settings = format!("{:?}", options.counted);
        let scan = LayerScan { text, options, label: "distributions", settings };
        own.scan(&scan, &mut found, |found, batch| found.add(&batch.kept_codes()?))?;
        Ok(found)
    }

    /// How the variance over layers divides into parts, with intervals of a bootstrap over contexts
    /// unless the options have no draws.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`].
    pub fn decomposition(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
    ) -> Result<VarianceDecomposition> {
        let (layers, latents) = self.sizes();
        let mut found = VarianceDecomposition::new(layers, latents)?;
        if options.draws > 0 {
            found = found.with_intervals(options.draws, options.seed)?;
        }
        self.for_each_batch(text, options, "decomposition", |batch| {
            found.add_contexts(&batch.kept_codes()?, &batch.contexts()?)
        })?;
        Ok(found)
    }

    /// The original's variances over layers, of codes [before the ReLU](Mlsae::before_relu); they
    /// depend on the size of batches.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`] and [`Mlsae::before_relu`].
    pub fn original_variances(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
    ) -> Result<OriginalVariances> {
        let (layers, latents) = self.sizes();
        let mut found = OriginalVariances::new(layers, latents)?;
        self.before_relu()?.for_each_batch(text, options, "original variances", |batch| {
            found.add(&batch.kept_codes()?)
        })?;
        Ok(found)
    }

    /// Whether latents that are active at one layer stay active at the next.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`].
    pub fn persistence(&self, text: &Contexts, options: &LayerScanOptions) -> Result<Persistence> {
        let (layers, latents) = self.sizes();
        let mut found = Persistence::new(layers, latents)?;
        self.for_each_batch(text, options, "persistence", |batch| found.add(&batch.kept_codes()?))?;
        Ok(found)
    }

    /// The contexts that activate each latent most, at each layer. By the rule of the original, codes
    /// are those [before the ReLU](Mlsae::before_relu). A scan with a `checkpoint` goes on where it was
    /// cut off; parts of a text ([`LayerScanOptions::contexts`]) can be looked at by several processes.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let mlsae = Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu)?;
    /// let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    /// let part = |contexts| -> Result<LayerExamples> {
    ///     let scan = LayerScanOptions { contexts: Some(contexts), ..LayerScanOptions::default() };
    ///     mlsae.examples(&text, LayerExampleOptions::default(), &scan)
    /// };
    /// let mut examples = part(0..2)?;
    /// examples.merge(&part(2..4)?)?;
    /// assert_eq!(examples.text().map(|text| text.contexts), Some(4_096));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Mlsae::distributions`] and [`LayerExamples::new`].
    pub fn examples(
        &self,
        text: &Contexts,
        examples: LayerExampleOptions,
        options: &LayerScanOptions,
    ) -> Result<LayerExamples> {
        let (layers, latents) = self.sizes();
        let mut found = LayerExamples::new(layers, latents, examples)?.with_text(text);
        let own = match examples.rule {
            ExampleRule::Original => self.before_relu()?,
            ExampleRule::Distinct | ExampleRule::Contexts => self.clone(),
        };
        let settings = format!("{examples:?}");
        let scan = LayerScan { text, options, label: "examples", settings };
        own.scan(&scan, &mut found, |found, batch| {
            found.add(batch.first as u64, &batch.tokens, &batch.silenced_codes()?)
        })?;
        Ok(found)
    }

    /// Lengths of the residual stream and cosines between layers, without the autoencoder; with a
    /// tuned lens, of what it makes of the stream.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`]; if no position takes part.
    pub fn residual_statistics(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
    ) -> Result<ResidualStatistics> {
        let mut means = ResidualMeans::new(self.layers().len(), self.sae().d_model())?;
        self.for_each_batch(text, options, "lengths and means", |batch| {
            self.kept_streams(batch)?.map_or(Ok(()), |streams| means.add(&streams))
        })?;
        let mut found = means.statistics()?;
        self.for_each_batch(text, options, "cosines", |batch| {
            self.kept_streams(batch)?.map_or(Ok(()), |streams| found.add(&streams))
        })?;
        Ok(found)
    }

    /// How well each layer is reconstructed, and what becomes of the model's predictions if the
    /// reconstruction takes the place of the residual stream after that layer. Skipped tokens keep
    /// their own stream.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`].
    pub fn evaluate(&self, text: &Contexts, options: &LayerScanOptions) -> Result<Evaluation> {
        let (layers, latents) = self.sizes();
        let mut found = Evaluation::new(layers, latents)?;
        self.for_each_evaluated(text, options, |_, scores, codes| found.add(scores, codes))?;
        Ok(found)
    }

    /// The same with the original's metrics, whose values depend on the batches.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`] and [`OriginalEvaluation::new`].
    pub fn evaluate_as_original(
        &self,
        text: &Contexts,
        original: OriginalOptions,
        options: &LayerScanOptions,
    ) -> Result<OriginalEvaluation> {
        let (layers, latents) = self.sizes();
        let mut found = OriginalEvaluation::new(layers, latents, original)?;
        self.for_each_evaluated(text, options, |batch, scores, codes| {
            found.add(scores, codes, batch.tokens.dim(0)?)
        })?;
        Ok(found)
    }

    /// The model's logits, from the stream after the last of the layers on.
    fn logits_from(&self, streams: &[Tensor]) -> Result<Tensor> {
        let last = self.last_layer();
        Ok(self.model().run_from(last + 1, &streams[self.place_of(last)?], &Hooks::new())?.0)
    }

    /// Calls `look` with scores of all layers and codes of the positions that take part, batch by batch.
    fn for_each_evaluated(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
        mut look: impl FnMut(&LayerBatch, &[LayerScores], &LayerCodes) -> Result<()>,
    ) -> Result<()> {
        self.for_each_batch(text, options, "evaluation", |batch| {
            let codes = batch.kept_codes()?;
            if codes.rows() == 0 {
                return Ok(());
            }
            let logits = self.logits_from(&batch.streams)?;
            let loss = mean_loss(&logits, &batch.tokens)?;
            let kept_logits = batch.kept_rows(&logits)?;
            let is_kept: Vec<u8> = batch.kept.iter().map(|kept| u8::from(*kept)).collect();
            let (contexts, length) = batch.tokens.dims2()?;
            let is_kept = Tensor::from_vec(is_kept, (contexts, length, 1), logits.device())?;
            let mut scores = Vec::with_capacity(batch.streams.len());
            for (at, (layer, stream)) in self.layers().iter().zip(&batch.streams).enumerate() {
                let own = self.decoded(*layer, batch.codes.layer(at)?, stream)?;
                let patched = is_kept.broadcast_as(stream.shape())?.where_cond(&own, stream)?;
                let (patched, _) = self.model().run_from(layer + 1, &patched, &Hooks::new())?;
                let patched_loss = mean_loss(&patched, &batch.tokens)?;
                scores.push(LayerScores::of(&EvaluatedLayer {
                    inputs: Some(batch.kept_rows(stream)?),
                    reconstructions: Some(batch.kept_rows(&own)?),
                    logits: Some(kept_logits.clone()),
                    patched_logits: Some(batch.kept_rows(&patched)?),
                    loss,
                    patched_loss,
                    auxiliary: None,
                })?);
            }
            look(batch, &scores, &codes)
        })
    }

    /// The streams of the positions that take part, as the autoencoder reads them,
    /// `[L, positions, d]`, if there are any.
    fn kept_streams(&self, batch: &LayerBatch) -> Result<Option<Tensor>> {
        if !batch.kept.contains(&true) {
            return Ok(None);
        }
        let streams = self.seen(&batch.streams)?;
        let streams = streams.iter().map(|stream| batch.kept_rows(stream));
        Ok(Some(Tensor::stack(&streams.collect::<Result<Vec<_>>>()?, 0)?))
    }
}

/// The mean loss at the next tokens, if contexts have any.
fn mean_loss(logits: &Tensor, tokens: &Tensor) -> Result<Option<f64>> {
    let length = tokens.dim(D::Minus1)?;
    if length < 2 {
        return Ok(None);
    }
    let logits = logits.narrow(1, 0, length - 1)?.flatten(0, 1)?.contiguous()?;
    let next = tokens.narrow(1, 1, length - 1)?.flatten_all()?;
    if !logits.device().is_cpu() || logits.dtype() == DType::F64 {
        let loss = cross_entropy(&logits, &next.contiguous()?)?;
        return Ok(Some(loss.to_dtype(DType::F64)?.to_scalar()?));
    }
    let losses = loss_of_each_row(&logits.to_dtype(DType::F32)?, &next.to_vec1::<u32>()?)?;
    Ok(Some(losses.iter().sum::<f64>() / losses.len() as f64))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::codes::tests::dense;
    use super::super::decomposition::Weighting;
    use super::super::mlsae::tests::small;
    use super::*;
    use crate::harvest::tests::contexts;
    use crate::sae::{Architecture, Sae, SaeWeights};

    fn options(batch: usize) -> LayerScanOptions {
        LayerScanOptions { batch, draws: 20, ..LayerScanOptions::default() }
    }

    #[test]
    fn every_position_counts_once_whatever_the_batch() {
        let mlsae = small();
        let text = contexts();
        let whole = mlsae.batch(0, text.batch(0, 50, &Device::Cpu).unwrap()).unwrap();
        let dense = dense(&whole.codes);
        let found = mlsae.distributions(&text, &options(7)).unwrap();
        let counts: Vec<Vec<i64>> = found.counts().unwrap().to_vec2().unwrap();
        for (layer, rows) in dense.iter().enumerate() {
            for latent in 0..24 {
                let active = rows.iter().filter(|row| row[latent] > 0.0).count();
                assert_eq!(counts[layer][latent], active as i64);
            }
        }
        let all = LayerScanOptions { counted: CountedEntries::Original, ..options(7) };
        let all = mlsae.distributions(&text, &all).unwrap();
        assert_eq!(all.count().iter().sum::<u64>(), 300 * 2 * 3);
        let persistence = mlsae.persistence(&text, &options(50)).unwrap();
        assert_eq!(persistence.tokens(), 300);
        assert_eq!(persistence.active_counts().unwrap().to_vec2::<i64>().unwrap(), counts);
        let [one, other] =
            [7, 50].map(|batch| mlsae.decomposition(&text, &options(batch)).unwrap());
        let pairs = Weighting::Pairs;
        let gap = one.variance(pairs).total - other.variance(pairs).total;
        assert!(gap.abs() < 1e-6, "{one}\n{other}");
        assert!(one.intervals(pairs, 0.9).is_ok());
        let variances = mlsae.original_variances(&text, &options(7)).unwrap();
        assert!(variances.values().var_l.is_finite());
        let none = LayerScanOptions { draws: 0, ..options(7) };
        assert!(mlsae.decomposition(&text, &none).unwrap().intervals(pairs, 0.9).is_err());
        assert!(mlsae.persistence(&text, &options(0)).is_err());
    }

    #[test]
    fn skipped_tokens_take_no_part() {
        let text = contexts();
        let token = text.as_slice()[3];
        let others = text.as_slice().iter().filter(|own| **own != token).count();
        let mlsae = small().skipping(&[token]);
        assert_eq!(mlsae.persistence(&text, &options(9)).unwrap().tokens(), others as u64);
        let statistics = mlsae.residual_statistics(&text, &options(9)).unwrap();
        assert_eq!(statistics.rows(), others as u64);
        assert_eq!(mlsae.evaluate(&text, &options(9)).unwrap().layers()[0].rows, others as u64);
        let examples = LayerExampleOptions { examples: 3, ..LayerExampleOptions::default() };
        let found = mlsae.examples(&text, examples, &options(9)).unwrap();
        assert!(!found.is_empty());
        for example in found.iter() {
            let example = example.unwrap();
            assert!(example.token != token);
            let own = text.get(example.context as usize).unwrap();
            assert_eq!(own[example.position], example.token);
            assert_eq!(own[example.start..example.end()], example.tokens);
        }
    }

    #[test]
    fn a_perfect_autoencoder_changes_no_prediction() {
        let eye = Tensor::eye(8, DType::F32, &Device::Cpu).unwrap();
        let bias = Tensor::zeros(8, DType::F32, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(eye.clone(), eye, bias);
        let sae = Sae::new(Architecture::signed_top_k(8), weights).unwrap();
        let model = small().model().clone();
        let mlsae = Mlsae::new(&model, &sae, &[0, 1]).unwrap().skipping(&[0]);
        let found = mlsae.evaluate(&contexts(), &options(8)).unwrap();
        for layer in found.layers() {
            assert!(layer.fvu < 1e-9 && layer.kl.unwrap().abs() < 1e-6, "{found}");
            assert!(layer.added_loss().unwrap().abs() < 1e-5);
            let text = contexts().batch(0, 50, &Device::Cpu).unwrap();
            let loss = model.loss(&text).unwrap().to_scalar::<f32>().unwrap();
            assert!((layer.loss.unwrap() - f64::from(loss)).abs() < 0.1);
        }
        let worse = small().evaluate(&contexts(), &options(50)).unwrap().layers()[1];
        let sae = small().at(1).unwrap();
        let tokens = contexts().batch(0, 50, &Device::Cpu).unwrap();
        let point = sae.point().unwrap();
        let cache = model.activations(&tokens, &[point]).unwrap();
        let check = sae.check(cache.get(point).unwrap()).unwrap();
        assert!((worse.fvu - check.fvu).abs() < 1e-6 && (worse.cosine - check.cosine).abs() < 1e-6);
    }
}
