//! Causal attention with rotary embedding.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Shape;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::linalg::{Kernel, Real, softmax_parts, sum_of_pairs, vectorised};

/// Queries whose pattern is held at a time.
const BLOCK: usize = 128;

/// From `[batch, positions, q | k | v]`, each part heads beside each other, each head's mix of
/// values `[batch, positions, heads · d_head]`:
///
/// ```text
/// softmax(cap(scale · R q (R k)ᵀ) over the keys that are seen) v
/// ```
///
/// where R turns entries i and i + turned/2 of a head by the position's angle, and query head n
/// reads keys and values number ⌊n / (heads / kv_heads)⌋. The pattern is never stored: the gradient
/// computes it again.
pub(in crate::model) struct Attention {
    pub(in crate::model) heads: usize,
    pub(in crate::model) kv_heads: usize,
    pub(in crate::model) d_head: usize,
    /// Entries of a head that turn.
    pub(in crate::model) turned: usize,
    /// What scores are multiplied by.
    pub(in crate::model) scale: f64,
    /// Bound c of scores, `c tanh(score / c)`.
    pub(in crate::model) cap: Option<f64>,
    /// Keys that a query sees, itself the last of them.
    pub(in crate::model) window: usize,
    /// Cosines of the angles, `[positions, turned/2]`.
    pub(in crate::model) cos: Arc<[f64]>,
    /// Their sines.
    pub(in crate::model) sin: Arc<[f64]>,
}

/// A call, with its sizes and the angles in its number type.
struct Call<'a, T> {
    op: &'a Attention,
    positions: usize,
    scale: T,
    cos: Vec<T>,
    sin: Vec<T>,
}

/// One head's rotated queries and keys, and its values, `[positions, d_head]`.
struct Head<T> {
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
}

impl Attention {
    /// Width of a row of queries, keys and values.
    fn width(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.d_head
    }

    /// The keys and values that a head reads.
    fn kv(&self, head: usize) -> usize {
        head / (self.heads / self.kv_heads)
    }

    /// The first entries of a head's queries, keys and values in a row.
    fn starts(&self, head: usize) -> [usize; 3] {
        let kv = self.heads + self.kv(head);
        [head * self.d_head, kv * self.d_head, (kv + self.kv_heads) * self.d_head]
    }
}

impl<'a, T: Real> Call<'a, T> {
    fn new(op: &'a Attention, dims: &[usize]) -> Self {
        let [_, positions, _] = *dims else { unreachable!("attention of {dims:?}") };
        let table = |values: &[f64]| values.iter().map(|value| T::from_f64(*value)).collect();
        Self {
            op,
            positions,
            scale: T::from_f64(op.scale),
            cos: table(&op.cos),
            sin: table(&op.sin),
        }
    }

    /// Rows of one head out of rows of `width` entries, from entry `start` on.
    fn gather(&self, from: &[T], width: usize, start: usize) -> Vec<T> {
        let mut rows = Vec::with_capacity(from.len() / width * self.op.d_head);
        for row in from.chunks(width) {
            rows.extend_from_slice(&row[start..start + self.op.d_head]);
        }
        rows
    }

    /// Turns each row by its position's angle, or back.
    fn rotate(&self, rows: &mut [T], back: bool) {
        let half = self.op.turned / 2;
        for (position, row) in rows.chunks_mut(self.op.d_head).enumerate() {
            let (left, right) = row[..2 * half].split_at_mut(half);
            let angles = position * half..(position + 1) * half;
            turn(left, right, &self.cos[angles.clone()], &self.sin[angles], back);
        }
    }

    fn head(&self, qkv: &[T], head: usize) -> Head<T> {
        let [mut q, mut k, v] =
            self.op.starts(head).map(|start| self.gather(qkv, self.op.width(), start));
        self.rotate(&mut q, false);
        self.rotate(&mut k, false);
        Head { q, k, v }
    }

    /// Writes the pattern of some queries over some keys to `target`; outside the keys that they see
    /// it is zero. With a bound of scores, the slope of the bound at each score goes to `slopes`.
    fn pattern(
        &self,
        head: &Head<T>,
        queries: Range<usize>,
        keys: Range<usize>,
        target: &mut [T],
        slopes: Option<&mut [T]>,
    ) {
        let (d_head, count) = (self.op.d_head, keys.len());
        let q = &head.q[queries.start * d_head..queries.end * d_head];
        let k = &head.k[keys.start * d_head..keys.end * d_head];
        let (q, k) = (self.rows(q), self.rows(k));
        product(target, q, k.transpose(), self.scale);
        if let Some(cap) = self.op.cap {
            let bound = T::from_f64(cap);
            target.iter_mut().for_each(|x| *x /= bound);
            T::tanh_all(target);
            if let Some(slopes) = slopes {
                slopes.iter_mut().zip(&*target).for_each(|(to, t)| *to = T::one() - *t * *t);
            }
            target.iter_mut().for_each(|x| *x *= bound);
        }
        for (query, row) in queries.zip(target.chunks_mut(count)) {
            let end = query + 1 - keys.start;
            let first = (query + 1).saturating_sub(self.op.window).saturating_sub(keys.start);
            row[..first].fill(T::zero());
            row[end..].fill(T::zero());
            let seen = &mut row[first..end];
            softmax(seen);
        }
    }

    /// One head's mix of values, `[positions, d_head]`.
    fn mix(&self, qkv: &[T], head: usize) -> Vec<T> {
        let (n, d_head) = (self.positions, self.op.d_head);
        let head = self.head(qkv, head);
        let mut z = vec![T::zero(); n * d_head];
        let mut pattern = Vec::new();
        for start in (0..n).step_by(BLOCK) {
            let end = (start + BLOCK).min(n);
            let first = (start + 1).saturating_sub(self.op.window);
            pattern.resize((end - start) * (end - first), T::zero());
            self.pattern(&head, start..end, first..end, &mut pattern, None);
            let own = MatRef::from_row_major_slice(&pattern, end - start, end - first);
            let v = self.rows(&head.v[first * d_head..end * d_head]);
            product(&mut z[start * d_head..end * d_head], own, v, T::one());
        }
        z
    }

    /// `[rows, d_head]`.
    fn rows<'b>(&self, values: &'b [T]) -> MatRef<'b, T> {
        let d_head = self.op.d_head;
        MatRef::from_row_major_slice(values, values.len() / d_head, d_head)
    }

    /// `[queries, keys]`.
    fn square<'b>(&self, values: &'b [T]) -> MatRef<'b, T> {
        MatRef::from_row_major_slice(values, self.positions, self.positions)
    }
}

vectorised! {
    /// Turns pairs of entries by their angles, or back.
    fn turn<T: Real>(left: &mut [T], right: &mut [T], cos: &[T], sin: &[T], back: bool) {
        let angles = cos.iter().zip(sin);
        for ((a, b), (cos, sin)) in left.iter_mut().zip(right).zip(angles) {
            let sin = if back { T::zero() - *sin } else { *sin };
            (*a, *b) = (*a * *cos - *b * sin, *a * sin + *b * *cos);
        }
    }
}

vectorised! {
    /// Replaces scores by their softmax.
    fn softmax<T: Real>(scores: &mut [T]) {
        let scale = T::one() / softmax_parts(scores).1;
        scores.iter_mut().for_each(|x| *x *= scale);
    }
}

vectorised! {
    /// Replaces the gradient with respect to a row of a pattern by that with respect to its scores.
    fn through_softmax<T: Real>(gradient: &mut [T], pattern: &[T]) {
        let sum = sum_of_pairs(gradient, pattern, |g, p| g * p);
        gradient.iter_mut().zip(pattern).for_each(|(g, p)| *g = *p * (*g - sum));
    }
}

/// Writes `scale · a b`.
fn product<T: Real>(target: &mut [T], a: MatRef<'_, T>, b: MatRef<'_, T>, scale: T) {
    let target = MatMut::from_row_major_slice_mut(target, a.nrows(), b.ncols());
    matmul(target, Accum::Replace, a, b, scale, Par::Seq);
}

/// Adds rows of one head to rows of `width` entries, from entry `start` on.
fn scatter<T: Real>(to: &mut [T], width: usize, start: usize, rows: &[T], d_head: usize) {
    for (to, row) in to.chunks_mut(width).zip(rows.chunks(d_head)) {
        to[start..start + d_head].iter_mut().zip(row).for_each(|(to, row)| *to += *row);
    }
}

impl Kernel for Attention {
    const NAME: &'static str = "attention";

    fn shape(&self, dims: &[usize]) -> Shape {
        let mut dims = dims.to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.heads * self.d_head;
        }
        Shape::from(dims)
    }

    fn forward<T: Real>(&self, qkv: &[T], dims: &[usize]) -> Vec<T> {
        let call = Call::<T>::new(self, dims);
        let (n, d, width) = (call.positions, self.heads * self.d_head, self.width());
        let mut out = vec![T::zero(); qkv.len() / width * d];
        out.par_chunks_mut(n * d).zip(qkv.par_chunks(n * width)).for_each(|(out, qkv)| {
            let mixes: Vec<Vec<T>> =
                (0..self.heads).into_par_iter().map(|head| call.mix(qkv, head)).collect();
            for (head, z) in mixes.iter().enumerate() {
                scatter(out, d, head * self.d_head, z, self.d_head);
            }
        });
        out
    }

    /// With P the pattern, g the gradient of its mix of values and C' the slope of the bound:
    ///
    /// ```text
    /// dv = Pᵀ g      dP = g vᵀ      dS = C' ∘ P ∘ (dP − rowsum(P ∘ dP))
    /// d(Rq) = scale · dS Rk      d(Rk) = scale · dSᵀ Rq
    /// ```
    fn backward<T: Real>(&self, qkv: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let call = Call::<T>::new(self, dims);
        let (n, d, d_head) = (call.positions, self.heads * self.d_head, self.d_head);
        let width = self.width();
        let mut out = vec![T::zero(); qkv.len()];
        let examples = out.par_chunks_mut(n * width).zip(qkv.par_chunks(n * width));
        examples.zip(grad.par_chunks(n * d)).for_each(|((out, qkv), grad)| {
            let mut part = vec![T::zero(); n * d_head];
            let (mut scores, mut pattern) = (vec![T::zero(); n * n], vec![T::zero(); n * n]);
            let mut slopes = self.cap.map(|_| vec![T::zero(); n * n]);
            for head in 0..self.heads {
                let own = call.head(qkv, head);
                call.pattern(&own, 0..n, 0..n, &mut pattern, slopes.as_deref_mut());
                let g = call.gather(grad, d, head * d_head);
                let starts = self.starts(head);
                let mut put = |which: usize, rows: &[T]| {
                    scatter(out, width, starts[which], rows, d_head);
                };
                product(&mut part, call.square(&pattern).transpose(), call.rows(&g), T::one());
                put(2, &part);
                product(&mut scores, call.rows(&g), call.rows(&own.v).transpose(), T::one());
                for (row, pattern) in scores.chunks_mut(n).zip(pattern.chunks(n)) {
                    through_softmax(row, pattern);
                }
                if let Some(slopes) = &slopes {
                    scores.iter_mut().zip(slopes).for_each(|(g, slope)| *g *= *slope);
                }
                product(&mut part, call.square(&scores), call.rows(&own.k), call.scale);
                call.rotate(&mut part, true);
                put(0, &part);
                product(&mut part, call.square(&scores).transpose(), call.rows(&own.q), call.scale);
                call.rotate(&mut part, true);
                put(1, &part);
            }
        });
        out
    }
}
