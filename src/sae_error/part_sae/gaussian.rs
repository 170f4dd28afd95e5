//! Gaussian vectors to train on.

use candle_core::{DType, Device, Tensor};

use crate::check::check_finite;
use crate::linalg::{eigh, matmul};
use crate::random::Rng;
use crate::sae::{Batch, FitSource, SaeOptions, Widths};
use crate::{Error, Result};

/// Independent Gaussian vectors.
pub(super) struct GaussianSource {
    batch: usize,
    seed: u64,
    /// The next step.
    step: u64,
    /// What the vectors are divided by.
    scale: f32,
    /// Mean, divided by the scale.
    mean: Vec<f32>,
    /// `√Λ Qᵀ` of the covariance `Q Λ Qᵀ`, divided by the scale, `[d, d]`.
    factor: Tensor,
    values: Vec<f32>,
}

impl GaussianSource {
    /// Of a mean `[d]` and a covariance `[d, d]`.
    pub(super) fn new(
        (mean, covariance): (Vec<f64>, Tensor),
        options: &SaeOptions,
    ) -> Result<Self> {
        check_finite("the covariance of the part", &covariance)?;
        let found = eigh(&covariance)?;
        let values: Vec<f64> = found.values.to_vec1()?;
        let d = values.len();
        // Rounding may leave an eigenvalue a little below 0.
        let roots: Vec<f64> = values.iter().map(|value| value.max(0.0).sqrt()).collect();
        let square = roots.iter().map(|root| root * root).sum::<f64>()
            + mean.iter().map(|mean| mean * mean).sum::<f64>();
        let scale = if options.is_rescaled() { (square / d as f64).sqrt() } else { 1.0 };
        if !scale.is_normal() {
            let what = "the root mean square of the part";
            return Err(Error::invalid(what, "a finite number above 0", scale));
        }
        let roots = Tensor::from_vec(roots, (d, 1), &Device::Cpu)?;
        let factor = found.vectors.t()?.contiguous()?.broadcast_mul(&roots)?;
        Ok(Self {
            batch: options.batch,
            seed: options.seed,
            step: 0,
            scale: scale as f32,
            mean: mean.iter().map(|mean| (mean / scale) as f32).collect(),
            factor: (factor / scale)?.to_dtype(DType::F32)?,
            values: Vec::new(),
        })
    }
}

impl FitSource for GaussianSource {
    fn widths(&self) -> Widths {
        Widths { input: self.mean.len(), output: self.mean.len() }
    }

    fn scales(&self) -> [f32; 2] {
        [self.scale; 2]
    }

    fn means(&self) -> [Vec<f32>; 2] {
        [self.mean.clone(), self.mean.clone()]
    }

    fn next(&mut self) -> Result<Batch<'_>> {
        // Stream 0 draws the first weights; a stream of its own for each step, so that a fit can go
        // on from any.
        self.step += 1;
        let d = self.mean.len();
        let normal = Rng::stream(self.seed, self.step).normal((self.batch, d), &Device::Cpu)?;
        self.values = matmul(&normal, &self.factor)?.flatten_all()?.to_vec1()?;
        for row in self.values.chunks_mut(d) {
            row.iter_mut().zip(&self.mean).for_each(|(x, mean)| *x += mean);
        }
        let x = &self.values;
        Ok(Batch { rows: self.batch, x, target: x, weights: None })
    }

    fn skip(&mut self, steps: usize) -> Result<()> {
        self.step = steps as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::Objective;

    fn flat(x: &Tensor) -> Vec<f64> {
        x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A mean, and a covariance of rank 3 in 4 dimensions.
    fn moments() -> (Vec<f64>, Tensor) {
        let a = Rng::seed(2).normal((4, 3), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        (vec![0.5, -1.0, 0.0, 2.0], a.matmul(&a.t().unwrap()).unwrap())
    }

    #[test]
    fn vectors_have_the_mean_and_covariance() {
        const ROWS: usize = 100_000;
        let (mean, covariance) = moments();
        for objective in [Objective::TopK, Objective::Standard { l1: 0.1 }] {
            let options = SaeOptions { batch: ROWS, objective, ..SaeOptions::default() };
            let mut source = GaussianSource::new(moments(), &options).unwrap();
            let scale = f64::from(source.scales()[0]);
            assert_eq!(scale == 1.0, !options.is_rescaled());
            let rows = source.next().unwrap().x.to_vec();
            let rows = Tensor::from_vec(rows, (ROWS, 4), &Device::Cpu).unwrap();
            let rows = (rows.to_dtype(DType::F64).unwrap() * scale).unwrap();
            let own = rows.mean(0).unwrap();
            let centred = rows.broadcast_sub(&own).unwrap();
            let found = (centred.t().unwrap().matmul(&centred).unwrap() / ROWS as f64).unwrap();
            let (found, asked) = (flat(&found), flat(&covariance));
            let largest = asked.iter().fold(0f64, |largest, x| largest.max(x.abs()));
            // The standard error of a covariance is at most √2 of the largest variance over √n.
            for (found, asked) in found.iter().zip(&asked) {
                assert!((found - asked).abs() < 0.03 * largest, "{found} {asked}");
            }
            for (found, asked) in flat(&own).iter().zip(&mean) {
                assert!((found - asked).abs() < 0.03 * largest.sqrt(), "{found} {asked}");
            }
        }
    }

    #[test]
    fn every_step_has_vectors_of_its_own() {
        let options = SaeOptions { batch: 3, ..SaeOptions::default() };
        let mut source = GaussianSource::new(moments(), &options).unwrap();
        let steps: Vec<Vec<f32>> = (0..3).map(|_| source.next().unwrap().x.to_vec()).collect();
        assert!(steps[0] != steps[1] && steps[1] != steps[2]);
        source.skip(1).unwrap();
        assert_eq!(source.next().unwrap().x, steps[1]);
        let nothing = (vec![0.0; 4], Tensor::zeros((4, 4), DType::F64, &Device::Cpu).unwrap());
        let rescaled = SaeOptions { objective: Objective::Standard { l1: 1.0 }, ..options };
        let error = GaussianSource::new(nothing, &rescaled).err().unwrap().to_string();
        assert!(error.contains("a finite number above 0"), "{error}");
    }
}
