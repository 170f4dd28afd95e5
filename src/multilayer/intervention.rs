//! Changes of the residual stream by latents.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{D, DType, Tensor};

use super::mlsae::Mlsae;
use crate::display::show_as_text;
use crate::model::{HookPoint, Hooks};
use crate::sae::{Codes, plus};
use crate::{Error, Result};

/// A change of one latent in the residual stream, after one layer or several, at all positions or
/// some.
///
/// ```
/// use eigenlens::multilayer::LatentIntervention;
/// let stronger = LatentIntervention::add(7, 2.5).at(0);
/// assert_eq!(stronger.to_string(), "adds 2.5 to latent 7 after layer 0");
/// let original = LatentIntervention::add_column(7, -4.0).from(1);
/// assert_eq!(original.to_string(), "adds -4 times the column of latent 7 from layer 1 on");
/// let off = LatentIntervention::ablate(7).at_positions([2, 3]);
/// assert_eq!(off.to_string(), "sets latent 7 to 0 after every layer, at positions [2, 3]");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LatentIntervention {
    /// The latent.
    pub latent: usize,
    /// What becomes of it.
    pub change: LatentChange,
    /// Where in the model; after all layers of the autoencoder.
    pub layers: InterventionLayers,
    /// Where in the text; at all positions.
    pub positions: InterventionPositions,
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

/// At which positions of a text something is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum InterventionPositions {
    /// All of them; in a generation also those that are generated.
    #[default]
    All,
    /// The last one; in a generation the newest each time.
    Last,
    /// These, counted from 0. Those that the text does not reach change nothing.
    These(Arc<[usize]>),
}

/// What becomes of a latent with activation a and direction d in a row x that the autoencoder reads.
///
/// `x + s (a′ − a) d`, with the new activation a′ and with s what undoes the row's normalisation:
/// the row's standard deviation where rows are standardised. What the autoencoder does not explain of
/// x stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LatentChange {
    /// `a′ = a + v`: as if the latent were active with v more.
    Add(f64),
    /// `a′ = v a`.
    Scale(f64),
    /// `a′ = v`; 0 takes the latent away.
    Set(f64),
    /// `x + v d` with the column of the decoder as it is, as the original does: what it means depends
    /// on the length of x, which grows from layer to layer.
    AddColumn(f64),
}

impl LatentIntervention {
    fn everywhere(latent: usize, change: LatentChange) -> Self {
        let layers = InterventionLayers::All;
        Self { latent, change, layers, positions: InterventionPositions::All }
    }

    /// Adds `amount` to the latent's activation, after every layer and at every position.
    pub fn add(latent: usize, amount: f64) -> Self {
        Self::everywhere(latent, LatentChange::Add(amount))
    }

    /// Adds the latent's column of the decoder times `factor`, everywhere.
    pub fn add_column(latent: usize, factor: f64) -> Self {
        Self::everywhere(latent, LatentChange::AddColumn(factor))
    }

    /// Multiplies the latent's activation by `factor`, everywhere.
    pub fn scale(latent: usize, factor: f64) -> Self {
        Self::everywhere(latent, LatentChange::Scale(factor))
    }

    /// Makes the latent's activation `value`, everywhere.
    pub fn set(latent: usize, value: f64) -> Self {
        Self::everywhere(latent, LatentChange::Set(value))
    }

    /// Takes the latent away, everywhere.
    pub fn ablate(latent: usize) -> Self {
        Self::set(latent, 0.0)
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

    /// The same at the last position alone; in a generation at the newest each time.
    #[must_use]
    pub fn at_last(self) -> Self {
        Self { positions: InterventionPositions::Last, ..self }
    }

    /// The same at `positions` alone, counted from 0.
    #[must_use]
    pub fn at_positions(self, positions: impl IntoIterator<Item = usize>) -> Self {
        let positions = InterventionPositions::These(positions.into_iter().collect());
        Self { positions, ..self }
    }
}

impl InterventionPositions {
    /// Whether it means position `at`, where `last` is the last one.
    fn mean(&self, at: usize, last: usize) -> bool {
        match self {
            Self::All => true,
            Self::Last => at == last,
            Self::These(positions) => positions.contains(&at),
        }
    }
}

/// What is done after one layer, in the order in which it was asked for.
pub(super) type LayerChange = Vec<LatentIntervention>;

impl Mlsae {
    /// Interventions as hooks, for [`Decoder::run`](crate::model::Decoder::run) and
    /// [`Decoder::generate_with`](crate::model::Decoder::generate_with). They count positions as they
    /// come, so hooks are good for one run or one generation.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::multilayer::LatentIntervention;
    /// # use eigenlens::sae::{Architecture, SaeWeights};
    /// # fn main() -> Result<()> {
    /// # let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// # let decoder = Rng::seed(0).normal((192, 384), &Device::Cpu)?;
    /// # let bias = Tensor::zeros(192, DType::F32, &Device::Cpu)?;
    /// # let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
    /// # let sae = Sae::new(Architecture::top_k(8), weights)?;
    /// # let mlsae = Mlsae::new(&model, &sae, &[0, 1, 2, 3])?;
    /// let hooks = mlsae.steering_hooks(&[LatentIntervention::add(7, 3.0).from(1)])?;
    /// let text = model.generate_with("She had been", 8, Sampling::default(), &hooks)?;
    /// # assert!(text.starts_with("She had been"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Mlsae::steer`].
    pub fn steering_hooks(&self, interventions: &[LatentIntervention]) -> Result<Hooks> {
        Ok(self.hooks_of(self.changes(interventions)?))
    }

    /// Changes by layer as hooks, for one run or one generation.
    pub(super) fn hooks_of(
        &self,
        changes: impl IntoIterator<Item = (usize, LayerChange)>,
    ) -> Hooks {
        changes.into_iter().fold(Hooks::new(), |hooks, (layer, change)| {
            let (own, seen) = (self.clone(), AtomicUsize::new(0));
            hooks.replace(HookPoint::ResidPost(layer), move |x| {
                let first = seen.fetch_add(x.dim(D::Minus2)?, Ordering::Relaxed);
                own.changed(layer, x, &change, first)
            })
        })
    }

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
            let (LatentChange::Add(amount)
            | LatentChange::Scale(amount)
            | LatentChange::Set(amount)
            | LatentChange::AddColumn(amount)) = own.change;
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
                changes.entry(layer).or_default().push(own.clone());
            }
        }
        Ok(changes)
    }

    /// The stream `[…, T, d]` after `layer` with `change`, where its first position is number `first`.
    /// With a lens the change is made where the autoencoder reads and brought back.
    pub(super) fn changed(
        &self,
        layer: usize,
        stream: &Tensor,
        change: &LayerChange,
        first: usize,
    ) -> Result<Tensor> {
        let seen = self.seen_after(layer, stream)?;
        let length = stream.dim(D::Minus2)?;
        let rows = stream.elem_count() / stream.dim(D::Minus1)?;
        let is_meant = |own: &LatentIntervention, row: usize| {
            own.positions.mean(first + row % length, first + length - 1)
        };
        let is_known = |own: &LatentIntervention| {
            matches!(own.change, LatentChange::Add(_) | LatentChange::AddColumn(_))
        };
        let present = match change.iter().all(is_known) {
            true => None,
            false => Some(self.sae().encode(&seen)?),
        };
        let more = (0..rows).map(|row| {
            // The activation that a latent has and the one that it gets.
            let mut activations: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
            for own in change.iter().filter(|own| is_meant(own, row)) {
                let latent = own.latent as u32;
                let has = || present.as_ref().map_or(0.0, |own| f64::from(own.get(row, latent)));
                let entry = activations.entry(latent).or_insert_with(|| (has(), has()));
                match own.change {
                    LatentChange::Add(amount) => entry.1 += amount,
                    LatentChange::Scale(factor) => entry.1 *= factor,
                    LatentChange::Set(value) => entry.1 = value,
                    LatentChange::AddColumn(_) => {}
                }
            }
            let more = activations.into_iter().map(|(latent, (has, gets))| (latent, gets - has));
            more.filter(|own| own.1 != 0.0).map(|(latent, more)| (latent, more as f32)).collect()
        });
        let more: Vec<Vec<(u32, f32)>> = more.collect();
        let mut added = match more.iter().all(Vec::is_empty) {
            true => seen.zeros_like()?.to_dtype(DType::F32)?,
            false => self.sae().written(&seen, &Codes::new(self.sae().features(), more)?)?,
        };
        for own in change {
            if let LatentChange::AddColumn(factor) = own.change {
                let factors = (0..rows).map(|row| if is_meant(own, row) { factor } else { 0.0 });
                let factors = Tensor::from_iter(factors.map(|own| own as f32), added.device())?;
                let column = self.sae().w_dec().narrow(1, own.latent, 1)?.to_dtype(DType::F32)?;
                let columns = factors.unsqueeze(1)?.broadcast_mul(&column.t()?)?;
                added = (added + columns.reshape(seen.shape())?)?;
            }
        }
        let Some(lens) = self.lens() else { return plus(stream, &added) };
        let back = |seen: &Tensor| lens.invert(seen, HookPoint::ResidPost(layer));
        plus(stream, &(back(&plus(&seen, &added)?)? - back(&seen)?)?)
    }
}

show_as_text!(LatentIntervention);

impl fmt::Display for LatentIntervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { latent, change, layers, positions } = self;
        match change {
            LatentChange::Add(amount) => write!(f, "adds {amount} to latent {latent} {layers}"),
            LatentChange::Scale(factor) => {
                write!(f, "multiplies latent {latent} by {factor} {layers}")
            }
            LatentChange::Set(value) => write!(f, "sets latent {latent} to {value} {layers}"),
            LatentChange::AddColumn(factor) => {
                write!(f, "adds {factor} times the column of latent {latent} {layers}")
            }
        }?;
        match positions {
            InterventionPositions::All => Ok(()),
            InterventionPositions::Last => f.write_str(", at the last position"),
            InterventionPositions::These(positions) => write!(f, ", at positions {positions:?}"),
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
