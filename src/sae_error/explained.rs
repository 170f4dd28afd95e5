//! Which part of an autoencoder's error its activations predict.

#[cfg(test)]
mod tests;
mod totals;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use self::totals::Totals;
use super::linear_map::{LinearMap, LinearScore};
use super::moments::{CentredSums, CrossFit, Moments};
use super::null::LinearNull;
use super::parts::{CrossMaps, ErrorParts, row_squares};
use super::rows::ErrorRows;
use super::split::{ContextFolds, rows_at};
use crate::check::check_sizes;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::Interval;
use crate::progress::Progress;
use crate::{Error, Result};

/// How [`Explained::of`] fits and judges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Parts of the contexts, each taken apart by a map of the others; 5.
    pub folds: usize,
    /// Whether maps have an intercept; they do. The study's have none.
    pub intercept: bool,
    /// Draws of the bootstrap over contexts; 200.
    pub draws: usize,
    /// Seed of the folds and of the bootstrap; 0.
    pub seed: u64,
}

impl Default for ExplainOptions {
    fn default() -> Self {
        Self { folds: 5, intercept: true, draws: 200, seed: 0 }
    }
}

/// The error of an autoencoder, taken apart by a linear map of the activation:
///
/// ```text
/// e = x − x̂      linear = x A + b      nonlinear = e − linear
/// ```
///
/// Everything is held out by context: contexts are dealt out to folds, each fold is taken apart by a
/// map of the others, and no token by a map that has seen its context. R² is pooled over columns, and
/// intervals are percentiles of a bootstrap over contexts. After Engels et al. (2024), whose own
/// choices are in [`original`](super::original).
///
/// Read [`Explained::null`] beside R²: x contains e, so that a part of e is predicted even if nothing
/// is to be found.
///
/// ```
/// use std::sync::Arc;
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::{ExplainOptions, Explained, TensorRows};
/// # fn main() -> Result<()> {
/// // An autoencoder that shrinks by a tenth, and adds some noise.
/// let x = Rng::seed(0).normal((600, 4), &Device::Cpu)?;
/// let noise = (Rng::seed(1).normal((600, 4), &Device::Cpu)? * 0.05)?;
/// let contexts = (0..600).map(|row| row / 20).collect();
/// let rows = TensorRows::new(x.clone(), ((x * 0.9)? + noise)?, contexts)?;
/// let found = Explained::of(Arc::new(rows), &ExplainOptions::default())?;
/// assert!((found.fvu().mean - 0.0125).abs() < 0.002); // 0.1² + 0.05²
/// assert!((found.fvu_nonlinear().mean - 0.0025).abs() < 0.0005);
/// assert!((found.vector().r_squared - 0.8).abs() < 0.03);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Explained {
    inner: Arc<ExplainedState>,
}

struct ExplainedState {
    rows: Arc<dyn ErrorRows>,
    maps: Arc<CrossMaps>,
    all: LinearMap,
    vector: LinearScore,
    norm: LinearScore,
    fvu: Interval,
    fvu_nonlinear: Interval,
    normalized_mse: f64,
    parts: ErrorParts,
    /// Of x, with e and ‖e‖² as targets.
    sums: CentredSums,
    /// Of e.
    error_sums: CentredSums,
}

impl Explained {
    /// Takes the errors of `rows` apart. Goes through them twice: for the sums of the regressions, and
    /// for the parts of each token.
    ///
    /// # Errors
    /// [`Error::Invalid`] for fewer than two folds, no draws, fewer contexts than folds, too few rows
    /// to fit on (d + 1 without any fold), and for activations, errors or squared error norms that are
    /// the same in every row; [`Error::NonFinite`] for NaN; what reading the rows fails with;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn of(rows: Arc<dyn ErrorRows>, options: &ExplainOptions) -> Result<Self> {
        check_sizes(&[("`draws`", options.draws), ("the number of rows", rows.rows())])?;
        let contexts = rows.contexts();
        if contexts.len() != rows.rows() {
            let expected = format!("{}, one a row", rows.rows());
            return Err(Error::shape("the contexts of the rows", expected, contexts.len()));
        }
        let folds = ContextFolds::new(contexts, options.folds, options.seed)?;
        let mut progress = Progress::new("the error, taken apart", 2 * rows.rows() as u64, "row");
        let d = rows.width();
        let mut moments = Moments::new(d, d + 1, options.folds)?;
        let mut of_errors = Moments::of_inputs(d);
        rows.for_each_block(&mut |block| {
            let errors = block.errors()?;
            of_errors.add_inputs(&errors)?;
            let squares = Tensor::new(row_squares(&errors)?, errors.device())?;
            let squares = squares.to_dtype(errors.dtype())?.unsqueeze(1)?;
            let targets = Tensor::cat(&[&errors, &squares], 1)?;
            let groups = folds.groups(&contexts[block.range()?])?;
            for (fold, group) in groups.iter().enumerate().filter(|(_, group)| !group.is_empty()) {
                let x = rows_at(&block.activations, group)?;
                moments.add(fold, &x, &rows_at(&targets, group)?)?;
            }
            step(&mut progress, block.activations.dims()[0])
        })?;
        let fitted = CrossFit::new(&moments, options.intercept)?;
        let only_vector = |map: &LinearMap| map.columns(0..d);
        let all_folds: Vec<usize> = (0..options.folds).collect();
        let sums = moments.centred(&all_folds)?;
        let error_sums = of_errors.centred(&[0])?;
        drop((moments, of_errors));
        let maps = Arc::new(CrossMaps {
            folds,
            maps: fitted.maps.iter().map(only_vector).collect::<Result<_>>()?,
        });
        let mut totals = Totals::new(&maps, sums.input_means());
        rows.for_each_block(&mut |block| {
            totals.take(&block, &contexts[block.range()?])?;
            step(&mut progress, block.activations.dims()[0])
        })?;
        let norm = fitted.score(d..d + 1).map_err(|reason| {
            let what = "the squared norm of the error";
            Error::invalid(what, "different for some rows", "a constant").caused_by(reason)
        })?;
        let [fvu, fvu_nonlinear] = totals.intervals(contexts, options)?;
        let state = ExplainedState {
            all: only_vector(&fitted.all)?,
            vector: fitted.score(0..d)?,
            norm,
            fvu,
            fvu_nonlinear,
            normalized_mse: totals.normalized_mse(),
            parts: totals.parts(),
            rows,
            maps,
            sums,
            error_sums,
        };
        Ok(Self { inner: Arc::new(state) })
    }

    /// R² of the error vector from x.
    pub fn vector(&self) -> &LinearScore {
        &self.inner.vector
    }

    /// R² of the squared error norm ‖e‖² from x.
    pub fn norm(&self) -> &LinearScore {
        &self.inner.norm
    }

    /// Fraction of variance unexplained by the autoencoder, `Σ‖e‖² / Σ‖x − x̄‖²`. Draws of the
    /// bootstrap are about the mean x̄ of all rows.
    pub fn fvu(&self) -> Interval {
        self.inner.fvu
    }

    /// The same after the linear part was added to the reconstruction, `Σ‖nonlinear‖² / Σ‖x − x̄‖²`.
    pub fn fvu_nonlinear(&self) -> Interval {
        self.inner.fvu_nonlinear
    }

    /// The mean of `‖e‖² / ‖x‖²` over rows; rows in which x is zero are left out.
    pub fn normalized_mse(&self) -> f64 {
        self.inner.normalized_mse
    }

    /// What the covariances alone imply, which is to be read beside R². Takes an eigendecomposition of
    /// the covariance.
    ///
    /// # Errors
    /// [`Error::Invalid`] for errors that do not vary; [`Error::Interrupted`] when Stop is pressed.
    pub fn null(&self) -> Result<LinearNull> {
        let ExplainedState { sums, error_sums, vector, .. } = &*self.inner;
        LinearNull::new(sums, error_sums, vector.in_sample)
    }

    /// Norms of the parts of each token, and the parts of other activations of the same contexts.
    ///
    /// # Errors
    /// None so far.
    pub fn parts(&self) -> Result<ErrorParts> {
        Ok(self.inner.parts.clone())
    }

    /// The map of all rows, for other texts.
    pub fn map(&self) -> &LinearMap {
        &self.inner.all
    }

    /// The map that has not seen a context.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a context that was not among the rows.
    pub fn map_for(&self, context: u32) -> Result<&LinearMap> {
        self.inner.maps.map_for(context)
    }

    /// The rows whose errors were taken apart.
    pub fn rows(&self) -> &Arc<dyn ErrorRows> {
        &self.inner.rows
    }

    /// The fold of a context; none if it was not among the rows.
    pub fn fold_of(&self, context: u32) -> Option<usize> {
        self.inner.maps.folds.fold_of(context)
    }

    /// Maps, for what takes parts of its own blocks.
    pub(super) fn cross_maps(&self) -> &CrossMaps {
        &self.inner.maps
    }
}

fn step(progress: &mut Progress, rows: usize) -> Result<()> {
    match progress.advance(rows as u64) {
        true => Err(Error::Interrupted { what: "the regression of the error".to_owned() }),
        false => Ok(()),
    }
}

impl Explained {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let columns = ["", "held out", "mean of columns", "in sample"];
        let caption = format!("Error of {} rows, taken apart", self.inner.rows.rows());
        let mut shown = ShownTable::new(columns.map(ShownColumn::right)).caption(caption);
        for (name, score) in [("R² of e", self.vector()), ("R² of ‖e‖²", self.norm())] {
            let numbers = [score.r_squared, score.mean_r_squared, score.in_sample];
            let numbers = numbers.map(|number| format!("{number:.4}"));
            shown.push([name.to_owned()].into_iter().chain(numbers));
        }
        shown.note(self.closing())
    }

    fn closing(&self) -> String {
        let (fvu, nonlinear) = (self.inner.fvu, self.inner.fvu_nonlinear);
        let mut text = format!("FVU {fvu}, nonlinear FVU {nonlinear}");
        if self.inner.all.has_few_rows() {
            text.push_str("; few rows: R² held out would grow with more than 50 a column");
        }
        text
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.inner.rows.rows();
        write!(f, "Error of {rows} rows, taken apart\n{}\n{}", self.shown().text(), self.closing())
    }
}

impl fmt::Debug for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explained")
            .field("vector", &self.inner.vector)
            .field("norm", &self.inner.norm)
            .field("fvu", &self.inner.fvu)
            .field("fvu_nonlinear", &self.inner.fvu_nonlinear)
            .finish_non_exhaustive()
    }
}
