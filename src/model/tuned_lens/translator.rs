//! One affine map of a tuned lens.

use std::sync::OnceLock;

use candle_core::{DType, Device, Tensor};

use crate::check::check_finite;
use crate::linalg::{matmul, matmul_nt, svd};
use crate::{Error, Result};

/// Above this a matrix counts as one that has no inverse.
const WORST_CONDITION: f64 = 1e12;

/// `h + W h + b`.
#[derive(Debug)]
pub(super) struct Translator {
    /// W, `[d, d]`.
    pub(super) weight: Tensor,
    /// b, `[d]`.
    pub(super) bias: Tensor,
    inverse: OnceLock<TranslatorInverse>,
}

/// The inverse of `W + 1`.
#[derive(Debug)]
pub(super) struct TranslatorInverse {
    /// `[d, d]`, f64 on the CPU.
    matrix: Tensor,
    /// The largest singular value of `W + 1` over the smallest; infinite for a singular matrix.
    pub(super) condition: f64,
}

impl Translator {
    pub(super) fn new(number: usize, weight: Tensor, bias: Tensor) -> Result<Self> {
        let what = format!("the weight of translator {number}");
        let [d, columns] = *weight.dims() else {
            return Err(Error::shape(what, "[d, d]", weight.dims()));
        };
        if d != columns || d == 0 {
            return Err(Error::shape(what, "[d, d]", weight.dims()));
        }
        if bias.dims() != [d] {
            let what = format!("the bias of translator {number}");
            return Err(Error::shape(what, format!("[{d}]"), bias.dims()));
        }
        check_finite(&what, &weight)?;
        check_finite(&format!("the bias of translator {number}"), &bias)?;
        Ok(Self { weight, bias, inverse: OnceLock::new() })
    }

    pub(super) fn width(&self) -> usize {
        self.bias.dims()[0]
    }

    pub(super) fn transform(&self, stream: &Tensor) -> Result<Tensor> {
        let like = |own: &Tensor| -> Result<Tensor> {
            Ok(own.to_device(stream.device())?.to_dtype(stream.dtype())?)
        };
        translated(stream, &like(&self.weight)?, &like(&self.bias)?)
    }

    /// The stream that is translated to `guess`; with `diagonal`, by the diagonal of the inverse
    /// alone.
    pub(super) fn invert(&self, guess: &Tensor, number: usize, diagonal: bool) -> Result<Tensor> {
        let inverse = self.inverse()?;
        if inverse.condition > WORST_CONDITION {
            let what = format!("translator {number} with 1 added to its diagonal");
            let expected = format!("a condition number below {WORST_CONDITION:e}");
            return Err(Error::invalid(what, expected, format!("{:e}", inverse.condition)));
        }
        let wide =
            |x: &Tensor| -> Result<Tensor> { Ok(x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?) };
        let rows = wide(guess)?.reshape(((), self.width()))?;
        let rows = rows.broadcast_sub(&wide(&self.bias)?)?;
        let stream = match diagonal {
            false => matmul_nt(&rows, &inverse.matrix)?,
            true => {
                let one = Tensor::eye(self.width(), DType::F64, &Device::Cpu)?;
                rows.broadcast_mul(&(one * &inverse.matrix)?.sum(0)?)?
            }
        };
        let stream = stream.to_device(guess.device())?.to_dtype(guess.dtype())?;
        Ok(stream.reshape(guess.shape())?)
    }

    pub(super) fn inverse(&self) -> Result<&TranslatorInverse> {
        if let Some(inverse) = self.inverse.get() {
            return Ok(inverse);
        }
        let one = Tensor::eye(self.width(), DType::F64, &Device::Cpu)?;
        let weight = self.weight.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let parts = svd(&(weight + one)?)?;
        let values: Vec<f64> = parts.values.to_vec1()?;
        let ends = (values[0], values[values.len() - 1]);
        let condition = if ends.1 > 0.0 { ends.0 / ends.1 } else { f64::INFINITY };
        let matrix = matmul(&parts.v.broadcast_div(&parts.values)?, &parts.u.t()?.contiguous()?)?;
        Ok(self.inverse.get_or_init(|| TranslatorInverse { matrix, condition }))
    }
}

/// `h + W h + b` for every row h.
pub(super) fn translated(stream: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let rows = stream.reshape(((), bias.dims()[0]))?;
    let moved = rows.matmul(&weight.t()?)?.broadcast_add(bias)?;
    Ok((&rows + moved)?.reshape(stream.shape())?)
}
