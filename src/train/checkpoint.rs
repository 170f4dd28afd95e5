//! Interrupted fits that go on exactly where they were.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::History;
use crate::store::{Tensors, replace, save_exactly};
use crate::{Error, Result};

const STATE: &str = "state.json";
const HISTORY: &str = "history";

/// Hands out the tensor of a name and shape from a checkpoint.
pub(crate) type TakeTensor<'a> = dyn FnMut(&str, &[usize]) -> Result<Tensor> + 'a;

/// A folder that holds the last completed part of a fit.
///
/// The tensors of a step are written under a name of their own, then `state.json` names them, then
/// the older ones are removed: whenever the process dies, `state.json` speaks of a whole file.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    folder: PathBuf,
    /// What the fit was asked to do; another fit's checkpoint is refused.
    settings: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CheckpointHeader {
    settings: String,
    step: usize,
    rows: usize,
    tensors: String,
}

impl Checkpoint {
    pub(crate) fn new(folder: PathBuf, settings: String) -> Self {
        Self { folder, settings }
    }

    /// Puts the history where the checkpoint has it, and lets `put` take everything else: it is given
    /// the number of steps and what hands out a tensor of a name and shape, and must take all there are.
    /// Returns the number of steps that are done, 0 where there is no checkpoint.
    pub(crate) fn restore_with(
        &self,
        history: &mut History,
        device: &Device,
        put: impl FnOnce(usize, &mut TakeTensor<'_>) -> Result<()>,
    ) -> Result<usize> {
        let path = self.folder.join(STATE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(Error::io("read", &path))?,
        };
        let state: CheckpointHeader = serde_json::from_slice(&text).map_err(|reason| {
            Error::format(&path, "the state of a fit", reason.to_string()).caused_by(reason)
        })?;
        if self.settings != state.settings {
            let (asked, saved) = difference(&self.settings, &state.settings)
                .unwrap_or_else(|| (self.settings.clone(), state.settings.clone()));
            let expected = format!("a fit with the settings of this call (`{asked}`)");
            let found = format!("one with `{saved}`: give the same options or another folder");
            return Err(Error::format(&path, expected, found));
        }
        let mut tensors = Tensors::open(&self.folder.join(&state.tensors), device)?;
        put(state.step, &mut |name, shape| tensors.take(name, shape))?;
        let columns = history.names().len();
        let rows = tensors.take(HISTORY, &[state.rows, columns])?;
        tensors.finish("only what a fit saves")?;
        for row in rows.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            history.push(&row[1..])?;
        }
        Ok(state.step)
    }

    /// Saves a fit after `step` steps, of which `all` is everything that changes.
    pub(crate) fn save_all(
        &self,
        step: usize,
        mut all: HashMap<String, Tensor>,
        history: &History,
    ) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let rows = history.rows();
        // Not in the JSON: reading it back would round the last digit.
        let flat: Vec<f64> = rows.iter().flatten().copied().collect();
        let shape = (rows.len(), history.names().len());
        all.insert(HISTORY.to_owned(), Tensor::from_vec(flat, shape, &Device::Cpu)?);
        let tensors = format!("step-{step}.safetensors");
        save_exactly(&self.folder.join(&tensors), &all)?;
        let state = CheckpointHeader {
            settings: self.settings.clone(),
            step,
            rows: rows.len(),
            tensors: tensors.clone(),
        };
        let text = serde_json::to_vec_pretty(&state).map_err(std::io::Error::other);
        replace(&self.folder.join(STATE), |place| fs::write(place, text?))?;
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("step-") && name != tensors {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// The first setting that differs between two lists of them in their `Debug` form, as each has it;
/// nothing if they differ in separators alone.
fn difference(asked: &str, saved: &str) -> Option<(String, String)> {
    let parts = |settings: &str| -> Vec<String> {
        settings.split(['{', '}', ',']).map(|part| part.trim().to_owned()).collect()
    };
    let (asked, saved) = (parts(asked), parts(saved));
    let at = (0..asked.len().max(saved.len())).find(|&at| asked.get(at) != saved.get(at))?;
    // A part without a name is one of several values: those before it belong to it.
    let shown = |parts: &[String]| {
        let named = parts.iter().take(at + 1).rposition(|part| part.contains(": ")).unwrap_or(0);
        parts[named.min(parts.len())..parts.len().min(at + 1)].join(", ")
    };
    Some((shown(&asked), shown(&saved)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_differs_is_told_as_both_have_it() {
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        let asked = "Fit { steps: 5, skip: [1, 2], seed: 0 } for Sizes { width: 3 }";
        assert_eq!(difference(asked, asked), None);
        assert_eq!(
            difference(asked, &asked.replace("steps: 5", "steps: 6")),
            pair("steps: 5", "steps: 6")
        );
        assert_eq!(
            difference(asked, &asked.replace("[1, 2]", "[1, 4]")),
            pair("skip: [1, 2]", "skip: [1, 4]")
        );
        assert_eq!(
            difference(asked, &asked.replace("width: 3", "width: 30")),
            pair("width: 3", "width: 30")
        );
        let shorter = difference(asked, &asked.replace(", seed: 0", "")).unwrap();
        assert_eq!(shorter.0, "seed: 0");
    }
}
