//! Sums from which linear regressions follow, without the rows.

mod centred;
mod cross_fit;
mod fold;
mod panels;
mod solve;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device, Tensor};

pub(super) use self::centred::CentredSums;
pub(super) use self::cross_fit::CrossFit;
pub(super) use self::solve::{rank_cut, smallest_solution};

use self::fold::FoldSums;
use self::panels::{Panels, ROWS_PER_PANEL};
use super::linear_map::{LinearMap, LinearScore};
use crate::check::{check_finite, check_sizes};
use crate::{Error, Result};

/// Sums of rows x `[n, d]` and of targets y `[n, m]`, per fold:
///
/// ```text
/// n      Σ x      Σ y      Σ y²      Σ x xᵀ      Σ x yᵀ
/// ```
///
/// Every regression of y on x follows from them, with its R², for any choice of the folds that are
/// fitted and judged, so that the rows are read once and not kept. Sums are f64, of values less the
/// mean of the first rows, because sums about zero would lose the digits that a large mean takes. They
/// are the same, bit for bit, on any number of threads. Rows on a CUDA device are multiplied there.
///
/// A fold takes `8 (d²/2 + d m)` bytes: 64 MB for d = m = 2304.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::Moments;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[0f32], [1.0], [2.0], [5.0]], &Device::Cpu)?;
/// let y = ((&x * 3.0)? + 1.0)?;
/// let mut moments = Moments::new(1, 1, 1)?;
/// moments.add(0, &x.narrow(0, 0, 2)?, &y.narrow(0, 0, 2)?)?;
/// moments.add(0, &x.narrow(0, 2, 2)?, &y.narrow(0, 2, 2)?)?;
/// let line = moments.fit(&[0], true)?;
/// assert!((line.intercept().unwrap()[0] - 1.0).abs() < 1e-12);
/// assert!((moments.score(&line, &[0])?.r_squared - 1.0).abs() < 1e-12);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Moments {
    width: usize,
    targets: usize,
    origin: Option<SumOrigin>,
    folds: Vec<FoldSums>,
}

/// What is taken off the rows before they are summed.
#[derive(Debug, Clone)]
struct SumOrigin {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl SumOrigin {
    /// The means of the first rows, exact for columns that do not vary.
    fn of(x: &Tensor, y: Option<&Tensor>) -> Result<Self> {
        let mean = |rows: &Tensor| -> Result<Vec<f64>> {
            let count = ROWS_PER_PANEL.min(rows.dims()[0]);
            let rows = rows.narrow(0, 0, count)?.to_dtype(DType::F64)?;
            let first = rows.narrow(0, 0, 1)?;
            let rest = rows.broadcast_sub(&first)?.mean_keepdim(0)?;
            Ok((first + rest)?.flatten_all()?.to_vec1()?)
        };
        Ok(Self { x: mean(x)?, y: y.map(mean).transpose()?.unwrap_or_default() })
    }

    /// Rows without it, f64.
    fn less(&self, x: &Tensor, y: Option<&Tensor>) -> Result<(Tensor, Option<Tensor>)> {
        let less = |rows: &Tensor, origin: &[f64]| -> Result<Tensor> {
            let origin = Tensor::new(origin, rows.device())?;
            Ok(rows.to_dtype(DType::F64)?.broadcast_sub(&origin)?)
        };
        Ok((less(x, &self.x)?, y.map(|y| less(y, &self.y)).transpose()?))
    }
}

/// The number of rows of `tensor`, if it is `[n, width]` and finite.
fn checked(what: &str, tensor: &Tensor, width: usize) -> Result<usize> {
    match *tensor.dims() {
        [rows, columns] if columns == width => {
            check_finite(what, tensor)?;
            Ok(rows)
        }
        _ => Err(Error::shape(what, format!("[n, {width}]"), tensor.dims())),
    }
}

impl Moments {
    /// Of `width` inputs, `targets` targets and so many folds, before the first row.
    ///
    /// # Errors
    /// [`Error::Invalid`] if one of them is 0.
    pub fn new(width: usize, targets: usize, folds: usize) -> Result<Self> {
        let sizes = [
            ("the number of inputs", width),
            ("the number of targets", targets),
            ("the number of folds", folds),
        ];
        check_sizes(&sizes)?;
        Ok(Self::start(width, targets, folds))
    }

    /// Of inputs alone: for their covariance.
    pub(super) fn of_inputs(width: usize) -> Self {
        Self::start(width, 0, 1)
    }

    fn start(width: usize, targets: usize, folds: usize) -> Self {
        let folds = (0..folds).map(|_| FoldSums::new(width, targets)).collect();
        Self { width, targets, origin: None, folds }
    }

    /// Takes in rows of a fold, x `[n, d]` and y `[n, m]`, of any type of floating point numbers.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes, [`Error::NonFinite`] for NaN, [`Error::Invalid`] for a fold
    /// that there is not; nothing is taken in then.
    pub fn add(&mut self, fold: usize, x: &Tensor, y: &Tensor) -> Result<()> {
        self.take(fold, x, Some(y))
    }

    /// Takes in rows of [`Moments::of_inputs`].
    pub(super) fn add_inputs(&mut self, x: &Tensor) -> Result<()> {
        self.take(0, x, None)
    }

    fn take(&mut self, fold: usize, x: &Tensor, y: Option<&Tensor>) -> Result<()> {
        self.check_folds(&[fold])?;
        let rows = checked("the inputs", x, self.width)?;
        if let Some(y) = y {
            let targets = checked("the targets", y, self.targets)?;
            if targets != rows {
                let expected = format!("{rows} rows, as the inputs have");
                return Err(Error::shape("the targets", expected, y.dims()));
            }
        }
        if rows == 0 {
            return Ok(());
        }
        // What is multiplied on a GPU stays there; others, which may have no f64, only hold it.
        let is_cuda = x.device().is_cuda();
        let device = if is_cuda { x.device().clone() } else { Device::Cpu };
        let x = x.to_device(&device)?;
        let y = y.map(|y| y.to_device(&device)).transpose()?;
        let origin = match &mut self.origin {
            Some(origin) => origin,
            none => none.insert(SumOrigin::of(&x, y.as_ref())?),
        };
        if is_cuda {
            return self.folds[fold].take_by_products(origin.less(&x, y.as_ref())?);
        }
        let (mut inputs, mut outputs) = (Panels::new(self.width), Panels::new(self.targets));
        for start in (0..rows).step_by(ROWS_PER_PANEL) {
            let count = ROWS_PER_PANEL.min(rows - start);
            inputs.fill(&x.narrow(0, start, count)?, &origin.x)?;
            if let Some(y) = &y {
                outputs.fill(&y.narrow(0, start, count)?, &origin.y)?;
            }
            self.folds[fold].take(&inputs, &outputs);
        }
        Ok(())
    }

    /// Takes in what was added to `other`, fold by fold.
    ///
    /// # Errors
    /// [`Error::Shape`] for another number of inputs, targets or folds.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let shape = |own: &Self| [own.width, own.targets, own.folds.len()];
        if shape(self) != shape(other) {
            let [width, targets, folds] = shape(self);
            let expected = format!("{width} inputs, {targets} targets and {folds} folds");
            return Err(Error::shape("the other moments", expected, shape(other)));
        }
        let Some(theirs) = &other.origin else { return Ok(()) };
        let Some(own) = &self.origin else {
            self.clone_from(other);
            return Ok(());
        };
        let less = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
        let (by_x, by_y) = (less(&theirs.x, &own.x), less(&theirs.y, &own.y));
        for (own, other) in self.folds.iter_mut().zip(&other.folds) {
            let mut moved = other.clone();
            moved.shift(&by_x, &by_y);
            own.add(&moved);
        }
        Ok(())
    }

    /// The sums of some folds about their means.
    pub(super) fn centred(&self, folds: &[usize]) -> Result<CentredSums> {
        self.check_folds(folds)?;
        let folds: Vec<&FoldSums> = folds.iter().map(|&fold| &self.folds[fold]).collect();
        let has_rows = folds.iter().any(|fold| fold.rows > 0);
        let Some(origin) = self.origin.as_ref().filter(|_| has_rows) else {
            return Err(Error::invalid("the number of rows", "at least 1", 0));
        };
        let sums = FoldSums::of(self.width, self.targets, &folds);
        Ok(CentredSums::new(sums, &origin.x, &origin.y))
    }

    /// The least-squares map of the rows of some folds, from one decomposition of Σ x xᵀ. With an
    /// intercept, x and y are taken about their means.
    ///
    /// If columns of x depend on each other, the map is the one of smallest norm, and its
    /// [rank](LinearMap::rank) says so.
    ///
    /// # Errors
    /// [`Error::Invalid`] for folds that there are not and for fewer than d + 1 rows;
    /// [`Error::Interrupted`] when Stop is pressed during a large eigendecomposition.
    pub fn fit(&self, folds: &[usize], intercept: bool) -> Result<LinearMap> {
        self.centred(folds)?.fit(intercept)
    }

    /// How well a map predicts the rows of some folds. The total is about the mean of these rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] for folds that there are not or have no rows, and if no target varies;
    /// [`Error::Shape`] for a map of other sizes.
    pub fn score(&self, map: &LinearMap, folds: &[usize]) -> Result<LinearScore> {
        let sums = self.centred(folds)?;
        LinearScore::new(&sums.residuals(map)?, sums.totals(), map.in_sample())
    }

    /// A map for each fold, fitted on the others, and how well they predict the folds that they have
    /// not seen. The total is about the mean of all rows.
    ///
    /// # Errors
    /// As [`Moments::fit`]; [`Error::Invalid`] for fewer than two folds with rows;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn cross_fitted(&self, intercept: bool) -> Result<(Vec<LinearMap>, LinearScore)> {
        let found = CrossFit::new(self, intercept)?;
        let score = found.score(0..self.targets)?;
        Ok((found.maps, score))
    }

    /// Number of rows of all folds.
    pub fn rows(&self) -> usize {
        self.folds.iter().map(|fold| fold.rows).sum()
    }

    /// Number of rows of each fold.
    pub fn rows_by_fold(&self) -> Vec<usize> {
        self.folds.iter().map(|fold| fold.rows).collect()
    }

    /// Memory of the sums in bytes.
    pub fn bytes(&self) -> usize {
        self.folds.iter().map(FoldSums::bytes).sum()
    }

    /// The covariance of the inputs of all folds, `Σ (x − x̄)(x − x̄)ᵀ / n`, `[d, d]`, f64.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no rows.
    pub fn covariance(&self) -> Result<Tensor> {
        let all: Vec<usize> = (0..self.folds.len()).collect();
        let sums = self.centred(&all)?;
        Ok((sums.xx_tensor()? / sums.rows() as f64)?)
    }

    fn check_folds(&self, folds: &[usize]) -> Result<()> {
        match folds.iter().find(|&&fold| fold >= self.folds.len()) {
            Some(fold) => {
                let expected = format!("below {}, the number of folds", self.folds.len());
                Err(Error::invalid("the fold", expected, fold))
            }
            None => Ok(()),
        }
    }
}
