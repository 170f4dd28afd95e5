//! The study's tests of error norms.

use candle_core::{DType, Tensor};

use super::decomposition::OriginalParts;
use super::regression::{OriginalRegression, with_ones};
use crate::check::check_sizes;
use crate::sae_error::parts::row_squares;
use crate::sae_error::per_token::side_by_side;
use crate::{Error, Result};

/// R² of the squared error norms `[n]` from numbers of each token `[n, k]` and a one: the lines of the
/// study's figure of baselines by layer (13), with x, the model's loss, L0 or ‖x‖ as numbers.
///
/// # Errors
/// As [`OriginalRegression::fit`].
pub fn original_norm_baseline(
    numbers: &Tensor,
    squared_error_norms: &Tensor,
    regression: &OriginalRegression<'_>,
) -> Result<f64> {
    regression.r_squared(&with_ones(numbers)?, squared_error_norms)
}

/// The mean of a number over the occurrences of each token, judged on the rows that it was taken from:
/// the line "token" of figure 13. Rare tokens flatter it.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalTokenMeans {
    /// Occurrences of each token id, up to the largest.
    pub counts: Vec<u64>,
    /// The mean of each token id; 0 for one that does not occur.
    pub means: Vec<f64>,
    /// R² of all rows, in sample; NaN if the number does not vary.
    pub r_squared: f64,
}

impl OriginalTokenMeans {
    /// Of the number `y` of each of `tokens`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no tokens; [`Error::Shape`] unless every token has a number.
    pub fn of(tokens: &[u32], y: &[f64]) -> Result<Self> {
        check_sizes(&[("the number of tokens", tokens.len())])?;
        if y.len() != tokens.len() {
            let expected = format!("{} numbers, one a token", tokens.len());
            return Err(Error::shape("the numbers of the tokens", expected, y.len()));
        }
        let ids = tokens.iter().fold(0, |most, &token| token.max(most)) as usize + 1;
        let (mut counts, mut means) = (vec![0u64; ids], vec![0.0; ids]);
        for (&token, y) in tokens.iter().zip(y) {
            counts[token as usize] += 1;
            means[token as usize] += y;
        }
        for (mean, &count) in means.iter_mut().zip(&counts).filter(|(_, count)| **count > 0) {
            *mean /= count as f64;
        }
        let mean = y.iter().sum::<f64>() / y.len() as f64;
        let pairs = tokens.iter().zip(y);
        let left: f64 = pairs.map(|(&token, y)| (y - means[token as usize]).powi(2)).sum();
        let total: f64 = y.iter().map(|y| (y - mean).powi(2)).sum();
        Ok(Self { counts, means, r_squared: 1.0 - left / total })
    }
}

/// The study's norm test (its figure 7).
///
/// Rows are x̂, e, its nonlinear part, x̂ + nonlinear part, and its linear part. The loop of the study
/// appends a column of ones to the **target** before it takes the norm, and never takes it off. So what
/// is predicted is `‖z‖² + 1`, regressions from x never have an intercept, those from the target itself
/// always have one, and the columns "with ones" and "without" are the same number twice. The nonlinear
/// part is that of a fit on all rows.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalNormTest {
    /// R² of `‖x‖²` from x.
    pub activations: f64,
    /// R² of each row from x, as published: `[with ones, without]`.
    pub from_activations: [[f64; 2]; 5],
    /// R² of each row from the target itself, as published.
    pub from_itself: [[f64; 2]; 5],
    /// R² of `‖z‖²` from x as the labels say: from `[x, 1]`, and from x.
    pub as_labelled: [[f64; 2]; 5],
}

impl OriginalNormTest {
    /// Of activations x `[n, d]` and errors e = x − x̂ `[n, d]`.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`].
    pub fn of(x: &Tensor, errors: &Tensor, regression: &OriginalRegression<'_>) -> Result<Self> {
        let (x, errors) = (x.to_dtype(DType::F64)?, errors.to_dtype(DType::F64)?);
        let OriginalParts { linear, nonlinear, .. } = OriginalParts::of_all_rows(&x, &errors)?;
        let reconstructions = (&x - &errors)?;
        let both = (&reconstructions + &nonlinear)?;
        let squares = |z: &Tensor| side_by_side(&[&row_squares(z)?]);
        let with_one = with_ones(&x)?;
        let mut found = Self {
            activations: regression.r_squared(&x, &squares(&x)?)?,
            from_activations: [[0.0; 2]; 5],
            from_itself: [[0.0; 2]; 5],
            as_labelled: [[0.0; 2]; 5],
        };
        for (row, z) in
            [&reconstructions, &errors, &nonlinear, &both, &linear].into_iter().enumerate()
        {
            let plain = squares(z)?;
            let target = (&plain + 1.0)?;
            found.from_activations[row] = [regression.r_squared(&x, &target)?; 2];
            found.from_itself[row] = [regression.r_squared(&with_ones(z)?, &target)?; 2];
            found.as_labelled[row] =
                [regression.r_squared(&with_one, &plain)?, regression.r_squared(&x, &plain)?];
        }
        Ok(found)
    }
}
