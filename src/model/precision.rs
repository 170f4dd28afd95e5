//! Models in half precision.
//!
//! Weights and activations of an f16 or bf16 model take half the memory, and have eleven or eight
//! significant bits. What is summed over many entries or passes through an exponential is computed in
//! f32: norms, attention scores and softmax, logits, losses, and whatever autoencoders compute.

use candle_core::{DType, Tensor};

use crate::Result;

/// Whether a dtype is one of the two floating point types of 16 bits.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}

/// `x` in f32 if it is f16 or bf16, and as it is otherwise.
pub(crate) fn widened(x: &Tensor) -> Result<Tensor> {
    match is_half(x.dtype()) {
        true => Ok(x.to_dtype(DType::F32)?),
        false => Ok(x.clone()),
    }
}
