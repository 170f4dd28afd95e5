//! A step's gradients where many features are in a code, as products of whole matrices.
//!
//! CodeRows of these are gone through without a branch: what that costs does not depend on how many
//! features are active.

use rayon::prelude::*;

use super::step::{HostStep, Outcome};
use super::sums::BatchSums;
use super::weights::SmallWeights;
use crate::linalg::{Operand, ProductInto, squares, with_avx2_if_present};
use crate::sae::kind::extras::PerFeature;
use crate::sae::kind::rule::TrainedEntry;
use crate::sae::kind::training::SaeKind;

/// CodeRows whose sums are taken together, so that results do not depend on the number of threads.
const ROWS_PER_SUM: usize = 64;

/// The matrices of a step.
#[derive(Debug, Default)]
pub(super) struct Dense {
    /// Codes, then the squared error's gradients with respect to the values of the auxiliary codes,
    /// `[n, m]`.
    codes: Vec<f32>,
    /// The squared error's gradients with respect to the values, then those with respect to h,
    /// `[n, m]`.
    slopes: Vec<f32>,
    /// `[n, d_out]`, of the codes and of the auxiliary ones.
    errors: [Vec<f32>; 2],
    /// StepGradients of the encoder, `[m, d]`, and of the decoder, `[m, d_out]`.
    pub(super) encoder: Vec<f32>,
    pub(super) decoder: Vec<f32>,
}

impl Dense {
    /// Takes a step in: what it finds, and the gradients of the small weights.
    pub(super) fn take<K: SaeKind, E: TrainedEntry>(
        &mut self,
        step: &HostStep<'_, K>,
        rule: &E,
    ) -> (Outcome, SmallWeights<K, Vec<f32>>) {
        let HostStep { shape, settings, batch, .. } = *step;
        let (n, m, d, out) = (batch.rows, shape.m, shape.widths.input, shape.widths.output);
        let factor = step.factor();
        let Self { codes, slopes, errors: [errors, others], encoder, decoder } = self;

        write(codes, step, |rule: E, at, h| rule.value(at, h), rule);
        let error = reconstruct(codes, step, errors);
        let mut loss = weigh(errors, step).unwrap_or(error);
        let sum = if E::PENALTY_NEEDS_SUM { penalised(codes, m, rule) } else { 0.0 };
        decoder.resize(m * out, 0.0);
        let (own, rest) = (Operand::new(codes, n, m), Operand::new(errors, n, out));
        ProductInto::TN.write_slice(decoder, own, rest, true);
        decoder.par_iter_mut().for_each(|gradient| *gradient *= factor);
        pull(slopes, step, errors);
        if E::HAS_AUXILIARY {
            write(codes, step, |rule: E, at, h| rule.auxiliary_value(at, h), rule);
            let error = reconstruct(codes, step, others);
            loss += weigh(others, step).unwrap_or(error);
            pull(codes, step, others);
        }

        let lambda = rule.penalty(settings.lambda, sum, n).slope as f32;
        let rows = slopes.par_chunks_mut(ROWS_PER_SUM * m).zip(codes.par_chunks(ROWS_PER_SUM * m));
        let blocks: Vec<BatchSums> = rows
            .zip(step.h.par_chunks(ROWS_PER_SUM * m))
            .map(|((slopes, auxiliary), h)| {
                let mut sums = ColumnSums::new(m);
                let rows = slopes.chunks_mut(m).zip(auxiliary.chunks(m)).zip(h.chunks(m));
                for ((pulls, auxiliary), h) in rows {
                    with_avx2_if_present(|| {
                        sums.add(rule.cut(m), h, [factor, lambda], pulls, auxiliary)
                    });
                }
                sums.sums()
            })
            .collect();
        let mut sums = BatchSums::new(m);
        blocks.iter().for_each(|block| sums.merge(block));
        encoder.resize(m * d, 0.0);
        let (own, x) = (Operand::new(slopes, n, m), Operand::new(step.centred, n, d));
        ProductInto::TN.write_slice(encoder, own, x, true);
        loss += rule.penalty(settings.lambda, sums.penalised, n).value;
        let small = sums.small_gradients(step, errors, |_| factor);
        (sums.outcome(loss / n as f64, error, None), small)
    }
}

/// Writes what `value` says of each h, `[n, m]`.
fn write<K: SaeKind, E: TrainedEntry>(
    values: &mut Vec<f32>,
    step: &HostStep<'_, K>,
    value: impl Fn(E, usize, f32) -> f32 + Sync,
    rule: &E,
) {
    let (n, m) = (step.batch.rows, step.shape.m);
    values.resize(n * m, 0.0);
    values.par_chunks_mut(m).zip(step.h.par_chunks(m)).for_each(|(values, h)| {
        with_avx2_if_present(|| {
            let (rule, values, h) = (rule.cut(m), &mut values[..m], &h[..m]);
            (0..m).for_each(|at| values[at] = value(rule, at, h[at]));
        });
    });
}

/// The sum of what is penalised of `codes` `[n, m]`.
fn penalised<E: TrainedEntry>(codes: &[f32], m: usize, rule: &E) -> f64 {
    let rows = codes.par_chunks(m);
    let sums: Vec<f64> = rows
        .map(|row| {
            with_avx2_if_present(|| row.iter().map(|value| f64::from(rule.penalised(*value))).sum())
        })
        .collect();
    sums.iter().sum()
}

/// Writes the errors of what `codes` stand for; the sum of their squares.
fn reconstruct<K: SaeKind>(codes: &[f32], step: &HostStep<'_, K>, errors: &mut Vec<f32>) -> f64 {
    let (n, m, out) = (step.batch.rows, step.shape.m, step.shape.widths.output);
    errors.resize(n * out, 0.0);
    let rows = errors.par_chunks_mut(out).enumerate();
    rows.for_each(|(row, error)| step.bias_less_target(row, error));
    let decoder = Operand::new(&step.weights.decoder.values, m, out);
    ProductInto::NN.adding().write_slice(errors, Operand::new(codes, n, m), decoder, true);
    let sums: Vec<f64> =
        errors.par_chunks(out).map(|row| with_avx2_if_present(|| squares(row))).collect();
    sums.iter().sum()
}

/// Multiplies the errors by their rows' weights, if there are any; the sum of their squares, each
/// times its weight.
fn weigh<K: SaeKind>(errors: &mut [f32], step: &HostStep<'_, K>) -> Option<f64> {
    let weights = step.batch.weights?;
    let rows = errors.par_chunks_mut(step.shape.widths.output).zip(weights);
    let sums: Vec<f64> = rows
        .map(|(row, weight)| {
            let square = with_avx2_if_present(|| squares(row));
            row.iter_mut().for_each(|error| *error *= weight);
            f64::from(*weight) * square
        })
        .collect();
    Some(sums.iter().sum())
}

/// Writes the products of errors with the decoder's directions, `[n, m]`.
fn pull<K: SaeKind>(pulls: &mut Vec<f32>, step: &HostStep<'_, K>, errors: &[f32]) {
    let (n, m, out) = (step.batch.rows, step.shape.m, step.shape.widths.output);
    pulls.resize(n * m, 0.0);
    let decoder = Operand::new(&step.weights.decoder.values, m, out);
    ProductInto::NT.write_slice(pulls, Operand::new(errors, n, out), decoder, true);
}

/// [`BatchSums`] over some rows, in as few bytes as will do, so that eight features are added at once.
#[derive(Debug)]
struct ColumnSums {
    num_active: Vec<u32>,
    penalised: Vec<f64>,
    h: Vec<f64>,
    auxiliary: Vec<f64>,
    extras: [Vec<f64>; 2],
}

impl ColumnSums {
    fn new(m: usize) -> Self {
        let zeros = || vec![0f64; m];
        let (penalised, h, auxiliary) = (zeros(), zeros(), zeros());
        let (num_active, extras) = (vec![0; m], [zeros(), zeros()]);
        Self { num_active, penalised, h, auxiliary, extras }
    }

    /// Adds a row `h`, and makes gradients with respect to it of `pulls`, which together with those
    /// of the auxiliary code are to be multiplied by `factor`.
    #[inline(always)]
    fn add<E: TrainedEntry>(
        &mut self,
        rule: E,
        h: &[f32],
        [factor, lambda]: [f32; 2],
        pulls: &mut [f32],
        auxiliary: &[f32],
    ) {
        let m = h.len();
        let (pulls, auxiliary) = (&mut pulls[..m], &auxiliary[..m]);
        let num_active = &mut self.num_active[..m];
        let (penalised, slopes) = (&mut self.penalised[..m], &mut self.h[..m]);
        let auxiliary_slopes = &mut self.auxiliary[..m];
        let [first, second] = self.extras.each_mut().map(|own| &mut own[..m]);
        for at in 0..m {
            let value = rule.value(at, h[at]);
            let gradient = rule.gradient(at, h[at], factor * pulls[at], lambda);
            num_active[at] += u32::from(value != 0.0);
            penalised[at] += f64::from(rule.penalised(value));
            slopes[at] += f64::from(gradient.h);
            pulls[at] = gradient.h;
            if E::HAS_EXTRAS {
                first[at] += f64::from(gradient.extras[0]);
                second[at] += f64::from(gradient.extras[1]);
            }
            if E::HAS_AUXILIARY {
                let value = rule.auxiliary_value(at, h[at]);
                let slope = rule.auxiliary_gradient(at, h[at], factor * auxiliary[at], lambda);
                penalised[at] += f64::from(rule.auxiliary_penalised(value));
                auxiliary_slopes[at] += f64::from(slope);
                pulls[at] += slope;
            }
        }
    }

    fn sums(self) -> BatchSums {
        let Self { num_active, penalised, h, auxiliary, extras } = self;
        BatchSums {
            per_feature: PerFeature { h, auxiliary, extras },
            fired: num_active.iter().map(|count| *count > 0).collect(),
            num_active: num_active.iter().map(|count| *count as usize).sum(),
            penalised: penalised.iter().sum(),
        }
    }
}
