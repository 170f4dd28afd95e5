//! One step of gradient descent for all dictionaries of a grid at once.
//!
//! The atoms of all members stand below each other: S = Σ sᵍ rows of the encoders E and the
//! decoders D, both `[S, m]`. With samples X `[B, m]`, what is the same for all members is one
//! product; what is not, is a batch of products, a block a member:
//!
//! ```text
//! H = E Xᵀ + e          [S, B]   one product
//! C = act(H)            [S, B]
//! R = 2/B (Cᵀ D − X)    [B, m]   a block
//! ∂H = (D Rᵀ + λ/B) where C > 0, else 0
//! ∂D = C R
//! ∂E = ∂H X
//! ```
//!
//! Once few of a member's codes are left, all but the first product touch those alone.

use rayon::prelude::*;

use super::dictionary::Sparsity;
use crate::linalg::{Operand, ProductInto};

/// A member goes code by code when at most one code in so many is not zero.
const SPARSE_FROM: usize = 10;
/// Sums of an inner product.
const LANES: usize = 8;

/// A member's place among the rows, and how it is kept sparse.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) sparsity: Sparsity,
    pub(super) size: usize,
}

/// Parameters of all members, or their gradients. Where encoders are tied, `encoder` is empty.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    pub(super) encoder: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) decoder: Vec<f32>,
}

/// What a step needs room for, so that no step asks for memory.
#[derive(Debug)]
pub(super) struct Step {
    blocks: Vec<Block>,
    dims: usize,
    codes: Vec<f32>,
    /// ∂H.
    slopes: Vec<f32>,
    errors: Vec<f32>,
    pub(super) gradients: Stack,
    /// Whether the blocks alone keep all cores busy.
    many: bool,
}

/// What a step found out about one member.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    /// `Σ ‖x̂ − x‖²` over the samples.
    pub(super) squares: f64,
    /// `Σ c` over samples and atoms.
    pub(super) sum: f64,
    /// The smallest code that a batch-top-k member kept.
    pub(super) least: Option<f32>,
}

impl Step {
    pub(super) fn new(blocks: Vec<Block>, dims: usize, batch: usize, tied: bool) -> Self {
        let rows: usize = blocks.iter().map(|block| block.size).sum();
        let many = blocks.len() >= rayon::current_num_threads();
        Self {
            dims,
            codes: vec![0.0; rows * batch],
            slopes: vec![0.0; rows * batch],
            errors: vec![0.0; blocks.len() * batch * dims],
            gradients: Stack {
                encoder: vec![0.0; if tied { 0 } else { rows * dims }],
                bias: vec![0.0; rows],
                decoder: vec![0.0; rows * dims],
            },
            blocks,
            many,
        }
    }

    /// The gradients of every member's loss on the samples `x` `[batch, dims]`, and what the members
    /// made of them.
    pub(super) fn run(&mut self, stack: &Stack, x: &[f32]) -> Vec<Found> {
        let (dims, many) = (self.dims, self.many);
        let (rows, batch) = (stack.bias.len(), x.len() / dims);
        let tied = stack.encoder.is_empty();
        let encoder = if tied { &stack.decoder } else { &stack.encoder };
        let samples = Operand::new(x, batch, dims);
        let codes = &mut self.codes[..rows * batch];
        let slopes = &mut self.slopes[..rows * batch];
        let encoders = Operand::new(encoder, rows, dims);
        ProductInto::NT.write_slice(codes, encoders, samples, true);

        let parts = Parts {
            blocks: &self.blocks,
            codes,
            slopes,
            errors: &mut self.errors[..self.blocks.len() * batch * dims],
            encoder_gradient: &mut self.gradients.encoder,
            gradient: &mut self.gradients.decoder,
            bias_gradient: &mut self.gradients.bias,
            decoder: &stack.decoder,
            bias: &stack.bias,
        };
        let tasks = parts.split(dims, batch);
        let work = |task: Task<'_>| task.run(x, dims, batch, !many);
        // An indexed collect keeps the order of the members.
        match many {
            true => tasks.into_par_iter().with_max_len(1).map(work).collect(),
            false => tasks.into_iter().map(work).collect(),
        }
    }
}

/// Everything that is cut into blocks.
struct Parts<'a> {
    blocks: &'a [Block],
    codes: &'a mut [f32],
    slopes: &'a mut [f32],
    errors: &'a mut [f32],
    /// Empty where the encoder is tied: its gradient then belongs to the decoder.
    encoder_gradient: &'a mut [f32],
    gradient: &'a mut [f32],
    bias_gradient: &'a mut [f32],
    decoder: &'a [f32],
    bias: &'a [f32],
}

impl<'a> Parts<'a> {
    fn split(mut self, dims: usize, batch: usize) -> Vec<Task<'a>> {
        let blocks = self.blocks;
        let tied = self.encoder_gradient.is_empty();
        let task = |block: &Block| {
            let s = block.size;
            Task {
                block: *block,
                codes: cut(&mut self.codes, s * batch),
                slopes: cut(&mut self.slopes, s * batch),
                errors: cut(&mut self.errors, batch * dims),
                encoder_gradient: cut(&mut self.encoder_gradient, if tied { 0 } else { s * dims }),
                gradient: cut(&mut self.gradient, s * dims),
                bias_gradient: cut(&mut self.bias_gradient, s),
                decoder: self.decoder.split_off(..s * dims).unwrap_or_default(),
                bias: self.bias.split_off(..s).unwrap_or_default(),
            }
        };
        blocks.iter().map(task).collect()
    }
}

/// Takes the first `count` of `values` off.
fn cut<'a>(values: &mut &'a mut [f32], count: usize) -> &'a mut [f32] {
    values.split_off_mut(..count).unwrap_or_default()
}

/// One member's share of a step.
struct Task<'a> {
    block: Block,
    codes: &'a mut [f32],
    slopes: &'a mut [f32],
    errors: &'a mut [f32],
    /// Empty where the encoder is tied: its gradient then belongs to the decoder.
    encoder_gradient: &'a mut [f32],
    gradient: &'a mut [f32],
    bias_gradient: &'a mut [f32],
    decoder: &'a [f32],
    bias: &'a [f32],
}

impl Task<'_> {
    fn run(mut self, x: &[f32], dims: usize, batch: usize, spread: bool) -> Found {
        for (row, bias) in self.codes.chunks_mut(batch).zip(self.bias) {
            row.iter_mut().for_each(|code| *code = (*code + bias).max(0.0));
        }
        let least = sparsify(self.block.sparsity, self.codes, batch);
        let active = self.codes.iter().filter(|code| **code > 0.0).count();
        let sum = self.codes.iter().map(|code| f64::from(*code)).sum();
        let squares = match active * SPARSE_FROM < self.codes.len() {
            true => self.sparse(x, dims, batch),
            false => self.dense(x, dims, batch, spread),
        };
        Found { squares, sum, least }
    }

    /// `λ/B`.
    fn penalty(&self, batch: usize) -> f32 {
        match self.block.sparsity {
            Sparsity::L1(penalty) => penalty as f32 / batch as f32,
            _ => 0.0,
        }
    }

    /// By products of matrices.
    fn dense(&mut self, x: &[f32], dims: usize, batch: usize, spread: bool) -> f64 {
        let (size, penalty) = (self.block.size, self.penalty(batch));
        let samples = Operand::new(x, batch, dims);
        let codes = Operand::new(self.codes, size, batch);
        let decoder = Operand::new(self.decoder, size, dims);
        ProductInto::TN.write_slice(self.errors, codes, decoder, spread);
        self.errors.iter_mut().zip(x).for_each(|(error, x)| *error -= x);
        let squares = scale(self.errors, dims, batch);
        let errors = Operand::new(self.errors, batch, dims);
        ProductInto::NT.write_slice(self.slopes, decoder, errors, spread);
        ProductInto::NN.write_slice(self.gradient, codes, errors, spread);
        let rows = self.slopes.chunks_mut(batch).zip(self.codes.chunks(batch));
        for ((slopes, codes), bias) in rows.zip(&mut *self.bias_gradient) {
            *bias = 0.0;
            for (slope, code) in slopes.iter_mut().zip(codes) {
                *slope = if *code > 0.0 { *slope + penalty } else { 0.0 };
                *bias += *slope;
            }
        }
        let slopes = Operand::new(self.slopes, size, batch);
        match self.encoder_gradient.is_empty() {
            true => ProductInto::NN.adding().write_slice(self.gradient, slopes, samples, spread),
            false => ProductInto::NN.write_slice(self.encoder_gradient, slopes, samples, spread),
        }
        squares
    }

    /// Code by code.
    fn sparse(&mut self, x: &[f32], dims: usize, batch: usize) -> f64 {
        let penalty = self.penalty(batch);
        let row = |sample: usize| sample * dims..(sample + 1) * dims;
        self.errors.iter_mut().zip(x).for_each(|(error, x)| *error = -x);
        for (codes, atom) in self.codes.chunks(batch).zip(self.decoder.chunks(dims)) {
            for (sample, code) in active(codes) {
                add(&mut self.errors[row(sample)], code, atom);
            }
        }
        let squares = scale(self.errors, dims, batch);
        self.gradient.fill(0.0);
        self.encoder_gradient.fill(0.0);
        for (i, codes) in self.codes.chunks(batch).enumerate() {
            let (atom, gradient) = (&self.decoder[row(i)], &mut self.gradient[row(i)]);
            self.bias_gradient[i] = 0.0;
            for (sample, code) in active(codes) {
                let error = &self.errors[row(sample)];
                let slope = dot(atom, error) + penalty;
                self.bias_gradient[i] += slope;
                add(gradient, code, error);
                match self.encoder_gradient.get_mut(row(i)) {
                    Some(own) => add(own, slope, &x[row(sample)]),
                    None => add(gradient, slope, &x[row(sample)]),
                }
            }
        }
        squares
    }
}

/// Multiplies the errors by `2/B`; the sum of their squares before.
fn scale(errors: &mut [f32], dims: usize, batch: usize) -> f64 {
    let factor = 2.0 / batch as f32;
    let mut squares = 0.0;
    for row in errors.chunks_mut(dims) {
        squares += f64::from(dot(row, row));
        row.iter_mut().for_each(|error| *error *= factor);
    }
    squares
}

/// The samples in which an atom's code is not zero.
fn active(codes: &[f32]) -> impl Iterator<Item = (usize, f32)> {
    codes.iter().copied().enumerate().filter(|(_, code)| *code > 0.0)
}

/// `target += factor · values`.
fn add(target: &mut [f32], factor: f32, values: &[f32]) {
    target.iter_mut().zip(values).for_each(|(target, value)| *target += factor * value);
}

/// The inner product, in sums that do not wait for each other.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0f32; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// Sets to zero which of the codes `[size, batch]`, none of them negative, are not kept; the
/// smallest that a batch-top-k member keeps.
fn sparsify(sparsity: Sparsity, codes: &mut [f32], batch: usize) -> Option<f32> {
    let size = codes.len() / batch;
    match sparsity {
        Sparsity::L1(_) => None,
        Sparsity::TopK(k) => {
            let mut column = vec![0f32; size];
            for sample in 0..batch {
                let own = codes.iter().skip(sample).step_by(batch);
                column.iter_mut().zip(own).for_each(|(value, code)| *value = *code);
                let least = kth_largest(&mut column, k);
                // Of codes that equal the smallest one kept, the first are.
                let mut ties = k - column.iter().filter(|code| **code > least).count().min(k);
                for code in codes.iter_mut().skip(sample).step_by(batch) {
                    if *code == least && ties > 0 {
                        ties -= 1;
                    } else if *code <= least {
                        *code = 0.0;
                    }
                }
            }
            None
        }
        Sparsity::BatchTopK(k) => {
            let least = kth_largest(&mut codes.to_vec(), k * batch);
            codes.iter_mut().filter(|code| **code < least).for_each(|code| *code = 0.0);
            Some(least)
        }
    }
}

/// The `k`-th largest value, or the smallest of fewer.
fn kth_largest(values: &mut [f32], k: usize) -> f32 {
    let at = k.min(values.len()).saturating_sub(1);
    *values.select_nth_unstable_by(at, |a, b| b.total_cmp(a)).1
}
