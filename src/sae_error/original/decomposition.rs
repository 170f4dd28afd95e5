//! The study's parts of an error, and what they are predicted by.

use candle_core::{DType, Tensor};

use super::regression::OriginalRegression;
use crate::linalg::matmul;
use crate::progress::safe_point;
use crate::{Error, Result};

/// Parts of the error by the study's regression, on **all** rows, those it was fitted on included.
/// The figures per token, of circuits and of cross-entropy depend on it.
#[derive(Debug, Clone)]
pub struct OriginalParts {
    /// A, `[d, d]`, f64.
    pub solution: Tensor,
    /// `x A`, `[n, d]`, f64.
    pub linear: Tensor,
    /// `e − x A`, `[n, d]`, f64.
    pub nonlinear: Tensor,
}

impl OriginalParts {
    /// Of activations x `[n, d]` and errors e = x − x̂ `[n, d]`.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`].
    pub fn of(x: &Tensor, errors: &Tensor, regression: &OriginalRegression<'_>) -> Result<Self> {
        Self::by(regression.fit(x, errors)?.solution, x, errors)
    }

    /// The same with the map of all rows: the study's power laws and norm test.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`].
    pub fn of_all_rows(x: &Tensor, errors: &Tensor) -> Result<Self> {
        Self::by(OriginalRegression::of_all_rows(x, errors)?, x, errors)
    }

    fn by(solution: Tensor, x: &Tensor, errors: &Tensor) -> Result<Self> {
        let linear = matmul(&x.to_dtype(DType::F64)?, &solution)?;
        let nonlinear = (errors.to_dtype(DType::F64)? - &linear)?;
        Ok(Self { solution, linear, nonlinear })
    }
}

/// A place in the model, with an autoencoder's errors there.
#[derive(Debug, Clone)]
pub struct OriginalSite {
    /// Activations x, `[n, …]`; attention's `[n, heads, width of a head]` is flattened head by head.
    pub activations: Tensor,
    /// Errors e = x − x̂, of the same shape.
    pub errors: Tensor,
}

/// R² of the parts of one site's error from quantities of several sites: the study's figure of simple
/// circuits (10b), of which it shows the second column.
///
/// Each table has a row a site and the columns x, x̂, linear part, nonlinear part. Parts are in sample
/// for half of the rows, and no regression has an intercept.
#[derive(Debug, Clone, PartialEq)]
pub struct OriginalCircuits {
    /// Of the error.
    pub error: Vec<[f64; 4]>,
    /// Of its nonlinear part.
    pub nonlinear: Vec<[f64; 4]>,
    /// Of its linear part.
    pub linear: Vec<[f64; 4]>,
}

impl OriginalCircuits {
    /// Of sites, of which the first has the error that is predicted.
    ///
    /// # Errors
    /// As [`OriginalRegression::fit`]; [`Error::Invalid`] for no sites; [`Error::Interrupted`] when Stop
    /// is pressed.
    pub fn of(sites: &[OriginalSite], regression: &OriginalRegression<'_>) -> Result<Self> {
        let mut target: Option<(Tensor, OriginalParts)> = None;
        let mut found = Self { error: Vec::new(), nonlinear: Vec::new(), linear: Vec::new() };
        for site in sites {
            safe_point("the regressions between sites")?;
            let x = site.activations.flatten_from(1)?;
            let errors = site.errors.flatten_from(1)?;
            let parts = OriginalParts::of(&x, &errors, regression)?;
            let reconstructions = (&x - &errors)?;
            let (target_error, target_parts) =
                target.get_or_insert_with(|| (errors, parts.clone()));
            let sources = [&x, &reconstructions, &parts.linear, &parts.nonlinear];
            for (table, y) in [
                (&mut found.error, &*target_error),
                (&mut found.nonlinear, &target_parts.nonlinear),
                (&mut found.linear, &target_parts.linear),
            ] {
                let mut row = [0.0; 4];
                for (r_squared, source) in row.iter_mut().zip(sources) {
                    *r_squared = regression.r_squared(source, y)?;
                }
                table.push(row);
            }
        }
        match target {
            Some(_) => Ok(found),
            None => Err(Error::invalid("the number of sites", "at least 1", 0)),
        }
    }
}
