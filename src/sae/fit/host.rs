//! A step of training in f32 on the CPU, without a graph.
//!
//! What the encoder says is one product of matrices, `h = (x − b) Eᵀ`. The rest touches only the
//! rows of features that are in a code: with r = x̂ − t, and the entries f of a code,
//!
//! ```text
//! x̂ = b + Σ fᵢ dᵢ      ∂/∂fᵢ = 2/n r·dᵢ      ∂/∂dᵢ = 2/n Σ fᵢ r      ∂/∂Eᵢ = Σ ∂/∂hᵢ (x − b)
//! ```
//!
//! where the last two sum over the activations whose code has feature i. Each feature's gradients
//! are summed, made tangent to the sphere, and taken by Adam while they are in the cache. Where
//! codes are not sparse, as at the start of training with a penalty, matrices are multiplied instead.

use rayon::prelude::*;

use super::choose::{Entry, Rule};
use super::part::{Matrices, Part, Sizes};
use super::setup::{BIAS, Chosen, DECODER, ENCODER, EXTRAS, Moment, Outcome, Setup, Weight};
use super::source::Batch;
use super::sums::Sums;
use super::update::Gradients;
use crate::linalg::{Operand, ProductInto};
use crate::train::{AdamStep, AdamWOptions, keep_freed_memory};

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
    matrices: Matrices,
    chosen: Chosen,
    main: Part,
    beside: Part,
    encoder: Vec<f32>,
    decoder: Vec<f32>,
}

impl Host {
    pub(super) fn new(setup: Setup, weights: Vec<Weight>) -> Self {
        keep_freed_memory();
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
        let (outcome, gradients) = gradients(setup, weights, batch, moment, scratch);
        gradients.take(weights, means, squares, adam);
        outcome
    }

    /// What a step finds, and the gradients of all weights.
    #[cfg(test)]
    pub(super) fn all_gradients(
        &mut self,
        batch: Batch<'_>,
        moment: &Moment<'_>,
    ) -> (Outcome, Vec<Vec<f32>>) {
        let Self { setup, weights, scratch, .. } = self;
        let (outcome, gradients) = gradients(setup, weights, batch, moment, scratch);
        let [d, out] = setup.widths;
        let (mut encoder, mut decoder) = (vec![0.0; setup.m * d], vec![0.0; setup.m * out]);
        let rows = encoder.chunks_mut(d).zip(decoder.chunks_mut(out));
        rows.enumerate().for_each(|(at, (own, other))| gradients.feature(at, own, other));
        (outcome, [vec![encoder, decoder], gradients.small].concat())
    }
}

fn gradients<'a>(
    setup: &Setup,
    weights: &[Weight],
    batch: Batch<'_>,
    moment: &Moment<'_>,
    scratch: &'a mut Scratch,
) -> (Outcome, Gradients<'a>) {
    let (n, m, [d, out]) = (batch.rows, setup.m, setup.widths);
    let sizes = Sizes { n, m, out, ends: &setup.ends };
    let (encoder, decoder) = (&weights[ENCODER].values, &weights[DECODER].values);
    let bias = &weights[BIAS].values;
    let extras: Vec<&[f32]> = weights[EXTRAS..].iter().map(|own| &*own.values).collect();
    let exponentials = setup.exponentials(&extras);
    let rule = setup.rule(&extras, &exponentials);
    let Scratch { centred, matrices, chosen, main, beside, .. } = scratch;

    center(centred, batch.x, (!setup.transcoder).then_some(bias), d);
    let said = &mut matrices.codes;
    said.resize(n * m, 0.0);
    let rows = Operand::new(centred, n, d);
    ProductInto::NT.write_slice(said, rows, Operand::new(encoder, m, d), true);
    if setup.encoder_bias() {
        said.par_chunks_mut(m).for_each(|row| {
            row.iter_mut().zip(extras[0]).for_each(|(h, e)| *h += e);
        });
    }
    chosen.main = std::mem::take(&mut main.rows);
    chosen.beside = Some(std::mem::take(&mut beside.rows));
    setup.choose(&rule, said, moment.dead, chosen);
    main.rows = std::mem::take(&mut chosen.main);
    let smallest = chosen.smallest;

    let less_target = |row: usize, error: &mut [f32]| {
        let parts = bias.iter().zip(&batch.target[row * out..][..out]);
        error.iter_mut().zip(parts).for_each(|(error, (b, t))| *error = b - t);
    };
    (main.factor, main.trains_decoder) = (2.0 / n as f32, true);
    let [mut squares, error] = main.reconstruct(decoder, sizes, matrices, less_target);
    let gated = matches!(rule, Rule::Gated { .. });
    // What is beside the codes has one dictionary only: the whole.
    let whole = Sizes { ends: &setup.ends[setup.ends.len() - 1..], ..sizes };
    let has_beside = chosen.beside.is_some();
    if let Some(rows) = chosen.beside.take() {
        beside.rows = rows;
        let weight = if gated { 1.0 } else { setup.auxiliary };
        (beside.factor, beside.trains_decoder) = (2.0 * weight as f32 / n as f32, !gated);
        let (errors, width) = (&main.errors, setup.ends.len() * out);
        let [own, _] = beside.reconstruct(decoder, whole, matrices, |row, error| match gated {
            true => less_target(row, error),
            // What the codes leave is t − x̂: their error in the whole dictionary.
            false => error.copy_from_slice(&errors[(row + 1) * width - out..][..out]),
        });
        squares += weight * own;
    }

    let lambda = (moment.penalty / n as f64) as f32;
    let slope = |entry: &Entry| rule.slope(entry, lambda);
    let slope_beside = |entry: &Entry| entry.pull + if gated { lambda } else { 0.0 };
    let mut sums = Sums::new(m);
    sums.add_codes(main, &rule, lambda);
    if has_beside {
        sums.add_beside(beside, slope_beside);
    }
    let loss = (squares + moment.penalty * sums.penalised(&setup.objective)) / n as f64;
    let small = sums.small_gradients(setup, weights, main);

    let Scratch { centred, matrices, main, beside, encoder, decoder, .. } = scratch;
    let centred = &**centred;
    let dense = main.dense || (has_beside && beside.dense);
    if dense {
        for (sum, width) in [(&mut *encoder, d), (&mut *decoder, out)] {
            sum.clear();
            sum.resize(m * width, 0.0);
        }
    }
    match main.dense {
        true => main.add_dense(centred, sizes, matrices, [encoder, decoder], slope),
        false => main.group(m, slope),
    }
    if has_beside {
        match beside.dense {
            true => beside.add_dense(centred, whole, matrices, [encoder, decoder], slope_beside),
            false => beside.group(m, slope_beside),
        }
    }
    let parts = [(true, &*main), (has_beside, &*beside)];
    let sparse = parts.into_iter().filter(|(there, part)| *there && !part.dense);
    let sparse = sparse.map(|(_, part)| part).collect();
    let dense = dense.then_some([&**encoder, &**decoder]);
    let outcome = Outcome { loss, error, active: sums.active, fired: sums.fired, smallest };
    (outcome, Gradients { widths: setup.widths, centred, sparse, dense, small })
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
