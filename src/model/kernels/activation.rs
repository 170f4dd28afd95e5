//! Activation functions, and the product of an MLP's halves.

use candle_core::Shape;
use rayon::prelude::*;

use super::each_row;
use crate::linalg::{Kernel, Real, vectorised};
use crate::model::Activation;

/// Entries that one thread takes at a time where rows mean nothing.
const CHUNK: usize = 4096;

/// `√(2/π)` and the factor of the cube in [`ActivationCurve::GeluTanh`].
const TANH: (f64, f64) = (0.797_884_560_802_865_4, 0.044_715);

/// An activation of each entry.
pub(in crate::model) struct Act(ActivationCurve);

/// `act(left) ∘ right` for rows `[…, left | right]`; `left ∘ right` without an activation.
pub(in crate::model) struct GatedActivation(Option<ActivationCurve>);

/// An activation of one entry at a time.
#[derive(Clone, Copy)]
enum ActivationCurve {
    Relu,
    Silu,
    Gelu,
    GeluTanh,
}

impl Act {
    /// `None` for an activation that is composed, because it looks at other entries too.
    pub(in crate::model) fn of(activation: Activation) -> Option<Self> {
        ActivationCurve::of(activation).map(Self)
    }
}

impl GatedActivation {
    /// `None` for an activation that is composed, because it looks at other entries too.
    pub(in crate::model) fn of(activation: Option<Activation>) -> Option<Self> {
        match activation {
            None => Some(Self(None)),
            Some(activation) => Some(Self(Some(ActivationCurve::of(activation)?))),
        }
    }
}

impl ActivationCurve {
    fn of(activation: Activation) -> Option<Self> {
        match activation {
            Activation::Relu => Some(Self::Relu),
            Activation::Silu => Some(Self::Silu),
            Activation::Gelu => Some(Self::Gelu),
            Activation::GeluTanh => Some(Self::GeluTanh),
            Activation::Solu => None,
        }
    }

    /// Writes `act(x)` to `out`.
    #[inline(always)]
    fn apply<T: Real>(self, x: &[T], out: &mut [T]) {
        let (one, half) = (T::one(), T::from_f64(0.5));
        self.inner(x, out);
        let pairs = out.iter_mut().zip(x);
        match self {
            // NaN stays, and −∞ times a step of 0 would be one.
            Self::Relu => pairs.for_each(|(out, x)| {
                *out = if *x <= T::zero() { T::zero() } else { *x };
            }),
            Self::Silu => pairs.for_each(|(out, x)| *out = *x / (one + *out)),
            Self::Gelu | Self::GeluTanh => {
                pairs.for_each(|(out, x)| *out = half * *x * (one + *out));
            }
        }
    }

    /// Writes `act'(x)` to `out`.
    #[inline(always)]
    fn slope<T: Real>(self, x: &[T], out: &mut [T]) {
        let (one, half) = (T::one(), T::from_f64(0.5));
        self.inner(x, out);
        let pairs = out.iter_mut().zip(x);
        match self {
            Self::Relu => {}
            Self::Silu => pairs.for_each(|(out, x)| {
                let share = one / (one + *out);
                *out = share * (one + *x * (one - share));
            }),
            Self::Gelu => {
                let density = T::from_f64(0.5 * TANH.0);
                let mut bell: Vec<T> = x.iter().map(|x| T::zero() - half * *x * *x).collect();
                T::exp_all(&mut bell);
                for ((out, x), bell) in pairs.zip(bell) {
                    *out = half * (one + *out) + *x * density * bell;
                }
            }
            Self::GeluTanh => {
                let (root, cube) = (T::from_f64(TANH.0), T::from_f64(3. * TANH.1));
                pairs.for_each(|(out, x)| {
                    let inner = root * (one + cube * *x * *x);
                    *out = half * (one + *out) + half * *x * (one - *out * *out) * inner;
                });
            }
        }
    }

    /// The function that costs most: of relu the step, of SiLU `e^(-x)`, of the GELUs erf or tanh.
    #[inline(always)]
    fn inner<T: Real>(self, x: &[T], out: &mut [T]) {
        let pairs = out.iter_mut().zip(x);
        match self {
            Self::Relu => pairs.for_each(|(out, x)| {
                *out = if *x > T::zero() { T::one() } else { T::zero() };
            }),
            Self::Silu => {
                pairs.for_each(|(out, x)| *out = T::zero() - *x);
                T::exp_all(out);
            }
            Self::Gelu => {
                let scale = T::from_f64(std::f64::consts::FRAC_1_SQRT_2);
                pairs.for_each(|(out, x)| *out = scale * *x);
                T::erf_all(out);
            }
            Self::GeluTanh => {
                let (root, cube) = (T::from_f64(TANH.0), T::from_f64(TANH.1));
                pairs.for_each(|(out, x)| *out = root * (*x + cube * *x * *x * *x));
                T::tanh_all(out);
            }
        }
    }
}

impl Kernel for Act {
    const NAME: &'static str = "activation";

    fn shape(&self, dims: &[usize]) -> Shape {
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], _: &[usize]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        each_row(&mut out, CHUNK, (x, CHUNK), |out, x| apply(self.0, x, out));
        out
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], _: &[usize]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.zip(grad.par_chunks(CHUNK)).for_each(|((out, x), grad)| {
            slope_times(self.0, x, grad, out);
        });
        out
    }
}

vectorised! {
    /// Writes `act(x)` to `out`.
    fn apply<T: Real>(curve: ActivationCurve, x: &[T], out: &mut [T]) {
        curve.apply(x, out);
    }
}

vectorised! {
    /// Writes `act'(x) ∘ grad` to `out`.
    fn slope_times<T: Real>(curve: ActivationCurve, x: &[T], grad: &[T], out: &mut [T]) {
        curve.slope(x, out);
        out.iter_mut().zip(grad).for_each(|(out, grad)| *out *= *grad);
    }
}

vectorised! {
    /// Writes `act(left) ∘ right` of a row.
    fn gate<T: Real>(gated: &GatedActivation, out: &mut [T], x: &[T]) {
        let (left, right) = x.split_at(out.len());
        match gated.0 {
            None => out.copy_from_slice(left),
            Some(curve) => curve.apply(left, out),
        }
        out.iter_mut().zip(right).for_each(|(out, right)| *out *= *right);
    }
}

vectorised! {
    /// Writes the gradient of a row of `act(left) ∘ right`.
    fn gate_gradient<T: Real>(gated: &GatedActivation, out: &mut [T], x: &[T], grad: &[T]) {
        let (left, right) = x.split_at(grad.len());
        let (to_left, to_right) = out.split_at_mut(grad.len());
        match gated.0 {
            None => {
                to_left.copy_from_slice(grad);
                to_right.copy_from_slice(left);
            }
            Some(curve) => {
                curve.slope(left, to_left);
                to_left.iter_mut().zip(grad).for_each(|(out, grad)| *out *= *grad);
                curve.apply(left, to_right);
            }
        }
        to_left.iter_mut().zip(right).for_each(|(to, right)| *to *= *right);
        to_right.iter_mut().zip(grad).for_each(|(to, grad)| *to *= *grad);
    }
}

impl Kernel for GatedActivation {
    const NAME: &'static str = "gate";

    fn shape(&self, dims: &[usize]) -> Shape {
        let mut dims = dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last /= 2;
        }
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0) / 2;
        let mut out = vec![T::zero(); x.len() / 2];
        each_row(&mut out, width, (x, 2 * width), |out, x| gate(self, out, x));
        out
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0) / 2;
        let mut out = vec![T::zero(); x.len()];
        let rows = out.par_chunks_mut(2 * width).zip(x.par_chunks(2 * width));
        rows.zip(grad.par_chunks(width)).for_each(|((out, x), grad)| {
            gate_gradient(self, out, x, grad);
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relu_of_what_is_not_finite() {
        let x = [f32::NEG_INFINITY, -1.0, -0.0, 0.0, 2.0, f32::INFINITY, f32::NAN];
        let mut out = [7f32; 7];
        apply(ActivationCurve::Relu, &x, &mut out);
        assert_eq!(out[..6], [0.0, 0.0, 0.0, 0.0, 2.0, f32::INFINITY]);
        assert!(out[6].is_nan());
        slope_times(ActivationCurve::Relu, &x[..6], &[3.0; 6], &mut out[..6]);
        assert_eq!(out[..6], [0.0, 0.0, 0.0, 0.0, 3.0, 3.0]);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn all_versions_give_the_same_bits() {
        use crate::linalg::simd::tests::{assert_same_bits, bits, samples};
        use ActivationCurve::{Gelu, GeluTanh, Relu, Silu};
        for (length, with_nan) in (0..=100).flat_map(|n| [(n, false), (n, true)]) {
            let (x, grad) = (samples(2 * length, with_nan), samples(length, with_nan));
            for curve in [None, Some(Relu), Some(Silu), Some(Gelu), Some(GeluTanh)] {
                let gated = GatedActivation(curve);
                assert_same_bits(|| {
                    let mut out = vec![0f32; length];
                    gate(&gated, &mut out, &x);
                    bits(out.into_iter().map(f64::from))
                });
                assert_same_bits(|| {
                    let mut out = vec![0f32; 2 * length];
                    gate_gradient(&gated, &mut out, &x, &grad);
                    bits(out.into_iter().map(f64::from))
                });
                let Some(curve) = curve else { continue };
                assert_same_bits(|| {
                    let mut out = vec![0f32; length];
                    slope_times(curve, &x[..length], &grad, &mut out);
                    bits(out.into_iter().map(f64::from))
                });
            }
        }
    }
}
