//! What says that a unit of work is done.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::files::WrittenFile;
use super::folder::StoreFolder;
use crate::store::parse_json;
use crate::{Error, Result};

const FOLDER: &str = "commits";

/// The record of a unit of work: the unit exists when, and only when, its record does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The unit's number.
    pub unit: usize,
    /// The first of its contexts.
    pub first_context: u64,
    /// Number of its contexts.
    pub contexts: usize,
    /// Number of its tokens that are no `skip_tokens`.
    pub tokens: u64,
    /// The process that did it, and its try at the unit.
    pub attempt: String,
    /// The machine that did it.
    pub host: String,
    /// How long it took.
    pub seconds: f64,
    /// Its files.
    pub files: Vec<StoredFile>,
}

/// A file of a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// `tokens`, `codes`, `statistics`, `examples` or `activations`.
    pub table: String,
    /// The autoencoder or the hook point; empty for `tokens`.
    pub key: String,
    /// Where it is in the store.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its SHA-256 sum, in hexadecimal.
    pub sha256: String,
}

impl StoredFile {
    pub(super) fn new(table: &str, key: &str, rows: u64, file: WrittenFile) -> Self {
        let WrittenFile { name: path, bytes, sha256 } = file;
        Self { table: table.to_owned(), key: key.to_owned(), path, bytes, rows, sha256 }
    }
}

impl Commit {
    fn name(unit: usize) -> String {
        format!("{FOLDER}/{unit:06}.json")
    }

    /// The units that are done.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn done(place: &StoreFolder) -> Result<BTreeSet<usize>> {
        let names = place.names(FOLDER)?;
        let number = |name: &String| -> Option<usize> {
            let number =
                name.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?.parse();
            number.ok().filter(|unit| *name == Self::name(*unit))
        };
        Ok(names.iter().filter_map(number).collect())
    }

    /// The record of a unit, if it is done.
    ///
    /// # Errors
    /// If there is a record that cannot be read.
    pub(super) fn find(place: &StoreFolder, unit: usize) -> Result<Option<Self>> {
        let name = Self::name(unit);
        let Some(text) = place.read(&name)? else {
            return Ok(None);
        };
        let path = place.path(&name);
        let value = parse_json(&path, &text, "the record of a unit")?;
        serde_json::from_value(value).map(Some).map_err(|reason| {
            Error::format(&path, "the record of a unit", reason.to_string()).caused_by(reason)
        })
    }

    /// Puts the record. Returns the one that counts: of two processes that did one unit, it is that of
    /// the first, and files of the second that the first does not have are removed.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub(super) fn put(self, place: &StoreFolder) -> Result<Self> {
        let text = serde_json::to_vec_pretty(&self).map_err(|reason| {
            Error::io("write", &place.path(&Self::name(self.unit)))(reason.into())
        })?;
        if place.put_new(&Self::name(self.unit), &text)? {
            return Ok(self);
        }
        let first = Self::find(place, self.unit)?.ok_or_else(|| {
            let path = place.path(&Self::name(self.unit));
            Error::format(&path, "the record that was there a moment ago", "none")
        })?;
        for file in &self.files {
            if !first.files.iter().any(|own| own.path == file.path) {
                place.remove(&file.path)?;
            }
        }
        Ok(first)
    }

    /// The file of a table and key.
    pub(super) fn file(&self, table: &str, key: &str) -> Option<&StoredFile> {
        self.files.iter().find(|file| file.table == table && file.key == key)
    }
}
