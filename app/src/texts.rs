//! Tokens as the page shows them.

use eigenlens::data::text::Tokenizer;
use eigenlens::multilayer::{LogitShift, Mlsae, RankedLogit};
use serde::Serialize;

/// A token of a text.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShownToken {
    id: u32,
    text: String,
    /// Whether statistics leave it out.
    special: bool,
}

/// A token that may come next.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NextToken {
    token: u32,
    text: String,
    logit: f64,
    probability: f64,
}

/// A token whose logit changes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShiftedToken {
    token: u32,
    text: String,
    before: f64,
    after: f64,
    change: f64,
}

/// A token with a number that ranks it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ScoredToken {
    token: u32,
    text: String,
    score: f32,
}

/// A token and a cosine with it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NearToken {
    token: u32,
    text: String,
    cosine: f32,
}

/// Texts of tokens.
#[derive(Debug, Clone)]
pub(crate) struct Texts {
    tokenizer: Tokenizer,
    special: Vec<u32>,
}

impl Texts {
    /// Those of a model's tokenizer.
    pub(crate) fn of(mlsae: &Mlsae) -> eigenlens::Result<Self> {
        Ok(Self { tokenizer: mlsae.model().tokenizer()?, special: mlsae.skipped().to_vec() })
    }

    /// The text of one token, whitespace as marks.
    pub(crate) fn one(&self, token: u32) -> String {
        self.tokenizer.visible(token).unwrap_or_else(|_| format!("[id {token}]"))
    }

    /// What tokens read as in a row.
    pub(crate) fn running(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode_with_special(tokens).unwrap_or_default()
    }

    pub(crate) fn all(&self, tokens: &[u32]) -> Vec<ShownToken> {
        let shown = |id: &u32| ShownToken {
            id: *id,
            text: self.one(*id),
            special: self.special.contains(id),
        };
        tokens.iter().map(shown).collect()
    }

    pub(crate) fn next(&self, rows: Vec<Vec<RankedLogit>>) -> Vec<Vec<NextToken>> {
        let next = |own: RankedLogit| NextToken {
            token: own.token,
            text: self.one(own.token),
            logit: own.logit,
            probability: own.probability,
        };
        rows.into_iter().map(|row| row.into_iter().map(next).collect()).collect()
    }

    pub(crate) fn shifted(&self, rows: Vec<Vec<LogitShift>>) -> Vec<Vec<ShiftedToken>> {
        let shifted = |own: LogitShift| ShiftedToken {
            token: own.token,
            text: self.one(own.token),
            before: own.before,
            after: own.after,
            change: own.change,
        };
        rows.into_iter().map(|row| row.into_iter().map(shifted).collect()).collect()
    }

    pub(crate) fn scored(&self, tokens: impl IntoIterator<Item = (u32, f32)>) -> Vec<ScoredToken> {
        let scored = |(token, score)| ScoredToken { token, text: self.one(token), score };
        tokens.into_iter().map(scored).collect()
    }

    pub(crate) fn near(&self, tokens: impl IntoIterator<Item = (u32, f32)>) -> Vec<NearToken> {
        let near = |(token, cosine)| NearToken { token, text: self.one(token), cosine };
        tokens.into_iter().map(near).collect()
    }
}
