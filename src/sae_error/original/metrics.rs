//! Four numbers that are all called "error explained", and buckets of equal width.

use candle_core::{DType, Device, Tensor};

use super::regression::mean_of_columns;
use crate::check::{check_all_finite, check_sizes};
use crate::sae_error::parts::row_squares;
use crate::{Error, Result};

/// The plain mean of the columns' R² of a reconstruction, `1 − Σ(x − x̂)² / Σ(x − x̄)²` a column: the
/// study's contours of R².
///
/// # Errors
/// [`Error::Shape`] unless both are `[n, d]`; [`Error::Invalid`] for a column that does not vary.
pub fn mean_r_squared(x: &Tensor, reconstructions: &Tensor) -> Result<f64> {
    let (x, errors) = checked(x, reconstructions)?;
    mean_of_columns(&errors, &x)?.ok_or_else(|| {
        Error::invalid("the activations", "different for some rows in each column", "a constant")
    })
}

/// `1 − Σ(x − x̂)² / Σ(x − one mean of all entries)²`: what the study's simulation (its figure 15) calls
/// R². Means that differ from column to column count as variance.
///
/// # Errors
/// As [`mean_r_squared`], for entries that are all the same.
pub fn one_mean_r_squared(x: &Tensor, reconstructions: &Tensor) -> Result<f64> {
    let (x, errors) = checked(x, reconstructions)?;
    Ok(1.0 - share(&errors, &x.broadcast_sub(&x.mean_all()?)?)?)
}

/// The fraction of variance unexplained, `ΣΣ(x − x̂)² / ΣΣ(x − mean of the column)²`: the study's power
/// laws.
///
/// # Errors
/// As [`one_mean_r_squared`].
pub fn unexplained_variance(x: &Tensor, reconstructions: &Tensor) -> Result<f64> {
    let (x, errors) = checked(x, reconstructions)?;
    share(&errors, &x.broadcast_sub(&x.mean_keepdim(0)?)?)
}

/// The mean over rows of `‖x̂ − x‖² / ‖x‖²`: the study's "normalized MSE", printed beside its power laws.
///
/// # Errors
/// [`Error::Shape`] unless both are `[n, d]`; [`Error::Invalid`] for a row of zeros.
pub fn normalized_mse(x: &Tensor, reconstructions: &Tensor) -> Result<f64> {
    let (x, errors) = checked(x, reconstructions)?;
    let (left, all) = (row_squares(&errors)?, row_squares(&x)?);
    if let Some(row) = all.iter().position(|&square| square == 0.0) {
        let found = format!("zeros in row {row}");
        return Err(Error::invalid("the activations", "without rows of zeros", found));
    }
    Ok(left.iter().zip(&all).map(|(left, all)| left / all).sum::<f64>() / all.len() as f64)
}

/// Activations and errors, f64 on the CPU.
fn checked(x: &Tensor, reconstructions: &Tensor) -> Result<(Tensor, Tensor)> {
    if x.rank() != 2 || x.elem_count() == 0 {
        return Err(Error::shape("the activations", "[n, d], none of them 0", x.dims()));
    }
    if reconstructions.dims() != x.dims() {
        let expected = format!("{:?}, as the activations", x.dims());
        return Err(Error::shape("the reconstructions", expected, reconstructions.dims()));
    }
    let host = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64);
    let x = host(x)?;
    let errors = (&x - host(reconstructions)?)?;
    Ok((x, errors))
}

fn share(errors: &Tensor, centred: &Tensor) -> Result<f64> {
    let sum = |tensor: &Tensor| tensor.sqr()?.sum_all()?.to_scalar::<f64>();
    let (left, all) = (sum(errors)?, sum(centred)?);
    match all > 0.0 {
        true => Ok(left / all),
        false => Err(Error::invalid("the activations", "different for some rows", "a constant")),
    }
}

/// Values in buckets of equal width between the smallest and the largest, which is in the last: the
/// study's inputs of bucketed regressions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EqualBuckets {
    /// The bucket of each value.
    pub assignment: Vec<usize>,
    /// Number of buckets.
    pub buckets: usize,
}

impl EqualBuckets {
    /// Puts `values` into so many buckets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no values or no buckets; [`Error::NonFinite`] for NaN.
    pub fn of(values: &[f32], buckets: usize) -> Result<Self> {
        check_sizes(&[("the number of values", values.len()), ("the number of buckets", buckets)])?;
        check_all_finite("the values", values)?;
        let wide = || values.iter().copied().map(f64::from);
        let (low, high) =
            wide().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let width = (high - low) / buckets as f64;
        let bucket = |x: f64| match width > 0.0 {
            true => (((x - low) / width) as usize).min(buckets - 1),
            false => buckets - 1,
        };
        Ok(Self { assignment: wide().map(bucket).collect(), buckets })
    }

    /// One-hot rows, `[n, buckets]`, f32.
    ///
    /// # Errors
    /// Memory.
    pub fn one_hot(&self) -> Result<Tensor> {
        self.selected(&(0..self.buckets).collect::<Vec<_>>())
    }

    /// The columns of [`EqualBuckets::one_hot`] of some buckets, `[n, which]`, f32.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bucket that there is not.
    pub fn selected(&self, which: &[usize]) -> Result<Tensor> {
        if let Some(bucket) = which.iter().find(|&&bucket| bucket >= self.buckets) {
            let expected = format!("below {}, the number of buckets", self.buckets);
            return Err(Error::invalid("the bucket", expected, bucket));
        }
        let flag = |own: usize| move |bucket: &usize| f32::from(u8::from(*bucket == own));
        let values: Vec<f32> =
            self.assignment.iter().flat_map(|&own| which.iter().map(flag(own))).collect();
        Ok(Tensor::from_vec(values, (self.assignment.len(), which.len()), &Device::Cpu)?)
    }
}
