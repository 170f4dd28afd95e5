//! Matryoshka autoencoders: [batch-top-k](super::batch_top_k) with a loss that sums the squared errors
//! of the first `prefixes[0]`, `prefixes[1]`, … and of all features (Bussmann et al., 2025).

use candle_core::Tensor;

use super::batch_top_k::BatchTopK;
use super::extras::NoExtras;
use super::training::{DeviceCodes, Learned, Masks, SaeKind};
use crate::sae::{SaeActivation, SaeWeights};
use crate::{Error, Result};

/// Nested dictionaries of one batch-top-k.
#[derive(Debug, Clone)]
pub(crate) struct Matryoshka {
    pub(crate) whole: BatchTopK,
    /// Where all but the last end.
    pub(crate) prefixes: Vec<usize>,
}

impl SaeKind for Matryoshka {
    type Extras = NoExtras;
    type Rule<'a> = BatchTopK;

    fn name(&self) -> &'static str {
        "matryoshka"
    }

    fn check(&self) -> Result<()> {
        let ascending = self.prefixes.windows(2).all(|pair| pair[0] < pair[1]);
        if self.prefixes.first().is_none_or(|first| *first == 0) || !ascending {
            let expected = "sizes from 1 that ascend, at least one";
            return Err(Error::invalid("`prefixes`", expected, format!("{:?}", self.prefixes)));
        }
        Ok(())
    }

    fn check_features(&self, features: usize) -> Result<()> {
        self.whole.check_features(features)?;
        if let Some(last) = self.prefixes.last().filter(|last| **last > features) {
            let expected = format!("at most {features}, the features");
            return Err(Error::invalid("a prefix", expected, last));
        }
        Ok(())
    }

    fn dictionary_ends(&self, features: usize) -> Vec<usize> {
        self.prefixes.iter().copied().filter(|end| *end < features).chain([features]).collect()
    }

    fn start(&self, offset: &[f32]) -> NoExtras {
        self.whole.start(offset)
    }

    fn rule<'a>(&'a self, _extras: &'a NoExtras) -> BatchTopK {
        self.whole
    }

    fn masks(&self, h: &Tensor, extras: &NoExtras, dead: &[u32]) -> Result<Masks> {
        self.whole.masks(h, extras, dead)
    }

    fn codes(&self, h: &Tensor, extras: &NoExtras, masks: &Masks) -> Result<DeviceCodes> {
        self.whole.codes(h, extras, masks)
    }

    fn finish(
        &self,
        extras: NoExtras,
        learned: &Learned<'_>,
        weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        self.whole.finish(extras, learned, weights)
    }
}
