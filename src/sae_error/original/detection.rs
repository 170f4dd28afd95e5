//! The study's figure of detection scores.

use crate::check::check_sizes;
use crate::sae_error::DetectionCounts;
use crate::{Error, Result};

/// The quantile of the normal distribution that the study uses.
const Z: f64 = 1.96;

/// Accuracies as the study shows them: judgements of all features pooled, with intervals that take
/// them as independent. Those of one feature are not, so the intervals are too narrow;
/// [`DetectionCounts::accuracies`] draws features.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionAccuracies {
    /// The share of contexts without the feature that are recognised, then that of contexts with it
    /// by decile of activation in the study's order: from the last decile, the weakest, to the first.
    pub y: Vec<f64>,
    /// Half of the width of each one's interval.
    pub ci: Vec<f64>,
}

impl DetectionAccuracies {
    /// The study's numbers.
    pub fn of(counts: &DetectionCounts) -> Self {
        let pooled = counts.pooled();
        let (negatives, deciles) = pooled.split_at(1);
        let groups = || negatives.iter().chain(deciles.iter().rev());
        let y = groups().map(|[correct, total]| *correct as f64 / *total as f64).collect();
        let ci = groups().map(|[correct, total]| half_width(*correct, *total)).collect();
        Self { y, ci }
    }
}

/// `1.96 √(p(1 − p)/N)` with `p = successes/N`, half of the width of Wald's interval. It is 0 where
/// all or none succeed.
///
/// # Errors
/// [`Error::Invalid`] for a total of zero, or more successes than that.
pub fn wald_half_width(successes: u64, total: u64) -> Result<f64> {
    check_sizes(&[("`total`", total as usize)])?;
    if successes > total {
        let expected = format!("at most {total}, the total");
        return Err(Error::invalid("`successes`", expected, successes));
    }
    Ok(half_width(successes, total))
}

fn half_width(successes: u64, total: u64) -> f64 {
    let p = successes as f64 / total as f64;
    Z * (p * (1.0 - p) / total as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_negatives_then_deciles_from_the_last() {
        // Two features, three deciles.
        let positives = vec![vec![4, 2, 0], vec![2, 2, 1]];
        let totals = vec![vec![5, 4, 3], vec![3, 4, 3]];
        let counts = DetectionCounts::new(positives, totals, vec![1, 2], vec![10, 20]).unwrap();
        let found = DetectionAccuracies::of(&counts);
        assert_eq!(found.y, [0.9, 1.0 / 6.0, 0.5, 0.75]);
        assert!((found.ci[2] - 1.96 * (0.25f64 / 8.0).sqrt()).abs() < 1e-15);
        assert_eq!(wald_half_width(0, 7).unwrap(), 0.0);
        assert!(wald_half_width(3, 2).unwrap_err().to_string().contains("at most 2"));
        assert!(wald_half_width(0, 0).unwrap_err().to_string().contains("`total`"));
    }
}
