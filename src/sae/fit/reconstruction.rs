//! A reconstruction of a batch and its gradients, through sparse codes.

use rayon::prelude::*;

use super::step::Batch;
use crate::linalg::{add_scaled, dot, squares, with_avx2_if_present};
use crate::sae::kind::rule::{CodeEntry, CodeRows};

/// CodeRows that are summed at a time, so that results do not depend on the number of threads.
const ROWS_PER_SUM: usize = 64;

/// A reconstruction `D f + b` and its error. Of nested dictionaries there are several: group l adds
/// the features that dictionary l has beyond the one before.
#[derive(Debug, Default)]
pub(super) struct Reconstruction {
    pub(super) rows: CodeRows,
    /// `[n, groups, d_out]`: for each group the sum of the errors of all dictionaries that it is in.
    pub(super) errors: Vec<f32>,
    /// What a squared error's gradient is multiplied by: 2/n times its weight.
    pub(super) factor: f32,
    /// Whether the decoder is moved by it.
    pub(super) trains_decoder: bool,
    /// For each feature its entries, by row.
    starts: Vec<usize>,
    terms: Vec<Term>,
    /// Ends of the nested dictionaries.
    ends: Vec<usize>,
}

/// What an entry adds to the gradients of its feature's rows of decoder and encoder.
#[derive(Debug, Clone, Copy, Default)]
struct Term {
    row: u32,
    decoder: f32,
    encoder: f32,
}

/// What a batch is reconstructed with.
#[derive(Debug, Clone, Copy)]
pub(super) struct NestedDecoder<'a> {
    /// The decoder's transpose, `[m, d_out]`.
    pub(super) decoder: &'a [f32],
    pub(super) out: usize,
    /// Where the nested dictionaries end.
    pub(super) ends: &'a [usize],
}

/// BatchSums over a batch of squared errors.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Squares {
    /// Of all nested dictionaries, each row times its weight.
    pub(super) weighted: f64,
    /// Of the whole dictionary.
    pub(super) whole: f64,
}

impl Reconstruction {
    /// Reconstructs from `start`, which writes what there is without any feature less what is to be
    /// explained, and takes the gradients with respect to the codes' values.
    pub(super) fn reconstruct(
        &mut self,
        dictionary: NestedDecoder<'_>,
        batch: &Batch<'_>,
        start: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Squares {
        let NestedDecoder { out, ends, .. } = dictionary;
        let (width, factor) = (ends.len() * out, self.factor);
        self.ends.clear();
        self.ends.extend_from_slice(ends);
        self.errors.resize(batch.rows * width, 0.0);
        let rows = self.rows.par_iter_mut().zip(self.errors.par_chunks_mut(width)).enumerate();
        let sums: Vec<[f64; 2]> = rows
            .map(|(at, (row, errors))| {
                let weight = batch.weight(at);
                start(at, &mut errors[..out]);
                let [all, last] =
                    with_avx2_if_present(|| through(row, errors, dictionary, weight * factor));
                [f64::from(weight) * all, last]
            })
            .collect();
        let add = |sum: Squares, [weighted, whole]: &[f64; 2]| Squares {
            weighted: sum.weighted + weighted,
            whole: sum.whole + whole,
        };
        sums.iter().fold(Squares::default(), add)
    }

    /// Puts the entries of each feature together.
    pub(super) fn group(&mut self, m: usize, batch: &Batch<'_>, slope: impl Fn(&CodeEntry) -> f32) {
        self.starts.clear();
        self.starts.resize(m + 1, 0);
        for entry in self.rows.iter().flatten() {
            self.starts[entry.feature as usize + 1] += 1;
        }
        for feature in 0..m {
            self.starts[feature + 1] += self.starts[feature];
        }
        self.terms.resize(self.starts[m], Term::default());
        let mut next = self.starts.clone();
        let factor = if self.trains_decoder { self.factor } else { 0.0 };
        for (row, entries) in (0u32..).zip(&self.rows) {
            let factor = batch.weight(row as usize) * factor;
            for entry in entries {
                let place = &mut next[entry.feature as usize];
                let (decoder, encoder) = (factor * entry.value, slope(entry));
                self.terms[*place] = Term { row, decoder, encoder };
                *place += 1;
            }
        }
    }

    /// Adds the gradients of one feature's rows, `[d]` and `[d_out]`.
    #[inline(always)]
    pub(super) fn add_feature(
        &self,
        feature: usize,
        centred: &[f32],
        encoder: &mut [f32],
        decoder: &mut [f32],
    ) {
        let (d, out) = (encoder.len(), decoder.len());
        let group = self.ends.partition_point(|end| *end <= feature);
        for term in &self.terms[self.starts[feature]..self.starts[feature + 1]] {
            let row = term.row as usize;
            if term.decoder != 0.0 {
                let errors = &self.errors[(row * self.ends.len() + group) * out..][..out];
                add_scaled(decoder, term.decoder, errors);
            }
            if term.encoder != 0.0 {
                add_scaled(encoder, term.encoder, &centred[row * d..][..d]);
            }
        }
    }
}

/// One row forth and back; the squared errors of all nested dictionaries, and of all features.
/// Entries come in the order of the groups.
#[inline(always)]
fn through(
    row: &mut [CodeEntry],
    errors: &mut [f32],
    dictionary: NestedDecoder<'_>,
    factor: f32,
) -> [f64; 2] {
    let NestedDecoder { decoder, ends, .. } = dictionary;
    let out = errors.len() / ends.len();
    let direction = |entry: &CodeEntry| &decoder[entry.feature as usize * out..][..out];
    let group = |entry: &CodeEntry| ends.partition_point(|end| *end <= entry.feature as usize);
    let (mut all, mut last, mut next) = (0.0, 0.0, 0);
    for at in 0..ends.len() {
        if at > 0 {
            errors.copy_within((at - 1) * out..at * out, at * out);
        }
        let error = &mut errors[at * out..][..out];
        while let Some(entry) = row.get(next).filter(|entry| ends.len() == 1 || group(entry) == at)
        {
            add_scaled(error, entry.value, direction(entry));
            next += 1;
        }
        last = squares(error);
        all += last;
    }
    for at in (1..ends.len()).rev() {
        let (before, after) = errors.split_at_mut(at * out);
        add_scaled(&mut before[(at - 1) * out..], 1.0, &after[..out]);
    }
    for entry in row {
        let at = if ends.len() == 1 { 0 } else { group(entry) };
        entry.pull = factor * dot(&errors[at * out..][..out], direction(entry));
    }
    [all, last]
}

/// `Σ wᵢ rowᵢ` of a matrix with rows of `width`.
pub(super) fn weighed_sum(
    matrix: &[f32],
    width: usize,
    weight: impl Fn(usize) -> f64 + Sync,
) -> Vec<f64> {
    let sum = |(block, rows): (usize, &[f32])| {
        let mut sum = vec![0f64; width];
        with_avx2_if_present(|| {
            for (at, row) in rows.chunks(width).enumerate() {
                let weight = weight(block * ROWS_PER_SUM + at);
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * f64::from(*x));
            }
        });
        sum
    };
    let blocks = matrix.par_chunks(ROWS_PER_SUM * width).enumerate().map(sum).collect::<Vec<_>>();
    let mut total = vec![0f64; width];
    for block in blocks {
        total.iter_mut().zip(block).for_each(|(total, sum)| *total += sum);
    }
    total
}
