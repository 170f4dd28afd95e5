//! What a fit trains, and how it is saved.

use std::collections::HashMap;

use candle_core::{Tensor, Var};

use super::checkpoint::TakeTensor;
use super::optimizer::{ResumableOptimizer, clip_factor};
use super::optimizer_kind::OptimizerKind;
use crate::Result;

/// Parameters with the optimiser that changes them, as a fit saves both.
#[derive(Debug)]
pub(crate) struct Trained {
    pub(crate) parameters: Vec<Var>,
    optimizer: Box<dyn ResumableOptimizer>,
}

impl Trained {
    /// Fails for settings out of range, and for Muon if a parameter is not a matrix.
    pub(crate) fn new(parameters: Vec<Var>, optimizer: &OptimizerKind) -> Result<Self> {
        let optimizer = optimizer.resumable(parameters.clone())?;
        Ok(Self { parameters, optimizer })
    }

    /// A step along `gradients`, one for each parameter.
    pub(crate) fn step(&mut self, gradients: &[Tensor], learning_rate: f64) -> Result<()> {
        self.optimizer.set_learning_rate(learning_rate);
        self.optimizer.step(gradients)
    }

    /// [`Trained::step`] along the gradients as [`clip`](super::clip) shortens them.
    pub(crate) fn step_clipped(
        &mut self,
        gradients: &[Tensor],
        longest: f64,
        learning_rate: f64,
    ) -> Result<()> {
        let factor = clip_factor(gradients, longest)?;
        self.optimizer.set_learning_rate(learning_rate);
        self.optimizer.step_scaled(gradients, factor)
    }

    /// `parameter.0`, `parameter.1`, … and what the optimiser remembers.
    pub(crate) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all: HashMap<_, _> = self.optimizer.moments()?.into_iter().collect();
        for (i, parameter) in self.parameters.iter().enumerate() {
            all.insert(format!("parameter.{i}"), parameter.as_detached_tensor());
        }
        Ok(all)
    }

    /// Takes over what [`Trained::state`] returned after `steps` steps.
    pub(crate) fn restore(&mut self, steps: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        for (i, parameter) in self.parameters.iter().enumerate() {
            // Reading widens bfloat16 and float16.
            let saved = take(&format!("parameter.{i}"), parameter.dims())?;
            parameter.set(&saved.to_dtype(parameter.dtype())?)?;
        }
        self.optimizer.resume(steps, take)
    }
}
