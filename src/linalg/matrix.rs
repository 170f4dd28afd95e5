//! Between candle tensors and faer matrices, with the checks that every decomposition needs.

use candle_core::{DType, Device, Tensor};
use faer::{Mat, MatRef};

use crate::check::check_all_finite;
use crate::{Error, Result};

/// A dense f64 matrix on the host, with the dtype and device its results go back to.
#[derive(Clone)]
pub(super) struct Home {
    dtype: DType,
    device: Device,
}

impl Home {
    pub(super) fn of(tensor: &Tensor) -> Self {
        Self { dtype: tensor.dtype(), device: tensor.device().clone() }
    }

    /// Row-major `values` as a tensor of shape `shape`, where the input lived.
    pub(super) fn tensor(&self, values: Vec<f64>, shape: &[usize]) -> Result<Tensor> {
        let host = Tensor::from_vec(values, shape, &Device::Cpu)?;
        Ok(host.to_dtype(self.dtype)?.to_device(&self.device)?)
    }
}

/// The values of `tensor`, row-major, in f64. Fails on integers, emptiness, NaN and infinity.
pub(super) fn values(what: &str, tensor: &Tensor) -> Result<Vec<f64>> {
    if !matches!(tensor.dtype(), DType::F32 | DType::F64) {
        let found = tensor.dtype().as_str();
        return Err(Error::invalid(format!("the dtype of {what}"), "f32 or f64", found));
    }
    if tensor.elem_count() == 0 {
        return Err(Error::shape(what, "at least one row and one column", tensor.dims()));
    }
    let values: Vec<f64> = tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    check_all_finite(what, &values)?;
    Ok(values)
}

/// The rows of a matrix, each divided by its length.
pub(crate) fn unit_rows(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.broadcast_div(&matrix.sqr()?.sum_keepdim(1)?.sqrt()?)?)
}

/// One `rows × columns` matrix.
pub(super) fn matrix(what: &str, tensor: &Tensor) -> Result<Mat<f64>> {
    let [rows, columns] = *tensor.dims() else {
        return Err(Error::shape(what, "[rows, columns]", tensor.dims()));
    };
    let values = values(what, tensor)?;
    Ok(MatRef::from_row_major_slice(&values, rows, columns).to_owned())
}

/// A faer matrix as row-major values.
pub(super) fn row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let mut values = Vec::with_capacity(matrix.nrows() * matrix.ncols());
    for row in 0..matrix.nrows() {
        values.extend((0..matrix.ncols()).map(|column| matrix[(row, column)]));
    }
    values
}

/// The sign that makes the entry of largest magnitude positive: −1 if it is negative, else 1. The first
/// of several equal magnitudes counts.
pub(super) fn sign_of_largest(entries: impl IntoIterator<Item = f64>) -> f64 {
    let larger = |most: f64, entry: f64| if entry.abs() > most.abs() { entry } else { most };
    if entries.into_iter().fold(0.0, larger) < 0.0 { -1.0 } else { 1.0 }
}

/// [`sign_of_largest`] of each column.
pub(super) fn column_signs(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let column = |column| (0..matrix.nrows()).map(move |row| matrix[(row, column)]);
    (0..matrix.ncols()).map(column).map(sign_of_largest).collect()
}

/// Multiplies column `i` by `signs[i]`.
pub(super) fn flip_columns(matrix: &mut Mat<f64>, signs: &[f64]) {
    for (column, &sign) in signs.iter().enumerate() {
        for row in 0..matrix.nrows() {
            matrix[(row, column)] *= sign;
        }
    }
}
