//! Reports in files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{JudgedFeature, Report, ReportData, SCORINGS};
use crate::store::parse_json;
use crate::{Error, Result};

/// The layout of the file.
pub(super) const VERSION: u32 = 1;
/// The file's name in a folder.
const FILE: &str = "interpretation.json";
/// How a path ends that is a file's.
const ENDING: &str = "json";
const EXPECTED: &str = "an interpretation as `Report::save` writes it";

impl Report {
    /// Writes the file `path`, if it ends in `.json`, or else `interpretation.json` into the folder
    /// `path`: every answer about every text, so that figures and scores need no second run.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let path = match path.extension().is_some_and(|ending| ending == ENDING) {
            true => path.to_owned(),
            false => {
                std::fs::create_dir_all(path).map_err(Error::io("create", path))?;
                path.join(FILE)
            }
        };
        let text = serde_json::to_string(&*self.data).map_err(|reason| {
            Error::invalid("the report", "fit for JSON", &reason).caused_by(reason)
        })?;
        eigenlens_common::files::write(&path, text).map_err(Error::io("write", &path))
    }

    /// Reads the file `path`, or `interpretation.json` in the folder `path`, as [`Report::save`]
    /// writes it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is damaged, of another
    /// version or another kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let path: PathBuf = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        let value = parse_json(&path, &text, EXPECTED)?;
        let version = &value["version"];
        if version.as_u64().is_some_and(|version| version != u64::from(VERSION)) {
            let expected = format!("`version` {VERSION}, the only one that is known here");
            return Err(Error::format(&path, expected, version.to_string()));
        }
        let data: ReportData = serde_path_to_error::deserialize(&value).map_err(|reason| {
            Error::format(&path, EXPECTED, reason.to_string()).caused_by(reason)
        })?;
        check(&data).map_err(|(expected, found)| Error::format(&path, expected, found))?;
        Ok(Self { data: Arc::new(data) })
    }
}

/// More groups, and more answers about a feature, than a run has.
const MOST_DECILES: usize = 1 << 16;
const MOST_ANSWERS: usize = 1 << 32;

/// Refuses what no run writes: what was expected, and what was found.
fn check(data: &ReportData) -> std::result::Result<(), (String, String)> {
    if !(1..=MOST_DECILES).contains(&data.deciles) {
        let expected = format!("`deciles` of at least 1 and at most {MOST_DECILES}");
        return Err((expected, data.deciles.to_string()));
    }
    let mut seen = BTreeSet::new();
    for own in &data.features {
        if !seen.insert(own.feature) {
            let found = format!("feature {} twice", own.feature);
            return Err(("each feature once".to_owned(), found));
        }
        check_texts(own, data.deciles).map_err(|(expected, found)| {
            (format!("{expected} of feature {}", own.feature), found)
        })?;
    }
    Ok(())
}

fn check_texts(
    feature: &JudgedFeature,
    deciles: usize,
) -> std::result::Result<(), (String, String)> {
    for own in SCORINGS.map(|scoring| feature.of(scoring)) {
        if own.unread > own.answers {
            let expected = format!("at most {} answers that could not be read", own.answers);
            return Err((expected, own.unread.to_string()));
        }
        if own.answers > MOST_ANSWERS {
            return Err((format!("at most {MOST_ANSWERS} `answers`"), own.answers.to_string()));
        }
        if let Some(text) = own.texts.iter().find(|text| text.group > deciles) {
            let expected = format!("a `group` of at most {deciles}, the number of deciles,");
            return Err((expected, text.group.to_string()));
        }
        let mut probabilities = own.texts.iter().filter_map(|text| text.probability);
        if let Some(bad) = probabilities.find(|own| !(0.0..=1.0).contains(own)) {
            return Err(("a `probability` from 0 to 1".to_owned(), bad.to_string()));
        }
    }
    Ok(())
}
