//! The study's error norms per token.

use candle_core::Tensor;

use super::decomposition::OriginalParts;
use super::regression::{OriginalRegression, with_ones};
use crate::Result;
use crate::check::check_sizes;
use crate::progress::safe_point;
use crate::sae_error::parts::row_squares;
use crate::sae_error::per_token::side_by_side;

/// Error norms per token under several autoencoders, with the study's regressions: its four figures per
/// token, which show entries with i ≤ j.
///
/// The permutation is the same for every regression, because the study seeds it anew each time.
#[derive(Debug, Clone)]
pub struct OriginalPerToken {
    /// `‖e‖`, `[n, autoencoders]`, f64.
    pub total: Tensor,
    /// `‖x A‖`, likewise.
    pub linear: Tensor,
    /// `‖e − x A‖`, likewise.
    pub nonlinear: Tensor,
    /// R² of the norm of error j from that of error i and a one; 1 up to rounding on the diagonal.
    pub r_squared: Vec<Vec<f64>>,
    /// `100 (R²′ − R²)/(1 − R²)`, where R²′ has the nonlinear norm of i as well; NaN on the diagonal,
    /// where it is the ratio of two roundings.
    pub percent: Vec<Vec<f64>>,
}

impl OriginalPerToken {
    /// Of activations `[n, d]` and the errors of several autoencoders at them, `[n, d]` each. Their sign
    /// does not matter.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`]; [`Error::Invalid`](crate::Error::Invalid) for no errors;
    /// [`Error::Interrupted`](crate::Error::Interrupted) when Stop is pressed.
    pub fn of(x: &Tensor, errors: &[Tensor], regression: &OriginalRegression<'_>) -> Result<Self> {
        check_sizes(&[("the number of autoencoders", errors.len())])?;
        let norms = |x: &Tensor| -> Result<Vec<f64>> {
            Ok(row_squares(x)?.into_iter().map(f64::sqrt).collect())
        };
        let (mut total, mut linear, mut nonlinear) = (Vec::new(), Vec::new(), Vec::new());
        for errors in errors {
            safe_point("the norms of tokens")?;
            let parts = OriginalParts::of(x, errors, regression)?;
            total.push(norms(errors)?);
            linear.push(norms(&parts.linear)?);
            nonlinear.push(norms(&parts.nonlinear)?);
        }
        let saes = errors.len();
        let mut r_squared = vec![vec![f64::NAN; saes]; saes];
        let mut percent = r_squared.clone();
        for i in 0..saes {
            let alone = with_ones(&side_by_side(&[&total[i]])?)?;
            let both = with_ones(&side_by_side(&[&total[i], &nonlinear[i]])?)?;
            for j in 0..saes {
                let target = side_by_side(&[&total[j]])?;
                let own = regression.r_squared(&alone, &target)?;
                r_squared[i][j] = own;
                if i != j {
                    let more = regression.r_squared(&both, &target)?;
                    percent[i][j] = 100.0 * (more - own) / (1.0 - own);
                }
            }
        }
        let together = |columns: &[Vec<f64>]| {
            side_by_side(&columns.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        Ok(Self {
            total: together(&total)?,
            linear: together(&linear)?,
            nonlinear: together(&nonlinear)?,
            r_squared,
            percent,
        })
    }
}
