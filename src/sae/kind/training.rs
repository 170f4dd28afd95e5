//! What a kind states for training, and what the engines ask it.
//!
//! The engine on the host goes entry by entry: each step it asks the kind for its [`TrainingRule`], which
//! chooses codes and gives the gradients through them in closed form. The engine on a device lets a
//! graph find the gradients: it asks for [`Masks`] and builds [`DeviceCodes`] from them.

use candle_core::{Device, Tensor};

use super::extras::ExtraWeights;
use super::rule::{Auxiliary, TrainingRule};

use crate::Result;
use crate::sae::{SaeActivation, SaeWeights};

/// The weights of [`SaeKind::Extras`], each a T.
pub(crate) type ExtrasOf<K, T> = <<K as SaeKind>::Extras as ExtraWeights>::Of<T>;

/// A kind of autoencoder in training: what a code is, and what is made small.
pub(crate) trait SaeKind: Clone + Send + Sync + 'static {
    /// The weights with an entry per feature that it has beyond the encoder's bias.
    type Extras: ExtraWeights;
    /// How codes come from h on the host.
    type Rule<'a>: TrainingRule;

    /// What it is called.
    fn name(&self) -> &'static str;

    /// Fails for numbers that no fit can have.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Fails for numbers that `features` features cannot have.
    fn check_features(&self, _features: usize) -> Result<()> {
        Ok(())
    }

    /// λ, if it has a penalty.
    fn lambda(&self) -> Option<f64> {
        None
    }

    /// Whether a bias e is added to what the encoder computes.
    fn has_encoder_bias(&self, _transcoder: bool) -> bool {
        true
    }

    /// Where the nested dictionaries of `features` features end.
    fn dictionary_ends(&self, features: usize) -> Vec<usize> {
        vec![features]
    }

    /// The first weights, of as many features as `offset` has entries: what, added to h, makes a
    /// feature's mean 0.
    fn start(&self, offset: &[f32]) -> ExtrasOf<Self, Vec<f32>>;

    /// The weights as the rule of a step reads them: as they are, unless a kind says otherwise.
    fn prepare(extras: &ExtrasOf<Self, &[f32]>) -> ExtrasOf<Self, Vec<f32>> {
        Self::Extras::map(Self::Extras::refs(extras), |extra| extra.to_vec())
    }

    /// How codes come from h in a step, with weights that [`SaeKind::prepare`] has made.
    fn rule<'a>(&'a self, extras: &'a ExtrasOf<Self, Vec<f32>>) -> Self::Rule<'a>;

    /// Which features are in the codes of `h` `[n, features]`, e included; `dead` features were in
    /// no code for long.
    fn masks(&self, h: &Tensor, extras: &ExtrasOf<Self, Tensor>, dead: &[u32]) -> Result<Masks>;

    /// The codes of `h` as functions of it and of the weights.
    fn codes(
        &self,
        h: &Tensor,
        extras: &ExtrasOf<Self, Tensor>,
        masks: &Masks,
    ) -> Result<DeviceCodes>;

    /// The penalty on a device, summed over the activations: [`TrainingRule::penalty`].
    fn penalty_on_device(&self, lambda: f64, sum: &Tensor, _rows: usize) -> Result<Tensor> {
        Ok((sum * lambda)?)
    }

    /// Puts what was learned into the weights of an autoencoder, and says what it computes.
    fn finish(
        &self,
        extras: ExtrasOf<Self, Tensor>,
        learned: &Learned<'_>,
        weights: &mut SaeWeights,
    ) -> Result<SaeActivation>;
}

/// What an autoencoder is finished with.
#[derive(Debug)]
pub(crate) struct Learned<'a> {
    /// What activations were divided by in training.
    pub(crate) scale: f64,
    /// The threshold of codes that were chosen from a batch together.
    pub(crate) threshold: f64,
    pub(crate) features: usize,
    pub(crate) device: &'a Device,
}

/// Which features are in codes on a device: 1 where they are, 0 elsewhere, `[n, features]`.
#[derive(Debug)]
pub(crate) struct Masks {
    pub(crate) main: Tensor,
    /// Of the auxiliary codes.
    pub(crate) auxiliary: Option<Tensor>,
    /// The smallest entry, if the codes of a batch were chosen together.
    pub(crate) smallest: Option<f32>,
}

impl Masks {
    /// Codes without auxiliary ones.
    pub(crate) fn of(main: Tensor) -> Self {
        Self { main, auxiliary: None, smallest: None }
    }
}

/// Codes on a device, `[n, features]`, as functions of the weights.
#[derive(Debug)]
pub(crate) struct DeviceCodes {
    pub(crate) values: Tensor,
    pub(crate) auxiliary: Option<(Tensor, Auxiliary)>,
    /// The sum of what is penalised.
    pub(crate) penalised: Option<Tensor>,
}

impl DeviceCodes {
    /// Codes that are not penalised.
    pub(crate) fn of(values: Tensor) -> Self {
        Self { values, auxiliary: None, penalised: None }
    }
}

/// A mask of what is positive, in the type of `h`: [`positive`].
pub(crate) fn positive_mask(h: &Tensor) -> Result<Tensor> {
    Ok(h.le(0.0)?.eq(0u8)?.to_dtype(h.dtype())?)
}

impl Learned<'_> {
    /// A weight in the units of the activations as they are.
    pub(crate) fn scaled(&self, weight: Tensor) -> Result<Tensor> {
        if self.scale == 1.0 { Ok(weight) } else { Ok((weight * self.scale)?) }
    }
}
