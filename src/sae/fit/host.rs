//! A step of training in f32 on the CPU, without a graph.
//!
//! What the encoder says is one product of matrices, `h = (x − b) Eᵀ`. Where codes are sparse, the rest
//! touches only the rows of features that are in a code ([`super::sparse`]); where they are not, as at
//! the start of training with a penalty, matrices are multiplied ([`super::dense`]). With
//! r = x̂ − t, and the entries f of a code,
//!
//! ```text
//! x̂ = b + Σ fᵢ dᵢ      ∂/∂fᵢ = 2/n r·dᵢ      ∂/∂dᵢ = 2/n Σ fᵢ r      ∂/∂Eᵢ = Σ ∂/∂hᵢ (x − b)
//! ```
//!
//! where the last two sum over the activations whose code has feature i. Each feature's gradients
//! are made tangent to the sphere and taken by Adam while they are in the cache.

use rayon::prelude::*;

use super::choose::Rule;
use super::dense::Dense;
use super::setup::{BIAS, ENCODER, EXTRAS, Moment, Outcome, Setup, Weight};
use super::source::Batch;
use super::sparse::Sparse;
use super::update::{Gradients, Large};
use crate::linalg::{Operand, ProductInto};
use crate::train::{AdamStep, AdamWOptions};

/// Weights on the host, with Adam's moments.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) setup: Setup,
    pub(super) weights: Vec<Weight>,
    /// Running means of the gradients and of their squares.
    pub(super) means: Vec<Vec<f32>>,
    pub(super) squares: Vec<Vec<f32>>,
    pub(super) steps: usize,
    scratch: Scratch,
}

/// Memory that a step leaves to the next: fresh memory costs as much time as what is written to it.
#[derive(Debug, Default)]
struct Scratch {
    centred: Vec<f32>,
    h: Vec<f32>,
    sparse: Sparse,
    dense: Dense,
}

/// What a step is about, as far as it is known before any feature is in a code.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) setup: &'a Setup,
    pub(super) weights: &'a [Weight],
    pub(super) rule: &'a Rule<'a>,
    pub(super) batch: Batch<'a>,
    pub(super) moment: &'a Moment<'a>,
    /// x − b, or x, `[n, d]`.
    pub(super) centred: &'a [f32],
    /// What the encoder says, `[n, m]`.
    pub(super) h: &'a [f32],
}

impl Step<'_> {
    /// Writes what there is without any feature less what is to be explained, of one activation.
    pub(super) fn less_target(&self, row: usize, error: &mut [f32]) {
        let bias = &self.weights[BIAS].values;
        let target = &self.batch.target[row * bias.len()..];
        error.iter_mut().zip(bias.iter().zip(target)).for_each(|(error, (b, t))| *error = b - t);
    }

    /// What the gradients of a squared error are multiplied by.
    pub(super) fn factor(&self) -> f32 {
        2.0 / self.batch.rows as f32
    }

    /// The penalty of one feature of one activation.
    pub(super) fn lambda(&self) -> f32 {
        (self.moment.penalty / self.batch.rows as f64) as f32
    }
}

impl Host {
    pub(super) fn new(setup: Setup, weights: Vec<Weight>) -> Self {
        let zeros = || weights.iter().map(|weight| vec![0.0; weight.values.len()]).collect();
        let (means, squares) = (zeros(), zeros());
        Self { means, squares, setup, weights, steps: 0, scratch: Scratch::default() }
    }

    /// Moves the weights.
    pub(super) fn step(&mut self, batch: Batch<'_>, moment: &Moment<'_>) -> Outcome {
        self.steps += 1;
        let options = AdamWOptions {
            learning_rate: moment.learning_rate,
            weight_decay: 0.0,
            ..AdamWOptions::default()
        };
        let adam = AdamStep::new(&options, i32::try_from(self.steps).unwrap_or(i32::MAX));
        let Self { setup, weights, means, squares, scratch, .. } = self;
        let (outcome, gradients) = gradients(setup, weights, batch, moment, None, scratch);
        gradients.take(weights, means, squares, adam);
        outcome
    }

    /// What a step finds, and the gradients of all weights, in one way or the other.
    #[cfg(test)]
    pub(super) fn all_gradients(
        &mut self,
        batch: Batch<'_>,
        moment: &Moment<'_>,
        dense: bool,
    ) -> (Outcome, Vec<Vec<f32>>) {
        let Self { setup, weights, scratch, .. } = self;
        let (outcome, gradients) = gradients(setup, weights, batch, moment, Some(dense), scratch);
        let [d, out] = setup.widths;
        let (mut encoder, mut decoder) = (vec![0.0; setup.m * d], vec![0.0; setup.m * out]);
        let rows = encoder.chunks_mut(d).zip(decoder.chunks_mut(out));
        rows.enumerate().for_each(|(at, (own, other))| gradients.feature(at, own, other));
        (outcome, [vec![encoder, decoder], gradients.small].concat())
    }
}

/// With dense codes or sparse ones, or as is faster.
fn gradients<'a>(
    setup: &Setup,
    weights: &[Weight],
    batch: Batch<'_>,
    moment: &Moment<'_>,
    dense: Option<bool>,
    scratch: &'a mut Scratch,
) -> (Outcome, Gradients<'a>) {
    let (n, m, [d, _]) = (batch.rows, setup.m, setup.widths);
    let extras: Vec<&[f32]> = weights[EXTRAS..].iter().map(|own| &*own.values).collect();
    let exponentials = setup.exponentials(&extras);
    let rule = &setup.rule(&extras, &exponentials);
    let Scratch { centred, h, sparse, dense: matrices } = scratch;

    center(centred, batch.x, (!setup.transcoder).then_some(&weights[BIAS].values), d);
    h.resize(n * m, 0.0);
    let (rows, encoder) = (Operand::new(centred, n, d), &weights[ENCODER].values);
    ProductInto::NT.write_slice(h, rows, Operand::new(encoder, m, d), true);
    if setup.encoder_bias() {
        h.par_chunks_mut(m).for_each(|row| {
            row.iter_mut().zip(extras[0]).for_each(|(h, e)| *h += e);
        });
    }
    let centred = &**centred;
    let step = Step { setup, weights, rule, batch, moment, centred, h };
    let widths = setup.widths;
    let ((outcome, small), large) = if dense.unwrap_or_else(|| rule.is_dense(h, m)) {
        (matrices.take(&step), Large::Dense([&matrices.encoder, &matrices.decoder]))
    } else {
        (sparse.take(&step), Large::Sparse(sparse.parts()))
    };
    (outcome, Gradients { widths, centred, large, small })
}

/// Writes x − b, or x.
fn center(centred: &mut Vec<f32>, x: &[f32], bias: Option<&Vec<f32>>, d: usize) {
    centred.clear();
    centred.extend_from_slice(x);
    if let Some(bias) = bias {
        centred.par_chunks_mut(d).for_each(|row| {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x -= b);
        });
    }
}
