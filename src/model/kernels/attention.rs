//! Causal attention with rotary embedding.

use std::sync::Arc;

use candle_core::Shape;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::linalg::{Kernel, Real};

/// From `[batch, positions, q | k | v]`, each part heads beside each other, each head's mix of
/// values `[batch, positions, d]`:
///
/// ```text
/// softmax(R q (R k)ᵀ/√d_head over the keys that are not ahead) v
/// ```
///
/// where R turns entries i and i + d_head/2 of a head by the position's angle. The pattern is never
/// stored: the gradient computes it again.
pub(in crate::model) struct Attention {
    pub(in crate::model) heads: usize,
    /// Cosines of the angles, `[positions, d_head/2]`.
    pub(in crate::model) cos: Arc<[f64]>,
    /// Their sines.
    pub(in crate::model) sin: Arc<[f64]>,
}

/// The sizes of a call, with the angles in its number type.
struct Call<T> {
    positions: usize,
    heads: usize,
    d_head: usize,
    scale: T,
    cos: Vec<T>,
    sin: Vec<T>,
}

/// One head's rotated queries and keys, its values, and its pattern.
struct Head<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
    pattern: Vec<T>,
}

impl<T: Real> Call<T> {
    fn new(op: &Attention, dims: &[usize]) -> Self {
        let [_, positions, width] = *dims else { unreachable!("attention of {dims:?}") };
        let d_head = width / 3 / op.heads;
        let table = |values: &[f64]| values.iter().map(|value| T::from_f64(*value)).collect();
        Self {
            positions,
            heads: op.heads,
            d_head,
            scale: T::from_f64((d_head as f64).powf(-0.5)),
            cos: table(&op.cos),
            sin: table(&op.sin),
        }
    }

    fn width(&self) -> usize {
        self.heads * self.d_head
    }

    /// Rows of one head out of rows of `width` entries, from entry `start` on.
    fn gather(&self, from: &[T], width: usize, start: usize) -> Vec<T> {
        let rows = from.chunks(width).flat_map(|row| &row[start..start + self.d_head]);
        rows.copied().collect()
    }

    /// Turns each row by its position's angle, or back.
    fn rotate(&self, rows: &mut [T], back: bool) {
        let half = self.d_head / 2;
        for (position, row) in rows.chunks_mut(self.d_head).enumerate() {
            let (left, right) = row.split_at_mut(half);
            let angles = position * half..(position + 1) * half;
            let angles = self.cos[angles.clone()].iter().zip(&self.sin[angles]);
            for ((a, b), (cos, sin)) in left.iter_mut().zip(right).zip(angles) {
                let sin = if back { T::zero() - *sin } else { *sin };
                (*a, *b) = (*a * *cos - *b * sin, *a * sin + *b * *cos);
            }
        }
    }

    fn head(&self, qkv: &[T], head: usize) -> Head<T> {
        let (n, d) = (self.positions, self.width());
        let part = |part: usize| self.gather(qkv, 3 * d, part * d + head * self.d_head);
        let (mut q, mut k, v) = (part(0), part(1), part(2));
        self.rotate(&mut q, false);
        self.rotate(&mut k, false);
        let mut pattern = vec![T::zero(); n * n];
        product(&mut pattern, self.rows(&q), self.rows(&k).transpose(), self.scale);
        for (query, row) in pattern.chunks_mut(n).enumerate() {
            let (seen, ahead) = row.split_at_mut(query + 1);
            ahead.fill(T::zero());
            let start = seen.first().copied().unwrap_or(T::zero());
            let most = seen.iter().fold(start, |most, x| if *x > most { *x } else { most });
            seen.iter_mut().for_each(|x| *x -= most);
            T::exp_all(seen);
            let sum = seen.iter().fold(T::zero(), |sum, x| sum + *x);
            seen.iter_mut().for_each(|x| *x /= sum);
        }
        Head { q, k, v, pattern }
    }

    /// `[positions, d_head]`.
    fn rows<'a>(&self, values: &'a [T]) -> MatRef<'a, T> {
        MatRef::from_row_major_slice(values, self.positions, self.d_head)
    }

    /// `[queries, keys]`.
    fn square<'a>(&self, values: &'a [T]) -> MatRef<'a, T> {
        MatRef::from_row_major_slice(values, self.positions, self.positions)
    }
}

/// Writes `scale · a b`.
fn product<T: Real>(target: &mut [T], a: MatRef<'_, T>, b: MatRef<'_, T>, scale: T) {
    let target = MatMut::from_row_major_slice_mut(target, a.nrows(), b.ncols());
    matmul(target, Accum::Replace, a, b, scale, Par::Seq);
}

/// Puts rows of one head into rows of `width` entries, from entry `start` on.
fn scatter<T: Real>(to: &mut [T], width: usize, start: usize, rows: &[T], d_head: usize) {
    for (to, row) in to.chunks_mut(width).zip(rows.chunks(d_head)) {
        to[start..start + d_head].copy_from_slice(row);
    }
}

impl Kernel for Attention {
    const NAME: &'static str = "attention";

    fn shape(&self, dims: &[usize]) -> Shape {
        let mut dims = dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last /= 3;
        }
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, qkv: &[T], dims: &[usize]) -> Vec<T> {
        let call = Call::<T>::new(self, dims);
        let (n, d, d_head) = (call.positions, call.width(), call.d_head);
        let mut out = vec![T::zero(); qkv.len() / 3];
        out.par_chunks_mut(n * d).zip(qkv.par_chunks(3 * n * d)).for_each(|(out, qkv)| {
            let mut z = vec![T::zero(); n * d_head];
            for head in 0..call.heads {
                let parts = call.head(qkv, head);
                product(&mut z, call.square(&parts.pattern), call.rows(&parts.v), T::one());
                scatter(out, d, head * d_head, &z, d_head);
            }
        });
        out
    }

    /// With P the pattern and g the gradient of its mix of values:
    ///
    /// ```text
    /// dv = Pᵀ g      dP = g vᵀ      dS = P ∘ (dP − rowsum(P ∘ dP))
    /// d(Rq) = dS Rk/√d_head      d(Rk) = dSᵀ Rq/√d_head
    /// ```
    fn backward<T: Real>(&self, qkv: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let call = Call::<T>::new(self, dims);
        let (n, d, d_head) = (call.positions, call.width(), call.d_head);
        let mut out = vec![T::zero(); qkv.len()];
        let examples = out.par_chunks_mut(3 * n * d).zip(qkv.par_chunks(3 * n * d));
        examples.zip(grad.par_chunks(n * d)).for_each(|((out, qkv), grad)| {
            let mut part = vec![T::zero(); n * d_head];
            let mut scores = vec![T::zero(); n * n];
            for head in 0..call.heads {
                let Head { q, k, v, pattern } = call.head(qkv, head);
                let g = call.gather(grad, d, head * d_head);
                let mut put = |which: usize, rows: &[T]| {
                    scatter(out, 3 * d, which * d + head * d_head, rows, d_head);
                };
                product(&mut part, call.square(&pattern).transpose(), call.rows(&g), T::one());
                put(2, &part);
                product(&mut scores, call.rows(&g), call.rows(&v).transpose(), T::one());
                for (row, pattern) in scores.chunks_mut(n).zip(pattern.chunks(n)) {
                    let sum = row.iter().zip(pattern).fold(T::zero(), |sum, (g, p)| sum + *g * *p);
                    row.iter_mut().zip(pattern).for_each(|(g, p)| *g = *p * (*g - sum));
                }
                product(&mut part, call.square(&scores), call.rows(&k), call.scale);
                call.rotate(&mut part, true);
                put(0, &part);
                product(&mut part, call.square(&scores).transpose(), call.rows(&q), call.scale);
                call.rotate(&mut part, true);
                put(1, &part);
            }
        });
        out
    }
}
