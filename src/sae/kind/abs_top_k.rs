//! Absolute top-k: f keeps the k of h that are largest in magnitude, with their signs.

use std::fmt;

use candle_core::Tensor;

use super::ranked::RankedCode;
use crate::Result;
use crate::sae::SaeActivation;

/// The k largest in magnitude, with their signs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AbsTopK {
    pub(crate) k: usize,
}

impl RankedCode for AbsTopK {
    const NAME: &'static str = "absolute top-k";
    const SCORES_VALUES: bool = false;

    fn k(self) -> usize {
        self.k
    }

    #[inline(always)]
    fn score(self, compared: f32) -> f32 {
        compared.abs()
    }

    fn score_on_device(self, compared: Tensor) -> Result<Tensor> {
        Ok(compared.abs()?)
    }

    fn floor(self) -> f32 {
        f32::NAN
    }

    fn activation(self) -> SaeActivation {
        SaeActivation::AbsTopK { k: self.k }
    }
}

impl fmt::Display for AbsTopK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "absolute top-{}", self.k)
    }
}
