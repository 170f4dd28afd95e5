//! Adam with decoupled weight decay.

use std::cell::RefCell;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor, Var, bail};
use rayon::prelude::*;

use super::checkpoint::TakeTensor;
use super::optimizer::{CHUNK, Optimizer, ResumableOptimizer, check_gradients};
use crate::check::check_not_negative;
use crate::linalg::with_avx2_if_present;
use crate::{Error, Result};

/// Settings of [`AdamW`], with PyTorch's defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWOptions {
    /// Learning rate η; 1e-3.
    pub learning_rate: f64,
    /// Decay of the running mean of gradients; 0.9.
    pub beta1: f64,
    /// Decay of the running mean of squared gradients; 0.999.
    pub beta2: f64,
    /// Added to the denominator ε; 1e-8.
    pub epsilon: f64,
    /// Decoupled weight decay λ; 0.01.
    pub weight_decay: f64,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter, 2019), as in `torch.optim.AdamW`.
///
/// At step t, with gradient g:
///
/// ```text
/// θ ← (1 − ηλ) θ
/// m ← β₁ m + (1 − β₁) g        v ← β₂ v + (1 − β₂) g²
/// θ ← θ − η m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)
/// ```
///
/// f32 parameters on the CPU are updated in one pass over memory; others through tensor
/// operations.
#[derive(Debug)]
pub struct AdamW {
    parameters: Vec<Var>,
    moments: Vec<AdamMoments>,
    options: AdamWOptions,
    steps: i32,
}

#[derive(Debug)]
enum AdamMoments {
    Host { mean: Vec<f32>, square: Vec<f32> },
    Tensors { mean: Tensor, square: Tensor },
}

impl AdamW {
    /// An optimiser for `parameters`, which it updates in place.
    ///
    /// # Errors
    /// Settings out of range: a negative rate, a β outside `[0, 1)`.
    pub fn new(parameters: Vec<Var>, options: AdamWOptions) -> Result<Self> {
        check_not_negative("the learning rate", options.learning_rate)?;
        check_not_negative("the weight decay", options.weight_decay)?;
        check_not_negative("epsilon", options.epsilon)?;
        for (what, beta) in [("beta1", options.beta1), ("beta2", options.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return Err(Error::invalid(what, "in [0, 1)", beta));
            }
        }
        let moments = parameters.iter().map(AdamMoments::zero).collect::<Result<_>>()?;
        Ok(Self { parameters, moments, options, steps: 0 })
    }
}

/// Saving and going on exactly where a fit was.
impl AdamW {
    /// The number of steps so far, and both moments of every parameter, `mean.0`, `square.0`, ….
    pub(crate) fn state(&self) -> Result<(usize, Vec<(String, Tensor)>)> {
        let mut tensors = Vec::new();
        for (i, (parameter, moments)) in self.parameters.iter().zip(&self.moments).enumerate() {
            let (mean, square) = match moments {
                AdamMoments::Host { mean, square } => {
                    let tensor = |values: &Vec<f32>| {
                        Tensor::from_slice(values, parameter.shape(), parameter.device())
                    };
                    (tensor(mean)?, tensor(square)?)
                }
                AdamMoments::Tensors { mean, square } => (mean.clone(), square.clone()),
            };
            tensors.push((format!("mean.{i}"), mean));
            tensors.push((format!("square.{i}"), square));
        }
        Ok((self.steps as usize, tensors))
    }

    /// Takes over what [`AdamW::state`] gave; `take` hands out a tensor of a name and shape.
    pub(crate) fn restore(
        &mut self,
        steps: usize,
        mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        for (i, (parameter, moments)) in self.parameters.iter().zip(&mut self.moments).enumerate() {
            // Reading widens bfloat16 and float16.
            let mut moment = |name: &str| -> Result<Tensor> {
                let saved = take(&format!("{name}.{i}"), parameter.dims())?;
                Ok(saved.to_dtype(parameter.dtype())?)
            };
            let (new_mean, new_square) = (moment("mean")?, moment("square")?);
            match moments {
                AdamMoments::Host { mean, square } => {
                    *mean = new_mean.flatten_all()?.to_vec1()?;
                    *square = new_square.flatten_all()?.to_vec1()?;
                }
                AdamMoments::Tensors { mean, square } => (*mean, *square) = (new_mean, new_square),
            }
        }
        self.steps = i32::try_from(steps).unwrap_or(i32::MAX);
        Ok(())
    }
}

impl ResumableOptimizer for AdamW {
    fn step_scaled(&mut self, gradients: &[Tensor], factor: f64) -> Result<()> {
        check_gradients(&self.parameters, gradients)?;
        self.steps = self.steps.saturating_add(1);
        let update = AdamStep::new(&self.options, self.steps);
        let AdamWOptions { beta1, beta2, epsilon, .. } = self.options;
        for ((parameter, moments), gradient) in
            self.parameters.iter().zip(&mut self.moments).zip(gradients)
        {
            match moments {
                AdamMoments::Host { mean, square } => {
                    let update = AdamStep { factor, ..update };
                    let fused = AdamWOp { update, moments: RefCell::new((mean, square)) };
                    parameter.inplace_op2(&gradient.contiguous()?, &fused)?;
                }
                AdamMoments::Tensors { mean, square } => {
                    let gradient = match factor == 1.0 {
                        true => gradient.clone(),
                        false => (gradient * factor)?,
                    };
                    *mean = ((&*mean * beta1)? + (&gradient * (1.0 - beta1))?)?;
                    *square = ((&*square * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
                    let denominator = ((square.sqrt()? / update.root)? + epsilon)?;
                    let change = (mean.div(&denominator)? * update.step)?;
                    parameter.set(&((parameter.as_tensor() * update.keep)? - change)?)?;
                }
            }
        }
        Ok(())
    }

    fn moments(&self) -> Result<Vec<(String, Tensor)>> {
        Ok(self.state()?.1)
    }

    fn resume(&mut self, steps: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.restore(steps, take)
    }
}

impl AdamMoments {
    fn zero(parameter: &Var) -> Result<Self> {
        if parameter.device().is_cpu() && parameter.dtype() == DType::F32 {
            let zeros = vec![0f32; parameter.elem_count()];
            return Ok(Self::Host { mean: zeros.clone(), square: zeros });
        }
        let zeros = parameter.zeros_like()?;
        Ok(Self::Tensors { mean: zeros.clone(), square: zeros })
    }
}

impl Optimizer for AdamW {
    fn step(&mut self, gradients: &[Tensor]) -> Result<()> {
        self.step_scaled(gradients, 1.0)
    }

    fn set_learning_rate(&mut self, learning_rate: f64) {
        self.options.learning_rate = learning_rate;
    }
}

/// What one step does to every parameter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep {
    beta1: f64,
    beta2: f64,
    /// `1 − ηλ`.
    keep: f64,
    /// `η / (1 − β₁ᵗ)`.
    step: f64,
    /// `√(1 − β₂ᵗ)`.
    root: f64,
    epsilon: f64,
    /// What gradients are multiplied by: 1 unless they are clipped.
    factor: f64,
}

impl AdamStep {
    /// Step `number`, counted from 1.
    pub(crate) fn new(options: &AdamWOptions, number: i32) -> Self {
        let AdamWOptions { learning_rate, beta1, beta2, epsilon, weight_decay } = *options;
        Self {
            beta1,
            beta2,
            keep: 1.0 - learning_rate * weight_decay,
            step: learning_rate / (1.0 - beta1.powi(number)),
            root: (1.0 - beta2.powi(number)).sqrt(),
            epsilon,
            factor: 1.0,
        }
    }

    /// Moves f32 `parameters` along their gradients, in one pass over memory.
    #[inline(always)]
    pub(crate) fn apply(
        &self,
        parameters: &mut [f32],
        gradients: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        let (beta1, beta2, keep) = (self.beta1 as f32, self.beta2 as f32, self.keep as f32);
        let (fresh1, fresh2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let (step, root, epsilon) = (self.step as f32, self.root as f32, self.epsilon as f32);
        let factor = self.factor as f32;
        let moments = mean.iter_mut().zip(square.iter_mut());
        for ((p, &g), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            let g = factor * g;
            *m = beta1 * *m + fresh1 * g;
            *v = beta2 * *v + fresh2 * g * g;
            *p = keep * *p - step * *m / (v.sqrt() / root + epsilon);
        }
    }
}

struct AdamWOp<'a> {
    update: AdamStep,
    moments: RefCell<(&'a mut Vec<f32>, &'a mut Vec<f32>)>,
}

impl InplaceOp2 for AdamWOp<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameters: &mut CpuStorage,
        layout: &Layout,
        gradients: &CpuStorage,
        gradients_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(parameters), CpuStorage::F32(gradients)) = (parameters, gradients)
        else {
            bail!("the gradient must have the dtype of its parameter, f32")
        };
        let (Some((from, to)), Some((gradient_from, gradient_to))) =
            (layout.contiguous_offsets(), gradients_layout.contiguous_offsets())
        else {
            bail!("parameters and gradients must be contiguous")
        };
        let update = self.update;
        let mut moments = self.moments.borrow_mut();
        let (mean, square) = &mut *moments;
        parameters[from..to]
            .par_chunks_mut(CHUNK)
            .zip(gradients[gradient_from..gradient_to].par_chunks(CHUNK))
            .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)))
            .for_each(|((parameters, gradients), (mean, square))| {
                with_avx2_if_present(|| update.apply(parameters, gradients, mean, square));
            });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;
    use crate::random::Rng;

    #[test]
    fn the_first_steps_by_hand() {
        // The first step moves by η · sign(g) whatever the size of g, after the decay.
        let x = Var::new(&[2f32, -4.], &Device::Cpu).unwrap();
        let options =
            AdamWOptions { learning_rate: 0.1, weight_decay: 0.5, ..AdamWOptions::default() };
        let mut adamw = AdamW::new(vec![x.clone()], options).unwrap();
        adamw.step(&[Tensor::new(&[10f32, -0.1], &Device::Cpu).unwrap()]).unwrap();
        let after: Vec<f32> = x.to_vec1().unwrap();
        assert!((after[0] - 1.8).abs() < 1e-5 && (after[1] + 3.7).abs() < 1e-5, "{after:?}");
    }

    #[test]
    fn fused_and_composed_updates_agree() {
        let mut rng = Rng::seed(4);
        let start = rng.normal((70, 1000), &Device::Cpu).unwrap();
        let narrow = Var::from_tensor(&start).unwrap();
        let wide = Var::from_tensor(&start.to_dtype(DType::F64).unwrap()).unwrap();
        let mut fused = AdamW::new(vec![narrow.clone()], AdamWOptions::default()).unwrap();
        let mut composed = AdamW::new(vec![wide.clone()], AdamWOptions::default()).unwrap();
        for _ in 0..5 {
            let g = rng.normal((70, 1000), &Device::Cpu).unwrap();
            composed.step(&[g.to_dtype(DType::F64).unwrap()]).unwrap();
            fused.step(&[g]).unwrap();
        }
        let gap = (narrow.to_dtype(DType::F64).unwrap() - wide.as_tensor()).unwrap().abs().unwrap();
        assert!(gap.max_all().unwrap().to_scalar::<f64>().unwrap() < 2e-6);
        assert_ne!(
            narrow.i((69, 999)).unwrap().to_scalar::<f32>().unwrap(),
            start.i((69, 999)).unwrap().to_scalar::<f32>().unwrap()
        );
    }

    #[test]
    fn bad_settings_and_gradients_are_refused() {
        let x = Var::new(&[0f32], &Device::Cpu).unwrap();
        let bad = AdamWOptions { beta1: 1.0, ..AdamWOptions::default() };
        assert!(AdamW::new(vec![x.clone()], bad).unwrap_err().to_string().contains("beta1"));
        let bad = AdamWOptions { learning_rate: f64::NAN, ..AdamWOptions::default() };
        assert!(AdamW::new(vec![x.clone()], bad).is_err());
        let mut adamw = AdamW::new(vec![x], AdamWOptions::default()).unwrap();
        let long = Tensor::new(&[0f32, 1.], &Device::Cpu).unwrap();
        assert!(adamw.step(&[long]).unwrap_err().to_string().contains("gradient 0"));
        assert!(adamw.step(&[]).is_err());
    }
}
