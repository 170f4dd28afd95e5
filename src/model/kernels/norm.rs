//! Root mean square normalisation.

use candle_core::Shape;
use rayon::prelude::*;

use crate::linalg::{Kernel, Real};

/// `x / √(mean(x²) + eps)` for each row, without gain.
pub(in crate::model) struct RmsNorm {
    pub(in crate::model) eps: f64,
}

impl RmsNorm {
    fn scale<T: Real>(&self, row: &[T]) -> T {
        let squares = row.iter().fold(T::zero(), |sum, x| sum + *x * *x);
        let mean = squares / T::from_f64(row.len() as f64);
        T::one() / (mean + T::from_f64(self.eps)).root()
    }
}

impl Kernel for RmsNorm {
    const NAME: &'static str = "rms_norm";

    fn shape(&self, dims: &[usize]) -> Shape {
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0);
        let mut out = vec![T::zero(); x.len()];
        out.par_chunks_mut(width).zip(x.par_chunks(width)).for_each(|(out, x)| {
            let scale = self.scale(x);
            out.iter_mut().zip(x).for_each(|(out, x)| *out = *x * scale);
        });
        out
    }

    /// With s the scale and y = s x, `s (g − y mean(g ∘ y))`.
    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0);
        let mut out = vec![T::zero(); x.len()];
        let rows = out.par_chunks_mut(width).zip(x.par_chunks(width));
        rows.zip(grad.par_chunks(width)).for_each(|((out, x), grad)| {
            let scale = self.scale(x);
            let along = x.iter().zip(grad).fold(T::zero(), |sum, (x, g)| sum + *x * *g);
            let along = along * scale * scale / T::from_f64(width as f64);
            for ((out, x), g) in out.iter_mut().zip(x).zip(grad) {
                *out = scale * (*g - *x * along);
            }
        });
        out
    }
}
