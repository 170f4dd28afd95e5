//! The study's regression: permuted rows, thresholds, no intercept.

use candle_core::{DType, Device, Tensor};

use crate::linalg::matmul;
use crate::sae_error::moments::Moments;
use crate::sae_error::split::rows_at;
use crate::{Error, Result};

/// Rows that are gathered at once.
const ROWS_PER_BLOCK: usize = 4096;

/// The study's least squares. Every figure with an R² depends on it.
///
/// Rows are permuted; the first `fit_rows` of the permuted ones are fitted, those from there up to
/// `judged_to` judge. There is no intercept unless x [has a column of ones](with_ones). R² is the plain
/// mean of the columns' R², and TSS is about the mean of the rows that judge.
#[derive(Debug, Clone, Copy)]
pub struct OriginalRegression<'a> {
    /// Row i of the permuted data is row `order[i]`.
    pub order: &'a [u32],
    /// Rows to fit on.
    pub fit_rows: usize,
    /// The row before which judging ends.
    pub judged_to: usize,
}

/// What [`OriginalRegression::fit`] finds.
#[derive(Debug, Clone)]
pub struct OriginalFit {
    /// A, `[d, m]`, or `[d]` for a single target; f64.
    pub solution: Tensor,
    /// `y − x A` of the rows that judge, in permuted order, `[judged, m]` or `[judged]`; f64.
    pub residuals: Tensor,
    /// The mean of the columns' R²; none if no rows judge or a column does not vary in them, where the
    /// study has NaN.
    pub r_squared: Option<f64>,
}

impl<'a> OriginalRegression<'a> {
    /// The study's thresholds: 150,000 rows are fitted, those up to 300,000 judge. With positions from
    /// 200 of 300 contexts 96,900 rows are left to judge, with positions from 1 all 150,000.
    pub fn study(order: &'a [u32]) -> Self {
        Self { order, fit_rows: 150_000, judged_to: 300_000 }
    }

    /// Regresses y `[n, m]` or `[n]` on x `[n, d]`. If there are no more than `fit_rows` rows, all are
    /// fitted and none judges, as in the study.
    ///
    /// # Errors
    /// [`Error::Shape`] unless x, y and the order have as many rows; [`Error::Invalid`] for an order
    /// that is no permutation and for fewer than d + 1 rows to fit on; [`Error::NonFinite`] for NaN.
    pub fn fit(&self, x: &Tensor, y: &Tensor) -> Result<OriginalFit> {
        let single = y.rank() == 1;
        let y = if single { y.unsqueeze(1)? } else { y.clone() };
        self.check(x, &y)?;
        let rows = self.order.len();
        let (fitted, rest) = self.order.split_at(self.fit_rows.min(rows));
        let judged = &rest[..self.judged_to.saturating_sub(self.fit_rows).min(rest.len())];
        let solution = solve(x, &y, fitted)?;
        let x = rows_at(x, judged)?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?;
        let y = rows_at(&y, judged)?.to_dtype(DType::F64)?.to_device(&Device::Cpu)?;
        let residuals = match judged.is_empty() {
            true => y.clone(),
            false => (&y - matmul(&x, &solution)?)?,
        };
        let r_squared = mean_of_columns(&residuals, &y)?;
        let squeezed = |tensor: Tensor| if single { tensor.squeeze(1) } else { Ok(tensor) };
        Ok(OriginalFit {
            solution: squeezed(solution)?,
            residuals: squeezed(residuals)?,
            r_squared,
        })
    }

    /// R² of [`OriginalRegression::fit`], with NaN where the study has NaN.
    pub(super) fn r_squared(&self, x: &Tensor, y: &Tensor) -> Result<f64> {
        Ok(self.fit(x, y)?.r_squared.unwrap_or(f64::NAN))
    }

    /// The map of all rows, `[d, m]`, f64, without an intercept: what the study takes parts by where it
    /// says "all" (its power laws, norm test and error autoencoders), in sample.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`].
    pub fn of_all_rows(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let rows = x.dims().first().copied().unwrap_or(0);
        let order: Vec<u32> = (0..rows as u32).collect();
        let all = OriginalRegression { order: &order, fit_rows: rows, judged_to: rows };
        Ok(all.fit(x, y)?.solution)
    }

    fn check(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        let rows = self.order.len();
        for (what, tensor) in [("the inputs", x), ("the targets", y)] {
            if tensor.rank() != 2 || tensor.dims()[0] != rows {
                let expected = format!("[{rows}, …], as many rows as the order has");
                return Err(Error::shape(what, expected, tensor.dims()));
            }
        }
        let mut is_there = vec![false; rows];
        for &row in self.order {
            match is_there.get_mut(row as usize) {
                Some(is_there) if !*is_there => *is_there = true,
                _ => {
                    let expected = format!("a permutation of 0..{rows}");
                    return Err(Error::invalid(
                        "`order`",
                        expected,
                        format!("{row} again or beyond"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The least-squares map of some rows.
fn solve(x: &Tensor, y: &Tensor, rows: &[u32]) -> Result<Tensor> {
    let mut moments = Moments::new(x.dims()[1], y.dims()[1], 1)?;
    for rows in rows.chunks(ROWS_PER_BLOCK) {
        moments.add(0, &rows_at(x, rows)?, &rows_at(y, rows)?)?;
    }
    moments.fit(&[0], false)?.matrix(&Device::Cpu)
}

/// The mean of the columns' `1 − Σ residual² / Σ (y − ȳ)²`.
pub(super) fn mean_of_columns(residuals: &Tensor, y: &Tensor) -> Result<Option<f64>> {
    if y.elem_count() == 0 {
        return Ok(None);
    }
    let centred = y.broadcast_sub(&y.mean_keepdim(0)?)?;
    let squares = |tensor: &Tensor| -> Result<Vec<f64>> { Ok(tensor.sqr()?.sum(0)?.to_vec1()?) };
    let (rss, tss) = (squares(residuals)?, squares(&centred)?);
    let shares: f64 = rss.iter().zip(&tss).map(|(rss, tss)| 1.0 - rss / tss).sum();
    let mean = shares / tss.len() as f64;
    Ok(Some(mean).filter(|mean| mean.is_finite()))
}

/// x with a column of ones at its end, `[n, d + 1]`, f64: how the study has an intercept where it has
/// one.
///
/// # Errors
/// [`Error::Shape`] for a tensor that is no matrix.
pub fn with_ones(x: &Tensor) -> Result<Tensor> {
    let [rows, _] = *x.dims() else {
        return Err(Error::shape("the inputs", "[n, d]", x.dims()));
    };
    let ones = Tensor::ones((rows, 1), DType::F64, x.device())?;
    Ok(Tensor::cat(&[&x.to_dtype(DType::F64)?, &ones], 1)?)
}
