//! Which activations become examples.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::{check_not_negative, check_sizes};

/// What counts as an example of a latent at a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExampleRule {
    /// A context counts once, with its largest activation at the earliest position where it is
    /// reached; of contexts with the same window (same tokens, peak at the same place) only the best.
    /// The default.
    #[default]
    Distinct,
    /// A context counts once; text that comes back fills several ranks.
    Contexts,
    /// The original's: activations are rounded to 16 bits first; every one above the threshold
    /// counts, also several of one context; and the window is the `window` tokens before and
    /// `window − 1` after, counted through the whole batch. So it runs into the neighbouring context,
    /// and is empty within the first `window` positions of a batch. Activations are not rectified.
    Original,
}

/// How [`LayerExamples`](super::LayerExamples) are collected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerExampleOptions {
    /// Examples that are kept for each latent at each layer; 32.
    pub examples: usize,
    /// Tokens of the window on each side of the peak; 4.
    pub window: usize,
    /// What an activation must be above; 1e-3.
    pub threshold: f32,
    /// What counts; one example a context, identical windows once.
    pub rule: ExampleRule,
}

impl Default for LayerExampleOptions {
    fn default() -> Self {
        Self { examples: 32, window: 4, threshold: 1e-3, rule: ExampleRule::default() }
    }
}

impl LayerExampleOptions {
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[("`examples`", self.examples), ("`window`", self.window)])?;
        check_not_negative("`threshold`", f64::from(self.threshold))
    }

    /// Whether windows that read the same count once.
    pub(super) fn is_distinct(&self) -> bool {
        self.rule == ExampleRule::Distinct
    }

    /// A value of the codes as the rule sees it.
    pub(super) fn activation(&self, value: f32) -> f32 {
        match self.rule {
            ExampleRule::Original => f16::from_f32(value).to_f32(),
            ExampleRule::Distinct | ExampleRule::Contexts => value.max(0.0),
        }
    }

    /// The rows of the window around `row` of a batch with contexts of `length` tokens and `rows`
    /// tokens in all.
    pub(super) fn window(&self, row: usize, length: usize, rows: usize) -> std::ops::Range<usize> {
        let window = self.window;
        match self.rule {
            ExampleRule::Original => {
                // As a slice of Python: a negative start counts from the end.
                let end = rows.min(row + window);
                let start = row.checked_sub(window).unwrap_or((rows + row).saturating_sub(window));
                start.min(end)..end
            }
            ExampleRule::Distinct | ExampleRule::Contexts => {
                let first = row / length * length;
                first.max(row.saturating_sub(window))..(first + length).min(row + window + 1)
            }
        }
    }
}
