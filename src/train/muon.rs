//! Muon: momentum whose update is made orthogonal.

use candle_core::{DType, Tensor, Var};

use super::checkpoint::TakeTensor;
use super::optimizer::{Optimizer, ResumableOptimizer, check_gradients};
use crate::check::check_not_negative;
use crate::linalg::{matmul, matmul_nt};
use crate::{Error, Result};

/// Coefficients of the quintic `p(σ) = aσ + bσ³ + cσ⁵` that takes singular values towards 1.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.775, 2.0315);

/// Settings of [`Muon`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MuonOptions {
    /// Learning rate η; 0.02.
    pub learning_rate: f64,
    /// Decay μ of the running mean of gradients; 0.95.
    pub momentum: f64,
    /// Whether the update looks one step ahead; true.
    pub nesterov: bool,
    /// Decoupled weight decay λ; 0.1.
    pub weight_decay: f64,
    /// Newton–Schulz iterations; 5.
    pub iterations: usize,
    /// Round every intermediate matrix of the iteration to bfloat16, as `torch.optim.Muon` does;
    /// true. The results differ by about 1e-3 of the update.
    pub bfloat16: bool,
}

impl Default for MuonOptions {
    fn default() -> Self {
        Self {
            learning_rate: 0.02,
            momentum: 0.95,
            nesterov: true,
            weight_decay: 0.1,
            iterations: 5,
            bfloat16: true,
        }
    }
}

/// Muon (Jordan et al., 2024), as in `torch.optim.Muon` with its original learning-rate scale.
///
/// For a matrix θ of shape `[rows, columns]` with gradient g:
///
/// ```text
/// m ← μ m + (1 − μ) g          u = μ m + (1 − μ) g  (Nesterov)  or  m
/// θ ← (1 − ηλ) θ − η √max(1, rows/columns) · NS(u)
/// ```
///
/// where NS(u) ≈ UVᵀ for u = UΣVᵀ: every direction of the update gets about the same length.
#[derive(Debug)]
pub struct Muon {
    parameters: Vec<Var>,
    means: Vec<Tensor>,
    options: MuonOptions,
}

impl Muon {
    /// An optimiser for `parameters`, which it updates in place.
    ///
    /// # Errors
    /// A parameter that is not a matrix, or settings out of range.
    pub fn new(parameters: Vec<Var>, options: MuonOptions) -> Result<Self> {
        check_not_negative("the learning rate", options.learning_rate)?;
        check_not_negative("the weight decay", options.weight_decay)?;
        if !(0.0..1.0).contains(&options.momentum) {
            return Err(Error::invalid("the momentum", "in [0, 1)", options.momentum));
        }
        if options.iterations == 0 {
            return Err(Error::invalid("the Newton–Schulz iterations", "at least 1", 0));
        }
        for (i, parameter) in parameters.iter().enumerate() {
            if parameter.rank() != 2 {
                let what = format!("parameter {i} of Muon");
                return Err(Error::shape(what, "a matrix (else use AdamW)", parameter.dims()));
            }
        }
        let means = parameters.iter().map(|var| var.zeros_like()).collect::<Result<_, _>>()?;
        Ok(Self { parameters, means, options })
    }
}

impl Optimizer for Muon {
    fn step(&mut self, gradients: &[Tensor]) -> Result<()> {
        check_gradients(&self.parameters, gradients)?;
        let MuonOptions { learning_rate, momentum, nesterov, weight_decay, .. } = self.options;
        for ((parameter, mean), gradient) in
            self.parameters.iter().zip(&mut self.means).zip(gradients)
        {
            let fresh = (gradient * (1.0 - momentum))?;
            *mean = ((&*mean * momentum)? + &fresh)?;
            let update = if nesterov { ((&*mean * momentum)? + fresh)? } else { mean.clone() };
            let direction = orthogonalise(&update, &self.options)?;
            let (rows, columns) = parameter.dims2()?;
            let scale = (rows as f64 / columns as f64).max(1.0).sqrt();
            let decayed = (parameter.as_tensor() * (1.0 - learning_rate * weight_decay))?;
            parameter.set(&(decayed - (direction * (learning_rate * scale))?)?)?;
        }
        Ok(())
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.options.learning_rate = learning_rate;
    }
}

impl ResumableOptimizer for Muon {
    fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        let means = self.means.iter().enumerate();
        Ok(means.map(|(i, mean)| (format!("mean.{i}"), mean.clone())).collect())
    }

    fn resume(&mut self, _steps: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        for (i, mean) in self.means.iter_mut().enumerate() {
            // Reading widens bfloat16 and float16.
            *mean = take(&format!("mean.{i}"), mean.dims())?.to_dtype(mean.dtype())?;
        }
        Ok(())
    }
}

/// Newton–Schulz: `X ← aX + (bA + cA²)X` with `A = XXᵀ`, from `X = u/‖u‖`.
fn orthogonalise(update: &Tensor, options: &MuonOptions) -> Result<Tensor> {
    // Rounding is what differs: products are taken in f32, or in f64 where parameters are f64.
    let dtype = if update.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let round = |x: Tensor| -> Result<Tensor> {
        Ok(if options.bfloat16 { x.to_dtype(DType::BF16)?.to_dtype(dtype)? } else { x })
    };
    let (a, b, c) = QUINTIC;
    let (rows, columns) = update.dims2()?;
    let tall = rows > columns;
    let x = update.to_dtype(dtype)?;
    let x = round(if tall { x.t()?.contiguous()? } else { x })?;
    let norm = round(x.sqr()?.sum_all()?.sqrt()?.maximum(1e-7)?)?;
    let mut x = round(x.broadcast_div(&norm)?)?;
    for _ in 0..options.iterations {
        let gram = round(matmul_nt(&x, &x)?)?;
        let polynomial = round(((&gram * b)? + (matmul(&gram, &gram)? * c)?)?)?;
        x = round(((&x * a)? + matmul(&polynomial, &x)?)?)?;
    }
    let x = if tall { x.t()?.contiguous()? } else { x };
    Ok(x.to_dtype(update.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::linalg::svd;
    use crate::random::Rng;

    #[test]
    fn the_update_has_singular_values_near_one() {
        for (rows, columns) in [(40, 12), (12, 40)] {
            let u = Rng::seed(2).normal((rows, columns), &Device::Cpu).unwrap();
            for bfloat16 in [true, false] {
                let options = MuonOptions { bfloat16, ..MuonOptions::default() };
                let x = orthogonalise(&u, &options).unwrap();
                let values: Vec<f32> = svd(&x).unwrap().values.to_vec1().unwrap();
                assert!(values.iter().all(|value| (0.6..1.3).contains(value)), "{values:?}");
            }
        }
    }

    #[test]
    fn a_zero_gradient_only_decays() {
        let x = Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        let mut muon = Muon::new(vec![x.clone()], MuonOptions::default()).unwrap();
        muon.step(&[x.zeros_like().unwrap()]).unwrap();
        assert!((x.to_vec2::<f32>().unwrap()[1][1] - 4.0 * 0.998).abs() < 1e-6);
    }

    #[test]
    fn vectors_and_bad_settings_are_refused() {
        let vector = Var::new(&[1f32], &Device::Cpu).unwrap();
        let message = Muon::new(vec![vector], MuonOptions::default()).unwrap_err().to_string();
        assert!(message.contains("AdamW"), "{message}");
        let bad = MuonOptions { iterations: 0, ..MuonOptions::default() };
        assert!(Muon::new(vec![], bad).is_err());
        let bad = MuonOptions { momentum: 1.0, ..MuonOptions::default() };
        assert!(Muon::new(vec![], bad).is_err());
    }
}
