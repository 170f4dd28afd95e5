//! How alike directions are: cosines and angles of few vectors.

use candle_core::{DType, Tensor};

use crate::features::pairs::UnitVectors;
use crate::linalg::svd;
use crate::{Error, Result};

/// What is taken off vectors before their singular values are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Centring {
    /// Nothing; the default.
    #[default]
    None,
    /// The mean of the vectors, from each: what is left is how they differ.
    MeanVector,
    /// From each vector the mean of its own coordinates, which is what the study's figures show under
    /// the title of the other.
    OwnMean,
}

/// The singular values of `vectors` `[n, d]`, from the largest down: in how many directions they lie.
///
/// # Errors
/// A tensor that is no matrix of f32 or f64, is empty or holds NaN; [`Error::Interrupted`] when Stop
/// is pressed.
pub fn singular_values(vectors: &Tensor, centring: Centring) -> Result<Vec<f64>> {
    if vectors.rank() != 2 {
        return Err(Error::shape("the vectors", "[n, d], a vector a row", vectors.dims()));
    }
    let vectors = vectors.to_dtype(DType::F64)?;
    let vectors = match centring {
        Centring::None => vectors,
        Centring::MeanVector => vectors.broadcast_sub(&vectors.mean_keepdim(0)?)?,
        Centring::OwnMean => vectors.broadcast_sub(&vectors.mean_keepdim(1)?)?,
    };
    Ok(svd(&vectors)?.values.to_vec1()?)
}

/// The cosines of all pairs of rows of `vectors` `[n, d]`, `[n, n]` in f32, on their device. For many
/// vectors, [`Neighbours`](crate::features::Neighbours) keeps the largest without this matrix.
///
/// # Errors
/// A tensor that is no matrix, or holds NaN.
pub fn cosines(vectors: &Tensor) -> Result<Tensor> {
    UnitVectors::of(vectors)?.cosines()
}

/// What [`Clusters::spectral`](super::Clusters::spectral) takes for the weight between rows i and j of
/// `vectors` `[n, d]`: `1 − θᵢⱼ/π` with the angle θ between them, `[n, n]` in f32. It is 1 where they
/// point the same way, ½ at a right angle, 0 where they point apart.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::features::angular_affinity;
/// # fn main() -> Result<()> {
/// let vectors = Tensor::new(&[[1f32, 0.], [0., 2.], [-3., 0.]], &Device::Cpu)?;
/// assert_eq!(angular_affinity(&vectors)?.to_vec2::<f32>()?[0], [1.0, 0.5, 0.0]);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`cosines`].
pub fn angular_affinity(vectors: &Tensor) -> Result<Tensor> {
    let cosines = cosines(vectors)?.to_dtype(DType::F64)?;
    let (n, device) = (cosines.dims()[0], cosines.device().clone());
    let values: Vec<f64> = cosines.flatten_all()?.to_vec1()?;
    let affinity = |(at, cosine): (usize, &f64)| match at % (n + 1) {
        0 => 1f32,
        _ => (1.0 - cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI) as f32,
    };
    let values: Vec<f32> = values.iter().enumerate().map(affinity).collect();
    Ok(Tensor::from_vec(values, (n, n), &device)?)
}

/// The mean cosine of two different rows of `vectors` `[n, d]`.
///
/// # Errors
/// As [`cosines`], and fewer than two rows.
pub fn mean_pairwise_cosine(vectors: &Tensor) -> Result<f64> {
    let unit = UnitVectors::of(vectors)?;
    let [n, _] = unit.dims();
    if n < 2 {
        return Err(Error::invalid("the number of vectors", "at least 2, a pair", n));
    }
    // Of all pairs, without a matrix: ‖Σ u‖² less the squares of the lengths.
    let rows = unit.rows().to_dtype(DType::F64)?;
    let all = rows.sum(0)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    let own = rows.sqr()?.sum_all()?.to_scalar::<f64>()?;
    Ok((all - own) / (n * (n - 1)) as f64)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn affinities_fall_with_the_angle() {
        let rows: Vec<Vec<f32>> = (0..7)
            .map(|i| {
                let angle = std::f32::consts::PI * i as f32 / 6.0;
                vec![3.0 * angle.cos(), 3.0 * angle.sin()]
            })
            .collect();
        let found = angular_affinity(&Tensor::new(rows, &Device::Cpu).unwrap()).unwrap();
        for (i, row) in found.to_vec2::<f32>().unwrap().into_iter().enumerate() {
            for (j, affinity) in row.into_iter().enumerate() {
                let expected = 1.0 - i.abs_diff(j) as f32 / 6.0;
                assert!((affinity - expected).abs() < 3e-4, "{i} {j}: {affinity}");
            }
        }
    }

    #[test]
    fn what_is_centred_loses_a_direction() {
        let vectors = Tensor::new(&[[3f32, 4.0, 0.0], [3.0, 4.0, 0.0]], &Device::Cpu).unwrap();
        let found = |centring| singular_values(&vectors, centring).unwrap();
        let close = |found: Vec<f64>, expected: [f64; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}");
        };
        close(found(Centring::None), [50f64.sqrt(), 0.0]);
        close(found(Centring::MeanVector), [0.0, 0.0]);
        // Less 7/3 each: 4/9 + 25/9 + 49/9, twice.
        close(found(Centring::OwnMean), [(2.0 * 78.0 / 9.0f64).sqrt(), 0.0]);
        let flat = vectors.flatten_all().unwrap();
        assert!(singular_values(&flat, Centring::None).is_err());
    }

    #[test]
    fn the_mean_is_that_of_the_pairs() {
        let vectors = Rng::seed(2).normal((6, 4), &Device::Cpu).unwrap();
        let all: Vec<Vec<f32>> = cosines(&vectors).unwrap().to_vec2().unwrap();
        let pairs = (0..6).flat_map(|i| (0..6).map(move |j| (i, j))).filter(|(i, j)| i != j);
        let mean = pairs.map(|(i, j)| f64::from(all[i][j])).sum::<f64>() / 30.0;
        assert!((mean_pairwise_cosine(&vectors).unwrap() - mean).abs() < 1e-6);
        let one = vectors.narrow(0, 0, 1).unwrap();
        assert!(mean_pairwise_cosine(&one).unwrap_err().to_string().contains("at least 2"));
    }
}
