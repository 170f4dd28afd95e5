//! Eigendecomposition of symmetric matrices, one or many.

use candle_core::Tensor;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{Mat, MatRef, Par};
use rayon::prelude::*;

use super::MIN_INTERRUPTIBLE_SIZE;
use super::matrix::{Home, column_signs, flip_columns, row_major, values};
use crate::progress::{Progress, interruptible};
use crate::{Error, Result};

/// How far a matrix may be from its transpose, relative to its largest entry: rounding of f32
/// sums, not a forgotten symmetrisation.
const ASYMMETRY: f64 = 1e-4;

/// The eigendecomposition `A = Q Λ Qᵀ` of a symmetric matrix or a batch of them.
#[derive(Debug, Clone)]
pub struct Eigh {
    /// Eigenvalues in ascending order, `[n]` or `[batch, n]`.
    pub values: Tensor,
    /// Orthonormal eigenvectors as columns, `[n, n]` or `[batch, n, n]`: `vectors[.., i]` belongs
    /// to `values[i]`. The entry of largest magnitude of each is positive.
    pub vectors: Tensor,
}

/// Eigenvalues and eigenvectors of a symmetric matrix `[n, n]`, or of each matrix of a batch
/// `[batch, n, n]`.
///
/// A batch is spread over all cores, one matrix a core, with a progress bar when it takes long.
///
/// # Errors
/// A tensor that is not square, empty, holds NaN or is not symmetric (use ½(A + Aᵀ), which is what
/// the quadratic form xᵀAx means); [`Error::Interrupted`] when Stop is pressed.
pub fn eigh(a: &Tensor) -> Result<Eigh> {
    let problem = EigenProblem::of("the matrix of eigh", a)?;
    let (n, lead, home) = (problem.n, problem.lead.clone(), problem.home.clone());
    let progress = problem.progress();
    let (all_values, all_vectors) = problem.solve(ComputeEigenvectors::Yes, progress)?;
    Ok(Eigh {
        values: home.tensor(all_values, &[&lead[..], &[n]].concat())?,
        vectors: home.tensor(all_vectors, &[&lead[..], &[n, n]].concat())?,
    })
}

/// Eigenvalues alone, in ascending order, `[n]` or `[batch, n]`: as [`eigh`], in a fraction of the
/// time.
///
/// # Errors
/// As [`eigh`].
pub fn eigvalsh(a: &Tensor) -> Result<Tensor> {
    let problem = EigenProblem::of("the matrix of eigvalsh", a)?;
    let progress = problem.progress();
    problem.values(progress)
}

/// [`eigvalsh`] as a part of work that has a progress bar of its own.
pub(crate) fn eigvalsh_within(a: &Tensor) -> Result<Tensor> {
    EigenProblem::of("the matrix of eigvalsh", a)?.values(Progress::silent())
}

/// Symmetric matrices to be solved.
struct EigenProblem {
    what: &'static str,
    home: Home,
    /// The batch, if there is one.
    lead: Vec<usize>,
    n: usize,
    entries: Vec<f64>,
}

impl EigenProblem {
    fn of(what: &'static str, a: &Tensor) -> Result<Self> {
        let (lead, n) = match *a.dims() {
            [rows, columns] if rows == columns => (vec![], rows),
            [batch, rows, columns] if rows == columns => (vec![batch], rows),
            _ => return Err(Error::shape(what, "[n, n] or [batch, n, n]", a.dims())),
        };
        Ok(Self { what, home: Home::of(a), lead, n, entries: values(what, a)? })
    }

    fn progress(&self) -> Progress {
        let batch = self.lead.first().copied().unwrap_or(1);
        Progress::new("eigendecomposition", batch as u64, "problem")
    }

    fn values(self, progress: Progress) -> Result<Tensor> {
        let (n, lead, home) = (self.n, self.lead.clone(), self.home.clone());
        let (values, _) = self.solve(ComputeEigenvectors::No, progress)?;
        home.tensor(values, &[&lead[..], &[n]].concat())
    }

    /// Values of every matrix, and vectors if they are asked for.
    fn solve(
        self,
        vectors: ComputeEigenvectors,
        progress: Progress,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        match self.n >= MIN_INTERRUPTIBLE_SIZE {
            true => interruptible("the eigendecomposition", move || {
                self.solve_in_groups(vectors, progress)
            }),
            false => self.solve_in_groups(vectors, progress),
        }
    }

    fn solve_in_groups(
        &self,
        vectors: ComputeEigenvectors,
        progress: Progress,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut all_values, mut all_vectors) = (Vec::new(), Vec::new());
        let batch = self.lead.first().copied().unwrap_or(1);
        let mut progress = progress;
        let par = if batch > 1 { Par::Seq } else { Par::rayon(0) };
        let size = self.n * self.n;
        for group in self.entries.chunks(size * rayon::current_num_threads().max(1)) {
            let solved: Vec<_> = group
                .par_chunks(size)
                .map(|one| self.symmetric(one, vectors, par))
                .collect::<Result<_>>()?;
            let count = solved.len() as u64;
            for (values, vectors) in solved {
                all_values.extend(values);
                all_vectors.extend(vectors);
            }
            if progress.advance(count) && all_values.len() < batch * self.n {
                return Err(Error::Interrupted { what: self.what.replace("the matrix of ", "") });
            }
        }
        Ok((all_values, all_vectors))
    }

    fn symmetric(
        &self,
        entries: &[f64],
        compute: ComputeEigenvectors,
        par: Par,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let n = self.n;
        let raw = MatRef::from_row_major_slice(entries, n, n);
        let largest = entries.iter().fold(0f64, |largest, value| largest.max(value.abs()));
        let mut a = Mat::zeros(n, n);
        for column in 0..n {
            for row in column..n {
                let (below, above) = (raw[(row, column)], raw[(column, row)]);
                if (below - above).abs() > ASYMMETRY * largest {
                    return Err(Error::invalid(
                        self.what,
                        "symmetric (use ½(A + Aᵀ))",
                        format!("{above} at [{column}, {row}] and {below} at [{row}, {column}]"),
                    ));
                }
                a[(row, column)] = 0.5 * (below + above);
            }
        }
        let (values, mut vectors) = eigenpairs(a.as_ref(), compute, par)
            .ok_or_else(|| Error::invalid(self.what, "one whose iteration converges", "none"))?;
        let signs = column_signs(vectors.as_ref());
        flip_columns(&mut vectors, &signs);
        Ok((values, row_major(vectors.as_ref())))
    }
}

/// Eigenvalues of a symmetric matrix in ascending order, and eigenvectors as columns, or none if
/// they are not asked for; nothing where the iteration does not converge. What is above the
/// diagonal is not looked at.
pub(super) fn eigenpairs(
    a: MatRef<'_, f64>,
    vectors: ComputeEigenvectors,
    par: Par,
) -> Option<(Vec<f64>, Mat<f64>)> {
    let n = a.nrows();
    let (mut values, mut found) = (Diag::zeros(n), None);
    if matches!(vectors, ComputeEigenvectors::Yes) {
        found = Some(Mat::zeros(n, n));
    }
    let scratch = self_adjoint_evd_scratch::<f64>(n, vectors, par, Default::default());
    self_adjoint_evd(
        a,
        values.as_mut(),
        found.as_mut().map(Mat::as_mut),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
        Default::default(),
    )
    .ok()?;
    Some(((0..n).map(|i| values[i]).collect(), found.unwrap_or_else(Mat::new)))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, IndexOp};

    use super::*;
    use crate::random::Rng;

    fn random_symmetric(shape: (usize, usize, usize)) -> Tensor {
        let a = Rng::seed(3).normal(shape, &Device::Cpu).unwrap();
        ((&a + a.transpose(1, 2).unwrap()).unwrap() * 0.5).unwrap()
    }

    #[test]
    fn a_batch_is_rebuilt_from_its_eigenpairs() {
        for dtype in [DType::F32, DType::F64] {
            let a = random_symmetric((5, 33, 33)).to_dtype(dtype).unwrap();
            let Eigh { values, vectors } = eigh(&a).unwrap();
            assert_eq!((values.dims(), vectors.dtype()), (&[5, 33][..], dtype));
            let alone = (eigvalsh(&a).unwrap() - &values).unwrap().abs().unwrap();
            let alone = alone.max_all().unwrap().to_dtype(DType::F64).unwrap();
            assert!(alone.to_scalar::<f64>().unwrap() < 1e-5);
            let scaled = vectors.broadcast_mul(&values.unsqueeze(1).unwrap()).unwrap();
            let rebuilt = scaled.matmul(&vectors.transpose(1, 2).unwrap()).unwrap();
            let error = (rebuilt - &a).unwrap().abs().unwrap().flatten_all().unwrap();
            let error = error.max(0).unwrap().to_dtype(DType::F64).unwrap();
            let bound = if dtype == DType::F32 { 1e-5 } else { 1e-13 };
            assert!(error.to_scalar::<f64>().unwrap() < bound, "{error}");
            let first: Vec<Vec<f64>> =
                vectors.i(0).unwrap().to_dtype(DType::F64).unwrap().t().unwrap().to_vec2().unwrap();
            for column in first {
                let largest =
                    column.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap();
                assert!(largest > 0.0);
            }
            let ascending: Vec<f64> =
                values.i(2).unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap();
            assert!(ascending.is_sorted());
        }
    }

    #[test]
    fn one_matrix_and_a_batch_agree() {
        let a = random_symmetric((2, 9, 9));
        let batch = eigh(&a).unwrap();
        let one = eigh(&a.i(1).unwrap()).unwrap();
        let batch: Vec<f32> = batch.values.i(1).unwrap().to_vec1().unwrap();
        for (a, b) in batch.iter().zip(one.values.to_vec1::<f32>().unwrap()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn closed_form_of_a_path_graph() {
        // The second-difference matrix has eigenvalues 2 − 2 cos(πk/(n+1)).
        let n = 12usize;
        let entries: Vec<f64> = (0..n * n)
            .map(|at| match (at / n).abs_diff(at % n) {
                0 => 2.0,
                1 => -1.0,
                _ => 0.0,
            })
            .collect();
        let a = Tensor::from_vec(entries, (n, n), &Device::Cpu).unwrap();
        let values: Vec<f64> = eigh(&a).unwrap().values.to_vec1().unwrap();
        for (k, value) in values.iter().enumerate() {
            let angle = std::f64::consts::PI * (k + 1) as f64 / (n + 1) as f64;
            assert!((value - (2.0 - 2.0 * angle.cos())).abs() < 1e-12);
        }
    }

    #[test]
    fn bad_matrices_are_refused_by_name() {
        let cpu = &Device::Cpu;
        let message = |a: Tensor| eigh(&a).unwrap_err().to_string();
        let flat = Tensor::zeros((2, 3), DType::F32, cpu).unwrap();
        assert!(message(flat).contains("expected [n, n]"));
        assert!(message(Tensor::zeros((0, 0), DType::F32, cpu).unwrap()).contains("at least one"));
        let nan = Tensor::new(&[[1f32, f32::NAN], [0., 1.]], cpu).unwrap();
        assert!(message(nan).contains("flat index 1"));
        let skew = Tensor::new(&[[0f32, 1.], [-1., 0.]], cpu).unwrap();
        assert!(message(skew).contains("½(A + Aᵀ)"));
        assert!(message(Tensor::new(&[[1u32]], cpu).unwrap()).contains("f32 or f64"));
    }
}
