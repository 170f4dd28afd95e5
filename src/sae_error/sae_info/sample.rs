//! The text that is looked at, and which of its tokens count.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::options::InfoOptions;
use crate::check::check_finite;
use crate::data::text::Contexts;
use crate::model::{Cache, Decoder, HookPoint};
use crate::sae_error::window::Window;
use crate::{Error, Result};

/// Contexts, and which of their tokens count: those in the window that are not skipped.
#[derive(Debug, Clone)]
pub(super) struct TextSample {
    pub(super) contexts: Contexts,
    pub(super) window: Range<usize>,
    pub(super) skip_tokens: Vec<u32>,
    /// Contexts of a unit.
    pub(super) batch: usize,
}

impl TextSample {
    /// The sample of a call.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a window without positions, or if all tokens in it are skipped.
    pub(super) fn new(contexts: &Contexts, options: &InfoOptions) -> Result<Self> {
        let length = contexts.length();
        let window = options.window.unwrap_or_else(|| Window::scaled(length));
        let sample = Self {
            contexts: contexts.clone(),
            window: window.range(length)?,
            skip_tokens: options.skip_tokens.clone(),
            batch: options.batch,
        };
        if (0..contexts.len()).all(|context| sample.kept(context..context + 1).is_empty()) {
            let expected = "tokens that leave some of the window";
            let found = format!("{:?}", options.skip_tokens);
            return Err(Error::invalid("`skip_tokens`", expected, found));
        }
        Ok(sample)
    }

    /// Number of units.
    pub(super) fn units(&self) -> usize {
        self.contexts.len().div_ceil(self.batch)
    }

    /// The contexts of a unit.
    pub(super) fn unit(&self, number: usize) -> Range<usize> {
        let start = number * self.batch;
        start..self.contexts.len().min(start + self.batch)
    }

    /// The tokens that count of some contexts, as places in them taken together.
    pub(super) fn kept(&self, contexts: Range<usize>) -> Vec<u32> {
        let length = self.contexts.length();
        let tokens = &self.contexts.as_slice()[contexts.start * length..contexts.end * length];
        let counts = |place: &usize| {
            self.window.contains(&(place % length)) && !self.skip_tokens.contains(&tokens[*place])
        };
        (0..tokens.len()).filter(counts).map(|place| place as u32).collect()
    }

    /// The rows `kept` of the activations at a point, `[rows, width]` in f32, heads side by side.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for NaN, with the point.
    pub(super) fn rows(cache: &Cache, point: HookPoint, kept: &[u32]) -> Result<Tensor> {
        let all = cache.get(point)?.flatten(0, 1)?.flatten_from(1)?;
        let places = Tensor::new(kept, all.device())?;
        let rows = all.contiguous()?.index_select(&places, 0)?.to_dtype(DType::F32)?;
        check_finite(&format!("the activations at {point}"), &rows)?;
        Ok(rows)
    }

    /// The activations of the tokens of a unit that count, `[rows, width]`.
    ///
    /// # Errors
    /// As [`Decoder::activations`] and [`TextSample::rows`].
    pub(super) fn activations(
        &self,
        model: &Decoder,
        point: HookPoint,
        unit: usize,
        device: &Device,
    ) -> Result<Tensor> {
        let contexts = self.unit(unit);
        let tokens = self.contexts.batch(contexts.start, contexts.len(), model.device())?;
        let cache = model.activations(&tokens, &[point])?;
        Ok(Self::rows(&cache, point, &self.kept(contexts))?.to_device(device)?)
    }
}

/// What every autoencoder's info has of the tokens that count, context after context.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct InfoTokens {
    pub(super) tokens: Vec<u32>,
    pub(super) positions: Vec<u32>,
    pub(super) contexts: Vec<u32>,
    /// `−ln p` of the next token, nats.
    pub(super) losses: Vec<f32>,
}

impl InfoTokens {
    /// Appends the tokens of a unit with their losses.
    pub(super) fn add(&mut self, sample: &TextSample, unit: usize, losses: &[f32]) {
        let (contexts, length) = (sample.unit(unit), sample.contexts.length());
        let first = contexts.start * length;
        for place in sample.kept(contexts) {
            let place = first + place as usize;
            self.tokens.push(sample.contexts.as_slice()[place]);
            self.positions.push((place % length) as u32);
            self.contexts.push((place / length) as u32);
        }
        self.losses.extend_from_slice(losses);
    }
}
