//! The principal components of a cloud, from the products of its columns.
//!
//! A point is `x = Wᵀ c`, for decoder columns W `[g, d]` and activations c. With
//! `W Wᵀ = U Λ Uᵀ`, the rows of `Λ^-½ Uᵀ W` are orthonormal and span all points, so that the
//! components are those of the coordinates `Λ^½ Uᵀ c`: a problem of size g, which is small, in place
//! of one of m × d.

use candle_core::{DType, Device, Tensor};

use super::FeatureCloud;
use crate::check::check_sizes;
use crate::linalg::{Pca, eigh, matmul, matmul_nt, matmul_tn};
use crate::{Error, Result};

/// Columns whose part outside the span of others is below this share count as part of it.
const FLAT: f64 = 1e-12;

impl FeatureCloud {
    /// The `k` principal components of its points: scores `[m, k]`, components `[k, d]`, shares of
    /// the variance, the mean. They are those of [`pca`](crate::linalg::pca) of
    /// [`FeatureCloud::points`], in a fraction of the time and memory.
    ///
    /// # Errors
    /// A `k` of 0, or above the number of features (a cluster of one feature has no plane), of
    /// points or of dimensions.
    pub fn pca(&self, k: usize) -> Result<Pca> {
        check_sizes(&[("`k` of pca", k)])?;
        let (m, [g, d]) = (self.len(), [self.columns().dims()[0], self.columns().dims()[1]]);
        for (most, what) in [(g, "features of the cluster"), (m, "points"), (d, "dimensions")] {
            if k > most {
                let expected = format!("at most {most}, the {what}");
                return Err(Error::invalid("`k` of pca", expected, k));
            }
        }
        let columns = self.columns().to_dtype(DType::F64)?;
        let gram = eigh(&matmul_nt(&columns, &columns)?)?;
        let values: Vec<f64> = gram.values.to_vec1()?;
        let bar = FLAT * values.last().copied().unwrap_or(0.0).max(0.0);
        let flat = values.iter().filter(|value| **value <= bar).count();
        if g - flat < k {
            // Directions without variance are of no plane that the columns span.
            return Pca::fit(&self.points()?, k, true);
        }
        let kept = g - flat;
        let lengths: Vec<f64> = values[flat..].iter().map(|value| value.sqrt()).collect();
        let lengths = Tensor::from_vec(lengths, kept, &Device::Cpu)?;
        let turn = gram.vectors.narrow(1, flat, kept)?.contiguous()?;
        // Rows of `basis` are orthonormal, `coordinates` take codes to them.
        let coordinates = turn.broadcast_mul(&lengths)?;
        let basis = matmul_tn(&turn.broadcast_div(&lengths)?, &columns)?;
        let (mean, covariance) = self.moments()?;
        let covariance = matmul(&matmul_tn(&coordinates, &covariance)?, &coordinates)?;
        // Rounding differs on both sides of the diagonal.
        let covariance = ((&covariance + covariance.t()?)? * 0.5)?;
        let spectrum = eigh(&covariance)?;
        let variances: Vec<f64> = spectrum.values.to_vec1()?;
        let total: f64 = variances.iter().map(|value| value.max(0.0)).sum();
        let share = |value: &f64| if total > 0.0 { value.max(0.0) / total } else { 0.0 };
        // The covariance here is over all points, a component's variance over one less.
        let points = self.len() as f64;
        let unbiased = |value: &f64| value.max(0.0) * points / (points - 1.0).max(1.0);
        let order: Vec<u32> = (0..kept as u32).rev().take(k).collect();
        let vectors = spectrum.vectors.index_select(&Tensor::new(order, &Device::Cpu)?, 1)?;
        let components = matmul_tn(&vectors, &basis)?;
        let signs = signs(&components.to_vec2()?);
        let signs = Tensor::from_vec(signs, k, &Device::Cpu)?;
        let components = components.broadcast_mul(&signs.unsqueeze(1)?)?;
        // Of each member, what a unit of it adds to the scores.
        let weights = matmul(&coordinates, &vectors)?.broadcast_mul(&signs)?;
        Ok(Pca {
            scores: self.scores(&weights.to_vec2()?, &mean, k)?,
            components,
            explained: variances.iter().rev().take(k).map(share).collect(),
            variances: variances.iter().rev().take(k).map(unbiased).collect(),
            mean: matmul(&Tensor::new(mean, &Device::Cpu)?.unsqueeze(0)?, &columns)?.squeeze(0)?,
        })
    }

    /// The mean of the codes, and their covariance `[g, g]`.
    fn moments(&self) -> Result<(Vec<f64>, Tensor)> {
        let (m, g) = (self.len() as f64, self.members().len());
        let (mut sums, mut products) = (vec![0f64; g], vec![0f64; g * g]);
        for row in 0..self.len() {
            for (i, a) in self.codes().row(row) {
                sums[i as usize] += f64::from(a);
                for (j, b) in self.codes().row(row) {
                    products[i as usize * g + j as usize] += f64::from(a) * f64::from(b);
                }
            }
        }
        let mean: Vec<f64> = sums.iter().map(|sum| sum / m).collect();
        for (at, product) in products.iter_mut().enumerate() {
            *product = *product / m - mean[at / g] * mean[at % g];
        }
        Ok((mean, Tensor::from_vec(products, (g, g), &Device::Cpu)?))
    }

    /// The codes less their mean, times `weights`, `[m, k]`.
    fn scores(&self, weights: &[Vec<f64>], mean: &[f64], k: usize) -> Result<Tensor> {
        let mut middle = vec![0f64; k];
        for (mean, weights) in mean.iter().zip(weights) {
            middle.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += mean * weight);
        }
        let mut scores = Vec::with_capacity(self.len() * k);
        for row in 0..self.len() {
            let start = scores.len();
            scores.extend(middle.iter().map(|middle| -middle));
            for (member, value) in self.codes().row(row) {
                let terms = scores[start..].iter_mut().zip(&weights[member as usize]);
                terms.for_each(|(sum, weight)| *sum += f64::from(value) * weight);
            }
        }
        Ok(Tensor::from_vec(scores, (self.len(), k), &Device::Cpu)?)
    }
}

/// For each row the sign that makes its entry of largest magnitude positive.
fn signs(rows: &[Vec<f64>]) -> Vec<f64> {
    let larger = |most: f64, entry: &f64| if entry.abs() > most.abs() { *entry } else { most };
    rows.iter().map(|row| if row.iter().fold(0.0, larger) < 0.0 { -1.0 } else { 1.0 }).collect()
}
