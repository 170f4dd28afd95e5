//! Batch-top-k: f keeps the k n largest positive entries of the h of all n activations of a step
//! (Bussmann et al., 2024).
//!
//! Loss as with [top-k](super::top_k), with e. A running mean of the smallest entry kept becomes the
//! threshold of a JumpReLU autoencoder.

use candle_core::{DType, Tensor};

use super::code::UnitLengths;
use super::extras::NoExtras;
use super::ranked::{LargestCode, Revival, check_k};
use super::rule::{Auxiliary, CodeEntry, CodeRows, NoEntry, TrainingRule, choose_rows};
use super::top_k::TopK;
use super::training::{DeviceCodes, Learned, Masks, SaeKind};
use crate::Result;
use crate::sae::order::Bar;
use crate::sae::{SaeActivation, SaeWeights};

/// Batch-top-k in training.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchTopK {
    /// Entries per activation, on average.
    pub(crate) k: usize,
    pub(crate) revival: Revival,
}

impl BatchTopK {
    /// How features compete where they do so in each row: among the dead.
    fn largest(self) -> LargestCode<TopK, UnitLengths> {
        LargestCode { code: TopK { k: self.k, relu: true }, lengths: UnitLengths }
    }
}

impl TrainingRule for BatchTopK {
    type Each = NoEntry;

    fn choose(&self, h: &[f32], features: usize, rows: &mut CodeRows) -> Option<f32> {
        let count = self.k * (h.len() / features);
        let bar = Bar::of_largest(h, features, count);
        choose_rows(h, features, rows, |h, row| {
            let entries = (0..).zip(h).filter(|(_, h)| bar.admits(**h));
            row.extend(entries.map(|(feature, h)| CodeEntry::new(feature, *h)));
        });
        let kept: usize = rows.iter().map(Vec::len).sum();
        let mut surplus = kept.saturating_sub(count);
        for row in rows.iter_mut().rev() {
            for at in (0..row.len()).rev() {
                if surplus > 0 && bar.ties(row[at].h) {
                    row.remove(at);
                    surplus -= 1;
                }
            }
        }
        rows.iter().flatten().map(|entry| entry.h).min_by(f32::total_cmp)
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

impl SaeKind for BatchTopK {
    type Extras = NoExtras;
    type Rule<'a> = Self;

    fn name(&self) -> &'static str {
        "batch-top-k"
    }

    fn check_features(&self, features: usize) -> Result<()> {
        check_k(self.k, features)
    }

    fn start(&self, _offset: &[f32]) -> NoExtras {
        NoExtras
    }

    fn rule<'a>(&'a self, _extras: &'a NoExtras) -> Self {
        *self
    }

    fn masks(&self, h: &Tensor, _extras: &NoExtras, dead: &[u32]) -> Result<Masks> {
        let (rule, count) = (self.largest(), self.k * h.dim(0)?);
        let main = rule.mask(&h.reshape((1, ()))?, count)?.reshape(h.shape())?;
        let (smallest, auxiliary) = (smallest_of(h, &main)?, self.revival.mask(&rule, h, dead)?);
        Ok(Masks { main, auxiliary, smallest })
    }

    fn codes(&self, h: &Tensor, _extras: &NoExtras, masks: &Masks) -> Result<DeviceCodes> {
        self.revival.codes(h, masks)
    }

    fn finish(
        &self,
        _extras: NoExtras,
        learned: &Learned<'_>,
        weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        let threshold = learned.threshold as f32;
        weights.thresholds = Some(Tensor::full(threshold, learned.features, learned.device)?);
        Ok(SaeActivation::JumpRelu)
    }
}

fn smallest_of(h: &Tensor, mask: &Tensor) -> Result<Option<f32>> {
    let none = (h.ones_like()? * f64::INFINITY)?;
    let smallest = mask.ne(0.0)?.where_cond(h, &none)?.min_all()?;
    let smallest = smallest.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok((smallest < f32::INFINITY).then_some(smallest))
}
