//! QR decomposition.

use candle_core::Tensor;
use faer::Mat;

use super::MIN_INTERRUPTIBLE_SIZE;
use super::matrix::{Home, flip_columns, matrix, row_major};
use crate::Result;
use crate::progress::interruptible;

/// The thin decomposition `M = Q R` of an `m × n` matrix, `k = min(m, n)`.
#[derive(Debug, Clone)]
pub struct Qr {
    /// Orthonormal columns, `[m, k]`.
    pub q: Tensor,
    /// Upper triangular with a diagonal that is not negative, `[k, n]`.
    pub r: Tensor,
}

/// The thin QR decomposition of `m`, `[rows, columns]`. With a diagonal of `R` that is not
/// negative, it is unique for a matrix of full rank.
///
/// # Errors
/// A tensor that is not a matrix, is empty or holds NaN;
/// [`Error::Interrupted`](crate::Error::Interrupted) when Stop is pressed.
pub fn qr(m: &Tensor) -> Result<Qr> {
    let home = Home::of(m);
    let m = matrix("the matrix of qr", m)?;
    let decompose = |m: Mat<f64>| {
        let decomposition = m.qr();
        (decomposition.compute_thin_Q(), decomposition.thin_R().transpose().to_owned())
    };
    let (mut q, mut r_transposed) = match m.nrows().max(m.ncols()) >= MIN_INTERRUPTIBLE_SIZE {
        true => interruptible("the QR decomposition", move || Ok(decompose(m)))?,
        false => decompose(m),
    };
    let k = q.ncols();
    let signs: Vec<f64> =
        (0..k).map(|i| if r_transposed[(i, i)] < 0.0 { -1.0 } else { 1.0 }).collect();
    flip_columns(&mut q, &signs);
    flip_columns(&mut r_transposed, &signs);
    Ok(Qr {
        q: home.tensor(row_major(q.as_ref()), &[q.nrows(), k])?,
        r: home.tensor(row_major(r_transposed.transpose()), &[k, r_transposed.nrows()])?,
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::random::Rng;

    #[test]
    fn q_is_orthonormal_and_r_triangular() {
        for (rows, columns) in [(9, 4), (4, 9)] {
            let m = Rng::seed(1).normal((rows, columns), &Device::Cpu).unwrap();
            let m = m.to_dtype(DType::F64).unwrap();
            let Qr { q, r } = qr(&m).unwrap();
            let k = rows.min(columns);
            let identity = Tensor::eye(k, DType::F64, &Device::Cpu).unwrap();
            for (a, b) in
                [(q.matmul(&r).unwrap(), m), (q.t().unwrap().matmul(&q).unwrap(), identity)]
            {
                let gap = (a - b).unwrap().sqr().unwrap().sum_all().unwrap();
                assert!(gap.to_scalar::<f64>().unwrap() < 1e-24);
            }
            for (i, row) in r.to_vec2::<f64>().unwrap().iter().enumerate() {
                assert!(row[i] >= 0.0 && row[..i].iter().all(|&below| below == 0.0));
            }
        }
    }

    #[test]
    fn closed_form() {
        let m = Tensor::new(&[[3f32, 1.], [4., 2.]], &Device::Cpu).unwrap();
        let r: Vec<Vec<f32>> = qr(&m).unwrap().r.to_vec2().unwrap();
        assert!((r[0][0] - 5.0).abs() < 1e-6 && (r[0][1] - 2.2).abs() < 1e-6);
        assert!(qr(&Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap()).is_err());
    }
}
