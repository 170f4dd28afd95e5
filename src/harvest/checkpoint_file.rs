//! Files from which a long computation goes on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::in_hexadecimal;
use super::run::{sum_of_tensors, sum_of_text};
use crate::store::{Tensors, parse_json, save_exactly};
use crate::{Error, Result};

/// What the record is called among the tensors.
const RECORD: &str = "record";
/// Hexadecimal digits of a name that tells questions apart.
const NAME_DIGITS: usize = 16;

/// What a computation depends on.
pub(crate) trait CheckpointIdentity:
    Clone + PartialEq + Serialize + DeserializeOwned
{
    /// What it is called, such as "a scan".
    const WHAT: &'static str;

    /// The first thing in which two computations differ, and how each has it.
    fn difference(&self, other: &Self) -> (&'static str, String, String);

    /// A short name that other computations do not have.
    fn short_name(&self) -> String {
        let sum = Sha256::digest(serde_json::to_vec(self).unwrap_or_default());
        in_hexadecimal(&sum)[..NAME_DIGITS].to_owned()
    }
}

/// What a file says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct CheckpointRecord<I> {
    identity: I,
    /// How much was done.
    next: usize,
    /// SHA-256 of that number and the tensors.
    sha256: String,
}

/// A file with what a computation has found so far, put in its place whole.
#[derive(Debug)]
pub(crate) struct CheckpointFile<I> {
    path: PathBuf,
    identity: I,
}

/// The tensors of a file, by their names.
pub(crate) struct CheckpointTensors {
    path: PathBuf,
    what: &'static str,
    all: HashMap<String, Tensor>,
}

impl CheckpointTensors {
    /// Hands out a tensor.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not there.
    pub(crate) fn take(&mut self, name: &str) -> Result<Tensor> {
        self.all.remove(name).ok_or_else(|| damaged(&self.path, self.what))
    }
}

impl<I: CheckpointIdentity> CheckpointFile<I> {
    /// The file `path` of a computation.
    pub(crate) fn new(path: PathBuf, identity: I) -> Self {
        Self { path, identity }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn identity(&self) -> &I {
        &self.identity
    }

    /// The error for a file whose content does not belong together.
    pub(crate) fn damaged(&self) -> Error {
        damaged(&self.path, I::WHAT)
    }

    /// How much was done, and what was found; nothing if there is no file.
    ///
    /// # Errors
    /// [`Error::Format`] for the file of another computation, or one that is damaged.
    pub(crate) fn read(&self) -> Result<Option<(usize, CheckpointTensors)>> {
        if !self.path.is_file() {
            return Ok(None);
        }
        let path = &self.path;
        let mut tensors = Tensors::open(path, &Device::Cpu)?;
        let text: Vec<u8> = match tensors.any(RECORD) {
            Some(record) if record.dtype() == DType::U8 => record.flatten_all()?.to_vec1()?,
            _ => {
                let expected = format!("a checkpoint of {}", I::WHAT);
                return Err(Error::format(path, expected, "a safetensors file of something else"));
            }
        };
        let expected = format!("the record of {}", I::WHAT);
        let value = parse_json(path, &text, &expected)?;
        let record: CheckpointRecord<I> = serde_json::from_value(value).map_err(|reason| {
            Error::format(path, expected, reason.to_string()).caused_by(reason)
        })?;
        if record.identity != self.identity {
            let (what, asked, there) = self.identity.difference(&record.identity);
            let expected = format!("{} with the {what} of this call, {asked}", I::WHAT);
            let found = format!("{there}: give the same, or another `checkpoint`");
            return Err(Error::format(path, expected, found));
        }
        let names: Vec<String> = tensors.names().map(str::to_owned).collect();
        let all = names.iter().map(|name| Some((name.clone(), tensors.any(name)?)));
        let all: HashMap<String, Tensor> =
            all.collect::<Option<_>>().ok_or_else(|| self.damaged())?;
        let mut sorted: Vec<(&str, &Tensor)> =
            all.iter().map(|(name, tensor)| (&**name, tensor)).collect();
        sorted.sort_by_key(|(name, _)| *name);
        if sum_of(record.next, sorted)? != record.sha256 {
            return Err(self.damaged());
        }
        Ok(Some((record.next, CheckpointTensors { path: path.clone(), what: I::WHAT, all })))
    }

    /// Puts what was found so far in the place of the file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub(crate) fn write(&self, next: usize, tensors: Vec<(String, Tensor)>) -> Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        }
        let mut tensors = tensors;
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let sha256 = sum_of(next, tensors.iter().map(|(name, tensor)| (&**name, tensor)))?;
        let record = CheckpointRecord { identity: self.identity.clone(), next, sha256 };
        let record = serde_json::to_vec(&record)
            .map_err(|reason| Error::io("write", &self.path)(reason.into()))?;
        let record = Tensor::new(record, &Device::Cpu)?;
        let tensors = tensors.into_iter().chain([(RECORD.to_owned(), record)]).collect();
        save_exactly(&self.path, &tensors)
    }
}

fn sum_of<'a>(
    next: usize,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> Result<String> {
    Ok(sum_of_text(&format!("{next} {}", sum_of_tensors(tensors)?)))
}

fn damaged(path: &Path, what: &str) -> Error {
    let expected = format!("a whole checkpoint of {what} (remove it to begin again)");
    Error::format(path, expected, "one that is damaged")
}
