//! Symmetric systems of equations: Cholesky if it is safe, eigenvectors otherwise.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{
    LltRegularization, cholesky_in_place, cholesky_in_place_scratch,
};
use faer::linalg::matmul::matmul as faer_matmul;
use faer::linalg::triangular_solve::{
    solve_lower_triangular_in_place, solve_upper_triangular_in_place,
};
use faer::{Accum, Mat, MatRef, Par};
use rayon::prelude::*;

use super::panels::COLUMNS_PER_TILE;
use crate::Result;
use crate::linalg::{eigh, matmul, matmul_tn};
use crate::random::Rng;

/// Steps of a power iteration. The condition need not be exact; it tells well from ill.
const POWER_STEPS: usize = 8;

/// By how much the smallest eigenvalue has to be above the cut of the rank for Cholesky to be used.
const CHOLESKY_MARGIN: f64 = 10.0;

/// Columns that the cut of the rank supposes at least: sums of few columns have rounding errors too.
const MIN_COLUMNS_OF_CUT: usize = 100;

/// The solution of `S A = C` with the smallest norm.
#[derive(Debug)]
pub(in crate::sae_error) struct Solution {
    /// `[d, m]`, row-major.
    pub(in crate::sae_error) matrix: Vec<f64>,
    /// The rank of S.
    pub(in crate::sae_error) rank: usize,
    /// `√(largest / smallest eigenvalue that counts)`, infinite if none does.
    pub(in crate::sae_error) condition: f64,
}

/// Solves `S A = C` for S `[d, d]`, symmetric without negative eigenvalues, and C `[d, m]`, row-major.
/// Eigenvalues up to `max(d, 100) ε λ_max` count as zero.
pub(in crate::sae_error) fn smallest_solution(
    s: &[f64],
    c: &[f64],
    d: usize,
    m: usize,
) -> Result<Solution> {
    match Cholesky::of(s, d) {
        Some(found) if found.smallest > CHOLESKY_MARGIN * rank_cut(d, found.largest) => {
            let condition = (found.largest / found.smallest).sqrt();
            Ok(Solution { matrix: found.solve(c, m), rank: d, condition })
        }
        _ => by_eigenvectors(s, c, d, m),
    }
}

/// The eigenvalue up to which all are rounding.
pub(in crate::sae_error) fn rank_cut(d: usize, largest: f64) -> f64 {
    d.max(MIN_COLUMNS_OF_CUT) as f64 * f64::EPSILON * largest
}

/// What `work` makes of groups of `columns` columns, in order. A group is done by one thread, so that
/// its numbers do not depend on how many there are.
pub(super) fn in_column_groups<T: Send>(
    columns: usize,
    work: impl Fn(Range<usize>) -> T + Sync,
) -> Vec<T> {
    let starts: Vec<usize> = (0..columns).step_by(COLUMNS_PER_TILE).collect();
    let group = |&start: &usize| work(start..(start + COLUMNS_PER_TILE).min(columns));
    starts.par_iter().map(group).collect()
}

/// `S = L Lᵀ`, with about the largest and the smallest eigenvalue of S.
struct Cholesky {
    lower: Mat<f64>,
    largest: f64,
    smallest: f64,
}

impl Cholesky {
    /// None if a pivot is not positive.
    fn of(s: &[f64], d: usize) -> Option<Self> {
        let s = MatRef::from_row_major_slice(s, d, d);
        let mut lower = s.to_owned();
        let scratch = cholesky_in_place_scratch::<f64>(d, Par::Seq, Default::default());
        cholesky_in_place(
            lower.as_mut(),
            LltRegularization::default(),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Default::default(),
        )
        .ok()?;
        let mut found = Self { lower, largest: 0.0, smallest: 0.0 };
        found.largest = growth(d, |v| {
            let mut product = Mat::zeros(d, 1);
            faer_matmul(product.as_mut(), Accum::Replace, s, v.as_ref(), 1.0, Par::Seq);
            *v = product;
        });
        found.smallest = 1.0 / growth(d, |v| found.solve_in_place(v));
        Some(found)
    }

    fn solve_in_place(&self, right: &mut Mat<f64>) {
        let lower = self.lower.as_ref();
        solve_lower_triangular_in_place(lower, right.as_mut(), Par::Seq);
        solve_upper_triangular_in_place(lower.transpose(), right.as_mut(), Par::Seq);
    }

    /// `S⁻¹ C`, row-major.
    fn solve(&self, c: &[f64], m: usize) -> Vec<f64> {
        let d = self.lower.nrows();
        let matrix = Mutex::new(vec![0.0; d * m]);
        in_column_groups(m, |columns| {
            let mut right = Mat::from_fn(d, columns.len(), |i, j| c[i * m + columns.start + j]);
            self.solve_in_place(&mut right);
            let mut matrix = matrix.lock().unwrap_or_else(PoisonError::into_inner);
            for (i, row) in matrix.chunks_exact_mut(m).enumerate() {
                let row = row[columns.clone()].iter_mut().enumerate();
                row.for_each(|(j, value)| *value = right[(i, j)]);
            }
        });
        matrix.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// By how much `step`, a symmetric map, lengthens a vector after some steps: about its largest
/// eigenvalue, from below.
fn growth(d: usize, step: impl Fn(&mut Mat<f64>)) -> f64 {
    let mut start = vec![0f32; d];
    Rng::seed(0).add_normal(&mut start, 1.0);
    let mut v = Mat::from_fn(d, 1, |i, _| f64::from(start[i]));
    let mut length = normalise(&mut v);
    for _ in 0..POWER_STEPS {
        step(&mut v);
        length = normalise(&mut v);
    }
    length
}

/// Gives a column the length 1, and returns what its length was.
fn normalise(v: &mut Mat<f64>) -> f64 {
    let values = v.col_as_slice_mut(0);
    let length = values.iter().map(|x| x * x).sum::<f64>().sqrt();
    values.iter_mut().for_each(|x| *x /= length);
    length
}

fn by_eigenvectors(s: &[f64], c: &[f64], d: usize, m: usize) -> Result<Solution> {
    let tensor = |values: &[f64], columns: usize| {
        Tensor::from_vec(values.to_vec(), (d, columns), &Device::Cpu)
    };
    let spectrum = eigh(&tensor(s, d)?)?;
    let values: Vec<f64> = spectrum.values.to_vec1()?;
    let largest = values.last().copied().unwrap_or(0.0);
    let counts = |value: &f64| *value > 0.0 && *value > rank_cut(d, largest);
    let inverse: Vec<f64> =
        values.iter().map(|value| if counts(value) { 1.0 / value } else { 0.0 }).collect();
    let rank = values.iter().filter(|value| counts(value)).count();
    let smallest = values.iter().copied().find(|value| counts(value)).unwrap_or(0.0);
    let parts = matmul_tn(&spectrum.vectors, &tensor(c, m)?)?;
    let parts = parts.broadcast_mul(&Tensor::from_vec(inverse, (d, 1), &Device::Cpu)?)?;
    let matrix = matmul(&spectrum.vectors, &parts)?.flatten_all()?.to_vec1()?;
    let condition = if rank == 0 { f64::INFINITY } else { (largest / smallest).sqrt() };
    Ok(Solution { matrix, rank, condition })
}
