//! How an autoencoder's h becomes a code: what a kind states for encoding.
//!
//! A [`Code`] is the activation function of an architecture; its [`RowRule`] is the same with the
//! weights of one autoencoder. Nearly every rule is one of two: [`Each`], where h of a feature
//! decides alone, or [`LargestCode`](super::ranked::LargestCode), where it competes with the others of its
//! row. Both can look at a row's features tile by tile ([`TileRule`]), so that the matrix of all h is
//! never written.

use std::fmt;

use candle_core::Tensor;

use crate::Result;
use crate::sae::autoencoder::SaeData;
use crate::sae::codes::CodesPart;
#[cfg(doc)]
use crate::sae::top_k::top_k;
use crate::sae::{Rescale, SaeWeights};

/// Activations that are compared together.
pub(crate) const LANES: usize = 16;

/// An activation function, without weights.
pub(crate) trait Code: fmt::Display {
    /// It with the weights of an autoencoder.
    type Rule<'a>: RowRule;

    /// The rule of this autoencoder.
    fn rule<'a>(&self, sae: &'a SaeData) -> Self::Rule<'a>;

    /// How many features are kept at most, where that is fixed.
    fn k(&self) -> Option<usize> {
        None
    }

    /// Fails for numbers that `features` features cannot have.
    fn check(&self, _features: usize) -> Result<()> {
        Ok(())
    }

    /// What it needs of the weights and they do not have.
    fn missing(&self, _weights: &SaeWeights) -> Option<&'static str> {
        None
    }

    /// Whether it keeps the same features if every h is multiplied by the length of its decoder
    /// column and that column is divided by it.
    fn is_free_of_lengths(&self, rescale: Rescale) -> bool;
}

/// How h of one autoencoder becomes codes.
pub(crate) trait RowRule: Sync {
    /// Features and values of the code of a row h `[features]`, in any order.
    fn code(&self, h: &[f32]) -> Vec<(u32, f32)>;

    /// Whether codes can be chosen in tiles.
    fn has_tiles(&self) -> bool {
        false
    }

    /// Hands the rule for tiles to `visitor`, if there is one.
    fn visit_tiles<V: TileVisitor>(&self, _visitor: V) -> Option<V::Output> {
        None
    }

    /// Codes of `h` `[rows, features]` by [`top_k`] on its device, if that is how they are chosen.
    /// Only what they keep goes to the host.
    fn by_top_k(&self, _h: &Tensor) -> Result<Option<CodesPart>> {
        Ok(None)
    }
}

/// What can be done with any rule for tiles.
pub(crate) trait TileVisitor {
    type Output;

    fn visit<T: TileRule>(self, rule: &T) -> Self::Output;
}

/// How codes are chosen while features come by, some at a time, in several rows.
pub(crate) trait TileRule: Sync {
    /// What a row's code holds so far.
    type Row: Send;

    /// A row without a feature, of activations that are known to within `slack`, and the bar that
    /// its next entry must exceed.
    fn start(&self, slack: f32) -> (Self::Row, f32);

    /// Takes in h of a feature in all rows, and moves their bars. Of `h` and `bars` there may be
    /// more than rows.
    fn look(&self, feature: u32, h: &mut [f32], bars: &mut [f32], rows: &mut [Self::Row]);

    /// The entries that may be in the code, in ascending order of features.
    fn entries(&self, row: Self::Row) -> Vec<(u32, f32)>;

    /// Whether an entry is in the code.
    fn keeps(&self, value: f32) -> bool;

    /// How many features compete for a place, and the bar of the first: of codes that can be chosen
    /// among activations known to within some slack.
    fn screened(&self) -> Option<(usize, f32)> {
        None
    }
}

/// A rule by which h of a feature alone decides on its place in the code.
pub(crate) trait EntrywiseCode: Sync {
    /// What h must exceed to be in the code; not all that exceed it are.
    fn floor(&self, feature: usize) -> f32;

    /// The code's value, 0 if the feature is not in it; without a branch.
    fn value(&self, feature: usize, h: f32) -> f32;
}

/// The code of an [`EntrywiseCode`] rule.
#[derive(Debug)]
pub(crate) struct Each<E>(pub(crate) E);

impl<E: EntrywiseCode> RowRule for Each<E> {
    fn code(&self, h: &[f32]) -> Vec<(u32, f32)> {
        let entries = (0u32..).zip(h).map(|(i, h)| (i, self.0.value(i as usize, *h)));
        entries.filter(|(_, value)| *value != 0.0).collect()
    }

    fn has_tiles(&self) -> bool {
        true
    }

    fn visit_tiles<V: TileVisitor>(&self, visitor: V) -> Option<V::Output> {
        Some(visitor.visit(self))
    }
}

impl<E: EntrywiseCode> TileRule for Each<E> {
    type Row = Vec<(u32, f32)>;

    fn start(&self, _slack: f32) -> (Self::Row, f32) {
        (Vec::new(), 0.0)
    }

    fn look(&self, feature: u32, h: &mut [f32], bars: &mut [f32], rows: &mut [Self::Row]) {
        bars[..rows.len()].fill(self.0.floor(feature as usize));
        above(h, bars, |row, h, _| {
            let value = self.0.value(feature as usize, h);
            if let Some(row) = rows.get_mut(row).filter(|_| value != 0.0) {
                row.push((feature, value));
            }
        });
    }

    fn entries(&self, row: Self::Row) -> Vec<(u32, f32)> {
        row
    }

    fn keeps(&self, _value: f32) -> bool {
        true
    }
}

/// Calls `found` for each row whose h exceeds its bar, with h and the bar.
#[inline(always)]
pub(super) fn above(h: &[f32], bars: &mut [f32], mut found: impl FnMut(usize, f32, &mut f32)) {
    let (h, bars) = (h.as_chunks::<LANES>().0, bars.as_chunks_mut::<LANES>().0);
    for (group, (h, bars)) in h.iter().zip(bars).enumerate() {
        // Without a branch, so that the compiler compares several at once.
        let short = h.iter().zip(&*bars).fold(true, |short, (h, bar)| short & (h <= bar));
        if short {
            continue;
        }
        for (row, (h, bar)) in (group * LANES..).zip(h.iter().zip(bars)) {
            if *h <= *bar {
                continue;
            }
            found(row, *h, bar);
        }
    }
}

/// What the lengths of the decoder's columns do to h: [`Rescale`].
pub(crate) trait Lengths: Copy + Sync {
    /// What is compared for h of a feature.
    fn compared(self, feature: usize, h: f32) -> f32;

    /// The code's value for h of a feature.
    fn kept(self, feature: usize, h: f32) -> f32;

    /// What is compared for `h` `[rows, features]`.
    fn compared_on_device(self, h: &Tensor) -> Result<Tensor>;

    /// Whether what is compared is what is kept.
    fn compares_values(self) -> bool;

    /// Whether both are h.
    fn are_one(self) -> bool;
}

/// Nothing: columns have length one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct UnitLengths;

impl Lengths for UnitLengths {
    #[inline(always)]
    fn compared(self, _feature: usize, h: f32) -> f32 {
        h
    }

    #[inline(always)]
    fn kept(self, _feature: usize, h: f32) -> f32 {
        h
    }

    fn compared_on_device(self, h: &Tensor) -> Result<Tensor> {
        Ok(h.clone())
    }

    fn compares_values(self) -> bool {
        true
    }

    fn are_one(self) -> bool {
        true
    }
}

/// Those of an autoencoder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnLengths<'a> {
    /// Empty if they change nothing.
    lengths: &'a [f32],
    rescale: Rescale,
}

impl<'a> ColumnLengths<'a> {
    pub(crate) fn new(sae: &'a SaeData) -> Self {
        Self { lengths: &sae.lengths, rescale: sae.architecture.rescale }
    }
}

impl Lengths for ColumnLengths<'_> {
    #[inline(always)]
    fn compared(self, feature: usize, h: f32) -> f32 {
        h * self.lengths.get(feature).copied().unwrap_or(1.0)
    }

    #[inline(always)]
    fn kept(self, feature: usize, h: f32) -> f32 {
        if self.rescale == Rescale::Kept { self.compared(feature, h) } else { h }
    }

    fn compared_on_device(self, h: &Tensor) -> Result<Tensor> {
        if self.are_one() {
            return Ok(h.clone());
        }
        let lengths = Tensor::from_slice(self.lengths, self.lengths.len(), h.device())?;
        Ok(h.broadcast_mul(&lengths)?)
    }

    fn compares_values(self) -> bool {
        self.rescale != Rescale::Undone
    }

    fn are_one(self) -> bool {
        self.rescale == Rescale::None
    }
}
