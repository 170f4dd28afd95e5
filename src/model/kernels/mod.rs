//! The parts of a forward pass that are not matrix products, in one pass over memory each.

mod attention;
mod gate;
mod norm;

pub(super) use attention::Attention;
pub(super) use gate::Gate;
pub(super) use norm::RmsNorm;
