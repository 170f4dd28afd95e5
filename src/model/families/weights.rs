//! The tensors of a checkpoint, in one file or several.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use crate::hub::{Content, Repository, Source};
use crate::store::{Tensors, parse_json};
use crate::{Error, Result};

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors to be taken one by one, each in the type the model is to have.
pub(super) struct Weights {
    /// The file, or the index of files.
    path: PathBuf,
    source: Source,
    files: Vec<Tensors>,
    /// Which file holds a tensor, where there are several.
    index: Option<HashMap<String, usize>>,
    dtype: DType,
}

impl Weights {
    /// `model.safetensors` of a repository, or else the files that its index names.
    pub(super) fn open(repository: &Repository, device: &Device, dtype: DType) -> Result<Self> {
        let missing = match repository.open(WEIGHTS) {
            Ok(Content { path, bytes, source }) => {
                let files = vec![Tensors::parse(&path, &bytes, device)?];
                return Ok(Self { path, source, files, index: None, dtype });
            }
            Err(reason) => reason,
        };
        let Ok(Some(Content { path, bytes, source })) = repository.read_if(INDEX) else {
            return Err(missing);
        };
        let places = places(&path, &bytes)?;
        let mut names: Vec<&str> = places.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let mut files = Vec::with_capacity(names.len());
        for name in &names {
            let content = repository.open(name)?;
            files.push(Tensors::parse(&content.path, &content.bytes, device)?);
        }
        let mut index = HashMap::with_capacity(places.len());
        for (tensor, name) in &places {
            let file = names.binary_search(&name.as_str()).unwrap_or_default();
            if files[file].shape(tensor).is_none() {
                let found = "no such tensor in that file";
                return Err(Error::format(&path, format!("`{tensor}` in {name}"), found));
            }
            index.insert(tensor.clone(), file);
        }
        Ok(Self { path, source, files, index: Some(index), dtype })
    }

    /// Where the files were.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The tensor `name`, which must have this shape and hold finite numbers only.
    pub(super) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let wide = matches!(self.dtype, DType::F32 | DType::F64);
        match self.file(name).map(|file| &mut self.files[file]) {
            Some(file) if wide => Ok(file.take(name, shape)?.to_dtype(self.dtype)?),
            Some(file) => Ok(file.take_narrow(name, shape)?.to_dtype(self.dtype)?),
            None => Err(self.unusable(&format!("`{name}` of shape {shape:?}"), "no such tensor")),
        }
    }

    /// The shape of the tensor `name`, if it is there and was not taken.
    pub(super) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.files[self.file(name)?].shape(name)
    }

    /// Leaves the tensor `name` aside, if it is there.
    pub(super) fn ignore(&mut self, name: &str) {
        if let Some(file) = self.file(name) {
            self.files[file].any(name);
        }
    }

    /// Fails if anything was not taken: it could matter.
    pub(super) fn finish(self, expected: &str) -> Result<()> {
        self.files.into_iter().try_for_each(|file| file.finish(expected))
    }

    /// An error that names the file.
    pub(super) fn unusable(&self, expected: &str, found: &str) -> Error {
        Error::format(&self.path, expected, found)
    }

    fn file(&self, name: &str) -> Option<usize> {
        match &self.index {
            Some(index) => index.get(name).copied(),
            None => Some(0),
        }
    }
}

/// The file of each tensor, as an index tells it.
fn places(path: &std::path::Path, text: &[u8]) -> Result<BTreeMap<String, String>> {
    let expected = "a JSON object whose `weight_map` gives a file for each tensor";
    let value = parse_json(path, text, expected)?;
    let Some(Value::Object(map)) = value.get("weight_map") else {
        return Err(Error::format(path, expected, "none"));
    };
    let place = |(tensor, file): (&String, &Value)| match file.as_str() {
        Some(file) if !file.contains(['/', '\\']) => Ok((tensor.clone(), file.to_owned())),
        _ => {
            let expected = format!("the name of a file beside it for `{tensor}`");
            Err(Error::format(path, expected, file.to_string()))
        }
    };
    let places: BTreeMap<_, _> = map.iter().map(place).collect::<Result<_>>()?;
    if places.is_empty() {
        return Err(Error::format(path, expected, "no tensors"));
    }
    Ok(places)
}
