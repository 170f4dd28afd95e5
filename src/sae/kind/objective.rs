//! What can be trained: the list of all kinds.

use std::fmt;

use super::abs_top_k::AbsTopK;
use super::batch_top_k::BatchTopK;
use super::gated::GatedWithL1;
use super::jump_relu::TrainedJumpRelu;
use super::matryoshka::Matryoshka;
use super::ranked::{Revival, TrainedRanked};
use super::relu::ReluWithL1;
use super::top_k::TopK;
use super::training::SaeKind;
use crate::{Error, Result};

/// What a code is, and the loss, a mean over activations, that training makes small.
///
/// For a new autoencoder take [`Objective::BatchTopK`]: `k` sets L0, no λ needs to be searched, no value
/// is shrunk by a penalty, and each activation gets as many features as it needs. Choose
/// [`Objective::Matryoshka`] if general features must not be split into special ones, and
/// [`Objective::JumpRelu`] if features should have thresholds that are learned. The field regards plain
/// top-k and L1 as legacy: [`Objective::TopK`] is the default here because published notebooks
/// rely on it.
///
/// With x what is read, t what is predicted (x itself, but for transcoders), `h = E (x − b) + e` (no
/// b for transcoders), a code f, and `x̂ = D f + b`, where D's columns have length one. Kinds with a
/// penalty λ are trained on activations divided by √(mean ‖x‖²/d), so that λ, thresholds and
/// bandwidths mean the same wherever activations come from; the weights are scaled back.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Objective {
    /// `f = max(h, 0)`, loss `‖t − x̂‖² + λ Σ f` (Bricken et al., 2023, with a decoder of length one).
    Standard {
        /// λ.
        l1: f64,
    },
    /// f keeps the `k` largest of h, and of those, with `relu`, the positive ones; no e but for
    /// transcoders. Loss `‖t − x̂‖² + α ‖r − D z‖²` with r the error `t − x̂` as a constant and z the
    /// largest of h among dead features (Gao et al., 2024); α is `auxiliary`, and how many z has
    /// `auxiliary_k`.
    #[default]
    TopK,
    /// f keeps the `k` n largest positive entries of the h of all n activations of a step; loss as
    /// with [`Objective::TopK`]. A running mean of the smallest entry kept becomes the threshold of
    /// a JumpReLU autoencoder (Bussmann et al., 2024).
    BatchTopK,
    /// `fᵢ = hᵢ` where `hᵢ > θᵢ`, loss `‖t − x̂‖² + λ ‖f‖₀`; θ = exp of what is learned, through
    /// straight-through estimators with a rectangle of width ε (Rajamanoharan et al., 2024b).
    JumpRelu {
        /// λ.
        l0: f64,
        /// ε.
        bandwidth: f64,
        /// θ at the start.
        threshold: f64,
    },
    /// [`Objective::JumpRelu`] with the penalty `λ Σ tanh(s f)` (Conerly et al., 2025).
    JumpReluTanh {
        /// λ.
        l0: f64,
        /// s; 4 in SAELens.
        scale: f64,
        /// ε.
        bandwidth: f64,
        /// θ at the start.
        threshold: f64,
    },
    /// [`Objective::JumpRelu`] with the penalty `λ (L0/T − 1)²` on the mean `‖f‖₀` of a step's
    /// activations, L0: it ends near T features per code (Rajamanoharan et al., 2024b).
    JumpReluTarget {
        /// λ.
        weight: f64,
        /// T.
        target: f64,
        /// ε.
        bandwidth: f64,
        /// θ at the start.
        threshold: f64,
    },
    /// With `π = h + g`, `fᵢ = max(hᵢ exp(rᵢ) + cᵢ, 0)` where `πᵢ > 0`, and no e; loss
    /// `‖t − x̂‖² + λ Σ max(π, 0) + ‖t − x̂(max(π, 0))‖²`, where the last term leaves D and b as they
    /// are (Rajamanoharan et al., 2024a).
    Gated {
        /// λ.
        l1: f64,
    },
    /// f keeps the `k` of h that are largest in magnitude, with their signs, and there is an e; loss as
    /// with [`Objective::TopK`].
    AbsTopK,
    /// [`Objective::BatchTopK`] with a loss that sums the squared errors of the first
    /// `prefixes[0]`, `prefixes[1]`, … and of all features (Bussmann et al., 2025).
    Matryoshka {
        /// Sizes of the nested dictionaries, ascending; that of all features is added.
        prefixes: Vec<usize>,
    },
}

/// What decides on a kind: an objective, and the options that several of them read.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    pub(crate) objective: Objective,
    pub(crate) k: usize,
    pub(crate) relu: bool,
    pub(crate) revival: Revival,
}

/// Evaluates `$then` with `$kind` as the [`SaeKind`] of a [`Recipe`].
macro_rules! with_kind {
    ($recipe:expr, $kind:ident => $then:expr) => {{
        let Recipe { objective, k, relu, revival } = $recipe.clone();
        match objective {
            Objective::Standard { l1 } => {
                let $kind = ReluWithL1 { l1 };
                $then
            }
            Objective::TopK => {
                let $kind = TrainedRanked { code: TopK { k, relu }, revival };
                $then
            }
            Objective::BatchTopK => {
                let $kind = BatchTopK { k, revival };
                $then
            }
            Objective::JumpRelu { l0, bandwidth, threshold } => {
                let $kind = TrainedJumpRelu::counting(l0, bandwidth, threshold);
                $then
            }
            Objective::JumpReluTanh { l0, scale, bandwidth, threshold } => {
                let $kind = TrainedJumpRelu::counting_softly(l0, scale, bandwidth, threshold);
                $then
            }
            Objective::JumpReluTarget { weight, target, bandwidth, threshold } => {
                let $kind = TrainedJumpRelu::aiming(weight, target, bandwidth, threshold);
                $then
            }
            Objective::Gated { l1 } => {
                let $kind = GatedWithL1 { l1 };
                $then
            }
            Objective::AbsTopK => {
                let $kind = TrainedRanked { code: AbsTopK { k }, revival };
                $then
            }
            Objective::Matryoshka { prefixes } => {
                let $kind = Matryoshka { whole: BatchTopK { k, revival }, prefixes };
                $then
            }
        }
    }};
}

impl Recipe {
    /// Hands its kind to `visitor`, which is compiled for every kind.
    pub(crate) fn visit<V: KindVisitor>(&self, visitor: V) -> V::Output {
        with_kind!(self, kind => visitor.visit(kind))
    }

    /// What its kind is called.
    pub(crate) fn name(&self) -> &'static str {
        with_kind!(self, kind => kind.name())
    }

    /// Fails for numbers that no fit can have.
    pub(crate) fn check(&self) -> Result<()> {
        if !self.relu && self.objective != Objective::TopK {
            let expected = format!("true for {}: only top-k keeps negative entries", self.name());
            return Err(Error::invalid("`relu`", expected, false));
        }
        with_kind!(self, kind => kind.check())
    }

    /// Fails for numbers that `features` features cannot have.
    pub(crate) fn check_features(&self, features: usize) -> Result<()> {
        with_kind!(self, kind => kind.check_features(features))
    }

    /// λ, if its kind has a penalty.
    pub(crate) fn lambda(&self) -> Option<f64> {
        with_kind!(self, kind => kind.lambda())
    }

    /// Whether its kind adds a bias to what the encoder computes.
    pub(crate) fn has_encoder_bias(&self, transcoder: bool) -> bool {
        with_kind!(self, kind => kind.has_encoder_bias(transcoder))
    }

    /// Where the nested dictionaries of `features` features end.
    pub(crate) fn dictionary_ends(&self, features: usize) -> Vec<usize> {
        with_kind!(self, kind => kind.dictionary_ends(features))
    }
}

/// What can be done with any kind.
pub(crate) trait KindVisitor {
    type Output;

    fn visit<K: SaeKind>(self, kind: K) -> Self::Output;
}

impl Objective {
    /// [`Objective::JumpRelu`] with bandwidth and threshold 0.1.
    pub fn jump_relu(l0: f64) -> Self {
        Self::JumpRelu { l0, bandwidth: 0.1, threshold: 0.1 }
    }
}

impl From<Objective> for Recipe {
    /// With k of 1, ReLU and no auxiliary loss.
    fn from(objective: Objective) -> Self {
        Self { objective, k: 1, relu: true, revival: Revival::NONE }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Recipe::from(self.clone()).name())
    }
}
