//! The largest entries of each row, with gradients.

use candle_core::{DType, Device, Shape, Tensor};
use rayon::prelude::*;

use super::select::largest;
use crate::Result;
use crate::linalg::{Kernel, Real, can_fuse, fused};

/// `h` `[n, m]` with all but the k largest entries of each row set to zero; gradients reach those
/// alone.
pub(super) fn top_k(h: &Tensor, k: usize) -> Result<Tensor> {
    match can_fuse(h) {
        true => fused(h, TopK { k }),
        false => Ok((h * mask(&h.detach(), k)?)?),
    }
}

struct TopK {
    k: usize,
}

impl TopK {
    /// `values` at the k largest entries of each row of `x`, 0 elsewhere.
    fn keep<T: Real>(&self, x: &[T], values: &[T], dims: &[usize]) -> Vec<T> {
        let m = dims.last().copied().unwrap_or(1);
        let mut kept = vec![T::zero(); x.len()];
        let rows = kept.par_chunks_mut(m).zip(x.par_chunks(m)).zip(values.par_chunks(m));
        rows.for_each(|((kept, x), values)| {
            let row: Vec<f32> = x.iter().map(|x| x.to_f64() as f32).collect();
            for (feature, _) in largest(&row, self.k) {
                kept[feature as usize] = values[feature as usize];
            }
        });
        kept
    }
}

impl Kernel for TopK {
    const NAME: &'static str = "top_k";

    fn shape(&self, dims: &[usize]) -> Shape {
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, x: &[T], dims: &[usize]) -> Vec<T> {
        self.keep(x, x, dims)
    }

    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        self.keep(x, grad, dims)
    }
}

/// 1 at the k largest entries of each row, 0 elsewhere.
fn mask(h: &Tensor, k: usize) -> Result<Tensor> {
    let (n, m) = h.dims2()?;
    let values: Vec<f32> = h.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
    let mut mask = vec![0f32; n * m];
    for (row, mask) in values.chunks(m).zip(mask.chunks_mut(m)) {
        for (feature, _) in largest(row, k) {
            mask[feature as usize] = 1.0;
        }
    }
    Ok(Tensor::from_vec(mask, (n, m), &Device::Cpu)?.to_dtype(h.dtype())?.to_device(h.device())?)
}
