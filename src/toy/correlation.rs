//! Random correlation matrices.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::linalg::{eigh, eigvalsh};
use crate::random::Rng;

/// The smallest eigenvalue that a shifted matrix has, over the largest.
const FLOOR: f64 = 1e-3;

/// A random positive-definite correlation matrix, `[n, n]`, f32: a symmetric Gaussian matrix
/// ½(A + Aᵀ), shifted until its smallest eigenvalue is positive, scaled to a diagonal of ones.
pub(super) fn random_correlation(n: usize, rng: &mut Rng) -> Result<Tensor> {
    let a = rng.normal((n, n), &Device::Cpu)?.to_dtype(DType::F64)?;
    let symmetric = ((&a + a.t()?)? * 0.5)?;
    let values: Vec<f64> = eigvalsh(&symmetric)?.to_vec1()?;
    let (low, high) = (values[0], values[n - 1]);
    let shift = (high - low) * FLOOR - low;
    // One feature alone has nothing to correlate with, and no spread to take a share of.
    let shift = if n == 1 { 1.0 - low } else { shift };
    let shifted = (symmetric + (Tensor::eye(n, DType::F64, &Device::Cpu)? * shift)?)?;
    let entries: Vec<f64> = shifted.flatten_all()?.to_vec1()?;
    let lengths: Vec<f64> = (0..n).map(|i| entries[i * (n + 1)].sqrt()).collect();
    let lengths = Tensor::from_vec(lengths, n, &Device::Cpu)?;
    let scaled = shifted.broadcast_div(&lengths)?.broadcast_div(&lengths.unsqueeze(1)?)?;
    Ok(scaled.to_dtype(DType::F32)?)
}

/// The symmetric square root `Q Λ^½ Qᵀ` of a positive-definite matrix.
pub(super) fn root(matrix: &Tensor) -> Result<Tensor> {
    let spectrum = eigh(&matrix.to_dtype(DType::F64)?)?;
    let roots = spectrum.values.relu()?.sqrt()?;
    let root = spectrum.vectors.broadcast_mul(&roots)?.matmul(&spectrum.vectors.t()?)?;
    Ok(root.to_dtype(matrix.dtype())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlations_are_symmetric_positive_definite_and_one_on_the_diagonal() {
        for (n, seed) in [(1, 0), (2, 1), (6, 2), (40, 3)] {
            let matrix = random_correlation(n, &mut Rng::seed(seed)).unwrap();
            let wide = matrix.to_dtype(DType::F64).unwrap();
            let values: Vec<f64> = eigvalsh(&wide).unwrap().to_vec1().unwrap();
            assert!(values[0] > 0.0, "{n}: {values:?}");
            let rows: Vec<Vec<f64>> = wide.to_vec2().unwrap();
            for (i, row) in rows.iter().enumerate() {
                assert!((row[i] - 1.0).abs() < 1e-6);
                for (j, &entry) in row.iter().enumerate() {
                    assert!((entry - rows[j][i]).abs() < 1e-6 && entry.abs() <= 1.0 + 1e-6);
                }
            }
            let half = root(&wide).unwrap();
            let gap = (half.matmul(&half).unwrap() - wide).unwrap().abs().unwrap();
            assert!(gap.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-10);
        }
    }

    #[test]
    fn some_features_go_together_and_some_apart() {
        let matrix = random_correlation(6, &mut Rng::seed(0)).unwrap();
        let entries: Vec<f32> = matrix.flatten_all().unwrap().to_vec1().unwrap();
        assert!(entries.iter().any(|&r| r > 0.1 && r < 0.99));
        assert!(entries.iter().any(|&r| r < -0.1));
    }
}
