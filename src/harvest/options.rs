//! What a harvest keeps, and how it goes over a text.

use candle_core::DType;
use serde::{Deserialize, Serialize};

use crate::check::check_sizes;
use crate::model::HookPoint;
use crate::{Error, Result};

/// Of how many contexts a harvest keeps activations or codes. Statistics and examples are of all.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Keep {
    /// Of all; the default.
    #[default]
    All,
    /// Of this share of them, above 0 and at most 1: which ones depends on the seed alone.
    Share(f64),
    /// Of none.
    None,
}

impl Keep {
    /// The share of contexts that are kept.
    pub fn share(self) -> f64 {
        match self {
            Self::All => 1.0,
            Self::Share(share) => share,
            Self::None => 0.0,
        }
    }

    fn check(self, name: &str) -> Result<()> {
        match self {
            Self::Share(share) if !(share > 0.0 && share <= 1.0) => {
                Err(Error::invalid(name, "a share above 0 and at most 1", share))
            }
            _ => Ok(()),
        }
    }
}

/// What [`Store::harvest`](super::Store::harvest) keeps and how it works.
#[derive(Debug, Clone, PartialEq)]
pub struct HarvestOptions {
    /// Hook points whose activations are kept; none.
    pub points: Vec<HookPoint>,
    /// Of how many contexts the activations are kept; of all.
    pub activations: Keep,
    /// Of how many contexts the codes are kept; of all.
    pub codes: Keep,
    /// The names of the autoencoders in the store, in their order; empty: the hook point of each, with
    /// a number where two have the same.
    pub keys: Vec<String>,
    /// The floating point type in which activations are kept; none: the model's.
    pub dtype: Option<DType>,
    /// Contexts that are kept per feature and unit, those with the largest activations; 16.
    pub examples: usize,
    /// Whether the model's loss at each token is kept. It takes the whole model, where activations
    /// need only its first layers. True.
    pub loss: bool,
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// Contexts per unit of work; none: as many as `memory` has room for, and at most 131,072 tokens.
    /// What a harvest did since its last whole unit is done again when it goes on.
    pub unit: Option<usize>,
    /// Bytes that the harvest may take beside the model and one of its batches; 1 GiB.
    pub memory: usize,
    /// Bytes of activations that [`Store::shuffled`](super::Store::shuffled) shuffles together; 256 MiB.
    pub pile: usize,
    /// Tokens that are no text, such as `<bos>`: of these no activations, codes, statistics and
    /// examples are kept. None.
    pub skip_tokens: Vec<u32>,
    /// Decides on the order of activations and on what a [`Keep::Share`] keeps; 0.
    pub seed: u64,
}

impl Default for HarvestOptions {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            activations: Keep::All,
            codes: Keep::All,
            keys: Vec::new(),
            dtype: None,
            examples: 16,
            loss: true,
            batch: 16,
            unit: None,
            memory: 1 << 30,
            pile: 256 << 20,
            skip_tokens: Vec::new(),
            seed: 0,
        }
    }
}

impl HarvestOptions {
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("`examples`", self.examples),
            ("`batch`", self.batch),
            ("`unit`, the contexts per unit of work,", self.unit.unwrap_or(1)),
            ("`memory`", self.memory),
            ("`pile`", self.pile),
        ])?;
        self.activations.check("`activations`")?;
        self.codes.check("`codes`")?;
        if let Some(dtype) = self.dtype.filter(|dtype| !dtype.is_float()) {
            return Err(Error::invalid("`dtype`", "a floating point type", dtype.as_str()));
        }
        if let Some(twice) = first_repeated(&self.points) {
            return Err(Error::invalid("`points`", "different ones", format!("{twice} twice")));
        }
        Ok(())
    }
}

/// The first item that is the same as an earlier one.
pub(super) fn first_repeated<T: PartialEq>(items: &[T]) -> Option<&T> {
    items.iter().enumerate().find(|(at, item)| items[..*at].contains(item)).map(|(_, item)| item)
}
