//! Gated autoencoders: with `π = h + g`, `fᵢ = max(hᵢ exp(rᵢ) + cᵢ, 0)` where `πᵢ > 0`, and loss
//! `‖t − x̂‖² + λ Σ max(π, 0) + ‖t − x̂(max(π, 0))‖²`, where the last term leaves D and b as they are
//! (Rajamanoharan et al., 2024a).

use std::fmt;

use candle_core::Tensor;

use super::code::{Code, Each, EntrywiseCode};
use super::extras::extras;
use super::rule::{Auxiliary, Explains, Gradient, TrainedEntry};
use super::training::{DeviceCodes, Learned, Masks, SaeKind, positive_mask};
use crate::Result;
use crate::check::check_not_negative;
use crate::sae::autoencoder::{HostGate, SaeData};
use crate::sae::order::{keep_if, positive};
use crate::sae::{Gate, Rescale, SaeActivation, SaeWeights};

/// An open feature's `h exp(r) + c`, where it is above 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gated;

extras! {
    /// The weights that a gated autoencoder has in addition to its maps.
    GateWeights {
        /// g.
        gate_bias: |sums| &sums.auxiliary,
        /// r; exp(r) as the rule reads it.
        gains: |sums| &sums.extras[0],
        /// c.
        magnitude: |sums| &sums.extras[1],
    }
}

/// [`Gated`] with weights g, exp(r) and c, an entry per feature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gates<'a> {
    bias: &'a [f32],
    gains: &'a [f32],
    magnitude: &'a [f32],
}

impl Gates<'_> {
    /// π.
    #[inline(always)]
    fn opening(&self, feature: usize, h: f32) -> f32 {
        h + self.bias[feature]
    }

    /// The value of an open feature, and whether it is open and above 0.
    #[inline(always)]
    fn magnitude(&self, feature: usize, h: f32) -> (f32, bool) {
        let value = h * self.gains[feature] + self.magnitude[feature];
        (value, positive(self.opening(feature, h)) & positive(value))
    }
}

impl EntrywiseCode for Gates<'_> {
    fn floor(&self, feature: usize) -> f32 {
        -self.bias[feature]
    }

    #[inline(always)]
    fn value(&self, feature: usize, h: f32) -> f32 {
        let (value, open) = self.magnitude(feature, h);
        keep_if(open, value)
    }
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("gated")
    }
}

impl Code for Gated {
    type Rule<'a> = Each<Gates<'a>>;

    fn rule<'a>(&self, sae: &'a SaeData) -> Self::Rule<'a> {
        Each(match &sae.gate {
            Some(HostGate { bias, gains, magnitude }) => Gates { bias, gains, magnitude },
            // No autoencoder is made without the gate that it misses.
            None => Gates { bias: &[], gains: &[], magnitude: &[] },
        })
    }

    fn missing(&self, weights: &SaeWeights) -> Option<&'static str> {
        weights.gate.is_none().then_some("a gate")
    }

    fn is_free_of_lengths(&self, _rescale: Rescale) -> bool {
        true
    }
}

impl TrainedEntry for Gates<'_> {
    const HAS_AUXILIARY: bool = true;
    const HAS_EXTRAS: bool = true;

    #[inline(always)]
    fn cut(self, features: usize) -> Self {
        let Self { bias, gains, magnitude } = self;
        let [bias, gains, magnitude] = [bias, gains, magnitude].map(|own| &own[..features]);
        Self { bias, gains, magnitude }
    }

    #[inline(always)]
    fn auxiliary_value(&self, feature: usize, h: f32) -> f32 {
        let opening = self.opening(feature, h);
        keep_if(positive(opening), opening)
    }

    #[inline(always)]
    fn gradient(&self, feature: usize, h: f32, pull: f32, _lambda: f32) -> Gradient {
        let (_, open) = self.magnitude(feature, h);
        let slope = keep_if(open, pull * self.gains[feature]);
        Gradient { h: slope, extras: [keep_if(open, slope * h), keep_if(open, pull)] }
    }

    #[inline(always)]
    fn auxiliary_gradient(&self, feature: usize, h: f32, pull: f32, lambda: f32) -> f32 {
        keep_if(positive(self.opening(feature, h)), pull + lambda)
    }

    #[inline(always)]
    fn auxiliary_penalised(&self, value: f32) -> f32 {
        value
    }
}

/// [`Gated`] with the penalty `λ Σ max(π, 0)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GatedWithL1 {
    /// λ.
    pub(crate) l1: f64,
}

impl SaeKind for GatedWithL1 {
    type Extras = GateWeights<()>;
    type Rule<'a> = Each<Gates<'a>>;

    fn name(&self) -> &'static str {
        "gated"
    }

    fn check(&self) -> Result<()> {
        check_not_negative("the penalty `l1`", self.l1)
    }

    fn lambda(&self) -> Option<f64> {
        Some(self.l1)
    }

    fn has_encoder_bias(&self, _transcoder: bool) -> bool {
        false
    }

    fn start(&self, offset: &[f32]) -> GateWeights<Vec<f32>> {
        let gains = vec![0.0; offset.len()];
        GateWeights { gate_bias: offset.to_vec(), gains, magnitude: offset.to_vec() }
    }

    fn prepare(extras: &GateWeights<&[f32]>) -> GateWeights<Vec<f32>> {
        GateWeights {
            gate_bias: extras.gate_bias.to_vec(),
            gains: extras.gains.iter().map(|entry| entry.exp()).collect(),
            magnitude: extras.magnitude.to_vec(),
        }
    }

    fn rule<'a>(&'a self, extras: &'a GateWeights<Vec<f32>>) -> Each<Gates<'a>> {
        let GateWeights { gate_bias: bias, gains, magnitude } = extras;
        Each(Gates { bias, gains, magnitude })
    }

    fn masks(&self, h: &Tensor, extras: &GateWeights<Tensor>, _dead: &[u32]) -> Result<Masks> {
        let GateWeights { gate_bias, gains: log_gains, magnitude } = extras;
        let open = positive_mask(&h.broadcast_add(&gate_bias.detach())?)?;
        let value = h.broadcast_mul(&log_gains.detach().exp()?)?;
        let value = value.broadcast_add(&magnitude.detach())?;
        let main = (positive_mask(&value)? * &open)?;
        Ok(Masks { auxiliary: Some(open), ..Masks::of(main) })
    }

    fn codes(
        &self,
        h: &Tensor,
        extras: &GateWeights<Tensor>,
        masks: &Masks,
    ) -> Result<DeviceCodes> {
        let value = h.broadcast_mul(&extras.gains.exp()?)?.broadcast_add(&extras.magnitude)?;
        let mut codes = DeviceCodes::of((value * &masks.main)?);
        if let Some(open) = &masks.auxiliary {
            let opening = (h.broadcast_add(&extras.gate_bias)? * open)?;
            codes.penalised = Some(opening.sum_all()?);
            let auxiliary = Auxiliary { weight: 1.0, explains: Explains::Target };
            codes.auxiliary = Some((opening, auxiliary));
        }
        Ok(codes)
    }

    fn finish(
        &self,
        extras: GateWeights<Tensor>,
        learned: &Learned<'_>,
        weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        let GateWeights { gate_bias, gains: log_gains, magnitude } = extras;
        let [bias, magnitude] = [gate_bias, magnitude].map(|own| learned.scaled(own));
        weights.gate = Some(Gate { bias: bias?, log_gains, magnitude: magnitude? });
        Ok(SaeActivation::Gated)
    }
}
