//! Singular values, and what follows from them: least squares and the pseudoinverse.

use candle_core::Tensor;
use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::svd::{ComputeSvdVectors, SvdParams, svd as faer_svd, svd_scratch};
use faer::{Mat, MatRef, Par, Spec};

use super::MIN_INTERRUPTIBLE_SIZE;
use super::matrix::{Home, column_signs, flip_columns, matrix, row_major};
use crate::check::check_not_negative;
use crate::progress::interruptible;
use crate::{Error, Result};

/// The thin singular value decomposition `M = U Σ Vᵀ` of an `m × n` matrix, `k = min(m, n)`.
#[derive(Debug, Clone)]
pub struct Svd {
    /// Left singular vectors as orthonormal columns, `[m, k]`. The entry of largest magnitude of
    /// each is positive; `v` has the matching signs.
    pub u: Tensor,
    /// Singular values in descending order, `[k]`.
    pub values: Tensor,
    /// Right singular vectors as orthonormal columns, `[n, k]` (not transposed).
    pub v: Tensor,
}

struct Factors {
    u: Mat<f64>,
    values: Vec<f64>,
    v: Mat<f64>,
}

/// Which singular values count as zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RankCut {
    /// Those up to this share of the largest one.
    Relative(f64),
    /// Those up to this number, whatever the size of the matrix: what is small is then lost.
    Absolute(f64),
}

/// The thin singular value decomposition of `m`, `[rows, columns]`.
///
/// # Errors
/// A tensor that is not a matrix, is empty or holds NaN; [`Error::Interrupted`] when Stop is pressed.
pub fn svd(m: &Tensor) -> Result<Svd> {
    let home = Home::of(m);
    let Factors { u, values, v } = factors("the matrix of svd", m)?;
    let k = values.len();
    Ok(Svd {
        u: home.tensor(row_major(u.as_ref()), &[u.nrows(), k])?,
        values: home.tensor(values, &[k])?,
        v: home.tensor(row_major(v.as_ref()), &[v.nrows(), k])?,
    })
}

/// The Moore–Penrose pseudoinverse `M⁺ = V Σ⁺ Uᵀ` of `m`, `[rows, columns]`, as
/// `[columns, rows]`. Singular values below `max(rows, columns) · ε · σ_max` (ε of the tensor's
/// dtype) count as zero, as in NumPy's `matrix_rank`.
///
/// # Errors
/// As [`svd`].
pub fn pinv(m: &Tensor) -> Result<Tensor> {
    pseudoinverse(m, |factors| factors.rounding(m))
}

/// [`pinv`] with the rank cut by `cut` instead.
///
/// # Errors
/// As [`svd`]; a cut that is negative or not finite.
pub fn pinv_with(m: &Tensor, cut: RankCut) -> Result<Tensor> {
    let (RankCut::Relative(size) | RankCut::Absolute(size)) = cut;
    check_not_negative("the cut of the rank", size)?;
    pseudoinverse(m, |factors| match cut {
        RankCut::Relative(share) => share * factors.values.first().copied().unwrap_or(0.0),
        RankCut::Absolute(size) => size,
    })
}

/// The pseudoinverse of `m` without the singular values up to what `cut` says.
fn pseudoinverse(m: &Tensor, cut: impl FnOnce(&Factors) -> f64) -> Result<Tensor> {
    let home = Home::of(m);
    let factors = factors("the matrix of pinv", m)?;
    let scaled = factors.right_over_values(cut(&factors));
    let inverse = &scaled * factors.u.transpose();
    home.tensor(row_major(inverse.as_ref()), &[inverse.nrows(), inverse.ncols()])
}

/// The least-squares solution of `A X = B` with the smallest norm: `A⁺ B`, `[columns, k]`, for `a`
/// `[rows, columns]` and `b` `[rows, k]` (or `[rows]`, which gives `[columns]`). The rank is cut as
/// in [`pinv`].
///
/// # Errors
/// As [`svd`], and where `a` and `b` differ in rows.
pub fn lstsq(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let home = Home::of(a);
    let columns = if b.rank() == 1 { b.unsqueeze(1)? } else { b.clone() };
    let right = matrix("the right-hand side of lstsq", &columns)?;
    let factors = factors("the matrix of lstsq", a)?;
    if right.nrows() != factors.u.nrows() {
        let expected = format!("{} rows, as the matrix has", factors.u.nrows());
        return Err(Error::shape("the right-hand side of lstsq", expected, b.dims()));
    }
    let x = factors.right_over_values(factors.rounding(a)) * (factors.u.transpose() * right);
    let x = home.tensor(row_major(x.as_ref()), &[x.nrows(), x.ncols()])?;
    Ok(if b.rank() == 1 { x.squeeze(1)? } else { x })
}

impl Factors {
    /// The singular value up to which all are rounding, for a matrix of the dtype of `source`.
    fn rounding(&self, source: &Tensor) -> f64 {
        let epsilon = match source.dtype() {
            candle_core::DType::F64 => f64::EPSILON,
            _ => f64::from(f32::EPSILON),
        };
        let size = self.u.nrows().max(self.v.nrows()) as f64;
        size * epsilon * self.values.first().copied().unwrap_or(0.0)
    }

    /// `V Σ⁺`, with singular values up to `cut` as zero.
    fn right_over_values(&self, cut: f64) -> Mat<f64> {
        let inverse: Vec<f64> =
            self.values.iter().map(|&value| if value > cut { 1.0 / value } else { 0.0 }).collect();
        let mut scaled = self.v.clone();
        flip_columns(&mut scaled, &inverse);
        scaled
    }
}

fn factors(what: &'static str, tensor: &Tensor) -> Result<Factors> {
    let m = matrix(what, tensor)?;
    match m.nrows().max(m.ncols()) >= MIN_INTERRUPTIBLE_SIZE {
        true => {
            interruptible("the singular value decomposition", move || decompose(what, m.as_ref()))
        }
        false => decompose(what, m.as_ref()),
    }
}

fn decompose(what: &str, m: MatRef<'_, f64>) -> Result<Factors> {
    let (rows, columns) = m.shape();
    let k = rows.min(columns);
    let (mut u, mut v) = (Mat::zeros(rows, k), Mat::zeros(columns, k));
    let mut values = Diag::zeros(k);
    let par = Par::rayon(0);
    let thin = ComputeSvdVectors::Thin;
    let mut settings = Spec::<SvdParams, f64>::default();
    // By shifted QR at every size: where many singular values are equal, faer's way of dividing large
    // matrices can lose some of them.
    settings.recursion_threshold = usize::MAX;
    let scratch = svd_scratch::<f64>(rows, columns, thin, thin, par, settings);
    faer_svd(
        m,
        values.as_mut(),
        Some(u.as_mut()),
        Some(v.as_mut()),
        par,
        MemStack::new(&mut MemBuffer::new(scratch)),
        settings,
    )
    .map_err(|_| Error::invalid(what, "one whose iteration converges", "none"))?;
    let signs = column_signs(u.as_ref());
    flip_columns(&mut u, &signs);
    flip_columns(&mut v, &signs);
    Ok(Factors { u, values: (0..k).map(|i| values[i]).collect(), v })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::random::Rng;

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    fn random(rows: usize, columns: usize) -> Tensor {
        let m = Rng::seed(5).normal((rows, columns), &Device::Cpu).unwrap();
        m.to_dtype(DType::F64).unwrap()
    }

    #[test]
    fn tall_and_wide_matrices_are_rebuilt() {
        for (rows, columns) in [(17, 6), (6, 17), (1, 4), (5, 5)] {
            let m = random(rows, columns);
            let Svd { u, values, v } = svd(&m).unwrap();
            let k = rows.min(columns);
            assert_eq!((u.dims(), v.dims()), (&[rows, k][..], &[columns, k][..]));
            let descending = values.to_vec1::<f64>().unwrap();
            assert!(descending.windows(2).all(|pair| pair[0] >= pair[1]));
            let rebuilt = u.broadcast_mul(&values).unwrap().matmul(&v.t().unwrap()).unwrap();
            assert!(gap(&rebuilt, &m) < 1e-12);
        }
    }

    /// Half of 300 singular values equal and the others zero, and rows that are two directions again
    /// and again, up to the rounding of f32.
    #[test]
    fn equal_singular_values_are_all_found() {
        let orthonormal = |columns: usize| crate::linalg::qr(&random(300, columns)).unwrap().q;
        let (u, v) = (orthonormal(300), orthonormal(150));
        let half = u.narrow(1, 0, 150).unwrap().matmul(&v.t().unwrap()).unwrap();
        let two = orthonormal(2).to_dtype(DType::F32).unwrap().to_dtype(DType::F64).unwrap();
        let two = Tensor::cat(&vec![two.t().unwrap(); 64], 0).unwrap();
        for (m, value, count) in [(half, 1.0, 150), (two, 8.0, 2)] {
            let Svd { u, values, v } = svd(&m).unwrap();
            let rebuilt = u.broadcast_mul(&values).unwrap().matmul(&v.t().unwrap()).unwrap();
            assert!(gap(&rebuilt, &m) < 1e-12);
            let values: Vec<f64> = values.to_vec1().unwrap();
            assert!(values[..count].iter().all(|found| (found - value).abs() < 1e-6 * value));
            assert!(values[count..].iter().all(|rest| rest.abs() < 1e-6));
        }
    }

    #[test]
    fn the_pseudoinverse_of_a_rank_one_matrix() {
        // (a bᵀ)⁺ = b aᵀ / (|a|² |b|²)
        let a = Tensor::new(&[[1f32], [2.], [2.]], &Device::Cpu).unwrap();
        let b = Tensor::new(&[[3f32, 4.]], &Device::Cpu).unwrap();
        let inverse = pinv(&a.matmul(&b).unwrap()).unwrap();
        let expected = (b.t().unwrap().matmul(&a.t().unwrap()).unwrap() / 225.0).unwrap();
        assert!(gap(&inverse, &expected) < 1e-7);
    }

    #[test]
    fn the_rank_of_a_pseudoinverse_is_cut_where_one_says() {
        let m = Tensor::new(&[[4f64, 0.], [0., 0.5]], &Device::Cpu).unwrap();
        let of = |cut| pinv_with(&m, cut).unwrap().to_vec2::<f64>().unwrap();
        for cut in [RankCut::Absolute(0.5), RankCut::Relative(0.125)] {
            assert_eq!(of(cut), [[0.25, 0.], [0., 0.]], "{cut:?}: the cut itself is zero");
        }
        for cut in [RankCut::Absolute(0.49), RankCut::Relative(0.124)] {
            assert_eq!(of(cut), [[0.25, 0.], [0., 2.]], "{cut:?}");
        }
        let message = pinv_with(&m, RankCut::Absolute(-1.)).unwrap_err().to_string();
        assert!(message.contains("the cut of the rank"), "{message}");
    }

    #[test]
    fn least_squares_recovers_a_line_and_the_smallest_solution() {
        let x = Tensor::new(&[[0f64, 1.], [1., 1.], [2., 1.]], &Device::Cpu).unwrap();
        let y = Tensor::new(&[1f64, 3., 5.], &Device::Cpu).unwrap();
        let line: Vec<f64> = lstsq(&x, &y).unwrap().to_vec1().unwrap();
        assert!((line[0] - 2.0).abs() < 1e-12 && (line[1] - 1.0).abs() < 1e-12);
        let wide = Tensor::new(&[[1f64, 1.]], &Device::Cpu).unwrap();
        let two = Tensor::new(&[[2f64]], &Device::Cpu).unwrap();
        let smallest: Vec<Vec<f64>> = lstsq(&wide, &two).unwrap().to_vec2().unwrap();
        assert!((smallest[0][0] - 1.0).abs() < 1e-12 && (smallest[1][0] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let message = svd(&random(4, 2).get(0).unwrap()).unwrap_err().to_string();
        assert!(message.contains("[rows, columns]"), "{message}");
        let infinite = Tensor::new(&[[1f32, f32::INFINITY]], &Device::Cpu).unwrap();
        assert!(pinv(&infinite).unwrap_err().to_string().contains("pinv"));
        let message = lstsq(&random(4, 2), &random(3, 1)).unwrap_err().to_string();
        assert!(message.contains("4 rows"), "{message}");
    }
}
