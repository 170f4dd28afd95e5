//! What a simulation finds with infinitely many tokens.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::linalg::{eigh, matmul_tn};
use crate::sae_error::linear_map::LinearMap;

/// What the closed form needs of activations x and of what is missing from their reconstructions,
/// `a = x − r`: with `Cov x = Σ λᵢ vᵢ vᵢᵀ` and `gᵢ = vᵢᵀ Cov(x, a)`,
///
/// ```text
/// FVU           = (E‖a‖² + d(σa² + σr²)) / T                        T = Σ λᵢ + d σa²
/// FVU nonlinear = (tr Cov a + d(σa² + σr²) − Σ ‖gᵢ + σa² vᵢ‖²/(λᵢ + σa²)) / T
/// ```
///
/// for `x′ = x + σa ε` and `r′ = r + σr ε′`: the covariance of the error `x′ − r′` with x′ is
/// `Cov(x, a) + σa² I`, and that of x′ is `Cov x + σa² I`. With a = 0 this is
/// `[d σr² + Σ σa² λᵢ/(λᵢ + σa²)] / T`.
#[derive(Debug)]
pub(super) struct ClosedForm {
    /// `[λᵢ, ‖gᵢ‖², gᵢ · vᵢ]`.
    directions: Vec<[f64; 3]>,
    /// E‖a‖².
    missing: f64,
    /// tr Cov a.
    missing_about_mean: f64,
}

/// `E‖a‖²` and `tr Cov a` of what is missing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MissingPower {
    pub(super) about_zero: f64,
    pub(super) about_mean: f64,
}

impl ClosedForm {
    /// Of the covariance of x `[d, d]`, and of the linear map of x that is nearest to what is missing
    /// if anything is: `Cov(x, a) = Cov(x) A`.
    ///
    /// # Errors
    /// As [`eigh`].
    pub(super) fn new(
        covariance: &Tensor,
        missing: Option<(&LinearMap, MissingPower)>,
    ) -> Result<Self> {
        let spectrum = eigh(&covariance.to_dtype(DType::F64)?)?;
        let values: Vec<f64> = spectrum.values.to_vec1()?;
        // What is below 0 but for rounding is 0.
        let values = values.into_iter().map(|value| value.max(0.0));
        let Some((map, power)) = missing else {
            let directions = values.map(|value| [value, 0.0, 0.0]).collect();
            return Ok(Self { directions, missing: 0.0, missing_about_mean: 0.0 });
        };
        let map = map.matrix(&Device::Cpu)?.to_dtype(DType::F64)?;
        let turned = matmul_tn(&spectrum.vectors, &map)?.to_vec2::<f64>()?;
        let vectors = spectrum.vectors.t()?.to_vec2::<f64>()?;
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let directions = values.zip(turned.iter().zip(&vectors)).map(|(value, (row, vector))| {
            [value, value * value * product(row, row), value * product(row, vector)]
        });
        Ok(Self {
            directions: directions.collect(),
            missing: power.about_zero,
            missing_about_mean: power.about_mean,
        })
    }

    /// `Σ λᵢ`.
    pub(super) fn variance(&self) -> f64 {
        self.directions.iter().map(|[value, ..]| value).sum()
    }

    /// Total, linear and nonlinear FVU for noise of standard deviations σa and σr.
    pub(super) fn unexplained(&self, activation: f64, reconstruction: f64) -> [f64; 3] {
        let (a, r) = (activation.powi(2), reconstruction.powi(2));
        let noise = self.directions.len() as f64 * (a + r);
        let explained = self.directions.iter().map(|[value, square, along]| {
            let power = square + 2.0 * a * along + a * a;
            // A direction in which nothing varies explains nothing.
            if value + a > 0.0 { power / (value + a) } else { 0.0 }
        });
        let all = self.variance() + self.directions.len() as f64 * a;
        let total = (self.missing + noise) / all;
        let nonlinear = (self.missing_about_mean + noise - explained.sum::<f64>()) / all;
        [total, total - nonlinear, nonlinear]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_anything_missing_it_is_a_wiener_filter() {
        let covariance = Tensor::new(&[[2f64, 1.0], [1.0, 2.0]], &Device::Cpu).unwrap();
        let form = ClosedForm::new(&covariance, None).unwrap();
        assert!((form.variance() - 4.0).abs() < 1e-12);
        let (a, r) = (0.5f64, 0.3f64);
        let [total, linear, nonlinear] = form.unexplained(a, r);
        let (a, r) = (a * a, r * r);
        let all = 4.0 + 2.0 * a;
        assert!((total - 2.0 * (a + r) / all).abs() < 1e-12);
        // Eigenvalues 1 and 3.
        let expected = (2.0 * r + a / (1.0 + a) + 3.0 * a / (3.0 + a)) / all;
        assert!((nonlinear - expected).abs() < 1e-12);
        assert!((linear + nonlinear - total).abs() < 1e-15);
        assert_eq!(form.unexplained(0.0, 0.0), [0.0; 3]);
    }
}
