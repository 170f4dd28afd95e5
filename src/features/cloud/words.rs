//! The words around a point.

use std::fmt;

use super::{CloudText, FeatureCloud};
use crate::data::text::{Contexts, Tokenizer};
use crate::display::show_as_text;
use crate::{Error, Result};

/// Tokens that are told before and after a point's own.
const AROUND: usize = 10;

/// A point's token with the words around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenWindow {
    /// The text before the token, up to ten tokens of its context.
    pub before: String,
    /// The token.
    pub token: String,
    /// The text after it, up to ten tokens.
    pub after: String,
}

show_as_text!(TokenWindow);

impl fmt::Display for TokenWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}«{}»{}", self.before, self.token, self.after)
    }
}

impl FeatureCloud {
    /// The same cloud with the text that its codes are of, so that points have tokens and contexts,
    /// and with the words of a tokenizer, if there is one. [`FeatureCloud::collect`] does this by
    /// itself.
    ///
    /// # Errors
    /// A text of fewer tokens than the codes.
    pub fn with_text(mut self, contexts: &Contexts, tokenizer: Option<&Tokenizer>) -> Result<Self> {
        let count = contexts.as_slice().len();
        if let Some(far) = self.tokens().iter().find(|token| **token >= count) {
            let expected = format!("more than {far}, the number of a point's token");
            return Err(Error::invalid("the number of tokens of the text", expected, count));
        }
        self.text = Some(CloudText { contexts: contexts.clone(), tokenizer: tokenizer.cloned() });
        Ok(self)
    }

    fn text(&self) -> Result<&CloudText> {
        self.text.as_ref().ok_or_else(|| Error::NotFound {
            what: "the text of the cloud".to_owned(),
            hint: "It was made of codes alone: give it with \
                   `cloud.with_text(&contexts, Some(&model.tokenizer()?))?`."
                .to_owned(),
        })
    }

    pub(super) fn tokenizer(&self) -> Result<&Tokenizer> {
        self.text()?.tokenizer.as_ref().ok_or_else(|| Error::NotFound {
            what: "the tokenizer of the cloud's text".to_owned(),
            hint: "Give it with `cloud.with_text(&contexts, Some(&model.tokenizer()?))?`."
                .to_owned(),
        })
    }

    /// The vocabulary number of each point's token, and of those `ahead` after it in its context.
    ///
    /// # Errors
    /// A cloud without a text.
    pub(super) fn ids(&self, ahead: usize) -> Result<Vec<Option<u32>>> {
        let contexts = &self.text()?.contexts;
        let (all, length) = (contexts.as_slice(), contexts.length());
        let id = |token: &usize| match token % length + ahead < length {
            true => all.get(token + ahead).copied(),
            false => None,
        };
        Ok(self.tokens().iter().map(id).collect())
    }

    /// The vocabulary number of each point's token.
    ///
    /// # Errors
    /// A cloud without a text.
    pub fn token_ids(&self) -> Result<Vec<u32>> {
        Ok(self.ids(0)?.into_iter().flatten().collect())
    }

    /// The text of a point's token.
    ///
    /// # Errors
    /// A point there is not; a cloud without a text or a tokenizer.
    pub fn token(&self, point: usize) -> Result<String> {
        let id = self.text()?.contexts.as_slice()[self.place(point)?];
        self.tokenizer()?.token(id)
    }

    /// The words around a point, up to ten tokens of its context before and after its own.
    ///
    /// # Errors
    /// As [`FeatureCloud::token`].
    pub fn context(&self, point: usize) -> Result<TokenWindow> {
        let at = self.place(point)?;
        let contexts = &self.text()?.contexts;
        let length = contexts.length();
        let first = at - at % length;
        let start = at.saturating_sub(AROUND).max(first);
        let end = (at + AROUND + 1).min(first + length).min(contexts.as_slice().len());
        let shown = self.tokenizer()?.visible_text(&contexts.as_slice()[start..end])?;
        let words = |some: &[crate::data::text::VisibleToken]| {
            some.iter().map(|token| token.text.as_str()).collect::<String>()
        };
        let own = at - start;
        Ok(TokenWindow {
            before: words(&shown[..own]),
            token: words(&shown[own..=own]),
            after: words(&shown[own + 1..]),
        })
    }

    fn place(&self, point: usize) -> Result<usize> {
        let place = self.tokens().get(point).copied();
        place.ok_or_else(|| Error::invalid("the point", format!("below {}", self.len()), point))
    }
}
