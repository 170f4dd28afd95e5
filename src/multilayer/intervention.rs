//! Changes of the residual stream by latents.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Tensor};

use super::mlsae::Mlsae;
use crate::display::show_as_text;
use crate::model::HookPoint;
use crate::sae::plus;
use crate::{Error, Result};

/// A latent that is added to the residual stream at every position, after one layer or several.
///
/// ```
/// use eigenlens::multilayer::LatentIntervention;
/// let stronger = LatentIntervention::add(7, 2.5).at(0);
/// assert_eq!(stronger.to_string(), "2.5 of latent 7 after layer 0");
/// let original = LatentIntervention::add_column(7, -4.0).from(1);
/// assert_eq!(original.to_string(), "-4 times the column of latent 7 from layer 1 on");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentIntervention {
    /// The latent.
    pub latent: usize,
    /// Where; after all layers of the autoencoder.
    pub layers: InterventionLayers,
    /// How much of it.
    pub amount: LatentAmount,
}

/// After which layers of an autoencoder something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InterventionLayers {
    /// One layer, by its number in the model.
    Only(usize),
    /// This one and those after it.
    From(usize),
    /// All of them.
    #[default]
    All,
}

/// How much of a latent's direction d is added to a row x that the autoencoder reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatentAmount {
    /// `x + s a d`, with a in units of the latent's activation and s what undoes the row's
    /// normalisation: the row's standard deviation where rows are standardised. As if the latent were
    /// active with a more.
    Activation(f64),
    /// `x + a d` with the column of the decoder as it is, as the original does: what it means depends
    /// on the length of x, which grows from layer to layer.
    Column(f64),
}

impl LatentIntervention {
    /// Adds `strength` to the latent, in units of its activation, after every layer.
    pub fn add(latent: usize, strength: f64) -> Self {
        let (layers, amount) = (InterventionLayers::All, LatentAmount::Activation(strength));
        Self { latent, layers, amount }
    }

    /// Adds the latent's column of the decoder times `factor`, after every layer.
    pub fn add_column(latent: usize, factor: f64) -> Self {
        let (layers, amount) = (InterventionLayers::All, LatentAmount::Column(factor));
        Self { latent, layers, amount }
    }

    /// The same after `layer` alone.
    #[must_use]
    pub fn at(self, layer: usize) -> Self {
        Self { layers: InterventionLayers::Only(layer), ..self }
    }

    /// The same after `layer` and those that follow it.
    #[must_use]
    pub fn from(self, layer: usize) -> Self {
        Self { layers: InterventionLayers::From(layer), ..self }
    }
}

/// What is added after one layer: sums of amounts by latent.
#[derive(Debug, Clone, Default)]
pub(super) struct LayerChange {
    activations: BTreeMap<u32, f32>,
    columns: BTreeMap<u32, f64>,
}

impl LayerChange {
    fn add(&mut self, own: &LatentIntervention) {
        let latent = own.latent as u32;
        match own.amount {
            LatentAmount::Activation(amount) => {
                *self.activations.entry(latent).or_default() += amount as f32;
            }
            LatentAmount::Column(amount) => {
                *self.columns.entry(latent).or_default() += amount;
            }
        }
    }
}

impl Mlsae {
    /// What interventions do after each layer, by layers that have any.
    pub(super) fn changes(
        &self,
        interventions: &[LatentIntervention],
    ) -> Result<BTreeMap<usize, LayerChange>> {
        let mut changes: BTreeMap<usize, LayerChange> = BTreeMap::new();
        if interventions.is_empty() {
            return Err(Error::invalid("the interventions", "at least one", "none"));
        }
        for own in interventions {
            let latents = self.sae().features();
            if own.latent >= latents {
                let expected = format!("below {latents}");
                return Err(Error::invalid("the latent of an intervention", expected, own.latent));
            }
            let (LatentAmount::Activation(amount) | LatentAmount::Column(amount)) = own.amount;
            if !amount.is_finite() {
                let what = "the amount of an intervention";
                return Err(Error::invalid(what, "a finite number", amount));
            }
            let is_meant = |layer: usize| match own.layers {
                InterventionLayers::Only(only) => layer == only,
                InterventionLayers::From(first) => layer >= first,
                InterventionLayers::All => true,
            };
            let meant: Vec<usize> =
                self.layers().iter().copied().filter(|layer| is_meant(*layer)).collect();
            if meant.is_empty() {
                let expected = format!("at one of the layers {:?}", self.layers());
                return Err(Error::invalid("the intervention", expected, own));
            }
            for layer in meant {
                changes.entry(layer).or_default().add(own);
            }
        }
        Ok(changes)
    }

    /// The stream `[…, d]` after `layer` with `change`. With a lens the change is made where the
    /// autoencoder reads and brought back.
    pub(super) fn changed(
        &self,
        layer: usize,
        stream: &Tensor,
        change: &LayerChange,
    ) -> Result<Tensor> {
        let seen = self.seen_after(layer, stream)?;
        let activations: Vec<(u32, f32)> =
            change.activations.iter().map(|(latent, amount)| (*latent, *amount)).collect();
        let mut added = match activations.is_empty() {
            true => seen.zeros_like()?.to_dtype(DType::F32)?,
            false => self.sae().written(&seen, &activations)?,
        };
        for (latent, factor) in &change.columns {
            let column = self.sae().w_dec().narrow(1, *latent as usize, 1)?.flatten_all()?;
            added = added.broadcast_add(&(column * *factor)?)?;
        }
        let Some(lens) = self.lens() else { return plus(stream, &added) };
        let back = |seen: &Tensor| lens.invert(seen, HookPoint::ResidPost(layer));
        plus(stream, &(back(&plus(&seen, &added)?)? - back(&seen)?)?)
    }
}

show_as_text!(LatentIntervention);

impl fmt::Display for LatentIntervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latent, layers, amount } = self;
        match amount {
            LatentAmount::Activation(amount) => write!(f, "{amount} of latent {latent} {layers}"),
            LatentAmount::Column(amount) => {
                write!(f, "{amount} times the column of latent {latent} {layers}")
            }
        }
    }
}

impl fmt::Display for InterventionLayers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only(layer) => write!(f, "after layer {layer}"),
            Self::From(layer) => write!(f, "from layer {layer} on"),
            Self::All => f.write_str("after every layer"),
        }
    }
}
