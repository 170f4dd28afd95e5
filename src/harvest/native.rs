//! Tensors as bytes in their own type, and back.

use bytemuck::Pod;
use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};

use crate::{Error, Result};

/// Hands the numbers of a tensor, row by row, to `read` as bytes.
///
/// # Errors
/// If its type has no numbers of whole bytes.
pub(super) fn with_bytes<R>(tensor: &Tensor, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
    fn typed<T: WithDType + Pod, R>(x: &Tensor, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(read(bytemuck::cast_slice(&x.to_vec1::<T>()?)))
    }
    let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
    match flat.dtype() {
        DType::F32 => typed::<f32, R>(&flat, read),
        DType::F16 => typed::<f16, R>(&flat, read),
        DType::BF16 => typed::<bf16, R>(&flat, read),
        DType::F64 => typed::<f64, R>(&flat, read),
        DType::U32 => typed::<u32, R>(&flat, read),
        DType::I64 => typed::<i64, R>(&flat, read),
        DType::U8 => typed::<u8, R>(&flat, read),
        other => Err(unknown(other)),
    }
}

/// The tensor `[rows, width]` of a floating point type whose numbers `fill` writes as bytes.
///
/// # Errors
/// If the type is none of F64, F32, F16 and BF16.
pub(super) fn filled(
    dtype: DType,
    rows: usize,
    width: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Result<Tensor> {
    fn typed<T: WithDType + Pod>(
        rows: usize,
        width: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Tensor> {
        let mut numbers = vec![T::zeroed(); rows * width];
        fill(bytemuck::cast_slice_mut(&mut numbers));
        Ok(Tensor::from_vec(numbers, (rows, width), &Device::Cpu)?)
    }
    match dtype {
        DType::F32 => typed::<f32>(rows, width, fill),
        DType::F16 => typed::<f16>(rows, width, fill),
        DType::BF16 => typed::<bf16>(rows, width, fill),
        DType::F64 => typed::<f64>(rows, width, fill),
        other => Err(unknown(other)),
    }
}

/// The name that safetensors has for a floating point type.
pub(super) fn safetensors_name(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("F32"),
        DType::F16 => Ok("F16"),
        DType::BF16 => Ok("BF16"),
        DType::F64 => Ok("F64"),
        other => Err(unknown(other)),
    }
}

/// The floating point type of a name of [`safetensors_name`].
pub(super) fn named(name: &str) -> Option<DType> {
    [DType::F32, DType::F16, DType::BF16, DType::F64]
        .into_iter()
        .find(|dtype| safetensors_name(*dtype).is_ok_and(|own| own == name))
}

fn unknown(dtype: DType) -> Error {
    Error::invalid("the dtype of the activations", "f64, f32, f16 or bf16", dtype.as_str())
}
