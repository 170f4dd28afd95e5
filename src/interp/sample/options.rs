//! How features are explained and scored.

use std::fmt;

use crate::check::check_sizes;
use crate::{Error, Result};

/// How features are explained and explanations are scored. [`Interp::plan`] draws the texts.
///
/// ```
/// use eigenlens::interp::{Interp, Scoring};
/// let few = Interp { features: 10, scores: vec![Scoring::Detection], ..Interp::default() };
/// assert_eq!(few.explained, 10);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Interp {
    /// Features that are explained; 100. They are taken in a random order until so many of them have
    /// enough contexts, from at most four times as many.
    pub features: usize,
    /// These features instead; none.
    pub only: Option<Vec<usize>>,
    /// Texts that an explanation is made of, those with the largest activations; 10.
    pub explained: usize,
    /// Groups of equal count into which all other contexts with the feature are cut; 10.
    pub deciles: usize,
    /// Texts of each group that are scored; 7.
    pub per_decile: usize,
    /// Texts without the feature that are scored; 50.
    pub negatives: usize,
    /// Texts in a request; 4.
    pub per_request: usize,
    /// Different contexts that a feature must be active in; 100.
    pub min_contexts: usize,
    /// Tokens of a text; 32, or fewer if one context in ten has fewer.
    pub excerpt: usize,
    /// What explanations are scored by; detection and fuzzing.
    pub scores: Vec<Scoring>,
    /// Whether log-probabilities of answers are asked for, of which AUROC is made; no, because some
    /// servers refuse it.
    pub log_probabilities: bool,
    /// Contexts that go through the model at a time; 16.
    pub batch: usize,
    /// Tokens whose positions are neither counted nor shown, beside the tokenizer's special tokens;
    /// none for those that begin and end a text, and those that were left out when the autoencoder
    /// was trained.
    pub skip_tokens: Option<Vec<u32>>,
    /// Decides on features and texts; 0.
    pub seed: u64,
}

/// How an explanation is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scoring {
    /// Texts with the feature are told from texts without it.
    Detection,
    /// Marks on the tokens at which it is active are told from marks on others.
    Fuzzing,
}

impl fmt::Display for Scoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detection => "detection",
            Self::Fuzzing => "fuzzing",
        })
    }
}

impl Default for Interp {
    fn default() -> Self {
        Self {
            features: 100,
            only: None,
            explained: 10,
            deciles: 10,
            per_decile: 7,
            negatives: 50,
            per_request: 4,
            min_contexts: 100,
            excerpt: 32,
            scores: vec![Scoring::Detection, Scoring::Fuzzing],
            log_probabilities: false,
            batch: 16,
            skip_tokens: None,
            seed: 0,
        }
    }
}

impl Interp {
    /// Fails for options that no plan can have, of an autoencoder with so many `features`.
    pub(super) fn check(&self, features: usize) -> Result<()> {
        check_sizes(&[
            ("`features`", self.features),
            ("`explained`", self.explained),
            ("`deciles`", self.deciles),
            ("`per_decile`", self.per_decile),
            ("`negatives`", self.negatives),
            ("`per_request`", self.per_request),
            ("`excerpt`", self.excerpt),
            ("`batch`", self.batch),
        ])?;
        let least = self.explained.saturating_add(self.deciles);
        if self.min_contexts < least {
            let expected =
                format!("at least {least}: those that are explained and one for each of `deciles`");
            return Err(Error::invalid("`min_contexts`", expected, self.min_contexts));
        }
        let has_twice = |at: usize| self.scores[..at].contains(&self.scores[at]);
        if self.scores.is_empty() || (0..self.scores.len()).any(has_twice) {
            let found = format!("{:?}", self.scores);
            return Err(Error::invalid("`scores`", "one or more, each once", found));
        }
        let Some(only) = &self.only else { return Ok(()) };
        if only.is_empty() {
            return Err(Error::invalid("`only`", "at least one feature", "none"));
        }
        if let Some(beyond) = only.iter().find(|feature| **feature >= features) {
            let expected = format!("features below {features}");
            return Err(Error::invalid("`only`", expected, beyond));
        }
        let mut sorted = only.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::invalid("`only`", "features named once each", pair[0])),
            None => Ok(()),
        }
    }
}
