//! Operations of a layer, with gradients and in half precision.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

use candle_core::{D, Tensor};

use super::Activation;
use super::kernels::Cap;
use super::precision::{is_half, widened};
use crate::Result;
use crate::linalg::{can_fuse, fused, matmul_nt};

/// `factor · x`.
pub(super) fn scaled(x: Tensor, factor: f64) -> Result<Tensor> {
    match (factor == 1., is_half(x.dtype())) {
        (true, _) => Ok(x),
        (false, false) => Ok((x * factor)?),
        // The factor itself would be rounded.
        (false, true) => Ok((widened(&x)? * factor)?.to_dtype(x.dtype())?),
    }
}

/// `gain ∘ x + bias`.
pub(super) fn scaled_and_shifted(
    x: Tensor,
    gain: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let scaled = match gain {
        Some(gain) => x.broadcast_mul(gain)?,
        None => x,
    };
    match bias {
        Some(bias) => Ok(scaled.broadcast_add(bias)?),
        None => Ok(scaled),
    }
}

/// `x Wᵀ + b` over the last dimension of `x` `[…, inputs]`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let y = match x.rank() {
        1 => matmul_nt(&x.unsqueeze(0)?, weight)?.squeeze(0)?,
        _ => matmul_nt(x, weight)?,
    };
    match bias {
        Some(bias) => Ok(y.broadcast_add(bias)?),
        None => Ok(y),
    }
}

/// candle's GELUs have gradients of six digits, so that those that are differentiated are composed.
pub(super) fn activate(activation: Option<Activation>, x: &Tensor) -> Result<Tensor> {
    if activation.is_some() && is_half(x.dtype()) {
        return Ok(activate(activation, &widened(x)?)?.to_dtype(x.dtype())?);
    }
    Ok(match activation {
        None => x.clone(),
        Some(Activation::Relu) => x.relu()?,
        Some(Activation::Silu) => x.silu()?,
        Some(Activation::Gelu) if x.track_op() => {
            let share = ((x * FRAC_1_SQRT_2)?.erf()? + 1.)?;
            ((x * share)? * 0.5)?
        }
        Some(Activation::Gelu) => x.gelu_erf()?,
        Some(Activation::GeluTanh) if x.track_op() => {
            let cubed = ((x.sqr()? * x)? * 0.044_715)?;
            let share = (((x + cubed)? * (FRAC_2_SQRT_PI * FRAC_1_SQRT_2))?.tanh()? + 1.)?;
            ((x * share)? * 0.5)?
        }
        Some(Activation::GeluTanh) => x.gelu()?,
        Some(Activation::Solu) => (x * softmax(x)?)?,
    })
}

/// `c tanh(x / c)` for a bound c.
pub(super) fn cap(x: Tensor, bound: Option<f64>) -> Result<Tensor> {
    match bound {
        None => Ok(x),
        Some(bound) if can_fuse(&x) => fused(&x, Cap(bound)),
        Some(bound) => Ok(((x / bound)?.tanh()? * bound)?),
    }
}

/// Over the last dimension, with gradients; candle's own softmax has none.
pub(super) fn softmax(x: &Tensor) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(candle_nn::ops::softmax_last_dim(&x.contiguous()?)?);
    }
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}
