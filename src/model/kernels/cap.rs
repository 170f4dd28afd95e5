//! Soft bounds.

use candle_core::Shape;
use rayon::prelude::*;

use super::each_row;
use crate::linalg::{Kernel, Real};

/// Entries that one thread takes at a time.
const CHUNK: usize = 4096;

/// `c tanh(x / c)` for the bound c, entry by entry.
pub(in crate::model) struct Cap(pub(in crate::model) f64);

impl Cap {
    fn tanh<T: Real>(&self, x: &[T], out: &mut [T]) {
        let bound = T::from_f64(self.0);
        out.iter_mut().zip(x).for_each(|(out, x)| *out = *x / bound);
        T::tanh_all(out);
    }
}

impl Kernel for Cap {
    const NAME: &'static str = "cap";

    fn shape(&self, dims: &[usize]) -> Shape {
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], _: &[usize]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        each_row(&mut out, CHUNK, (x, CHUNK), |out, x| {
            self.tanh(x, out);
            out.iter_mut().for_each(|out| *out *= T::from_f64(self.0));
        });
        out
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], _: &[usize]) -> Vec<T> {
        let mut out = vec![T::zero(); x.len()];
        let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks.zip(grad.par_chunks(CHUNK)).for_each(|((out, x), grad)| {
            self.tanh(x, out);
            let pairs = out.iter_mut().zip(grad);
            pairs.for_each(|(out, grad)| *out = (T::one() - *out * *out) * *grad);
        });
        out
    }
}
