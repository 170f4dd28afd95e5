//! Top-k: f keeps the k largest of h and, with `relu`, of those the positive ones (Gao et al., 2024).
//!
//! In training, autoencoders have no e, transcoders do.

use std::fmt;

use candle_core::Tensor;

use super::ranked::RankedCode;
use crate::Result;
use crate::sae::SaeActivation;

/// The k largest; with `relu` only the positive ones of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TopK {
    pub(crate) k: usize,
    pub(crate) relu: bool,
}

impl RankedCode for TopK {
    const NAME: &'static str = "top-k";
    const SCORES_VALUES: bool = true;

    fn k(self) -> usize {
        self.k
    }

    #[inline(always)]
    fn score(self, compared: f32) -> f32 {
        compared
    }

    fn score_on_device(self, compared: Tensor) -> Result<Tensor> {
        Ok(compared)
    }

    fn floor(self) -> f32 {
        if self.relu { 0.0 } else { f32::NAN }
    }

    fn has_encoder_bias(self, transcoder: bool) -> bool {
        transcoder
    }

    fn activation(self) -> SaeActivation {
        SaeActivation::TopK { k: self.k, relu: self.relu }
    }
}

impl fmt::Display for TopK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}top-{}", if self.relu { "" } else { "signed " }, self.k)
    }
}
