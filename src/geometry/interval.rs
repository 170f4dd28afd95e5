//! Intervals around a mean.

use std::fmt;

use super::student::two_sided_quantile;
use crate::check::{check_all_finite, check_sizes};
use crate::display::show_as_text;
use crate::random::Rng;
use crate::{Error, Result};

/// A mean, and an interval around it.
///
/// ```
/// use eigenlens::geometry::Interval;
/// # fn main() -> eigenlens::Result<()> {
/// let found = Interval::of(&[1.0, 2.0, 3.0], 0.95)?;
/// assert!((found.upper - (2.0 + 4.302653 / 3f64.sqrt())).abs() < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean of the values.
    pub mean: f64,
    /// The lower end.
    pub lower: f64,
    /// The upper end.
    pub upper: f64,
    /// The confidence, from 0 to 1.
    pub confidence: f64,
}

impl Interval {
    /// The confidence of the bands of Engels et al. (2024).
    pub const NINETY_SIX: f64 = 0.96;

    /// The interval of Student's t around the mean of `values`:
    ///
    /// ```text
    /// mean ± t s/√n      s² = Σ (value − mean)² / (n − 1)
    /// ```
    ///
    /// with `t` the quantile of `(1 + confidence)/2` with n − 1 degrees of freedom. It supposes
    /// values that do not depend on each other; for values that share a name or a problem it is too
    /// narrow, and [`Interval::bootstrap`] says more.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two values or a confidence that is not between 0 and 1,
    /// [`Error::NonFinite`] for NaN.
    pub fn of(values: &[f64], confidence: f64) -> Result<Self> {
        check_values(values, confidence)?;
        if values.len() < 2 {
            let expected = "at least 2, for one has no spread";
            return Err(Error::invalid("the number of values", expected, values.len()));
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let square = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = two_sided_quantile(confidence, n - 1.0) * (square / n).sqrt();
        Ok(Self { mean, lower: mean - half, upper: mean + half, confidence })
    }

    /// The interval of a bootstrap over groups: groups are drawn with replacement, as many as there
    /// are, `draws` times; the ends are percentiles of the mean over all values of the drawn groups.
    /// `group_of` tells the group of each value, such as the word that a problem starts from.
    ///
    /// # Errors
    /// As [`Interval::of`]; [`Error::Shape`] unless every value has a group, [`Error::Invalid`] for
    /// a single group or no draws.
    pub fn bootstrap(
        values: &[f64],
        group_of: &[usize],
        confidence: f64,
        draws: usize,
        seed: u64,
    ) -> Result<Self> {
        check_values(values, confidence)?;
        check_sizes(&[("the number of draws", draws)])?;
        if group_of.len() != values.len() {
            let expected = format!("{} groups, one a value", values.len());
            return Err(Error::shape("the groups of the values", expected, group_of.len()));
        }
        let mut groups: Vec<(f64, f64)> = Vec::new();
        for (&group, value) in group_of.iter().zip(values) {
            if groups.len() <= group {
                groups.resize(group + 1, (0.0, 0.0));
            }
            groups[group].0 += value;
            groups[group].1 += 1.0;
        }
        groups.retain(|(_, count)| *count > 0.0);
        if groups.len() < 2 {
            let expected = "at least 2, for one has no spread";
            return Err(Error::invalid("the number of groups", expected, groups.len()));
        }
        let mut rng = Rng::seed(seed);
        let means: Vec<f64> = (0..draws)
            .map(|_| {
                let (sum, count) = (0..groups.len()).fold((0.0, 0.0), |(sum, count), _| {
                    let (own, size) = groups[rng.below(groups.len())];
                    (sum + own, count + size)
                });
                sum / count
            })
            .collect();
        Self::of_draws(values.iter().sum::<f64>() / values.len() as f64, means, confidence)
    }

    /// The interval between percentiles of a bootstrap's draws, for what is `mean` in all data. NaN
    /// if there are no draws or some are NaN.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a confidence that is not between 0 and 1.
    pub(crate) fn of_draws(mean: f64, mut draws: Vec<f64>, confidence: f64) -> Result<Self> {
        check_confidence(confidence)?;
        draws.sort_by(f64::total_cmp);
        let nan = draws.is_empty() || draws.iter().any(|draw| draw.is_nan());
        let at = |share: f64| match nan {
            true => f64::NAN,
            false => draws[((share * draws.len() as f64) as usize).min(draws.len() - 1)],
        };
        let tail = (1.0 - confidence) / 2.0;
        Ok(Self { mean, lower: at(tail), upper: at(1.0 - tail), confidence })
    }
}

fn check_values(values: &[f64], confidence: f64) -> Result<()> {
    check_confidence(confidence)?;
    check_all_finite("the values", values)
}

fn check_confidence(confidence: f64) -> Result<()> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(Error::invalid("the confidence", "between 0 and 1", confidence))
}

show_as_text!(Interval);

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = (1e4 * self.confidence).round() / 100.0;
        write!(f, "{:.3} ({percent} %: {:.3} to {:.3})", self.mean, self.lower, self.upper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_values_have_the_quantile_of_cauchy() {
        // With one degree of freedom t = tan(πc/2), and s/√2 is half of the distance.
        for confidence in [0.5, 0.9, 0.96] {
            let found = Interval::of(&[1.0, 5.0], confidence).unwrap();
            let half = 2.0 * (std::f64::consts::FRAC_PI_2 * confidence).tan();
            assert!((found.upper - 3.0 - half).abs() < 1e-9 * half, "{found}");
            assert!((3.0 - found.lower - half).abs() < 1e-9 * half, "{found}");
        }
        let text = Interval::of(&[1.0, 5.0], 0.5).unwrap().to_string();
        assert_eq!(text, "3.000 (50 %: 1.000 to 5.000)");
    }

    #[test]
    fn groups_that_agree_within_make_a_wider_interval() {
        // Ten groups of twenty equal values: as good as ten values.
        let values: Vec<f64> = (0..200).map(|i| f64::from(i / 20)).collect();
        let groups: Vec<usize> = (0..200).map(|i| i / 20).collect();
        let width = |found: Interval| found.upper - found.lower;
        let own = Interval::bootstrap(&values, &groups, 0.95, 4_000, 0).unwrap();
        assert_eq!(own.mean, 4.5);
        // The mean of ten draws of 0 … 9 has the standard deviation √(8.25/10).
        assert!((width(own) - 2.0 * 1.96 * 0.825f64.sqrt()).abs() < 0.25, "{own}");
        assert!(width(own) > 3.0 * width(Interval::of(&values, 0.95).unwrap()));
    }

    #[test]
    fn what_has_no_interval_is_named() {
        let text = |result: Result<Interval>| result.unwrap_err().to_string();
        assert!(text(Interval::of(&[1.0], 0.9)).contains("the number of values"));
        assert!(text(Interval::of(&[1.0, 2.0], 96.0)).contains("between 0 and 1"));
        assert!(text(Interval::of(&[1.0, f64::NAN], 0.9)).contains("index 1"));
        let bootstrap =
            |groups: &[usize], draws| text(Interval::bootstrap(&[1.0, 2.0], groups, 0.9, draws, 0));
        assert!(bootstrap(&[3, 3], 10).contains("the number of groups"));
        assert!(bootstrap(&[3], 10).contains("one a value"));
        assert!(bootstrap(&[0, 1], 0).contains("draws"));
    }
}
