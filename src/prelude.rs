//! What a notebook imports: `use eigenlens::prelude::*;`.

pub use crate::notebook::{DebugDisplay as _, Progress, input, interrupted};
pub use crate::random::Rng;
pub use crate::{Error, Result};
pub use candle_core::{D, DType, Device, IndexOp, Tensor, Var};
