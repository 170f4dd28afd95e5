//! What both ways of training can do.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::setup::Units;
use super::step::{Batch, Outcome, StepSettings};
use crate::Result;
use crate::sae::Sae;
use crate::train::TakeTensor;

/// The weights of some kind while they change. There is one engine for the CPU, without a graph
/// ([`super::host`]), and one that goes through tensors ([`super::device`]).
pub(super) trait Engine: Send {
    /// Moves the weights.
    fn step(&mut self, batch: Batch<'_>, settings: &StepSettings<'_>) -> Result<Outcome>;

    /// The decoder's transpose as it is now, `[m, d_out]`.
    fn decoder(&self) -> Result<Vec<f32>>;

    /// The autoencoder of the weights as they are now, on `device`.
    fn finish(&self, units: Units, device: &Device) -> Result<Sae>;

    /// KindWeights and moments, by name.
    fn state(&self) -> Result<HashMap<String, Tensor>>;

    /// Takes over what [`Engine::state`] gave after `step` steps.
    fn restore(&mut self, step: usize, take: &mut TakeTensor<'_>) -> Result<()>;
}
