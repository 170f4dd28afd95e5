//! The parts of a forward pass that are not matrix products, in one pass over memory each.

mod activation;
mod attention;
mod norm;

pub(super) use activation::{Act, Gate};
pub(super) use attention::Attention;
pub(super) use norm::RowNorm;
