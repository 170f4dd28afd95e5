//! Going over a text with the autoencoder at every layer.

use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::checkpoint::{ScanCheckpoint, ScanIdentity, ScanState};
use super::codes::LayerCodes;
use super::mlsae::Mlsae;
use super::original::CountedEntries;
use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::progress::Progress;
use crate::sae::Codes;
use crate::{Error, Result};

/// How statistics over layers go over a text.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerScanOptions {
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// The contexts to look at, by their numbers in the text; all. What is found in other parts of it,
    /// such as by another process, can be merged.
    pub contexts: Option<Range<usize>>,
    /// A folder for what [`Mlsae::distributions`] and [`Mlsae::examples`] have found so far, from which
    /// a scan that was cut off goes on; none. It stays, and the same call finds the answer in it.
    pub checkpoint: Option<PathBuf>,
    /// Batches between two savings; 64.
    pub save_every: usize,
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
        Self {
            batch: 16,
            contexts: None,
            checkpoint: None,
            save_every: 64,
            counted: CountedEntries::default(),
            draws: 100,
            seed: 0,
        }
    }
}

impl LayerScanOptions {
    /// The contexts to look at.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a range that is empty or ends past the text.
    pub(super) fn range(&self, text: &Contexts) -> Result<Range<usize>> {
        let range = self.contexts.clone().unwrap_or(0..text.len());
        if !range.is_empty() && range.end <= text.len() {
            return Ok(range);
        }
        let expected = format!("a range of contexts within 0..{}", text.len());
        Err(Error::invalid("`contexts`", expected, format!("{range:?}")))
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

/// A text that is gone over, and why.
#[derive(Debug, Clone)]
pub(super) struct LayerScan<'a> {
    pub(super) text: &'a Contexts,
    pub(super) options: &'a LayerScanOptions,
    /// What is looked for; names the progress bar and the checkpoint.
    pub(super) label: &'a str,
    /// What else its result depends on.
    pub(super) settings: String,
}

impl LayerScan<'_> {
    fn checkpoint(&self, mlsae: &Mlsae, folder: &Path) -> Result<ScanCheckpoint> {
        let (range, batch) = (self.options.range(self.text)?, self.options.batch);
        let settings = self.settings.clone();
        let identity = ScanIdentity::new(self.label, mlsae, self.text, (range, batch), settings)?;
        Ok(ScanCheckpoint::new(folder, identity))
    }

    fn stopped(&self, checkpoint: Option<&ScanCheckpoint>, done: usize, of: usize) -> Error {
        match checkpoint {
            None => Error::Interrupted { what: self.label.to_owned() },
            Some(checkpoint) => Error::Stopped {
                what: format!("the scan for {} (at context {done} of {of})", self.label),
                access: format!(
                    "What it found is kept in {}: the same call goes on.",
                    checkpoint.path().display()
                ),
            },
        }
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
    /// - [`Error::Invalid`] for options that cannot be, and with a `checkpoint`, which this call would
    ///   not know how to keep.
    /// - Those of `work`.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn for_each_batch(
        &self,
        text: &Contexts,
        options: &LayerScanOptions,
        label: &str,
        mut work: impl FnMut(&LayerBatch) -> Result<()>,
    ) -> Result<()> {
        if let Some(folder) = &options.checkpoint {
            let expected = "none, because only `distributions` and `examples` can be kept";
            return Err(Error::invalid("`checkpoint`", expected, folder.display()));
        }
        let scan = LayerScan { text, options, label, settings: String::new() };
        self.scan(&scan, &mut (), |(), batch| work(batch))
    }

    /// Lets `work` take batches of contexts into `found`, from the checkpoint on if there is one.
    ///
    /// # Errors
    /// As [`Mlsae::for_each_batch`]; [`Error::Format`] for a checkpoint of another scan;
    /// [`Error::Stopped`] when Stop is pressed, with a checkpoint.
    pub(super) fn scan<S: ScanState>(
        &self,
        scan: &LayerScan<'_>,
        found: &mut S,
        mut work: impl FnMut(&mut S, &LayerBatch) -> Result<()>,
    ) -> Result<()> {
        let LayerScan { text, options, label, .. } = *scan;
        check_sizes(&[("`batch`", options.batch), ("`save_every`", options.save_every)])?;
        let range = options.range(text)?;
        let checkpoint = options.checkpoint.as_ref();
        let checkpoint = checkpoint.map(|folder| scan.checkpoint(self, folder)).transpose()?;
        let next = match &checkpoint {
            Some(checkpoint) => checkpoint.restore(found)?.unwrap_or(range.start),
            None => range.start,
        };
        let mut progress = Progress::new(label, range.len() as u64, "context");
        let mut is_stopped = progress.advance((next - range.start) as u64);
        for (batch, first) in (next..range.end).step_by(options.batch).enumerate() {
            if is_stopped {
                return Err(scan.stopped(checkpoint.as_ref(), first - range.start, range.len()));
            }
            let end = range.end.min(first + options.batch);
            let tokens = text.batch(first, end - first, self.model().device())?;
            work(found, &self.batch(first, tokens)?)?;
            is_stopped = progress.advance((end - first) as u64);
            let is_due = (batch + 1).is_multiple_of(options.save_every) || end == range.end;
            if let Some(checkpoint) = checkpoint.as_ref().filter(|_| is_due || is_stopped) {
                checkpoint.save(found, end)?;
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
