//! Names that a reader gives to latents.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use eigenlens::{Error, Result};
use eigenlens_common::files;

use crate::fault::Fault;

/// Characters of a label at most.
pub(crate) const LABEL_CHARS: usize = 200;

/// Labels by latent, in a file if there is one: `{"17": "months"}`.
#[derive(Debug)]
pub(crate) struct Labels {
    path: Option<PathBuf>,
    read_only: bool,
    own: Mutex<BTreeMap<usize, String>>,
}

impl Labels {
    /// Those in the file at `path`, none if there is no file yet.
    pub(crate) fn new(path: Option<PathBuf>, read_only: bool) -> Result<Self> {
        let own = match &path {
            None => BTreeMap::new(),
            Some(path) => match std::fs::read(path) {
                Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
                Err(reason) => return Err(Error::io("read", path)(reason)),
                Ok(bytes) => serde_json::from_slice(&bytes).map_err(|reason| {
                    let expected = "labels by latent, such as {\"17\": \"months\"}";
                    Error::format(path, expected, reason.to_string())
                })?,
            },
        };
        Ok(Self { path, read_only, own: Mutex::new(own) })
    }

    /// Whether labels cannot be changed.
    pub(crate) fn read_only(&self) -> bool {
        self.read_only
    }

    /// The label of a latent, empty if it has none.
    pub(crate) fn of(&self, latent: usize) -> String {
        self.lock().get(&latent).cloned().unwrap_or_default()
    }

    /// All labels.
    pub(crate) fn all(&self) -> BTreeMap<usize, String> {
        self.lock().clone()
    }

    /// Changes the label of a latent; an empty one takes it away.
    pub(crate) fn set(&self, latent: usize, label: &str) -> Result<(), Fault> {
        if self.read_only {
            let fault = Fault::new(StatusCode::FORBIDDEN, "the labels", "changeable");
            return Err(fault.hint("The app was started read-only."));
        }
        let label = label.trim();
        let chars = label.chars().count();
        if chars > LABEL_CHARS || label.chars().any(char::is_control) {
            let expected = format!("at most {LABEL_CHARS} characters, on one line");
            return Err(Fault::invalid("the label", expected, format!("{chars}")));
        }
        let mut own = self.lock();
        let mut new = own.clone();
        match label {
            "" => new.remove(&latent),
            label => new.insert(latent, label.to_owned()),
        };
        self.save(&new)?;
        *own = new;
        Ok(())
    }

    fn save(&self, labels: &BTreeMap<usize, String>) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let folder = path.parent().filter(|own| !own.as_os_str().is_empty());
        let written = folder.map_or(Ok(()), std::fs::create_dir_all);
        let written = written.and_then(|()| files::write(path, serde_json::to_vec_pretty(labels)?));
        written.map_err(Error::io("write", path))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_from_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("more/labels.json");
        let labels = Labels::new(Some(path.clone()), false).unwrap();
        labels.set(7, " months ").unwrap();
        labels.set(9, "tall").unwrap();
        labels.set(9, "").unwrap();
        let again = Labels::new(Some(path.clone()), true).unwrap();
        assert_eq!(again.all(), BTreeMap::from([(7, "months".to_owned())]));
        assert_eq!(again.set(7, "x").unwrap_err().status(), StatusCode::FORBIDDEN);
        assert!(labels.set(1, &"ä".repeat(200)).is_ok());
        for bad in [&"ä".repeat(201), "two\nlines"] {
            assert_eq!(labels.set(1, bad).unwrap_err().status(), StatusCode::UNPROCESSABLE_ENTITY);
        }
        std::fs::write(&path, "[1").unwrap();
        let error = Labels::new(Some(path), false).unwrap_err().to_string();
        assert!(error.contains("labels.json") && error.contains("by latent"), "{error}");
    }

    #[test]
    fn a_label_that_cannot_be_written_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.json");
        let labels = Labels::new(Some(path.clone()), false).unwrap();
        labels.set(1, "kept").unwrap();
        // A folder in the place of the file.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let fault = labels.set(1, "lost").unwrap_err();
        assert!(fault.json().to_string().contains("could not write"), "{fault:?}");
        assert_eq!(labels.of(1), "kept");
    }
}
