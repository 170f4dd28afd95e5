//! What a file of examples says of itself.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::rule::{ExampleRule, LayerExampleOptions};
use super::text::ExampleText;
use crate::data::ColumnFile;
use crate::{Error, Result};

/// What the notes beside the columns are called: the header as JSON, and its SHA-256.
pub(super) const NOTE: &str = "eigenlens.examples";
pub(super) const NOTE_SUM: &str = "eigenlens.examples.sha256";
/// The layout that is written here.
const FORMAT: u32 = 1;
/// Lists (latents · layers) of a file; more are taken for damage, as long as there are not as many rows.
const MAX_EMPTY_LISTS: usize = 1 << 24;

/// What a file of examples says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ExampleHeader {
    format: u32,
    pub(super) layers: usize,
    pub(super) latents: usize,
    examples: usize,
    window: usize,
    /// An f32, without loss.
    threshold: f64,
    rule: ExampleRule,
    pub(super) text: Option<ExampleText>,
}

impl ExampleHeader {
    pub(super) fn new(
        [layers, latents]: [usize; 2],
        options: &LayerExampleOptions,
        text: Option<ExampleText>,
    ) -> Self {
        let LayerExampleOptions { examples, window, threshold, rule } = *options;
        let threshold = f64::from(threshold);
        Self { format: FORMAT, layers, latents, examples, window, threshold, rule, text }
    }

    pub(super) fn options(&self) -> LayerExampleOptions {
        let Self { examples, window, rule, .. } = *self;
        LayerExampleOptions { examples, window, threshold: self.threshold as f32, rule }
    }

    /// The header as JSON, and its sum.
    pub(super) fn notes(&self) -> serde_json::Result<[String; 2]> {
        let text = serde_json::to_string(self)?;
        let sum = sum(&text);
        Ok([text, sum])
    }

    /// The header of a file.
    ///
    /// # Errors
    /// [`Error::Format`] for a file without one, or with one that cannot be.
    pub(super) fn read(file: &ColumnFile) -> Result<Self> {
        let path = file.path();
        let expected = "a file that LayerExamples::save wrote";
        let Some(text) = file.note(NOTE) else {
            let found = format!("another Parquet file, with {}", file.names());
            return Err(Error::format(path, expected, found));
        };
        if file.note(NOTE_SUM) != Some(&*sum(text)) {
            let expected = "a file of examples as it was written";
            return Err(Error::format(path, expected, "one whose header was changed or damaged"));
        }
        let header: Self = serde_json::from_str(text).map_err(|reason| {
            Error::format(path, expected, reason.to_string()).caused_by(reason)
        })?;
        if header.format != FORMAT {
            let found = format!("format {}, of another version of eigenlens", header.format);
            return Err(Error::format(path, format!("examples of format {FORMAT}"), found));
        }
        check_lists(path, [header.layers, header.latents], file.rows())?;
        header.options().check().map_err(|reason| {
            Error::format(path, expected, reason.to_string()).caused_by(reason)
        })?;
        Ok(header)
    }
}

/// Returns an error for no layers or latents, or so many that it must be a mistake.
pub(super) fn check_lists(path: &Path, [layers, latents]: [usize; 2], rows: usize) -> Result<()> {
    let lists = layers.checked_mul(latents);
    match lists {
        Some(1..) if lists <= Some(MAX_EMPTY_LISTS.max(rows)) => Ok(()),
        _ => {
            let expected = "layers and latents of an autoencoder";
            Err(Error::format(path, expected, format!("{layers} layers of {latents} latents")))
        }
    }
}

fn sum(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}
