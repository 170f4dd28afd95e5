//! Which activations of a batch may become examples.

use std::ops::Range;

use super::rule::{ExampleRule, LayerExampleOptions};
use crate::sae::Codes;

/// One layer of a batch of contexts.
pub(super) struct ExampleBatch<'a> {
    /// Tokens of a context.
    pub(super) length: usize,
    pub(super) tokens: &'a [u32],
    pub(super) codes: &'a Codes,
}

impl ExampleBatch<'_> {
    /// Calls `look` with each latent, row and value that the rule looks at, context after context.
    pub(super) fn for_each_candidate(
        &self,
        rule: ExampleRule,
        peaks: &mut ContextPeaks,
        mut look: impl FnMut(usize, usize, f32),
    ) {
        let rows = self.codes.rows();
        if rule == ExampleRule::Original {
            for row in 0..rows {
                self.codes.row(row).for_each(|(latent, value)| look(latent as usize, row, value));
            }
            return;
        }
        for start in (0..rows).step_by(self.length) {
            for row in start..start + self.length {
                self.codes.row(row).for_each(|(latent, value)| peaks.add(latent, row, value));
            }
            peaks.take(|latent, row, value| look(latent as usize, row, value));
        }
    }

    /// The rows of the window around `row`, and the place of the first of them: in its context, or
    /// for the original in the batch.
    pub(super) fn window(&self, row: usize, options: &LayerExampleOptions) -> (Range<usize>, u32) {
        let window = options.window(row, self.length, self.tokens.len());
        let origin = match options.rule {
            ExampleRule::Original => 0,
            ExampleRule::Distinct | ExampleRule::Contexts => row / self.length * self.length,
        };
        let start = window.start - origin;
        (window, start as u32)
    }

    /// The value of a latent at a row.
    pub(super) fn value(&self, row: usize, latent: usize) -> f32 {
        self.codes.get(row, latent as u32)
    }
}

/// The largest activation of each latent in a context, and the first row that has it.
pub(super) struct ContextPeaks {
    /// No entry where a latent has none yet.
    best: Vec<Option<(usize, f32)>>,
    active: Vec<u32>,
}

impl ContextPeaks {
    pub(super) fn new(latents: usize) -> Self {
        Self { best: vec![None; latents], active: Vec::new() }
    }

    fn add(&mut self, latent: u32, row: usize, value: f32) {
        match &mut self.best[latent as usize] {
            Some((_, best)) if value <= *best => {}
            Some(own) => *own = (row, value),
            none => {
                *none = Some((row, value));
                self.active.push(latent);
            }
        }
    }

    /// Calls `look` with the peaks of the context that ends here.
    fn take(&mut self, mut look: impl FnMut(u32, usize, f32)) {
        let Self { best, active } = self;
        for latent in active.drain(..) {
            if let Some((row, value)) = best[latent as usize].take() {
                look(latent, row, value);
            }
        }
    }
}
