//! Eigenvalues from a Krylov basis, and how far they can be off.

use faer::linalg::evd::ComputeEigenvectors;
use faer::{Mat, Par};

use super::krylov::Krylov;
use crate::linalg::eigen::eigenpairs;

/// The largest eigenvalues of a matrix.
#[derive(Debug, Clone)]
pub(crate) struct Largest {
    /// By magnitude, from the largest down.
    pub(crate) values: Vec<f64>,
    /// How far the sum of their magnitudes can be below the true one: `2 Σ rᵢ`. θ approaches
    /// eigenvalues from within, so none is too large by more than rounding, and each has an
    /// eigenvalue within rᵢ. Where there are more of those than the block has vectors, it need not be
    /// the one that belongs to it, which was never seen more than about as far again. Bounds by
    /// `rᵢ²` over a gap are smaller, and wrong there.
    pub(crate) bound: f64,
}

/// The largest bound, as a share of the sum, that [`Largest::is_below`] relies on.
const RELIABLE: f64 = 1.0;
/// The share of the sum that may be missing that early, and on top of it how many times the bound,
/// for a k of one, of two and of more: the more random vectors a basis begins with, the less an
/// eigenvector can hide from all of them.
const SHARE: f64 = 0.15;
const BOUNDS: [f64; 3] = [9.0, 3.0, 2.2];

impl Largest {
    /// The sum of the magnitudes.
    pub(crate) fn sum(&self) -> f64 {
        self.values.iter().map(|value| value.abs()).sum()
    }

    /// Whether the sum is right within `accuracy` times itself.
    pub(crate) fn is_within(&self, accuracy: f64) -> bool {
        self.bound <= accuracy * self.sum()
    }

    /// Whether the true sum is below `bar`, with room for what a basis that has only begun may not have
    /// found.
    pub(super) fn is_below(&self, bar: f64) -> bool {
        let sum = self.sum();
        let bounds = BOUNDS[(self.values.len() - 1).min(BOUNDS.len() - 1)];
        self.bound <= RELIABLE * sum && (1.0 + SHARE) * sum + bounds * self.bound < bar
    }
}

/// The `k` largest eigenvalues of T.
pub(super) fn of(krylov: &Krylov, k: usize) -> Largest {
    let Some(Pairs { values, vectors }) = pairs(krylov) else {
        // Nothing is known: the basis grows on.
        return Largest { values: vec![0.0; k], bound: f64::INFINITY };
    };
    let coupling = &krylov.coupling;
    let (m, block) = (vectors.nrows(), coupling.nrows());
    let residual = |i: usize| {
        let last = |column: usize| vectors[(m - block + column, i)];
        let square = |line: usize| {
            (0..block).map(|column| coupling[(line, column)] * last(column)).sum::<f64>().powi(2)
        };
        (0..block).map(square).sum::<f64>().sqrt()
    };
    let bound = 2.0 * values[..k].iter().map(|(i, _)| residual(*i)).sum::<f64>();
    Largest { values: values[..k].iter().map(|(_, value)| *value).collect(), bound }
}

/// Eigenvectors of those, rows `[k, d]`; none where nothing is known.
pub(super) fn vectors(krylov: &Krylov, k: usize) -> Vec<f32> {
    let Some(Pairs { values, vectors }) = pairs(krylov) else { return Vec::new() };
    let column = |i: usize| (0..vectors.nrows()).map(|row| vectors[(row, i)] as f32).collect();
    let columns = values[..k].iter().map(|(i, _)| column(*i));
    columns.flat_map(|column: Vec<f32>| krylov.along(&column)).collect()
}

/// Eigenvalues of T with the columns of their eigenvectors, by magnitude from the largest down.
struct Pairs {
    values: Vec<(usize, f64)>,
    vectors: Mat<f64>,
}

fn pairs(krylov: &Krylov) -> Option<Pairs> {
    let t = krylov.projected();
    let (values, vectors) = eigenpairs(t.as_ref(), ComputeEigenvectors::Yes, Par::Seq)?;
    let mut values: Vec<(usize, f64)> = values.into_iter().enumerate().collect();
    values.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
    Some(Pairs { values, vectors })
}
