//! Means and variances of numbers that come one after the other.

use std::fmt;

use crate::display::show_as_text;
use crate::{Error, Result};

/// Mean, variance, standard deviation and standard error of some numbers.
///
/// ```text
/// variance = Σ (x − mean)² / (N − 1)      std = √variance      sem = std / √N
/// ```
///
/// ```
/// use eigenlens::multilayer::MeanAndSpread;
/// let spread = MeanAndSpread::of(&[1.0, f64::NAN, 3.0]);
/// assert_eq!((spread.count, spread.mean, spread.variance), (2, 2.0, 2.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanAndSpread {
    /// How many numbers there were, N.
    pub count: u64,
    /// Their mean; NaN if there are none.
    pub mean: f64,
    /// Their variance with divisor N − 1; NaN for fewer than two.
    pub variance: f64,
    /// The square root of the variance.
    pub std: f64,
    /// The standard error of the mean.
    pub sem: f64,
}

impl MeanAndSpread {
    /// Of `values`; NaN is left out.
    pub fn of(values: &[f64]) -> Self {
        let mut moments = RunningMoments::start(1);
        values.iter().filter(|value| !value.is_nan()).for_each(|value| moments.take(&[*value]));
        moments.spread(0)
    }

    pub(super) fn from_parts(count: u64, mean: f64, variance: f64) -> Self {
        let std = variance.sqrt();
        let mean = if count == 0 { f64::NAN } else { mean };
        Self { count, mean, variance, std, sem: std / (count as f64).sqrt() }
    }
}

show_as_text!(MeanAndSpread);

impl fmt::Display for MeanAndSpread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} ± {:.4} (std {:.4}, n {})", self.mean, self.sem, self.std, self.count)
    }
}

/// Running means and variances of rows of numbers, a series a column, in f64 by Welford's updates.
///
/// ```
/// use eigenlens::multilayer::RunningMoments;
/// # fn main() -> eigenlens::Result<()> {
/// let mut moments = RunningMoments::new(2)?;
/// moments.add(&[1.0, 10.0])?;
/// moments.add(&[3.0, 10.0])?;
/// assert_eq!(moments.mean(), [2.0, 10.0]);
/// assert_eq!(moments.spread(0).variance, 2.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RunningMoments {
    count: u64,
    mean: Vec<f64>,
    /// `Σ (x − mean)²` so far.
    squares: Vec<f64>,
}

impl RunningMoments {
    /// Of rows of `width` numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a width of zero.
    pub fn new(width: usize) -> Result<Self> {
        crate::check::check_sizes(&[("the width of the rows", width)])?;
        Ok(Self::start(width))
    }

    pub(super) fn start(width: usize) -> Self {
        Self { count: 0, mean: vec![0.0; width], squares: vec![0.0; width] }
    }

    /// Takes in a row.
    ///
    /// # Errors
    /// [`Error::Shape`] for a row of another width.
    pub fn add(&mut self, row: &[f64]) -> Result<()> {
        if row.len() != self.mean.len() {
            let expected = format!("{} numbers", self.mean.len());
            return Err(Error::shape("the row", expected, row.len()));
        }
        self.take(row);
        Ok(())
    }

    /// [`RunningMoments::add`] of a row of the right width.
    pub(super) fn take(&mut self, row: &[f64]) {
        self.count += 1;
        let n = self.count as f64;
        for ((mean, squares), x) in self.mean.iter_mut().zip(&mut self.squares).zip(row) {
            let gap = x - *mean;
            *mean += gap / n;
            *squares += gap * (x - *mean);
        }
    }

    /// Takes in what was added to `other`: the moments of all rows of both.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width, unless this has no rows yet.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.count == 0 {
            self.clone_from(other);
            return Ok(());
        }
        if self.mean.len() != other.mean.len() {
            let expected = format!("{} numbers", self.mean.len());
            return Err(Error::shape("the rows", expected, other.mean.len()));
        }
        let (own, more) = (self.count as f64, other.count as f64);
        let all = own + more;
        for (i, (mean, squares)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let gap = other.mean[i] - *mean;
            *mean += gap * more / all;
            *squares += other.squares[i] + gap * gap * own * more / all;
        }
        self.count += other.count;
        Ok(())
    }

    /// Number of rows, N.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean of each column.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// `Σ (x − mean)²` over rows and columns.
    pub(super) fn total_squares(&self) -> f64 {
        self.squares.iter().sum()
    }

    /// The spread of a column; that of no numbers for a column that is not there.
    pub fn spread(&self, column: usize) -> MeanAndSpread {
        match (self.mean.get(column), self.squares.get(column)) {
            (Some(mean), Some(squares)) => {
                let variance = squares / (self.count as f64 - 1.0).max(0.0);
                MeanAndSpread::from_parts(self.count, *mean, variance)
            }
            _ => MeanAndSpread::from_parts(0, f64::NAN, f64::NAN),
        }
    }

    /// The spread of each column.
    pub fn spreads(&self) -> Vec<MeanAndSpread> {
        (0..self.mean.len()).map(|column| self.spread(column)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_two_passes() {
        // Far from zero, where sums of squares would lose everything.
        let values: Vec<f64> = (0..50).map(|i| 1e9 + f64::from(i * i % 17)).collect();
        let spread = MeanAndSpread::of(&values);
        let mean = values.iter().sum::<f64>() / 50.0;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 49.0;
        assert!((spread.mean - mean).abs() < 1e-6);
        assert!((spread.variance - variance).abs() < 1e-6 * variance, "{spread}");
        assert!((spread.sem - (variance / 50.0).sqrt()).abs() < 1e-6);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let row = |i: u32| [f64::from(i * i % 7), f64::from(i)];
        let of = |rows: std::ops::Range<u32>| {
            let mut moments = RunningMoments::new(2).unwrap();
            rows.for_each(|i| moments.take(&row(i)));
            moments
        };
        let mut merged = RunningMoments::new(2).unwrap();
        [of(0..3), of(3..20), of(20..21)].iter().for_each(|part| merged.merge(part).unwrap());
        for (merged, whole) in merged.spreads().iter().zip(of(0..21).spreads()) {
            assert!((merged.mean - whole.mean).abs() < 1e-12);
            assert!((merged.variance - whole.variance).abs() < 1e-12);
        }
        assert!(
            merged.merge(&of(0..0)).is_ok() && merged.merge(&RunningMoments::start(1)).is_err()
        );
    }

    #[test]
    fn too_few_numbers_have_no_spread() {
        let none = MeanAndSpread::of(&[f64::NAN]);
        assert!(none.count == 0 && none.mean.is_nan() && none.variance.is_nan());
        let one = MeanAndSpread::of(&[4.0]);
        assert!(one.mean == 4.0 && one.variance.is_nan() && one.sem.is_nan());
        let mut moments = RunningMoments::new(2).unwrap();
        assert!(moments.add(&[1.0]).unwrap_err().to_string().contains("2 numbers"));
        assert!(RunningMoments::new(0).is_err() && moments.spread(7).count == 0);
        moments.add(&[1.0, 2.0]).unwrap();
        assert_eq!((moments.count(), moments.spreads().len()), (1, 2));
    }
}
