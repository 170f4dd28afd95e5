//! A linear map with an intercept, and how well one predicts.

use std::fmt;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use crate::display::show_as_text;
use crate::linalg::matmul;
use crate::{Error, Result};

/// Rows to fit on for each input, below which R² still grows with more rows: with so many, a held-out R²
/// was within 0.01 of that with twice as many.
const FEW_ROWS_PER_INPUT: usize = 50;

/// `y ≈ x A + b` by least squares, with A `[d, m]`.
///
/// Made by [`Moments::fit`](super::Moments::fit) and what uses it.
#[derive(Debug, Clone)]
pub struct LinearMap {
    /// A, `[d, m]`, f64 on the CPU.
    pub(super) matrix: Tensor,
    pub(super) intercept: Option<Vec<f64>>,
    pub(super) rank: usize,
    pub(super) condition: f64,
    pub(super) rows: usize,
    /// Squares that are left in each target, of the rows it was fitted on.
    pub(super) rss: Vec<f64>,
    /// Squares of each target about its mean, of these rows.
    pub(super) tss: Vec<f64>,
}

impl LinearMap {
    /// `x A + b`, `[n, m]`, for x `[n, d]`, computed in f64 and returned in the type of x, on its
    /// device.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows of another width.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let [d, _] = self.sizes();
        if x.rank() != 2 || x.dims()[1] != d {
            return Err(Error::shape("the inputs of the map", format!("[n, {d}]"), x.dims()));
        }
        let predicted = matmul(&x.to_dtype(DType::F64)?, &self.matrix(x.device())?)?;
        let predicted = match &self.intercept {
            Some(b) => predicted.broadcast_add(&Tensor::new(b.as_slice(), x.device())?)?,
            None => predicted,
        };
        Ok(predicted.to_dtype(x.dtype())?)
    }

    /// A, `[d, m]`, f64, on `device`.
    ///
    /// # Errors
    /// Memory of the device.
    pub fn matrix(&self, device: &Device) -> Result<Tensor> {
        Ok(self.matrix.to_device(device)?)
    }

    /// b, `[m]`; none if it was fitted without.
    pub fn intercept(&self) -> Option<&[f64]> {
        self.intercept.as_deref()
    }

    /// The rank of the inputs that it was fitted on, at most d. Below d some columns depend on others,
    /// and A is the map of smallest norm.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The condition of the inputs that it was fitted on (less their means, if there is an intercept):
    /// the largest singular value over the smallest one that counts, to within about a factor of two.
    pub fn condition(&self) -> f64 {
        self.condition
    }

    /// The number of rows that it was fitted on.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether it was fitted on fewer than 50 rows per input: R² then depends on their number.
    pub fn has_few_rows(&self) -> bool {
        self.rows < FEW_ROWS_PER_INPUT * self.sizes()[0]
    }

    /// R² of the rows that it was fitted on, pooled over targets; NaN if none varies.
    pub fn in_sample(&self) -> f64 {
        self.in_sample_of(0..self.sizes()[1])
    }

    pub(super) fn in_sample_of(&self, targets: Range<usize>) -> f64 {
        let sum = |values: &[f64]| values[targets.clone()].iter().sum::<f64>();
        1.0 - sum(&self.rss) / sum(&self.tss)
    }

    /// The map to some of the targets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for targets that there are not.
    pub fn columns(&self, targets: Range<usize>) -> Result<Self> {
        let [_, m] = self.sizes();
        if targets.start >= targets.end || targets.end > m {
            let found = format!("{}..{}", targets.start, targets.end);
            return Err(Error::invalid("the targets", format!("some of 0..{m}"), found));
        }
        Ok(Self {
            matrix: self.matrix.narrow(1, targets.start, targets.len())?.contiguous()?,
            intercept: self.intercept.as_ref().map(|b| b[targets.clone()].to_vec()),
            rss: self.rss[targets.clone()].to_vec(),
            tss: self.tss[targets].to_vec(),
            ..*self
        })
    }

    /// `[d, m]`.
    fn sizes(&self) -> [usize; 2] {
        let dims = self.matrix.dims();
        [dims[0], dims[1]]
    }
}

/// How well a map predicts targets y `[n, m]`, which it has not seen:
///
/// ```text
/// R² = 1 − RSS/TSS      RSS = Σ (y − prediction)²      TSS = Σ (y − ȳ)²
/// ```
///
/// with ȳ the mean of each target over the rows that are judged.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearScore {
    /// R² with both sums over all targets: the share of the variance that is predicted.
    pub r_squared: f64,
    /// The mean of the targets' R², which is the study's: a target of little variance weighs as much as
    /// another. Those that do not vary are left out.
    pub mean_r_squared: f64,
    /// R² of each target; none for one that does not vary.
    pub per_column: Vec<Option<f64>>,
    /// RSS over all targets.
    pub rss: f64,
    /// TSS over all targets.
    pub tss: f64,
    /// The pooled R² of the rows that the map was fitted on (of all rows, if there are several maps),
    /// which is too high.
    pub in_sample: f64,
}

impl LinearScore {
    pub(super) fn new(rss: &[f64], tss: &[f64], in_sample: f64) -> Result<Self> {
        let columns = rss.iter().zip(tss);
        let per_column: Vec<Option<f64>> =
            columns.map(|(rss, tss)| (*tss > 0.0).then(|| 1.0 - rss / tss)).collect();
        let varying: Vec<f64> = per_column.iter().flatten().copied().collect();
        if varying.is_empty() {
            let expected = "different for some rows (R² is undefined otherwise)";
            return Err(Error::invalid("the target of the regression", expected, "a constant"));
        }
        let (rss, tss) = (rss.iter().sum::<f64>(), tss.iter().sum::<f64>());
        Ok(Self {
            r_squared: 1.0 - rss / tss,
            mean_r_squared: varying.iter().sum::<f64>() / varying.len() as f64,
            per_column,
            rss,
            tss,
            in_sample,
        })
    }
}

show_as_text!(LinearMap, LinearScore);

impl fmt::Display for LinearMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [d, m] = self.sizes();
        let intercept = if self.intercept.is_some() { "with" } else { "without" };
        write!(f, "Linear map {d} → {m} {intercept} an intercept: fitted on {} rows", self.rows)?;
        write!(f, " of rank {}, condition {:.2e}", self.rank, self.condition)?;
        match self.has_few_rows() {
            true => write!(f, "; fewer than {FEW_ROWS_PER_INPUT} rows per input"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for LinearScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "R² {:.4} (mean of columns {:.4}, in sample {:.4})",
            self.r_squared, self.mean_r_squared, self.in_sample
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> LinearMap {
        LinearMap {
            matrix: Tensor::new(&[[1f64, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap(),
            intercept: Some(vec![0.5, -0.5]),
            rank: 2,
            condition: 4.0,
            rows: 99,
            rss: vec![1.0, 0.0],
            tss: vec![4.0, 4.0],
        }
    }

    #[test]
    fn a_map_is_applied_in_the_type_of_its_inputs() {
        let x = Tensor::new(&[[1f32, 1.0], [0.0, 2.0]], &Device::Cpu).unwrap();
        let found: Vec<Vec<f32>> = map().apply(&x).unwrap().to_vec2().unwrap();
        assert_eq!(found, [[4.5, 5.5], [6.5, 7.5]]);
        let second = map().columns(1..2).unwrap();
        assert_eq!(second.apply(&x).unwrap().to_vec2::<f32>().unwrap(), [[5.5], [7.5]]);
        assert_eq!((map().in_sample(), second.in_sample()), (0.875, 1.0));
        assert!(map().apply(&x.narrow(1, 0, 1).unwrap()).is_err());
        for bad in [1..1, 1..3] {
            assert!(map().columns(bad).unwrap_err().to_string().contains("some of 0..2"));
        }
        let text = map().to_string();
        assert!(text.ends_with("condition 4.00e0; fewer than 50 rows per input"), "{text}");
        assert!(!LinearMap { rows: 100, ..map() }.has_few_rows());
    }

    #[test]
    fn both_averages_are_told_and_constants_have_none() {
        let score = LinearScore::new(&[1.0, 6.0, 0.0], &[4.0, 8.0, 0.0], 0.9).unwrap();
        assert_eq!(score.per_column, [Some(0.75), Some(0.25), None]);
        assert_eq!((score.mean_r_squared, score.r_squared), (0.5, 1.0 - 7.0 / 12.0));
        assert_eq!(score.to_string(), "R² 0.4167 (mean of columns 0.5000, in sample 0.9000)");
        let message = LinearScore::new(&[0.0], &[0.0], 0.0).unwrap_err().to_string();
        assert!(message.contains("different for some rows"), "{message}");
    }
}
