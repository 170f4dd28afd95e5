//! One file for each kind of autoencoder.
//!
//! A kind states how a code comes from `h = E (x − b) + e`, for encoding ([`code::Code`]), and, if it
//! can be trained, what weights it has beyond those of all kinds, what it penalises, the gradient
//! through its code, and which [`SaeActivation`] comes of it ([`training::SaeKind`]). What encodes (rows,
//! tiles, screens, devices) and the two engines that train know no kind: they ask for these traits,
//! and `with_code` below and `with_kind` in [`objective`] are the only places where all are listed. A new
//! kind is a file here, a variant of [`SaeActivation`] or [`Objective`](objective::Objective), and a line
//! in one of the two.
//!
//! # Rules that all kinds share
//!
//! - **Ties.** Of equal values the one of the lower feature is kept; of a batch that is chosen from
//!   together, the one of the earlier activation, and in it of the lower feature. 0 and −0 are equal.
//!   So a code never has more than k entries, and a batch never more than k n. OpenAI's, SAELens's
//!   and dictionary_learning's codes come from `torch.topk`, which keeps exactly as many, but does not
//!   say which of equal ones.
//! - **Order of top-k and ReLU.** Of the k largest the positive ones are kept, which is the same as the
//!   k largest positive ones: SAELens and OpenAI cut first, sparsify and dictionary_learning take
//!   ReLU first. The bilinear `-scope` autoencoders have no ReLU and keep negative values.
//! - **NaN** counts as larger than everything and above every threshold. It is in the code, so that
//!   a sum or a loss shows it: with PyTorch, too, NaN comes out of ReLU, top-k and `h * (h > θ)`.
//!   (`h > θ` alone is false there, so that JumpReLU's count of features loses it in dictionary_learning
//!   and SAELens; here it is counted.)
//! - **Thresholds.** A feature is in the code if it is above its threshold, not at it, and above 0, as
//!   in all of these libraries. What is compared is h, or h times the length of the feature's decoder
//!   column ([`Rescale`](super::Rescale)).
//! - **The threshold of batch-top-k** is a running mean of the smallest positive value that each batch
//!   kept: the plain mean over the first hundred steps, and after these a hundredth of the newest.
//!   SAELens begins with 0 instead and moves a hundredth from the first step on; dictionary_learning
//!   begins after 1,000 steps and moves a thousandth.

mod abs_top_k;
mod batch_top_k;
pub(crate) mod code;
pub(crate) mod extras;
mod gated;
mod group_max;
mod jump_relu;
mod jump_relu_tanh;
mod jump_relu_target;
mod matching_pursuit;
mod matryoshka;
pub(super) mod objective;
mod ranked;
mod relu;
pub(crate) mod rule;
mod top_k;
pub(crate) mod training;

use std::fmt;

use candle_core::Tensor;

use self::abs_top_k::AbsTopK;
use self::code::{Code, RowRule, TileVisitor};
use self::gated::Gated;
use self::group_max::GroupMax;
use self::jump_relu::JumpRelu;
use self::matching_pursuit::MatchingPursuit;
use self::relu::Relu;
use self::top_k::TopK;
use super::autoencoder::SaeData;
use super::codes::CodesPart;
use super::{Rescale, SaeActivation, SaeWeights};
use crate::Result;

pub(crate) use self::ranked::Revival;

/// Evaluates `$then` with `$code` as the [`Code`] of an [`SaeActivation`].
macro_rules! with_code {
    ($activation:expr, $code:ident => $then:expr) => {
        match $activation {
            SaeActivation::Relu => {
                let $code = Relu;
                $then
            }
            SaeActivation::JumpRelu => {
                let $code = JumpRelu;
                $then
            }
            SaeActivation::TopK { k, relu } => {
                let $code = TopK { k, relu };
                $then
            }
            SaeActivation::AbsTopK { k } => {
                let $code = AbsTopK { k };
                $then
            }
            SaeActivation::GroupMax { k } => {
                let $code = GroupMax { k };
                $then
            }
            SaeActivation::Gated => {
                let $code = Gated;
                $then
            }
            SaeActivation::MatchingPursuit { threshold, steps, stop_on_repeat } => {
                let $code = MatchingPursuit { threshold, steps, stop_on_repeat };
                $then
            }
        }
    };
}

impl SaeActivation {
    /// How many features are kept at most, where that is fixed.
    pub fn k(self) -> Option<usize> {
        with_code!(self, code => code.k())
    }

    /// Fails for a k that `features` cannot give.
    pub(super) fn check(self, features: usize) -> Result<()> {
        with_code!(self, code => code.check(features))
    }

    /// What it needs of the weights and they do not have.
    pub(super) fn missing(self, weights: &SaeWeights) -> Option<&'static str> {
        with_code!(self, code => code.missing(weights))
    }

    /// Whether it keeps the same features with decoder columns of other lengths.
    pub(super) fn is_free_of_lengths(self, rescale: Rescale) -> bool {
        with_code!(self, code => code.is_free_of_lengths(rescale))
    }

    /// Matching pursuit, which has no h.
    pub(super) fn pursuit(self) -> Option<MatchingPursuit> {
        match self {
            Self::MatchingPursuit { threshold, steps, stop_on_repeat } => {
                Some(MatchingPursuit { threshold, steps, stop_on_repeat })
            }
            _ => None,
        }
    }
}

impl fmt::Display for SaeActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_code!(*self, code => code.fmt(f))
    }
}

impl SaeData {
    /// Indices and values of the code of a row `h` `[features]`, in any order.
    pub(super) fn code(&self, h: &[f32]) -> Vec<(u32, f32)> {
        with_code!(self.architecture.activation, code => code.rule(self).code(h))
    }

    /// Codes of `h` `[rows, features]` by the largest of each row, if that is how they are chosen.
    pub(super) fn codes_by_top_k(&self, h: &Tensor) -> Result<Option<CodesPart>> {
        with_code!(self.architecture.activation, code => code.rule(self).by_top_k(h))
    }

    /// Hands the rule for tiles to `visitor`, which is compiled for every kind, if there is one.
    pub(super) fn visit_tiles<V: TileVisitor>(&self, visitor: V) -> Option<V::Output> {
        with_code!(self.architecture.activation, code => code.rule(self).visit_tiles(visitor))
    }

    /// Whether codes can be chosen in tiles.
    pub(super) fn has_tiles(&self) -> bool {
        with_code!(self.architecture.activation, code => code.rule(self).has_tiles())
    }
}
