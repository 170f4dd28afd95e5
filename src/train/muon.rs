//! Muon: momentum whose update is made orthogonal.

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor, Var, bail};
use rayon::prelude::*;

use super::checkpoint::TakeTensor;
use super::optimizer::{CHUNK, Optimizer, ResumableOptimizer, check_gradients};
use crate::check::check_not_negative;
use crate::linalg::{matmul, matmul_nt, with_avx2_if_present};
use crate::{Error, Result};

/// Coefficients of the quintic `p(σ) = aσ + bσ³ + cσ⁵` that takes singular values towards 1.
const QUINTIC: (f64, f64, f64) = (3.4445, -4.775, 2.0315);

/// Times as long as wide that a matrix must be for [`iterate_by_gram`] to be the faster way.
const MIN_RATIO_FOR_GRAM: usize = 8;

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
        self.step_scaled(gradients, 1.0)
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.options.learning_rate = learning_rate;
    }
}

impl ResumableOptimizer for Muon {
    fn step_scaled(&mut self, gradients: &[Tensor], factor: f64) -> Result<()> {
        check_gradients(&self.parameters, gradients)?;
        let MuonOptions { learning_rate, momentum, nesterov, weight_decay, .. } = self.options;
        for ((parameter, mean), gradient) in
            self.parameters.iter().zip(&mut self.means).zip(gradients)
        {
            let fresh = (gradient * (factor * (1.0 - momentum)))?;
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
    let MuonOptions { iterations, bfloat16, .. } = *options;
    let round = |x: Tensor| if bfloat16 { rounded(&x) } else { Ok(x) };
    let (rows, columns) = update.dims2()?;
    let (tall, long) = (rows > columns, rows.max(columns));
    let x = update.to_dtype(dtype)?;
    let x = round(if tall { x.t()?.contiguous()? } else { x })?;
    let norm = round(x.sqr()?.sum_all()?.sqrt()?.maximum(1e-7)?)?;
    let x = round(x.broadcast_div(&norm)?)?;
    let is_long = long >= MIN_RATIO_FOR_GRAM * rows.min(columns);
    let x = match is_long && !bfloat16 && x.device().is_cpu() {
        true => iterate_by_gram(&x, iterations)?,
        false => iterate(x, iterations, round)?,
    };
    let x = if tall { x.t()?.contiguous()? } else { x };
    Ok(x.to_dtype(update.dtype())?)
}

/// The iteration with every intermediate matrix as `round` makes it.
fn iterate(
    mut x: Tensor,
    iterations: usize,
    round: impl Fn(Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let (a, b, c) = QUINTIC;
    for _ in 0..iterations {
        let gram = round(matmul_nt(&x, &x)?)?;
        let polynomial = round(((&gram * b)? + (matmul(&gram, &gram)? * c)?)?)?;
        x = round(((&x * a)? + matmul(&polynomial, &x)?)?)?;
    }
    Ok(x)
}

/// The same without a product of all of X in each step:
///
/// ```text
/// P = aI + bA + cA²        A ← P A P        X ← (Π P) X
/// ```
///
/// in f64 but for X, for what rounding does to small singular values grows with each step.
fn iterate_by_gram(x: &Tensor, iterations: usize) -> Result<Tensor> {
    let (a, b, c) = QUINTIC;
    let identity = Tensor::eye(x.dim(0)?, DType::F64, x.device())?;
    let wide = x.to_dtype(DType::F64)?;
    let mut gram = matmul_nt(&wide, &wide)?;
    let mut product = identity.clone();
    for step in 1..=iterations {
        let even = ((&gram * b)? + (matmul(&gram, &gram)? * c)?)?;
        let polynomial = ((&identity * a)? + even)?;
        if step < iterations {
            gram = matmul(&matmul(&polynomial, &gram)?, &polynomial)?;
        }
        product = matmul(&polynomial, &product)?;
    }
    matmul(&product.to_dtype(x.dtype())?, x)
}

/// Each entry rounded to bfloat16, to the nearest or else even one.
fn rounded(x: &Tensor) -> Result<Tensor> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return Ok(x.contiguous()?.apply_op1_no_bwd(&RoundToBfloat16)?);
    }
    Ok(x.to_dtype(DType::BF16)?.to_dtype(x.dtype())?)
}

/// Both conversions of f32 in one pass over memory.
struct RoundToBfloat16;

impl CustomOp1 for RoundToBfloat16 {
    fn name(&self) -> &'static str {
        "round_to_bfloat16"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (CpuStorage::F32(x), Some((from, to))) = (storage, layout.contiguous_offsets()) else {
            bail!("rounding to bfloat16 needs contiguous f32")
        };
        let mut out = vec![0f32; to - from];
        let chunks = out.par_chunks_mut(CHUNK).zip(x[from..to].par_chunks(CHUNK));
        chunks.for_each(|(out, x)| with_avx2_if_present(|| round_all(x, out)));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

#[inline(always)]
fn round_all(x: &[f32], out: &mut [f32]) {
    /// The half of an f32 that a bfloat16 has.
    const KEPT: u32 = 0xFFFF_0000;
    /// A NaN whose other half is dropped stays one with this bit.
    const QUIET: u32 = 0x0040_0000;
    for (out, x) in out.iter_mut().zip(x) {
        let bits = x.to_bits();
        let nearest = bits.wrapping_add(0x7FFF + ((bits >> 16) & 1));
        *out = f32::from_bits(KEPT & if x.is_nan() { bits | QUIET } else { nearest });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use half::bf16;

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
    fn both_ways_to_iterate_agree() {
        let normal = Rng::seed(5).normal((9, 200), &Device::Cpu).unwrap();
        // Singular values from 1 to 1e-6, and two rows that are the same.
        let sizes: Vec<f32> = (0..9i32).map(|i| 10f32.powi(-i.min(6))).collect();
        let sizes = Tensor::from_vec(sizes, (9, 1), &Device::Cpu).unwrap();
        let uneven = normal.broadcast_mul(&sizes).unwrap();
        let same = Tensor::cat(&[&normal, &normal.narrow(0, 2, 1).unwrap()], 0).unwrap();
        for x in [normal, uneven, same] {
            let length = x.sqr().unwrap().sum_all().unwrap().sqrt().unwrap();
            let x = x.broadcast_div(&length).unwrap();
            let wide = x.to_dtype(DType::F64).unwrap();
            let expected = iterate(wide.clone(), 5, Ok).unwrap();
            for (x, most) in [(&wide, 1e-9), (&x, 1e-4)] {
                let found = iterate_by_gram(x, 5).unwrap();
                assert_eq!((found.dtype(), found.dims()), (x.dtype(), x.dims()));
                let gap = (found.to_dtype(DType::F64).unwrap() - &expected).unwrap();
                let gap = gap.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(gap < most, "{gap}");
            }
        }
        // Tall and wide updates are the same but for the order of their axes.
        let u = Rng::seed(6).normal((6, 48), &Device::Cpu).unwrap();
        let options = MuonOptions { bfloat16: false, ..MuonOptions::default() };
        let found = orthogonalise(&u, &options).unwrap();
        let tall = orthogonalise(&u.t().unwrap(), &options).unwrap();
        let gap = (found - tall.t().unwrap()).unwrap().abs().unwrap().max_all().unwrap();
        assert!(gap.to_scalar::<f32>().unwrap() < 1e-6);
    }

    #[test]
    fn rounding_in_one_pass_is_that_of_both_conversions() {
        // Every exponent with mantissas around those of a tie, of both signs; infinities and NaN.
        let low = [0u32, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF];
        let bits = (0..1 << 16).flat_map(|high| low.map(|low| (high << 16) | low));
        let x: Vec<f32> = bits.map(f32::from_bits).collect();
        let count = x.len();
        let tensor = Tensor::from_vec(x.clone(), count, &Device::Cpu).unwrap();
        let found: Vec<f32> = rounded(&tensor).unwrap().to_vec1().unwrap();
        for (found, x) in found.iter().zip(&x) {
            assert_eq!(found.to_bits(), bf16::from_f32(*x).to_f32().to_bits(), "{x}");
        }
        // Rows of another order, and types that are converted.
        let square = Rng::seed(4).normal((5, 7), &Device::Cpu).unwrap();
        for x in [square.t().unwrap(), square.to_dtype(DType::F64).unwrap()] {
            let expected = x.to_dtype(DType::BF16).unwrap().to_dtype(x.dtype()).unwrap();
            let gap = (rounded(&x).unwrap() - expected).unwrap().abs().unwrap();
            let gap = gap.to_dtype(DType::F64).unwrap().max_all().unwrap();
            assert_eq!(gap.to_scalar::<f64>().unwrap(), 0.0);
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
