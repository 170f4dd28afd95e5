//! Folders of units that are done, from which a pass goes on.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::options::KeepActivations;
use super::sample::TextSample;
use super::unit::PlacedSae;
use crate::check::first_difference;
use crate::harvest::{sum_of_sae, sum_of_tokens};
use crate::store::{parse_json, replace};
use crate::{Error, Result};

const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.json";

/// What a pass depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct InfoIdentity {
    format: u32,
    model: String,
    text: String,
    saes: Vec<String>,
    points: Vec<String>,
    window: [usize; 2],
    skip_tokens: Vec<u32>,
    batch: usize,
    keep: String,
}

impl InfoIdentity {
    /// Of a pass of some autoencoders over a sample, of the model whose weights have the sum `model`.
    ///
    /// # Errors
    /// Memory.
    pub(super) fn new(
        model: String,
        saes: &[PlacedSae],
        sample: &TextSample,
        keep: &KeepActivations,
    ) -> Result<Self> {
        let contexts = &sample.contexts;
        Ok(Self {
            format: FORMAT,
            model,
            text: format!("{} of {} tokens", sum_of_tokens(contexts), contexts.length()),
            saes: saes.iter().map(|own| sum_of_sae(&own.sae)).collect::<Result<_>>()?,
            points: saes.iter().map(|own| own.point.to_string()).collect(),
            window: [sample.window.start, sample.window.end],
            skip_tokens: sample.skip_tokens.clone(),
            batch: sample.batch,
            keep: match keep {
                KeepActivations::Memory => "in memory".to_owned(),
                KeepActivations::Disk { dtype, .. } => format!("on disk as {}", dtype.as_str()),
                KeepActivations::Nothing => "nowhere".to_owned(),
            },
        })
    }

    /// The name of a folder for what is of this pass alone.
    pub(super) fn folder(&self) -> String {
        let sum = Sha256::digest(serde_json::to_vec(self).unwrap_or_default());
        sum.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The first thing in which two passes differ, and how each has it.
    fn difference(&self, other: &Self) -> (&'static str, String, String) {
        let found = first_difference!(
            self, other,
            "model": model, "text": text, "autoencoders": saes, "hook points": points,
            "window": window, "`skip_tokens`": skip_tokens, "`batch`": batch, "`keep`": keep,
        );
        found.unwrap_or_else(|| ("format", self.format.to_string(), other.format.to_string()))
    }
}

/// A folder with the units of a pass that are done.
#[derive(Debug)]
pub(super) struct InfoFolder(PathBuf);

impl InfoFolder {
    /// The folder of a pass, made if it is not there.
    ///
    /// # Errors
    /// [`Error::Format`] for the folder of another pass; [`Error::Io`] if it cannot be written.
    pub(super) fn open(folder: &Path, identity: &InfoIdentity) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(IDENTITY);
        match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let text = serde_json::to_vec_pretty(identity).map_err(std::io::Error::other);
                replace(&path, |place| fs::write(place, text?))?;
            }
            text => {
                let text = text.map_err(Error::io("read", &path))?;
                let value = parse_json(&path, &text, "the identity of a pass over a text")?;
                let there: InfoIdentity = serde_json::from_value(value).map_err(|reason| {
                    let expected = "the identity of a pass over a text";
                    Error::format(&path, expected, reason.to_string()).caused_by(reason)
                })?;
                if there != *identity {
                    let (what, asked, found) = identity.difference(&there);
                    let expected = format!("a pass with the {what} of this call, {asked}");
                    let found = format!("{found}: give the same, or another `checkpoint`");
                    return Err(Error::format(&path, expected, found));
                }
            }
        }
        Ok(Self(folder.to_owned()))
    }

    /// The file of a unit.
    pub(super) fn unit(&self, number: usize) -> PathBuf {
        unit_file(&self.0, number)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

/// The file of a unit in a folder.
pub(super) fn unit_file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("unit-{number:06}.safetensors"))
}
