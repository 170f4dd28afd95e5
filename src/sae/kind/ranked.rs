//! What kinds whose features compete for k places have in common.
//!
//! Such a kind states what is compared ([`RankedCode`]). What encodes, and what trains with the
//! auxiliary loss of dead features ([`Revival`]), follows from that.

use std::fmt;

use candle_core::{D, DType, Tensor};

use super::code::{
    Code, ColumnLengths, Lengths, RowRule, TileRule, TileVisitor, UnitLengths, above,
};
use super::extras::NoExtras;
use super::rule::{Auxiliary, CodeEntry, CodeRows, Explains, NoEntry, TrainingRule, choose_rows};
use super::training::{DeviceCodes, Learned, Masks, SaeKind, positive_mask};
use crate::sae::autoencoder::SaeData;
use crate::sae::codes::CodesPart;
use crate::sae::order::{TopEntries, exceeds, largest};
use crate::sae::top_k::top_k;
use crate::sae::{Rescale, SaeActivation, SaeWeights};
use crate::{Error, Result};

/// An activation function by which the features of the k largest scores are kept.
pub(crate) trait RankedCode: Copy + fmt::Display + Send + Sync + 'static {
    /// What the kind is called in training.
    const NAME: &'static str;
    /// Whether the score is what is compared itself.
    const SCORES_VALUES: bool;

    /// How many features are kept at most.
    fn k(self) -> usize;

    /// The score of what is compared: h, or h times the length of the feature's decoder column.
    fn score(self, compared: f32) -> f32;

    /// The same on a device.
    fn score_on_device(self, compared: Tensor) -> Result<Tensor>;

    /// What a score must exceed to be kept, NaN if any may be.
    fn floor(self) -> f32;

    /// Whether a bias e is added in training to what the encoder computes.
    fn has_encoder_bias(self, _transcoder: bool) -> bool {
        true
    }

    /// It, as an architecture has it.
    fn activation(self) -> SaeActivation;
}

/// The code of a [`RankedCode`] with lengths of columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LargestCode<C, L> {
    pub(crate) code: C,
    pub(crate) lengths: L,
}

impl<C: RankedCode, L: Lengths> LargestCode<C, L> {
    #[inline(always)]
    fn score(&self, feature: usize, h: f32) -> f32 {
        self.code.score(self.lengths.compared(feature, h))
    }

    /// Whether scores are h.
    fn scores_h(&self) -> bool {
        C::SCORES_VALUES && self.lengths.are_one()
    }

    /// Whether a value among the k largest is kept.
    fn keeps_value(&self, value: f32) -> bool {
        exceeds(value, self.code.floor())
    }

    /// Features of the largest scores of a row h, and their h.
    fn largest(&self, h: &[f32]) -> impl Iterator<Item = (u32, f32)> {
        let scores: Vec<f32>;
        let scored = if self.scores_h() {
            h
        } else {
            scores = h.iter().enumerate().map(|(at, h)| self.score(at, *h)).collect();
            &scores
        };
        largest(scored, self.code.k()).into_iter().map(|(at, _)| (at, h[at as usize]))
    }

    /// The `k` of the largest scores in every row of `h`, of those that are kept.
    pub(crate) fn mask(&self, h: &Tensor, k: usize) -> Result<Tensor> {
        let scores = self.code.score_on_device(self.lengths.compared_on_device(h)?)?;
        let indices = top_k(&scores.to_dtype(DType::F32)?, k)?;
        let ones = Tensor::ones(indices.shape(), h.dtype(), h.device())?;
        let mask = h.zeros_like()?.scatter(&indices, &ones, 1)?;
        if self.code.floor().is_nan() { Ok(mask) } else { Ok((mask * positive_mask(h)?)?) }
    }
}

impl<C: RankedCode, L: Lengths> RowRule for LargestCode<C, L> {
    fn code(&self, h: &[f32]) -> Vec<(u32, f32)> {
        let kept = self.largest(h).map(|(at, h)| (at, self.lengths.kept(at as usize, h)));
        kept.filter(|(_, value)| self.keeps_value(*value)).collect()
    }

    fn has_tiles(&self) -> bool {
        // Otherwise h would have to be remembered along with the scores.
        C::SCORES_VALUES && self.lengths.compares_values()
    }

    fn visit_tiles<V: TileVisitor>(&self, visitor: V) -> Option<V::Output> {
        self.has_tiles().then(|| visitor.visit(self))
    }

    fn by_top_k(&self, h: &Tensor) -> Result<Option<CodesPart>> {
        let scores = self.code.score_on_device(self.lengths.compared_on_device(h)?)?;
        let indices = top_k(&scores, self.code.k())?;
        let values = h.contiguous()?.gather(&indices, D::Minus1)?;
        let (indices, values) = (indices.to_vec2::<u32>()?, values.to_vec2::<f32>()?);
        let mut part = CodesPart::default();
        for (indices, values) in indices.into_iter().zip(values) {
            let kept = indices.into_iter().zip(values);
            let kept = kept.map(|(at, h)| (at, self.lengths.kept(at as usize, h)));
            part.push(kept.filter(|(_, value)| self.keeps_value(*value)));
        }
        Ok(Some(part))
    }
}

impl<C: RankedCode, L: Lengths> TileRule for LargestCode<C, L> {
    type Row = TopEntries;

    fn start(&self, slack: f32) -> (TopEntries, f32) {
        // If only positive ones are kept, the others need not compete.
        let bar = self.code.floor() - slack;
        (TopEntries::new(self.code.k(), bar).within(2.0 * slack), bar)
    }

    fn look(&self, feature: u32, h: &mut [f32], bars: &mut [f32], rows: &mut [TopEntries]) {
        if !self.scores_h() {
            h.iter_mut().for_each(|h| *h = self.score(feature as usize, *h));
        }
        above(h, bars, |row, h, bar| {
            if let Some(best) = rows.get_mut(row) {
                best.offer(feature, h);
                *bar = best.bar();
            }
        });
    }

    fn entries(&self, row: TopEntries) -> Vec<(u32, f32)> {
        row.into_sorted()
    }

    fn keeps(&self, value: f32) -> bool {
        self.keeps_value(value)
    }

    fn screened(&self) -> Option<(usize, f32)> {
        self.scores_h().then(|| (self.code.k(), self.code.floor()))
    }
}

impl<C: RankedCode> Code for C {
    type Rule<'a> = LargestCode<C, ColumnLengths<'a>>;

    fn rule<'a>(&self, sae: &'a SaeData) -> Self::Rule<'a> {
        LargestCode { code: *self, lengths: ColumnLengths::new(sae) }
    }

    fn k(&self) -> Option<usize> {
        Some(RankedCode::k(*self))
    }

    fn check(&self, features: usize) -> Result<()> {
        let k = RankedCode::k(*self);
        if k == 0 || k > features {
            return Err(Error::invalid("k", format!("between 1 and {features}, the features"), k));
        }
        Ok(())
    }

    fn is_free_of_lengths(&self, rescale: Rescale) -> bool {
        rescale == Rescale::Kept
    }
}

/// The auxiliary loss `α ‖r − D z‖²`, with r the error `t − x̂` as a constant and z the `k` largest of
/// h among dead features: those that are in no code for long get a gradient by which they may come
/// back (Gao et al., 2024).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Revival {
    /// α.
    pub(crate) weight: f64,
    pub(crate) k: usize,
}

impl Revival {
    /// No such loss.
    pub(crate) const NONE: Self = Self { weight: 0.0, k: 1 };

    fn auxiliary(self, dead: &[u32]) -> Option<Auxiliary> {
        let Self { weight, .. } = self;
        let works = weight > 0.0 && !dead.is_empty();
        works.then_some(Auxiliary { weight, explains: Explains::Error })
    }

    /// Writes the codes of the `dead` among the features of `h` `[n, features]` to `rows`.
    pub(crate) fn choose(
        self,
        rule: &LargestCode<impl RankedCode, UnitLengths>,
        h: &[f32],
        features: usize,
        dead: &[u32],
        rows: &mut CodeRows,
    ) -> Option<Auxiliary> {
        let auxiliary = self.auxiliary(dead)?;
        choose_rows(h, features, rows, |h, row| {
            let score = |feature: &u32| rule.score(*feature as usize, h[*feature as usize]);
            let scores: Vec<f32> = dead.iter().map(score).collect();
            let kept = largest(&scores, self.k).into_iter().map(|(at, _)| dead[at as usize]);
            let entries = kept.map(|feature| CodeEntry::new(feature, h[feature as usize]));
            row.extend(entries.filter(|entry| rule.keeps_value(entry.value)));
        });
        Some(auxiliary)
    }

    /// A mask of the same codes.
    pub(crate) fn mask(
        self,
        rule: &LargestCode<impl RankedCode, UnitLengths>,
        h: &Tensor,
        dead: &[u32],
    ) -> Result<Option<Tensor>> {
        if self.auxiliary(dead).is_none() {
            return Ok(None);
        }
        let dead = Tensor::new(dead, h.device())?;
        let own = rule.mask(&h.index_select(&dead, 1)?, self.k)?;
        Ok(Some(h.zeros_like()?.index_add(&dead, &own, 1)?))
    }

    /// Codes that are h where the masks are.
    pub(crate) fn codes(self, h: &Tensor, masks: &Masks) -> Result<DeviceCodes> {
        let auxiliary = match &masks.auxiliary {
            Some(mask) => {
                let auxiliary = Auxiliary { weight: self.weight, explains: Explains::Error };
                Some(((h * mask)?, auxiliary))
            }
            None => None,
        };
        Ok(DeviceCodes { auxiliary, ..DeviceCodes::of((h * &masks.main)?) })
    }
}

/// A [`RankedCode`] in training: its features compete in each activation. Loss `‖t − x̂‖²`, and that of
/// dead features.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrainedRanked<C> {
    pub(crate) code: C,
    pub(crate) revival: Revival,
}

impl<C: RankedCode> TrainedRanked<C> {
    fn largest(self) -> LargestCode<C, UnitLengths> {
        LargestCode { code: self.code, lengths: UnitLengths }
    }
}

impl<C: RankedCode> TrainingRule for TrainedRanked<C> {
    type Each = NoEntry;

    fn choose(&self, h: &[f32], features: usize, rows: &mut CodeRows) -> Option<f32> {
        let rule = self.largest();
        choose_rows(h, features, rows, |h, row| {
            let entries = rule.largest(h).map(|(feature, h)| CodeEntry::new(feature, h));
            row.extend(entries.filter(|entry| rule.keeps_value(entry.value)));
        });
        None
    }

    fn choose_auxiliary(
        &self,
        h: &[f32],
        features: usize,
        dead: &[u32],
        rows: &mut CodeRows,
    ) -> Option<Auxiliary> {
        self.revival.choose(&self.largest(), h, features, dead, rows)
    }
}

impl<C: RankedCode> SaeKind for TrainedRanked<C> {
    type Extras = NoExtras;
    type Rule<'a> = Self;

    fn name(&self) -> &'static str {
        C::NAME
    }

    fn check_features(&self, features: usize) -> Result<()> {
        check_k(self.code.k(), features)
    }

    fn has_encoder_bias(&self, transcoder: bool) -> bool {
        self.code.has_encoder_bias(transcoder)
    }

    fn start(&self, _offset: &[f32]) -> NoExtras {
        NoExtras
    }

    fn rule<'a>(&'a self, _extras: &'a NoExtras) -> Self {
        *self
    }

    fn masks(&self, h: &Tensor, _extras: &NoExtras, dead: &[u32]) -> Result<Masks> {
        let rule = self.largest();
        let (main, auxiliary) = (rule.mask(h, self.code.k())?, self.revival.mask(&rule, h, dead)?);
        Ok(Masks { auxiliary, ..Masks::of(main) })
    }

    fn codes(&self, h: &Tensor, _extras: &NoExtras, masks: &Masks) -> Result<DeviceCodes> {
        self.revival.codes(h, masks)
    }

    fn finish(
        &self,
        _extras: NoExtras,
        _learned: &Learned<'_>,
        _weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        Ok(self.code.activation())
    }
}

/// Fails for a k in training that `features` features cannot give.
pub(crate) fn check_k(k: usize, features: usize) -> Result<()> {
    if k > features {
        return Err(Error::invalid("`k`", format!("at most {features}, the features"), k));
    }
    Ok(())
}
