//! Which engine trains, of which kind.

use candle_core::Device;

use super::device::DeviceEngine;
use super::engine::Engine;
use super::host::HostEngine;
use super::setup::FirstNumbers;
use super::shape::FitShape;
use crate::Result;
use crate::sae::kind::objective::{KindVisitor, Recipe};
use crate::sae::kind::training::SaeKind;

/// Training on the CPU without a graph, elsewhere through tensors.
pub(super) fn engine(
    recipe: &Recipe,
    shape: FitShape,
    start: FirstNumbers,
    device: &Device,
) -> Result<Box<dyn Engine>> {
    recipe.visit(Build { shape, start, device })
}

struct Build<'a> {
    shape: FitShape,
    start: FirstNumbers,
    device: &'a Device,
}

impl KindVisitor for Build<'_> {
    type Output = Result<Box<dyn Engine>>;

    fn visit<K: SaeKind>(self, kind: K) -> Self::Output {
        let weights = self.shape.weights(&kind, self.start);
        Ok(if self.device.is_cpu() {
            Box::new(HostEngine::new(kind, self.shape, weights)?)
        } else {
            Box::new(DeviceEngine::new(kind, self.shape, &weights, self.device)?)
        })
    }
}
