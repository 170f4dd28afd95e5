//! The sum of all eigenvalues' magnitudes, estimated from a Krylov basis.

use faer::linalg::evd::ComputeEigenvectors;
use faer::{MatRef, Par};

use super::krylov::Krylov;
use crate::linalg::eigen::eigenpairs;

/// Blocks that two estimates are apart which tell how far one has settled.
pub(super) const STEPS: usize = 2;
/// Blocks before the first look.
pub(super) const FEWEST: usize = 6;
/// The share of the standard error that an estimate may still change by.
const SETTLED: f64 = 0.25;

/// An estimate of `tr |S| = Σ|λ|`.
///
/// For b random orthonormal vectors Q₁, `d/b tr(Q₁ᵀ |S| Q₁)` is right in the
/// mean. One random direction q has
///
/// ```text
/// Var(d qᵀ|S|q) = 2d/(d + 2) (Σλ² − (Σ|λ|)²/d)
/// ```
///
/// and the mean of b of them has at most the b-th part. All but the estimate itself is known. The
/// standard error is what the true sum can be off by to be one standard deviation of its own away,
/// or what the b differ by, if that is more: a few large eigenvalues make rare large errors.
/// `Q₁ᵀ |S| Q₁` is the first block of |T|, up to what later steps would change (Golub and
/// Meurant, Matrices, Moments and Quadrature, 2010).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Magnitude {
    pub(crate) sum: f64,
    /// The standard error over random Q₁.
    deviation: f64,
    /// What the last [`STEPS`] blocks changed.
    change: f64,
}

impl Magnitude {
    pub(super) fn of(krylov: &Krylov, squares: f64) -> Self {
        let (t, block, d) = (krylov.projected(), krylov.block, krylov.d as f64);
        let (m, b) = (t.nrows() - STEPS * block, block as f64);
        let mean = |forms: &[f64]| forms.iter().sum::<f64>() / b;
        // No sum of d magnitudes is larger than if all were equal.
        let most = (d * squares).sqrt();
        let sum_of = |forms: &[f64]| match d * mean(forms) {
            sum if sum > most => most,
            sum => sum,
        };
        let forms = first_block(t.as_ref(), block);
        let sum = sum_of(&forms);
        let before = sum_of(&first_block(t.submatrix(0, 0, m, m), block));
        // The roots of (sum − x)² = c (squares − x² / d).
        let c = 2.0 * d / (d + 2.0) / b;
        let width = (c * squares * (1.0 + c / d) - sum * sum * c / d).max(0.0).sqrt();
        let ends = [sum - width, sum + width].map(|end| (end / (1.0 + c / d) - sum).abs());
        let gaps = forms.iter().map(|form| (form - mean(&forms)).powi(2)).sum::<f64>();
        let differ = d * (gaps / (b * (b - 1.0).max(1.0))).sqrt();
        let deviation = ends[0].max(ends[1]).max(differ);
        Self { sum, deviation, change: (sum - before).abs() }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.change <= SETTLED * self.deviation
    }

    /// The standard error: what is still to come in an estimate is taken to be twice the last
    /// change.
    pub(crate) fn error(&self) -> f64 {
        self.deviation.hypot(2.0 * self.change)
    }
}

/// The diagonal of the first block of |T|; NaN, which settles nothing, where T has no eigenvalues.
fn first_block(t: MatRef<'_, f64>, block: usize) -> Vec<f64> {
    let Some((values, vectors)) = eigenpairs(t, ComputeEigenvectors::Yes, Par::Seq) else {
        return vec![f64::NAN; block];
    };
    let form = |line: usize| {
        let terms = values.iter().enumerate();
        terms.map(|(at, value)| value.abs() * vectors[(line, at)].powi(2)).sum()
    };
    (0..block).map(form).collect()
}
