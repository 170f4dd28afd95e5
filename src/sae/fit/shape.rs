//! What is trained, apart from its kind.

use super::options::SaeOptions;
use crate::sae::kind::objective::Recipe;
use crate::{Error, Result};

/// Widths of what is read and of what is predicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Widths {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

/// What the two engines have in common, whatever the kind.
#[derive(Debug, Clone)]
pub(super) struct FitShape {
    pub(super) widths: Widths,
    /// Features.
    pub(super) m: usize,
    pub(super) transcoder: bool,
    /// Whether b is learned; a transcoder's is not taken off its input.
    pub(super) has_bias: bool,
    pub(super) has_encoder_bias: bool,
    /// Where the nested dictionaries end; there is one at least.
    pub(super) ends: Vec<usize>,
}

impl FitShape {
    /// What the options of a fit make of activations of these widths.
    pub(super) fn new(options: &SaeOptions, recipe: &Recipe, widths: Widths) -> Result<Self> {
        let m = widths.input.checked_mul(options.expansion).filter(|m| u32::try_from(*m).is_ok());
        let m = m.ok_or_else(|| {
            let expected = format!("small enough for less than 2³² features of {}", widths.input);
            Error::invalid("the expansion", expected, options.expansion)
        })?;
        recipe.check_features(m)?;
        let transcoder = options.target.is_some();
        Ok(Self {
            widths,
            m,
            transcoder,
            has_bias: true,
            has_encoder_bias: recipe.has_encoder_bias(transcoder),
            ends: recipe.dictionary_ends(m),
        })
    }

    /// Whether b is taken off before encoding.
    pub(super) fn is_centred(&self) -> bool {
        self.has_bias && !self.transcoder
    }
}
