//! What the optimisers have in common.

use std::fmt::Debug;

use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

use super::checkpoint::TakeTensor;
use crate::linalg::{squares, with_avx2_if_present, with_values};
use crate::{Error, Result};

/// Entries a task of a parallel pass: long enough to outweigh handing it out.
pub(super) const CHUNK: usize = 1 << 15;

/// Something that turns gradients into better parameters.
pub trait Optimizer {
    /// One step: `gradients[i]` belongs to the optimiser's i-th parameter and has its shape.
    ///
    /// # Errors
    /// Another number of gradients than of parameters, or another shape.
    fn step(&mut self, gradients: &[Tensor]) -> Result<()>;

    /// Sets the learning rate of the steps to come.
    fn set_learning_rate(&mut self, learning_rate: f64);
}

/// An optimiser that goes on exactly where another one was.
pub(crate) trait ResumableOptimizer: Optimizer + Debug {
    /// [`Optimizer::step`] along `factor` times the gradients, which are not changed.
    fn step_scaled(&mut self, gradients: &[Tensor], factor: f64) -> Result<()>;

    /// What it remembers of earlier steps, by name; `i` counts the parameters.
    fn moments(&self) -> Result<Vec<(String, Tensor)>>;

    /// Takes over what [`ResumableOptimizer::moments`] returned after `steps` steps.
    fn resume(&mut self, steps: usize, take: &mut TakeTensor<'_>) -> Result<()>;
}

/// `∂loss/∂p` for each parameter `p`, in their order.
///
/// # Errors
/// A parameter that the loss does not depend on: a fused operation has cut the graph, or the
/// parameter is not part of the model.
pub fn gradients(loss: &Tensor, parameters: &[Var]) -> Result<Vec<Tensor>> {
    let store = loss.backward()?;
    parameters
        .iter()
        .enumerate()
        .map(|(i, parameter)| {
            store.get(parameter.as_tensor()).cloned().ok_or_else(|| {
                Error::invalid(
                    format!("parameter {i} of shape {:?}", parameter.dims()),
                    "reached by the gradient of the loss (a fused op may cut the graph)",
                    "no gradient",
                )
            })
        })
        .collect()
}

/// Fails unless there is one gradient a parameter, of its shape.
pub(super) fn check_gradients(parameters: &[Var], gradients: &[Tensor]) -> Result<()> {
    if parameters.len() != gradients.len() {
        let expected = format!("{}, one a parameter", parameters.len());
        return Err(Error::invalid("the number of gradients", expected, gradients.len()));
    }
    for (i, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
        if parameter.dims() != gradient.dims() {
            let expected = format!("{:?}", parameter.dims());
            return Err(Error::shape(format!("gradient {i}"), expected, gradient.dims()));
        }
    }
    Ok(())
}

/// The gradients, shortened so that all together are at most `longest` long: each times
/// `min(1, longest / √(Σ‖g‖²))`.
///
/// # Errors
/// A length that is not positive.
pub fn clip(gradients: Vec<Tensor>, longest: f64) -> Result<Vec<Tensor>> {
    let factor = clip_factor(&gradients, longest)?;
    if factor == 1.0 {
        return Ok(gradients);
    }
    gradients.iter().map(|gradient| Ok((gradient * factor)?)).collect()
}

/// What [`clip`] multiplies gradients by, with their squares summed in f64.
///
/// # Errors
/// A length that is not positive.
pub(super) fn clip_factor(gradients: &[Tensor], longest: f64) -> Result<f64> {
    if longest.is_nan() || longest <= 0.0 {
        return Err(Error::invalid("the longest gradient", "above zero", longest));
    }
    let squares = gradients.iter().map(squared_length).sum::<Result<f64>>()?;
    let length = squares.sqrt();
    Ok(if length <= longest { 1.0 } else { longest / length })
}

/// `Σ x²`, whatever the number of threads.
fn squared_length(x: &Tensor) -> Result<f64> {
    if x.device().is_cpu() && x.dtype() == DType::F32 {
        return with_values(x, |x| {
            let sums = x.par_chunks(CHUNK).map(|x| with_avx2_if_present(|| squares(x)));
            sums.collect::<Vec<f64>>().into_iter().sum()
        });
    }
    Ok(x.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;
    use crate::train::{AdamW, AdamWOptions, Muon, MuonOptions};

    #[test]
    fn gradients_are_shortened_together() {
        let of = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
        // Of length 5.
        let all = vec![of(&[3.0, 0.0]), of(&[0.0, -4.0])];
        assert_eq!(clip_factor(&all, 5.0).unwrap(), 1.0);
        assert_eq!(clip_factor(&all, 2.5).unwrap(), 0.5);
        let short = clip(all, 2.5).unwrap();
        assert_eq!(short[1].to_vec1::<f32>().unwrap(), [0.0, -2.0]);
        assert!(clip_factor(&[of(&[f32::NAN])], 1.0).unwrap().is_nan());
        for bad in [0.0, -1.0, f64::NAN] {
            assert!(clip_factor(&[], bad).unwrap_err().to_string().contains("above zero"));
        }
    }

    #[test]
    fn squares_of_many_entries_are_those_in_f64() {
        let x = Rng::seed(3).normal((3, CHUNK), &Device::Cpu).unwrap().narrow(1, 7, CHUNK - 9);
        let x = x.unwrap();
        let wide: f64 = squared_length(&x.to_dtype(DType::F64).unwrap()).unwrap();
        assert!((squared_length(&x).unwrap() / wide - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_scaled_step_is_a_step_along_shorter_gradients() {
        let start = Rng::seed(1).normal((4, 6), &Device::Cpu).unwrap();
        let gradient = Rng::seed(2).normal((4, 6), &Device::Cpu).unwrap();
        let second = Rng::seed(3).normal((4, 6), &Device::Cpu).unwrap();
        for dtype in [DType::F32, DType::F64] {
            for muon in [false, true] {
                let moved = |gradient: &Tensor, factor: f64| -> Vec<f64> {
                    let var = Var::from_tensor(&start.to_dtype(dtype).unwrap()).unwrap();
                    let parameters = vec![var.clone()];
                    let gradient = gradient.to_dtype(dtype).unwrap();
                    let options = MuonOptions { bfloat16: false, ..MuonOptions::default() };
                    let mut optimizer: Box<dyn ResumableOptimizer> = match muon {
                        true => Box::new(Muon::new(parameters, options).unwrap()),
                        false => {
                            // An ε that the length of gradients counts beside.
                            let options = AdamWOptions { epsilon: 1.0, ..AdamWOptions::default() };
                            Box::new(AdamW::new(parameters, options).unwrap())
                        }
                    };
                    optimizer.step_scaled(std::slice::from_ref(&gradient), factor).unwrap();
                    // The length of an update of Muon shows in the mean of the next.
                    optimizer.step(&[second.to_dtype(dtype).unwrap()]).unwrap();
                    let wide = var.to_dtype(DType::F64).unwrap();
                    wide.flatten_all().unwrap().to_vec1().unwrap()
                };
                let expected = moved(&(&gradient * 0.25).unwrap(), 1.0);
                let found = moved(&gradient, 0.25);
                let gaps = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                assert!(gaps.fold(0.0, f64::max) < 1e-6, "{dtype:?} {muon}");
            }
        }
    }
}
