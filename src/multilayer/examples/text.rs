//! The text that examples are of.

use serde::{Deserialize, Serialize};

use crate::data::text::Contexts;
use crate::harvest::{loadable, sum_of_tokens};
use crate::{Error, Result};

/// The contexts that [`LayerExamples`](super::LayerExamples) were looked for in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExampleText {
    /// A name with which [`Contexts::from_pretrained`] finds them; none of what was made in memory.
    pub name: Option<String>,
    /// Number of contexts.
    pub contexts: usize,
    /// Tokens of each.
    pub length: usize,
    /// SHA-256 of all tokens as u32, little-endian.
    pub sha256: String,
}

impl ExampleText {
    pub(super) fn of(contexts: &Contexts) -> Self {
        Self {
            name: loadable(contexts.source(), contexts.repository_name()),
            contexts: contexts.len(),
            length: contexts.length(),
            sha256: sum_of_tokens(contexts),
        }
    }

    /// Whether these are the same contexts, whatever their names.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Self { name: None, ..self.clone() } == Self { name: None, ..other.clone() }
    }

    /// The contexts.
    ///
    /// # Errors
    /// As [`Contexts::from_pretrained`]; [`Error::Invalid`] if there is no name, or if others are found
    /// under it.
    pub fn read(&self) -> Result<Contexts> {
        let name = self.name.as_ref().ok_or_else(|| {
            let expected = "one that Contexts::from_pretrained can load";
            Error::invalid("the text of the examples", expected, "one without a name")
        })?;
        let contexts = Contexts::from_pretrained(name)?;
        self.check(&contexts)?;
        Ok(contexts)
    }

    /// Returns an error unless `contexts` are these.
    ///
    /// # Errors
    /// [`Error::Invalid`] for others.
    pub fn check(&self, contexts: &Contexts) -> Result<()> {
        let own = Self::of(contexts);
        if self.is_same(&own) {
            return Ok(());
        }
        let Self { contexts, length, sha256, .. } = self;
        let expected = format!(
            "the {contexts} contexts of {length} tokens that the examples are of ({:.8})",
            sha256
        );
        let found = format!("{} of {} ({:.8})", own.contexts, own.length, own.sha256);
        Err(Error::invalid("the text", expected, found))
    }
}
