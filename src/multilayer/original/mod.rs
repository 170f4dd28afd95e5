//! What only the original's code computes, under names that say so: to compare with the publication.

mod evaluation;
mod training;
mod upkeep;
mod variances;

pub use evaluation::{OriginalEvaluation, OriginalMetrics, OriginalOptions, original_names};
pub use training::{PublishedForward, PublishedRecipe, PublishedStep, PublishedTraining};
pub use upkeep::{geometric_median, unit_columns, without_part_along};
pub use variances::{OriginalVarianceValues, OriginalVariances};

use std::fmt;

use super::moments::MeanAndSpread;

/// Which entries of the codes count in [`LayerDistributions`](super::LayerDistributions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CountedEntries {
    /// Those that are active: above zero. The default.
    #[default]
    Active,
    /// All that were chosen, also zero and negative ones, as the original counts before the ReLU.
    Original,
}

impl CountedEntries {
    pub(super) fn counts(self, value: f32) -> bool {
        self == Self::Original || value > 0.0
    }
}

impl fmt::Display for CountedEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "active",
            Self::Original => "chosen",
        })
    }
}

/// The original's statistics of the standard deviations over layers: NaN is left out, the variance
/// has divisor N, and the standard error divides by the root of *all* numbers, NaN ones included.
///
/// ```
/// use eigenlens::multilayer::original_std_spread;
/// let spread = original_std_spread(&[1.0, 3.0, f64::NAN, f64::NAN]);
/// assert_eq!((spread.mean, spread.variance, spread.sem), (2.0, 1.0, 0.5));
/// ```
pub fn original_std_spread(std: &[f64]) -> MeanAndSpread {
    let own = MeanAndSpread::of(std);
    let n = own.count as f64;
    // Of one number too, whose divisor N − 1 is none.
    let variance = if own.count == 1 { 0.0 } else { own.variance * (n - 1.0) / n };
    let sem = variance.sqrt() / (std.len() as f64).sqrt();
    MeanAndSpread { sem, ..MeanAndSpread::from_parts(own.count, own.mean, variance) }
}
