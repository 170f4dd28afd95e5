//! ReLU, trained with an L1 penalty: `f = max(h, 0)`, loss `‖t − x̂‖² + λ Σ f` (Bricken et al., 2023).

use std::fmt;

use candle_core::Tensor;

use super::code::{Code, Each, EntrywiseCode};
use super::extras::NoExtras;
use super::rule::{Gradient, TrainedEntry};
use super::training::{DeviceCodes, Learned, Masks, SaeKind, positive_mask};
use crate::Result;
use crate::check::check_not_negative;
use crate::sae::autoencoder::SaeData;
use crate::sae::order::{keep_if, positive};
use crate::sae::{Rescale, SaeActivation, SaeWeights};

/// `max(h, 0)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relu;

impl EntrywiseCode for Relu {
    #[inline(always)]
    fn floor(&self, _feature: usize) -> f32 {
        0.0
    }

    #[inline(always)]
    fn value(&self, _feature: usize, h: f32) -> f32 {
        keep_if(positive(h), h)
    }
}

impl fmt::Display for Relu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReLU")
    }
}

impl Code for Relu {
    type Rule<'a> = Each<Self>;

    fn rule(&self, _sae: &SaeData) -> Each<Self> {
        Each(*self)
    }

    fn is_free_of_lengths(&self, _rescale: Rescale) -> bool {
        true
    }
}

/// [`Relu`] with the penalty `λ Σ f`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReluWithL1 {
    /// λ.
    pub(crate) l1: f64,
}

impl TrainedEntry for Relu {
    fn cut(self, _features: usize) -> Self {
        self
    }

    #[inline(always)]
    fn gradient(&self, _feature: usize, h: f32, pull: f32, lambda: f32) -> Gradient {
        Gradient { h: keep_if(positive(h), pull + lambda), ..Gradient::default() }
    }

    #[inline(always)]
    fn penalised(&self, value: f32) -> f32 {
        value
    }
}

impl SaeKind for ReluWithL1 {
    type Extras = NoExtras;
    type Rule<'a> = Each<Relu>;

    fn name(&self) -> &'static str {
        "ReLU with L1"
    }

    fn check(&self) -> Result<()> {
        check_not_negative("the penalty `l1`", self.l1)
    }

    fn lambda(&self) -> Option<f64> {
        Some(self.l1)
    }

    fn start(&self, _offset: &[f32]) -> NoExtras {
        NoExtras
    }

    fn rule<'a>(&'a self, _extras: &'a NoExtras) -> Each<Relu> {
        Each(Relu)
    }

    fn masks(&self, h: &Tensor, _extras: &NoExtras, _dead: &[u32]) -> Result<Masks> {
        Ok(Masks::of(positive_mask(h)?))
    }

    fn codes(&self, h: &Tensor, _extras: &NoExtras, masks: &Masks) -> Result<DeviceCodes> {
        let values = (h * &masks.main)?;
        let penalised = Some(values.sum_all()?);
        Ok(DeviceCodes { penalised, ..DeviceCodes::of(values) })
    }

    fn finish(
        &self,
        _extras: NoExtras,
        _learned: &Learned<'_>,
        _weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        Ok(SaeActivation::Relu)
    }
}
