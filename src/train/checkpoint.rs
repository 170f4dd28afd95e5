//! Interrupted fits that go on exactly where they were.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor, Var};
use serde::{Deserialize, Serialize};

use super::{AdamW, History};
use crate::store::{Tensors, replace, save_exactly};
use crate::{Error, Result};

const STATE: &str = "state.json";
const HISTORY: &str = "history";

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
struct State {
    settings: String,
    step: usize,
    rows: usize,
    tensors: String,
}

impl Checkpoint {
    pub(crate) fn new(folder: PathBuf, settings: String) -> Self {
        Self { folder, settings }
    }

    /// Puts parameters, optimiser and history where the checkpoint has them; the number of steps
    /// that are done, 0 where there is no checkpoint.
    pub(crate) fn restore(
        &self,
        parameters: &[Var],
        optimizer: &mut AdamW,
        history: &mut History,
        device: &Device,
    ) -> Result<usize> {
        self.restore_with(history, device, |step, take| {
            for (i, parameter) in parameters.iter().enumerate() {
                parameter.set(&take(&format!("parameter.{i}"), parameter.dims())?)?;
            }
            optimizer.restore(step, take)
        })
    }

    /// [`Checkpoint::restore`] of whatever `put` asks for: it is given the number of steps and what
    /// hands out a tensor of a name and shape, and must take all there are.
    pub(crate) fn restore_with(
        &self,
        history: &mut History,
        device: &Device,
        put: impl FnOnce(usize, &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>) -> Result<()>,
    ) -> Result<usize> {
        let path = self.folder.join(STATE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            other => other.map_err(Error::io("read", &path))?,
        };
        let state: State = serde_json::from_slice(&text)
            .map_err(|reason| Error::format(&path, "the state of a fit", reason.to_string()))?;
        if state.settings != self.settings {
            let expected = format!("a fit with the settings {}", self.settings);
            return Err(Error::format(&path, expected, state.settings));
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

    /// Saves the fit as it is now.
    pub(crate) fn save(
        &self,
        parameters: &[Var],
        optimizer: &AdamW,
        history: &History,
    ) -> Result<()> {
        let (step, moments) = optimizer.state()?;
        let mut all: HashMap<String, Tensor> = moments.into_iter().collect();
        for (i, parameter) in parameters.iter().enumerate() {
            all.insert(format!("parameter.{i}"), parameter.as_detached_tensor());
        }
        self.save_all(step, all, history)
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
        let state = State {
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
