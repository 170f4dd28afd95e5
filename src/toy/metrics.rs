//! How much of the truth a dictionary has found.

use candle_core::{D, DType, Tensor};

use super::dictionary::Dictionary;
use crate::check::check_finite;
use crate::linalg::matmul_nt;
use crate::{Error, Result};

/// Mean max cosine similarity, `1/n Σᵢ maxⱼ cos(fᵢ, gⱼ)`, of `features` `[n, dims]` with the rows of
/// `dictionary` `[size, dims]`: 1 where every feature is an atom. Signs count, since codes are not
/// negative. With the truth first it is the study's "MMCS"; with a smaller dictionary first and a
/// larger one second it says how much of the smaller the larger has found too.
///
/// # Errors
/// Matrices of different width, empty ones, NaN, a row of zeros.
pub fn mmcs(features: &Tensor, dictionary: &Tensor) -> Result<f64> {
    mean(&best_cosines(features, dictionary)?)
}

/// [`mmcs`] with `|cos|`: for components whose signs mean nothing, as those of PCA and ICA.
///
/// # Errors
/// As [`mmcs`].
pub fn mmcs_unsigned(features: &Tensor, dictionary: &Tensor) -> Result<f64> {
    mean(&cosines(features, dictionary)?.abs()?.max(D::Minus1)?)
}

/// `maxⱼ cos(fᵢ, gⱼ)` of each feature, `[n]`.
///
/// Two dictionaries whose fits had the same seed begin at the same directions, and stay nearer to each
/// other than others do: compare fits of different seeds.
///
/// # Errors
/// As [`mmcs`].
pub fn best_cosines(features: &Tensor, dictionary: &Tensor) -> Result<Tensor> {
    Ok(cosines(features, dictionary)?.max(D::Minus1)?)
}

/// The share of features that some atom points along, with a cosine above `above`.
///
/// # Errors
/// As [`mmcs`].
pub fn recovered(features: &Tensor, dictionary: &Tensor, above: f64) -> Result<f64> {
    mean(&best_cosines(features, dictionary)?.gt(above)?.to_dtype(DType::F32)?)
}

/// What a [`Dictionary`] does on samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// Mean squared error `‖x − x̂‖²/m`, over samples and dimensions.
    pub error: f64,
    /// The error's share of `‖x‖²`, over all samples; NaN where they are all zero.
    pub unexplained: f64,
    /// Mean number of active atoms in a sample.
    pub active: f64,
    /// Atoms that no sample activates.
    pub dead: usize,
}

impl Dictionary {
    /// Error, sparsity and dead atoms on samples `x` `[n, dims]`.
    ///
    /// # Errors
    /// Samples of another width, none, or with NaN.
    pub fn quality(&self, x: &Tensor) -> Result<Quality> {
        if x.elem_count() == 0 {
            return Err(Error::shape("the samples", "at least one", x.dims()));
        }
        let codes = self.encode(x)?;
        let sum = |tensor: Tensor| -> Result<f64> {
            Ok(tensor.sqr()?.sum(D::Minus1)?.to_dtype(DType::F64)?.sum_all()?.to_scalar()?)
        };
        let squares = sum((self.decode(&codes)? - x)?)?;
        let mut alive = vec![false; codes.width()];
        for row in 0..codes.rows() {
            codes.row(row).for_each(|(atom, _)| alive[atom as usize] = true);
        }
        Ok(Quality {
            error: squares / x.elem_count() as f64,
            unexplained: squares / sum(x.clone())?,
            active: codes.entries() as f64 / codes.rows() as f64,
            dead: alive.iter().filter(|alive| !**alive).count(),
        })
    }
}

fn mean(values: &Tensor) -> Result<f64> {
    Ok(values.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
}

/// All cosines, `[n, size]`.
fn cosines(features: &Tensor, dictionary: &Tensor) -> Result<Tensor> {
    matmul_nt(&unit("the features", features)?, &unit("the dictionary", dictionary)?)
}

fn unit(what: &str, matrix: &Tensor) -> Result<Tensor> {
    if matrix.rank() != 2 || matrix.elem_count() == 0 {
        return Err(Error::shape(what, "[rows, dims], none of them 0", matrix.dims()));
    }
    let matrix = matrix.to_dtype(DType::F32)?;
    check_finite(what, &matrix)?;
    let lengths = matrix.sqr()?.sum_keepdim(1)?.sqrt()?;
    let lengths_flat: Vec<f32> = lengths.flatten_all()?.to_vec1()?;
    if let Some(row) = lengths_flat.iter().position(|length| *length == 0.0) {
        let found = format!("zeros only in row {row}");
        return Err(Error::invalid(what, "rows with a direction", found));
    }
    Ok(matrix.broadcast_div(&lengths)?)
}
