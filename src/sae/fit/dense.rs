//! A step's gradients where many features are in a code, as products of whole matrices.

use rayon::prelude::*;

use super::choose::Rule;
use super::host::Step;
use super::setup::{DECODER, Outcome};
use super::sums::Sums;
use super::whole::Columns;
use crate::linalg::{Operand, ProductInto, squares, wide};

/// Rows whose sums are taken together: the order of a sum must not hang on the number of threads.
const BLOCK: usize = 64;

/// The matrices of a step.
#[derive(Debug, Default)]
pub(super) struct Dense {
    /// Codes, then what pulls at what is beside them, `[n, m]`.
    codes: Vec<f32>,
    /// What the error pulls at each value, then the gradient with respect to h, `[n, m]`.
    slopes: Vec<f32>,
    /// `[n, d_out]`, of the codes and of what is beside them.
    errors: [Vec<f32>; 2],
    /// Gradients of the encoder, `[m, d]`, and of the decoder, `[m, d_out]`.
    pub(super) encoder: Vec<f32>,
    pub(super) decoder: Vec<f32>,
}

impl Dense {
    /// Takes a step in: what it finds, and the gradients of the small weights. For kinds whose codes
    /// are chosen entry by entry.
    pub(super) fn take(&mut self, step: &Step<'_>) -> (Outcome, Vec<Vec<f32>>) {
        let Step { setup, rule, moment, .. } = *step;
        let (n, m, [d, out]) = (step.batch.rows, setup.m, setup.widths);
        let (factor, lambda) = (step.factor(), step.lambda());
        let Self { codes, slopes, errors: [errors, others], encoder, decoder } = self;

        codes.resize(n * m, 0.0);
        let rows = codes.par_chunks_mut(m).zip(step.h.par_chunks(m));
        rows.for_each(|(codes, h)| rule.write_values(codes, h));
        let error = reconstruct(codes, step, errors);
        decoder.resize(m * out, 0.0);
        let (own, rest) = (Operand::new(codes, n, m), Operand::new(errors, n, out));
        ProductInto::TN.write_slice(decoder, own, rest, true);
        decoder.par_iter_mut().for_each(|gradient| *gradient *= factor);
        pull(slopes, step, errors);
        let mut squares = error;
        if let Rule::Gated { .. } = rule {
            let rows = codes.par_chunks_mut(m).zip(step.h.par_chunks(m));
            rows.for_each(|(open, h)| rule.write_open(open, h));
            squares += reconstruct(codes, step, others);
            pull(codes, step, others);
        }

        let rows = slopes.par_chunks_mut(BLOCK * m).zip(codes.par_chunks(BLOCK * m));
        let blocks: Vec<Sums> = rows
            .zip(step.h.par_chunks(BLOCK * m))
            .map(|((slopes, beside), h)| {
                let mut sums = Columns::new(m);
                let rows = slopes.chunks_mut(m).zip(beside.chunks(m)).zip(h.chunks(m));
                for ((pulls, beside), h) in rows {
                    rule.add_row(h, [factor, lambda], pulls, beside, &mut sums);
                }
                sums.sums()
            })
            .collect();
        let mut sums = Sums::new(m);
        blocks.iter().for_each(|block| sums.merge(block));
        encoder.resize(m * d, 0.0);
        let (own, x) = (Operand::new(slopes, n, m), Operand::new(step.centred, n, d));
        ProductInto::TN.write_slice(encoder, own, x, true);
        let penalty = moment.penalty * sums.penalised(&setup.objective);
        let small = sums.small_gradients(setup, step.weights, errors, factor);
        (sums.outcome((squares + penalty) / n as f64, error, None), small)
    }
}

/// Writes the errors of what `codes` stand for; the sum of their squares.
fn reconstruct(codes: &[f32], step: &Step<'_>, errors: &mut Vec<f32>) -> f64 {
    let (n, m, [_, out]) = (step.batch.rows, step.setup.m, step.setup.widths);
    errors.resize(n * out, 0.0);
    let rows = errors.par_chunks_mut(out).enumerate();
    rows.for_each(|(row, error)| step.less_target(row, error));
    let decoder = Operand::new(&step.weights[DECODER].values, m, out);
    ProductInto::NN.adding().write_slice(errors, Operand::new(codes, n, m), decoder, true);
    let sums: Vec<f64> = errors.par_chunks(out).map(|row| wide(|| squares(row))).collect();
    sums.iter().sum()
}

/// Writes the products of errors with the decoder's directions, `[n, m]`.
fn pull(pulls: &mut Vec<f32>, step: &Step<'_>, errors: &[f32]) {
    let (n, m, [_, out]) = (step.batch.rows, step.setup.m, step.setup.widths);
    pulls.resize(n * m, 0.0);
    let decoder = Operand::new(&step.weights[DECODER].values, m, out);
    ProductInto::NT.write_slice(pulls, Operand::new(errors, n, out), decoder, true);
}
