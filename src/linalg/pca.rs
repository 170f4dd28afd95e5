//! Principal components.

use std::fmt;

use candle_core::{D, DType, Tensor};

use super::matrix::sign_of_largest;
use super::svd;
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::{Error, Result};

/// The principal components of a cloud of points, the ones with the largest variance first.
///
/// With points X `[n, d]`, their mean μ and the thin decomposition `X − μ = U Σ Vᵀ`, the components
/// are the first columns of V, the scores the first columns of `U Σ`, and a component's share of the
/// variance is `σᵢ² / Σⱼ σⱼ²`.
#[derive(Debug, Clone)]
pub struct Pca {
    /// Scores of the points, `[n, k]`, f64.
    pub scores: Tensor,
    /// Components as unit rows, `[k, d]`, f64. The entry of largest magnitude of each is positive.
    pub components: Tensor,
    /// Share of the variance of each component, from 0 to 1; all 0 if the points do not vary.
    pub explained: Vec<f64>,
    /// Variance of each component, `σᵢ² / (n − 1)`; 0 for a single point.
    pub variances: Vec<f64>,
    /// The mean of the points, `[d]`, f64; zeros if it was not subtracted.
    pub mean: Tensor,
}

/// The first `k` principal components of `x`, `[n, d]`, a point per row.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::linalg::pca;
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[0f32, 0.], [1., 1.], [2., 2.], [3., 3.]], &Device::Cpu)?;
/// let found = pca(&x, 1)?;
/// assert!((found.explained[0] - 1.0).abs() < 1e-12); // all on one line
/// let first: Vec<f64> = found.scores.flatten_all()?.to_vec1()?;
/// assert!((first[3] - 1.5 * 2f64.sqrt()).abs() < 1e-6);
/// # Ok(()) }
/// ```
///
/// # Errors
/// A tensor that is not a matrix, is empty or holds NaN; `k` of zero or above both sides of the matrix.
pub fn pca(x: &Tensor, k: usize) -> Result<Pca> {
    Pca::fit(x, k, true)
}

impl Pca {
    /// [`pca`], with the points as they are if not `centred`.
    pub(crate) fn fit(x: &Tensor, k: usize, centred: bool) -> Result<Self> {
        check_sizes(&[("`k` of pca", k)])?;
        let (n, d) =
            x.dims2().map_err(|_| Error::shape("the points of pca", "[n, d]", x.dims()))?;
        if k > n.min(d) {
            let expected = format!("at most {}, the smaller side of [{n}, {d}]", n.min(d));
            return Err(Error::invalid("`k` of pca", expected, k));
        }
        let x = x.to_dtype(DType::F64)?;
        let mean = match centred {
            true => x.mean(0)?,
            false => x.zeros_like()?.narrow(0, 0, 1)?.squeeze(0)?,
        };
        let parts = svd(&x.broadcast_sub(&mean)?)?;
        let values: Vec<f64> = parts.values.to_vec1()?;
        let total: f64 = values.iter().map(|value| value * value).sum();
        let share = |value: &f64| if total > 0.0 { value * value / total } else { 0.0 };
        let variance = |value: &f64| value * value / (n.max(2) - 1) as f64;
        let components = parts.v.narrow(D::Minus1, 0, k)?.t()?.contiguous()?;
        let signs: Vec<f64> = components.to_vec2()?.into_iter().map(sign_of_largest).collect();
        let signs = Tensor::from_vec(signs, k, components.device())?;
        let scales = (parts.values.narrow(0, 0, k)? * &signs)?;
        Ok(Self {
            scores: parts.u.narrow(D::Minus1, 0, k)?.broadcast_mul(&scales)?,
            components: components.broadcast_mul(&signs.unsqueeze(1)?)?,
            explained: values.iter().take(k).map(share).collect(),
            variances: values.iter().take(k).map(variance).collect(),
            mean,
        })
    }

    /// Scores of other points `x`, `[n, d]`, on these components: `(x − μ) Cᵀ`, `[n, k]`, f64.
    ///
    /// # Errors
    /// Points of another width.
    pub fn transform(&self, x: &Tensor) -> Result<Tensor> {
        let d = self.mean.dim(0)?;
        if !matches!(x.dims(), [_, width] if *width == d) {
            return Err(Error::shape("the points", format!("[n, {d}]"), x.dims()));
        }
        let centred = x.to_dtype(DType::F64)?.broadcast_sub(&self.mean)?;
        super::matmul_nt(&centred, &self.components)
    }

    /// The points with these scores `[n, k]`, and nothing in other directions: `scores C + μ`,
    /// `[n, d]`, f64.
    ///
    /// # Errors
    /// Scores for another number of components.
    pub fn restore(&self, scores: &Tensor) -> Result<Tensor> {
        let k = self.components.dim(0)?;
        if !matches!(scores.dims(), [_, width] if *width == k) {
            return Err(Error::shape("the scores", format!("[n, {k}]"), scores.dims()));
        }
        let points = super::matmul(&scores.to_dtype(DType::F64)?, &self.components)?;
        Ok(points.broadcast_add(&self.mean)?)
    }
}

show_as_text!(Pca);

impl fmt::Display for Pca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (points, width) = (self.scores.dims()[0], self.mean.dims()[0]);
        write!(
            f,
            "{} principal components of {points} points in {width} dimensions: ",
            self.explained.len()
        )?;
        let shares: Vec<String> =
            self.explained.iter().take(10).map(|share| format!("{:.1} %", 100.0 * share)).collect();
        let more = if self.explained.len() > 10 { ", …" } else { "" };
        let sum: f64 = self.explained.iter().sum();
        write!(f, "{}{more} of the variance, {:.1} % together", shares.join(", "), 100.0 * sum)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn scores_and_components_rebuild_the_points() {
        for (n, d) in [(9, 4), (4, 9)] {
            let x = Rng::seed(3).normal((n, d), &Device::Cpu).unwrap();
            let found = pca(&x, 4).unwrap();
            let rebuilt = found.restore(&found.scores).unwrap();
            let spread: f64 = found.variances.iter().sum();
            let squares = x.broadcast_sub(&x.mean_keepdim(0).unwrap()).unwrap().sqr().unwrap();
            let squares = squares.sum_all().unwrap().to_scalar::<f32>().unwrap();
            assert!((spread - f64::from(squares) / (n - 1) as f64).abs() < 1e-5);
            let gap = (rebuilt - x.to_dtype(DType::F64).unwrap()).unwrap();
            let gap = gap.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            assert!(gap < 1e-12, "{gap}");
            assert!((found.explained.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let again = found.transform(&x).unwrap();
            let gap = (again - &found.scores).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f64>().unwrap() < 1e-12);
        }
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let x = Tensor::ones((3, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(pca(&x, 1).unwrap().explained, [0.0], "points that do not vary");
        let error = pca(&x, 3).unwrap_err().to_string();
        assert!(error.contains("`k` of pca") && error.contains("at most 2"), "{error}");
        assert!(pca(&x, 0).is_err());
        assert!(pca(&x, 1).unwrap().restore(&x).unwrap_err().to_string().contains("[n, 1]"));
        assert!(pca(&x.flatten_all().unwrap(), 1).unwrap_err().to_string().contains("[n, d]"));
    }
}
