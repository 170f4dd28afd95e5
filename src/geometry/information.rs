//! Mutual information of counts, and what is left of it without its bias.
//!
//! ```text
//! I = Σ_jk p_jk ln(p_jk / (p_j p_k))
//! ```
//!
//! Of few points in many bins, `I` is large even where there is no information: every cell that
//! holds one point by chance looks like a rule. [`grassberger`] estimates the entropies with a
//! correction for that.

use crate::check::check_not_negative;
use crate::{Error, Result};

/// Mutual information in nats of a table of counts, `columns` to a row, row-major.
///
/// `floor` is added to numerator and denominator of the ratio under the logarithm, as code of the
/// reducibility study does (1e-4 or 1e-10); with 0 it is the plain definition.
///
/// ```
/// use eigenlens::geometry::mutual_information;
/// # fn main() -> eigenlens::Result<()> {
/// assert_eq!(mutual_information(&[1.0, 1.0, 1.0, 1.0], 2, 0.0)?, 0.0);
/// assert_eq!(mutual_information(&[1.0, 0.0, 0.0, 1.0], 2, 0.0)?, 2f64.ln());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Shape`] if the counts are no rows of `columns`, [`Error::Invalid`] if one is negative
/// or not finite, or if they are all 0.
pub fn mutual_information(counts: &[f64], columns: usize, floor: f64) -> Result<f64> {
    let table = ContingencyTable::of(counts, columns)?;
    check_not_negative("`floor` of mutual information", floor)?;
    Ok(table.information(floor))
}

/// Mutual information in nats of a table of counts, with each entropy estimated after Grassberger,
/// "Entropy estimates from insufficient samplings" (2003): of `N` points, `n_i` in cell i,
///
/// ```text
/// Ĥ = ln N − 1/N Σᵢ nᵢ G(nᵢ)
///
/// G(1)      = −γ − ln 2       G(2)      = 2 + G(1)
/// G(2k + 1) = G(2k)           G(2k + 2) = G(2k) + 2/(2k + 1)
/// ```
///
/// Near 0 for independent columns where the plain estimate is far from it; can be negative.
///
/// # Errors
/// As [`mutual_information`], and for counts that are not whole numbers.
pub fn grassberger(counts: &[f64], columns: usize) -> Result<f64> {
    let table = ContingencyTable::of(counts, columns)?;
    if let Some(part) = counts.iter().find(|count| count.fract() != 0.0) {
        return Err(Error::invalid("a count", "a whole number", part));
    }
    Ok(table.corrected())
}

/// Counts with their sums.
#[derive(Debug)]
pub(super) struct ContingencyTable<'a> {
    counts: &'a [f64],
    rows: Vec<f64>,
    columns: Vec<f64>,
    total: f64,
}

impl<'a> ContingencyTable<'a> {
    fn of(counts: &'a [f64], columns: usize) -> Result<Self> {
        if columns == 0 || counts.is_empty() || !counts.len().is_multiple_of(columns) {
            let found = format!("{} of them, {columns} to a row", counts.len());
            return Err(Error::shape("the counts", "full rows", found));
        }
        if let Some(bad) = counts.iter().find(|count| !(**count >= 0.0 && count.is_finite())) {
            return Err(Error::invalid("a count", "0 or more", bad));
        }
        let table = Self::new(counts, columns);
        if table.total > 0.0 {
            return Ok(table);
        }
        Err(Error::invalid("the counts", "at least one that is not 0", "only zeros"))
    }

    /// Of counts that are known to be good.
    pub(super) fn new(counts: &'a [f64], columns: usize) -> Self {
        let rows: Vec<f64> = counts.chunks(columns).map(|row| row.iter().sum()).collect();
        let mut sums = vec![0.0; columns];
        for row in counts.chunks(columns) {
            sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
        }
        let total = rows.iter().sum();
        Self { counts, rows, columns: sums, total }
    }

    pub(super) fn information(&self, floor: f64) -> f64 {
        let mut sum = 0.0;
        for (row, counts) in self.rows.iter().zip(self.counts.chunks(self.columns.len())) {
            for (column, &count) in self.columns.iter().zip(counts) {
                if count > 0.0 {
                    let joint = count / self.total;
                    let product = row / self.total * (column / self.total);
                    sum += joint * ((joint + floor) / (product + floor)).ln();
                }
            }
        }
        sum
    }

    pub(super) fn corrected(&self) -> f64 {
        let most = self.rows.iter().chain(&self.columns).fold(0f64, |m, &count| m.max(count));
        let g = table_of_g(most as usize);
        let entropy = |counts: &[f64]| {
            let sum: f64 = counts.iter().map(|&count| count * g[count as usize]).sum();
            self.total.ln() - sum / self.total
        };
        entropy(&self.rows) + entropy(&self.columns) - entropy(self.counts)
    }
}

/// `G(0) = 0` (it is never weighed), `G(1)`, …, `G(most)`.
fn table_of_g(most: usize) -> Vec<f64> {
    const EULER_GAMMA: f64 = 0.577_215_664_901_532_9;
    let first = -EULER_GAMMA - std::f64::consts::LN_2;
    let mut g = vec![0.0, first, 2.0 + first];
    for n in 3..=most {
        g.push(if n % 2 == 1 { g[n - 1] } else { g[n - 2] + 2.0 / (n - 1) as f64 });
    }
    g
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    #[test]
    fn closed_forms() {
        let known = mutual_information(&[3.0, 1.0, 1.0, 3.0], 2, 0.0).unwrap();
        let wanted = 0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln();
        assert!((known - wanted).abs() < 1e-15);
        // A large count is estimated as it is.
        let many = [3e6, 1e6, 1e6, 3e6];
        assert!((grassberger(&many, 2).unwrap() - wanted).abs() < 1e-6);
    }

    #[test]
    fn independent_columns_have_no_information_left() {
        let mut rng = Rng::seed(1);
        let (mut plain, mut corrected) = (0.0, 0.0);
        for _ in 0..20 {
            let mut counts = vec![0.0; 400];
            for _ in 0..1_000 {
                counts[20 * rng.below(20) + rng.below(20)] += 1.0;
            }
            plain += mutual_information(&counts, 20, 0.0).unwrap() / 20.0;
            corrected += grassberger(&counts, 20).unwrap() / 20.0;
        }
        assert!(plain > 0.15, "{plain}");
        assert!(corrected.abs() < 0.01, "{corrected}");
    }

    #[test]
    fn bad_counts_are_refused() {
        assert!(mutual_information(&[], 2, 0.0).is_err());
        assert!(mutual_information(&[1.0, 2.0, 3.0], 2, 0.0).is_err());
        assert!(mutual_information(&[0.0, 0.0], 2, 0.0).is_err());
        assert!(mutual_information(&[1.0, f64::NAN], 2, 0.0).is_err());
        assert!(mutual_information(&[1.0, 1.0], 2, f64::NAN).is_err());
        assert!(grassberger(&[0.5, 1.0], 2).is_err());
    }
}
