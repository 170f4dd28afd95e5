//! One pass through a model: what it needs at every step.

use candle_core::{Tensor, Var};

use super::{Cache, Decoder, HookPoint, Hooks};
use crate::Result;

/// One forward pass: the model, whether gradients flow, and what is looked at on the way.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Decoder,
    pub(super) track: bool,
    pub(super) hooks: &'a Hooks,
    pub(super) cache: Cache,
}

impl Decoder {
    /// A pass with `hooks` acting on it, and with gradients if `track`.
    ///
    /// # Errors
    /// A hook that cannot fire.
    pub(super) fn pass<'a>(&'a self, track: bool, hooks: &'a Hooks) -> Result<Pass<'a>> {
        hooks.check(self.config())?;
        Ok(Pass { model: self, track, hooks, cache: Cache::default() })
    }
}

impl Pass<'_> {
    /// Lets the hooks at `point` act.
    pub(super) fn hook(&mut self, point: HookPoint, activation: Tensor) -> Result<Tensor> {
        self.hooks.at(point, activation, &mut self.cache)
    }

    /// A weight, with gradients if they are asked for.
    pub(super) fn weight(&self, var: &Var) -> Tensor {
        if self.track { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }

    /// A weight that some models do not have.
    pub(super) fn optional(&self, var: &Option<Var>) -> Option<Tensor> {
        var.as_ref().map(|var| self.weight(var))
    }
}
