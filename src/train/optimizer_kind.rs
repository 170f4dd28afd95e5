//! The choice of an optimiser.

use candle_core::Var;

use super::optimizer::ResumableOptimizer;
use super::{AdamW, AdamWOptions, Muon, MuonOptions, Optimizer};
use crate::Result;

/// Which optimiser a fit uses, and with what settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerKind {
    /// [`AdamW`].
    AdamW(AdamWOptions),
    /// [`Muon`]; all parameters must be matrices.
    Muon(MuonOptions),
}

impl OptimizerKind {
    /// The learning rate it starts with.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::AdamW(options) => options.learning_rate,
            Self::Muon(options) => options.learning_rate,
        }
    }

    /// The optimiser for `parameters`.
    ///
    /// # Errors
    /// Settings out of range, and Muon for parameters that are not matrices.
    pub fn build(&self, parameters: Vec<Var>) -> Result<Box<dyn Optimizer>> {
        Ok(self.resumable(parameters)?)
    }

    /// [`OptimizerKind::build`], for a fit that is saved.
    pub(super) fn resumable(&self, parameters: Vec<Var>) -> Result<Box<dyn ResumableOptimizer>> {
        Ok(match *self {
            Self::AdamW(options) => Box::new(AdamW::new(parameters, options)?),
            Self::Muon(options) => Box::new(Muon::new(parameters, options)?),
        })
    }
}
