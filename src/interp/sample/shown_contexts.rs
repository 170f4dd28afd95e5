//! Contexts without the tokens that are not shown.

use std::collections::HashSet;

use crate::data::text::{Contexts, Tokenizer};
use crate::{Error, Result};

/// Contexts of a text, of which some tokens are not shown. Places in a context count those that are.
#[derive(Debug)]
pub(super) struct ShownContexts {
    contexts: Contexts,
    hidden: HashSet<u32>,
    /// The tokens that are shown, context after context, and where those of each end.
    shown: Vec<u32>,
    ends: Vec<usize>,
    /// Tokens of an excerpt.
    length: usize,
    /// Numbers of the contexts that are long enough, each of equal ones once, in ascending order.
    usable: Vec<usize>,
    short: usize,
    equal: usize,
}

impl ShownContexts {
    /// The contexts without the tokens `hidden` and without special ones, for excerpts of `excerpt`
    /// tokens, or of as many as nine contexts in ten have.
    ///
    /// # Errors
    /// A token beyond the vocabulary; contexts of hidden tokens alone.
    pub(super) fn new(
        contexts: &Contexts,
        tokenizer: &Tokenizer,
        hidden: &[u32],
        excerpt: usize,
    ) -> Result<Self> {
        let mut hidden: HashSet<u32> = hidden.iter().copied().collect();
        let all: HashSet<u32> = contexts.as_slice().iter().copied().collect();
        for token in all {
            // Only special tokens have another text if those are left out.
            let plain = tokenizer.decode(&[token])?;
            if tokenizer.decode_with_special(&[token])? != plain {
                hidden.insert(token);
            }
        }
        let (mut shown, mut ends) = (Vec::new(), Vec::new());
        for context in contexts.as_slice().chunks_exact(contexts.length()) {
            shown.extend(context.iter().copied().filter(|token| !hidden.contains(token)));
            ends.push(shown.len());
        }
        let text = |context: usize| &shown[start_of(&ends, context)..ends[context]];
        let mut lengths: Vec<usize> =
            (0..contexts.len()).map(|context| text(context).len()).collect();
        lengths.sort_unstable();
        let length = excerpt.min(lengths[lengths.len() / 10]);
        if length == 0 {
            let expected = "of tokens that are shown: special ones and `skip_tokens` are not";
            let found = "nothing else in one context of ten";
            return Err(Error::invalid("the contexts", expected, found));
        }
        let (mut usable, mut short, mut equal) = (Vec::new(), 0, 0);
        let mut seen: HashSet<&[u32]> = HashSet::new();
        for context in 0..contexts.len() {
            if text(context).len() < length {
                short += 1;
            } else if seen.insert(text(context)) {
                usable.push(context);
            } else {
                equal += 1;
            }
        }
        drop(seen);
        let contexts = contexts.clone();
        Ok(Self { contexts, hidden, shown, ends, length, usable, short, equal })
    }

    /// Tokens of an excerpt.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Numbers of the contexts that texts are taken from, in ascending order.
    pub(super) fn usable(&self) -> &[usize] {
        &self.usable
    }

    /// Contexts that are too short for an excerpt, and those that are equal to an earlier one.
    pub(super) fn left_out(&self) -> [usize; 2] {
        [self.short, self.equal]
    }

    /// All tokens of a context.
    pub(super) fn tokens(&self, context: usize) -> &[u32] {
        let length = self.contexts.length();
        &self.contexts.as_slice()[context * length..(context + 1) * length]
    }

    /// The positions of a context that are shown.
    pub(super) fn positions(&self, context: usize) -> impl Iterator<Item = usize> {
        let tokens = self.tokens(context).iter().enumerate();
        tokens.filter(|(_, token)| !self.hidden.contains(token)).map(|(position, _)| position)
    }

    /// The tokens of a context that are shown.
    fn text(&self, context: usize) -> &[u32] {
        &self.shown[start_of(&self.ends, context)..self.ends[context]]
    }

    /// The tokens of the excerpt that begins at the place `start`; fewer if there are fewer.
    pub(super) fn excerpt(&self, context: usize, start: usize) -> &[u32] {
        let text = self.text(context);
        text.get(start..text.len().min(start + self.length)).unwrap_or_default()
    }

    /// Where the excerpt around a place begins: with the place in its middle, but for the ends of the
    /// context.
    pub(super) fn start_around(&self, context: usize, place: usize) -> usize {
        let last = self.text(context).len().saturating_sub(self.length);
        place.saturating_sub(self.length / 2).min(last)
    }
}

/// Where a context begins among texts that end there.
fn start_of(ends: &[usize], context: usize) -> usize {
    context.checked_sub(1).map_or(0, |before| ends[before])
}
