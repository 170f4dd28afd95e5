//! Going over a text with the autoencoder at every layer.

use candle_core::{DType, Device, Tensor};

use super::codes::LayerCodes;
use super::mlsae::Mlsae;
use super::original::CountedEntries;
use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::progress::Progress;
use crate::sae::Codes;
use crate::{Error, Result};

/// How statistics over layers go over a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerScanOptions {
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// Which entries of the codes count in distributions; those that are active.
    pub counted: CountedEntries,
    /// Resamplings of the contexts for intervals of a decomposition, 48 bytes a latent each; 100, and
    /// 0 for none.
    pub draws: usize,
    /// Decides on the resamplings; 0.
    pub seed: u64,
}

impl Default for LayerScanOptions {
    fn default() -> Self {
        Self { batch: 16, counted: CountedEntries::default(), draws: 100, seed: 0 }
    }
}

/// Some contexts with the residual stream and the codes after each layer.
#[derive(Debug, Clone)]
pub struct LayerBatch {
    /// The number of the first context.
    pub first: usize,
    /// The tokens, `[contexts, length]`.
    pub tokens: Tensor,
    /// The residual stream after each layer, `[contexts, length, d]`.
    pub streams: Vec<Tensor>,
    /// Codes of all positions, context after context.
    pub codes: LayerCodes,
    /// The positions that take part in statistics: those that are no special tokens.
    pub kept: Vec<bool>,
}

impl LayerBatch {
    /// Codes of the positions that take part.
    ///
    /// # Errors
    /// None for a batch that there is.
    pub fn kept_codes(&self) -> Result<LayerCodes> {
        match self.kept.iter().all(|kept| *kept) {
            true => Ok(self.codes.clone()),
            false => self.codes.keeping(|row| self.kept[row]),
        }
    }

    /// The number of the context of each position that takes part.
    ///
    /// # Errors
    /// None for a batch that there is.
    pub fn contexts(&self) -> Result<Vec<u64>> {
        let length = self.tokens.dim(1)?;
        let kept = (0..self.kept.len()).filter(|row| self.kept[*row]);
        Ok(kept.map(|row| (self.first + row / length) as u64).collect())
    }

    /// Codes of all positions, where those that do not take part have no entries.
    ///
    /// # Errors
    /// None for a batch that there is.
    pub fn silenced_codes(&self) -> Result<LayerCodes> {
        let layers = self.codes.iter().map(|codes| {
            let row = |row: usize| match self.kept[row] {
                true => codes.row(row).collect(),
                false => Vec::new(),
            };
            Codes::new(codes.width(), (0..codes.rows()).map(row))
        });
        LayerCodes::new(layers.collect::<Result<Vec<_>>>()?)
    }

    /// Rows of `tensor` `[contexts, length, width]` at the positions that take part,
    /// `[positions, width]`.
    pub(super) fn kept_rows(&self, tensor: &Tensor) -> Result<Tensor> {
        if self.kept.iter().all(|kept| *kept) {
            return Ok(tensor.flatten(0, 1)?);
        }
        let rows: Vec<u32> = (0..).zip(&self.kept).filter(|own| *own.1).map(|own| own.0).collect();
        let ids = Tensor::new(rows, tensor.device())?;
        Ok(tensor.flatten(0, 1)?.index_select(&ids, 0)?)
    }
}

impl Mlsae {
    /// Calls `work` with batches of contexts, in their order, with a progress bar named `label`.
    /// Several statistics can share one pass:
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::multilayer::{LayerScanOptions, Persistence};
    /// # use eigenlens::sae::{Architecture, SaeWeights};
    /// # fn main() -> Result<()> {
    /// # let config = Config { vocab: 9, ..Config::llama(2, 2, 8, 16) };
    /// # let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// # let decoder = Rng::seed(0).normal((8, 16), &Device::Cpu)?;
    /// # let bias = Tensor::zeros(8, DType::F32, &Device::Cpu)?;
    /// # let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
    /// # let sae = Sae::new(Architecture::top_k(3), weights)?;
    /// let mlsae = Mlsae::new(&model, &sae, &[0, 1])?;
    /// let text = Contexts::new(4, vec![1, 2, 3, 4, 5, 6, 7, 8])?;
    /// let (layers, latents) = (mlsae.layers().len(), sae.features());
    /// let mut distributions = LayerDistributions::new(layers, latents)?;
    /// let mut persistence = Persistence::new(layers, latents)?;
    /// mlsae.for_each_batch(&text, &LayerScanOptions::default(), "both", |batch| {
    ///     let codes = batch.kept_codes()?;
    ///     distributions.add(&codes)?;
    ///     persistence.add(&codes)
    /// })?;
    /// assert_eq!(persistence.tokens(), 8);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - As [`Decoder::run`](crate::model::Decoder::run), for contexts that the model does not take,
    ///   and [`Sae::encode`](crate::sae::Sae::encode).
    /// - Those of `work`.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn for_each_batch(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
        label: &str,
        mut work: impl FnMut(&LayerBatch) -> Result<()>,
    ) -> Result<()> {
        check_sizes(&[("`batch`", options.batch)])?;
        let mut progress = Progress::new(label, text.len() as u64, "context");
        for first in (0..text.len()).step_by(options.batch) {
            let tokens = text.batch(first, options.batch, self.model().device())?;
            let contexts = tokens.dim(0)?;
            work(&self.batch(first, tokens)?)?;
            if progress.advance(contexts as u64) && first + contexts < text.len() {
                return Err(Error::Interrupted { what: label.to_owned() });
            }
        }
        progress.finish();
        Ok(())
    }

    /// Codes of tokens `[contexts, length]` at every layer, context after context, special tokens too.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`].
    pub fn codes_of(&self, tokens: &Tensor) -> Result<LayerCodes> {
        Ok(self.batch(0, tokens.clone())?.codes)
    }

    /// Streams and codes of some contexts `[contexts, length]`.
    pub(super) fn batch(&self, first: usize, tokens: Tensor) -> Result<LayerBatch> {
        let points = self.points();
        let cache = self.model().activations(&tokens, &points)?;
        let streams = points.iter().map(|point| cache.tensor(*point));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        let codes = self.encode(&streams)?;
        let ids: Vec<u32> =
            tokens.to_device(&Device::Cpu)?.to_dtype(DType::U32)?.flatten_all()?.to_vec1()?;
        let kept = ids.iter().map(|token| !self.skipped().contains(token)).collect();
        Ok(LayerBatch { first, tokens, streams, codes, kept })
    }
}
