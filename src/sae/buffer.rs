//! A model's activations in random order.

use candle_core::{DType, Device, Tensor};

use super::SaeOptions;
use crate::Result;
use crate::data::text::Tokens;
use crate::model::{Decoder, HookPoint};
use crate::random::Rng;

/// Windows of text that go through the model at a time.
const WINDOWS: usize = 16;

/// Shuffled activations, refilled from text.
pub(super) struct Source<'a> {
    model: &'a Decoder,
    point: HookPoint,
    text: &'a Tokens,
    options: &'a SaeOptions,
    /// How often the buffer was filled.
    fills: usize,
    pub(super) activations: Tensor,
    next: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        model: &'a Decoder,
        point: HookPoint,
        text: &'a Tokens,
        options: &'a SaeOptions,
    ) -> Result<Self> {
        let activations = Tensor::zeros((0, 0), DType::F32, &Device::Cpu)?;
        let mut source = Self { model, point, text, options, fills: 0, activations, next: 0 };
        source.fill()?;
        Ok(source)
    }

    fn fill(&mut self) -> Result<()> {
        let (length, device) = (self.options.length, self.model.device());
        // A stream of its own for each filling, so that a fit can go on from any; stream 0 draws
        // the first weights.
        self.fills += 1;
        let mut rng = Rng::stream(self.options.seed, self.fills as u64);
        let mut parts = Vec::new();
        let mut count = 0;
        while count < self.options.buffer {
            let tokens = self.text.draw(WINDOWS, length, &mut rng, device)?;
            let cache = self.model.activations(&tokens, &[self.point])?;
            let part = cache.get(self.point)?.flatten(0, 1)?.flatten_from(1)?;
            count += part.dim(0)?;
            parts.push(part);
        }
        let order = Tensor::new(rng.permutation(count), device)?;
        self.activations = Tensor::cat(&parts, 0)?.index_select(&order, 0)?;
        self.next = 0;
        Ok(())
    }

    /// Goes on where a fit stands after its first `steps` steps.
    pub(super) fn skip(&mut self, steps: usize) -> Result<()> {
        let per_fill = self.activations.dim(0)?.div_ceil(self.options.batch);
        if steps >= per_fill {
            self.fills = steps / per_fill;
            self.fill()?;
        }
        self.next = steps % per_fill * self.options.batch;
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Tensor> {
        let count = self.activations.dim(0)?;
        if self.next == count {
            self.fill()?;
        }
        let rows = self.options.batch.min(count - self.next);
        self.next += rows;
        Ok(self.activations.narrow(0, self.next - rows, rows)?)
    }
}
