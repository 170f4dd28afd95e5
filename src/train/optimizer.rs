//! What the optimisers have in common.

use std::fmt::Debug;

use candle_core::{DType, Tensor, Var};

use super::checkpoint::TakeTensor;
use crate::{Error, Result};

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
    if longest.is_nan() || longest <= 0.0 {
        return Err(Error::invalid("the longest gradient", "above zero", longest));
    }
    let mut squares = 0.0;
    for gradient in &gradients {
        squares += gradient.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    }
    let length = squares.sqrt();
    if length <= longest {
        return Ok(gradients);
    }
    gradients.iter().map(|gradient| Ok((gradient * (longest / length))?)).collect()
}
