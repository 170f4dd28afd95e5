//! The product of an MLP's halves.

use candle_core::Shape;
use rayon::prelude::*;

use crate::linalg::{Kernel, Real};

/// `left ∘ right` for rows `[…, left | right]`.
pub(in crate::model) struct Gate;

impl Kernel for Gate {
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
        out.par_chunks_mut(width).zip(x.par_chunks(2 * width)).for_each(|(out, x)| {
            let (left, right) = x.split_at(width);
            for ((out, left), right) in out.iter_mut().zip(left).zip(right) {
                *out = *left * *right;
            }
        });
        out
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let width = dims.last().copied().unwrap_or(0) / 2;
        let mut out = vec![T::zero(); x.len()];
        let rows = out.par_chunks_mut(2 * width).zip(x.par_chunks(2 * width));
        rows.zip(grad.par_chunks(width)).for_each(|((out, x), grad)| {
            let (left, right) = x.split_at(width);
            let (to_left, to_right) = out.split_at_mut(width);
            for i in 0..width {
                to_left[i] = grad[i] * right[i];
                to_right[i] = grad[i] * left[i];
            }
        });
        out
    }
}
