//! Where an autoencoder comes from.

use std::fmt;

use super::{Family, TrainingRecord};
use crate::model::HookPoint;
use crate::provenance::Source;

/// What is known of an [`Sae`](super::Sae) beside its weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// The format it was read from.
    pub family: Option<Family>,
    /// Where its files were.
    pub source: Option<Source>,
    /// The model whose activations it was trained on, as its files call it.
    pub model: Option<String>,
    /// The place it reads, as its files call it.
    pub hook: Option<String>,
    /// The place it predicts, where that is another.
    pub hook_out: Option<String>,
    /// The place it reads, where it is one that a [`Decoder`](crate::model::Decoder) has.
    pub point: Option<HookPoint>,
    /// How the activations it was trained on were made.
    pub training: TrainingRecord,
    /// What to know before trusting its numbers.
    pub notes: Vec<Note>,
}

/// Something to know about an autoencoder that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// Its inputs must be scaled, and no file says by how much.
    ScaleMissing(String),
    /// Something, such as the place it belongs to, was read from a name or from the list of published
    /// autoencoders, because no file says it.
    NotInFiles(String),
    /// Anything else, in words.
    Other(String),
}

impl Origin {
    /// [`Origin::model`] with the `@revision` that [`Origin::training`] records.
    pub(super) fn model_at_revision(&self) -> Option<String> {
        let model = self.model.as_ref()?;
        Some(match self.training.revision(model) {
            Some(revision) if !model.contains('@') => format!("{model}@{revision}"),
            _ => model.clone(),
        })
    }
}

impl Note {
    pub(super) fn about_scale(&self) -> bool {
        matches!(self, Self::ScaleMissing(_))
    }

    /// Whether it casts doubt on what the autoencoder makes of activations.
    pub(super) fn is_warning(&self) -> bool {
        !matches!(self, Self::NotInFiles(_))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScaleMissing(text) | Self::NotInFiles(text) | Self::Other(text) => {
                f.write_str(text)
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.point.map(|point| point.to_string()).or_else(|| self.hook.clone());
        if let Some(place) = place {
            write!(f, ", at {place}")?;
        }
        if let Some(out) = &self.hook_out {
            write!(f, ", predicting {out}")?;
        }
        if let Some(model) = &self.model {
            write!(f, " of {model}")?;
        }
        if let (Some(family), Some(source)) = (self.family, &self.source) {
            write!(f, " ({family}, {source})")?;
        }
        let training = self.training.to_string();
        if !training.is_empty() {
            write!(f, "\ntrained on: {training}")?;
        }
        self.notes.iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}
