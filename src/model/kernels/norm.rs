//! Normalisation of rows.

use candle_core::Shape;
use rayon::prelude::*;

use super::each_row;
use crate::linalg::{Kernel, Real, sum_of, sum_of_pairs, vectorised};

/// `gain ∘ c / √(mean(c²) + eps) + bias` for each row x, with `c = x`, or `x − mean(x)`; gain 1 and
/// bias 0 where they are `None`.
pub(in crate::model) struct RowNorm {
    pub(in crate::model) eps: f64,
    /// Whether the mean is subtracted.
    pub(in crate::model) centre: bool,
    pub(in crate::model) gain: Option<Vec<f64>>,
    pub(in crate::model) bias: Option<Vec<f64>>,
}

impl RowNorm {
    /// What is subtracted from a row, and what it is then multiplied by.
    #[inline(always)]
    fn of<T: Real>(&self, row: &[T]) -> (T, T) {
        let width = T::from_f64(row.len() as f64);
        let mean = match self.centre {
            true => sum_of(row, |x| x) / width,
            false => T::zero(),
        };
        let squares = sum_of(row, |x| (x - mean) * (x - mean));
        (mean, T::one() / (squares / width + T::from_f64(self.eps)).root())
    }
}

vectorised! {
    /// Writes the norm of a row.
    fn normalise<T: Real>(
        norm: &RowNorm,
        out: &mut [T],
        x: &[T],
        gain: Option<&[T]>,
        bias: Option<&[T]>,
    ) {
        let (mean, scale) = norm.of(x);
        out.iter_mut().zip(x).for_each(|(out, x)| *out = (*x - mean) * scale);
        if let Some(gain) = gain {
            out.iter_mut().zip(gain).for_each(|(out, gain)| *out *= *gain);
        }
        if let Some(bias) = bias {
            out.iter_mut().zip(bias).for_each(|(out, bias)| *out += *bias);
        }
    }
}

vectorised! {
    /// Writes the gradient of a row: with s the scale, y = s c and g the gradient times the gain,
    /// `s (g − y mean(g ∘ y))`, less the mean of that where the mean was subtracted.
    fn differentiate<T: Real>(
        norm: &RowNorm,
        out: &mut [T],
        x: &[T],
        grad: &[T],
        gain: Option<&[T]>,
    ) {
        let count = T::from_f64(x.len() as f64);
        out.copy_from_slice(grad);
        if let Some(gain) = gain {
            out.iter_mut().zip(gain).for_each(|(out, gain)| *out *= *gain);
        }
        let (mean, scale) = norm.of(x);
        let along = sum_of_pairs(x, out, |x, g| (x - mean) * g) * scale * scale / count;
        for (out, x) in out.iter_mut().zip(x) {
            *out = scale * (*out - (*x - mean) * along);
        }
        if norm.centre {
            let mean = sum_of(out, |g| g) / count;
            out.iter_mut().for_each(|g| *g -= mean);
        }
    }
}

fn values<T: Real>(from: &Option<Vec<f64>>) -> Option<Vec<T>> {
    from.as_ref().map(|values| values.iter().map(|value| T::from_f64(*value)).collect())
}

impl Kernel for RowNorm {
    const NAME: &'static str = "row_norm";

    fn shape(&self, dims: &[usize]) -> Shape {
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0);
        let (gain, bias) = (values::<T>(&self.gain), values::<T>(&self.bias));
        let (gain, bias) = (gain.as_deref(), bias.as_deref());
        let mut out = vec![T::zero(); x.len()];
        each_row(&mut out, width, (x, width), |out, x| {
            normalise(self, out, x, gain, bias);
        });
        out
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0);
        let gain = values::<T>(&self.gain);
        let mut out = vec![T::zero(); x.len()];
        let rows = out.par_chunks_mut(width).zip(x.par_chunks(width));
        rows.zip(grad.par_chunks(width)).for_each(|((out, x), grad)| {
            differentiate(self, out, x, grad, gain.as_deref());
        });
        out
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::linalg::simd::tests::{assert_same_bits, bits, samples};

    #[test]
    fn all_versions_give_the_same_bits() {
        for (length, with_nan) in (0..=100).flat_map(|n| [(n, false), (n, true)]) {
            let all = samples(4 * length, with_nan);
            let part = |which: usize| &all[which * length..(which + 1) * length];
            let [x, grad, gain, bias] = [0, 1, 2, 3].map(part);
            for centre in [false, true] {
                let norm = RowNorm { eps: 1e-5, centre, gain: None, bias: None };
                assert_same_bits(|| {
                    let mut out = vec![0f32; length];
                    normalise(&norm, &mut out, x, Some(gain), Some(bias));
                    bits(out.into_iter().map(f64::from))
                });
                assert_same_bits(|| {
                    let mut out = vec![0f32; length];
                    differentiate(&norm, &mut out, x, grad, Some(gain));
                    bits(out.into_iter().map(f64::from))
                });
            }
        }
    }
}
