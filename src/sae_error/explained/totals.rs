//! Squares of the parts of each token, and what follows from them.

use std::sync::Arc;

use candle_core::Tensor;

use super::ExplainOptions;
use crate::geometry::Interval;
use crate::random::Rng;
use crate::sae_error::parts::{CrossMaps, ErrorParts, row_squares};
use crate::sae_error::rows::ErrorBlock;
use crate::{Error, Result};

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.95;

/// Squares of each token, from the second pass.
#[derive(Debug)]
pub(super) struct Totals<'a> {
    maps: &'a Arc<CrossMaps>,
    mean: Vec<f64>,
    total: Vec<f64>,
    linear: Vec<f64>,
    nonlinear: Vec<f64>,
    /// `‖x − x̄‖²`.
    spread: Vec<f64>,
    /// `‖x‖²`.
    activations: Vec<f64>,
}

impl<'a> Totals<'a> {
    pub(super) fn new(maps: &'a Arc<CrossMaps>, mean: &[f64]) -> Self {
        let [total, linear, nonlinear, spread, activations] = [(); 5].map(|()| Vec::new());
        Self { maps, mean: mean.to_vec(), total, linear, nonlinear, spread, activations }
    }

    pub(super) fn take(&mut self, block: &ErrorBlock, contexts: &[u32]) -> Result<()> {
        let parts = self.maps.parts(block, contexts)?;
        let mean = Tensor::new(self.mean.as_slice(), parts.activations.device())?;
        let centred = parts.activations.broadcast_sub(&mean)?;
        self.total.extend(row_squares(&parts.errors)?);
        self.linear.extend(row_squares(&parts.linear)?);
        self.nonlinear.extend(row_squares(&parts.nonlinear)?);
        self.spread.extend(row_squares(&centred)?);
        self.activations.extend(row_squares(&parts.activations)?);
        Ok(())
    }

    /// FVU and nonlinear FVU, from a bootstrap over contexts, which follow each other.
    pub(super) fn intervals(
        &self,
        contexts: &[u32],
        options: &ExplainOptions,
    ) -> Result<[Interval; 2]> {
        // Sums of [‖e‖², ‖nonlinear‖², ‖x − x̄‖²] of each context.
        let mut sums: Vec<[f64; 3]> = Vec::new();
        let mut last = None;
        for (row, context) in contexts.iter().enumerate() {
            if last != Some(context) {
                sums.push([0.0; 3]);
                last = Some(context);
            }
            if let Some(sum) = sums.last_mut() {
                *sum = added(*sum, [self.total[row], self.nonlinear[row], self.spread[row]]);
            }
        }
        let ratios = |[total, nonlinear, spread]: [f64; 3]| [total / spread, nonlinear / spread];
        let all = sums.iter().copied().fold([0.0; 3], added);
        if all[2] <= 0.0 {
            let expected = "different for some rows";
            return Err(Error::invalid("the activations", expected, "a constant"));
        }
        let mut rng = Rng::seed(options.seed);
        let draws: Vec<[f64; 2]> = (0..options.draws)
            .map(|_| {
                let drawn = (0..sums.len()).map(|_| sums[rng.below(sums.len())]);
                ratios(drawn.fold([0.0; 3], added))
            })
            .collect();
        let interval = |which: usize| {
            let draws = draws.iter().map(|draw| draw[which]).collect();
            Interval::of_draws(ratios(all)[which], draws, CONFIDENCE)
        };
        Ok([interval(0)?, interval(1)?])
    }

    pub(super) fn normalized_mse(&self) -> f64 {
        let ratios = self.total.iter().zip(&self.activations).filter(|(_, x)| **x > 0.0);
        let (sum, count) = ratios.fold((0.0, 0.0), |(sum, n), (e, x)| (sum + e / x, n + 1.0));
        sum / count
    }

    pub(super) fn parts(&self) -> ErrorParts {
        let roots = |squares: &[f64]| squares.iter().map(|square| square.sqrt()).collect();
        ErrorParts {
            total: roots(&self.total),
            linear: roots(&self.linear),
            nonlinear: roots(&self.nonlinear),
            maps: Arc::clone(self.maps),
        }
    }
}

fn added(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}
