//! The tensors of a checkpoint, in one file or several.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::Value;

use super::foreign::{UNQUANTISED, is_missing, without_weights};
use crate::hub::{Content, Repository};
use crate::model::Config;
use crate::model::parameters::ModelParameter;
use crate::provenance::Source;
use crate::store::{Blob, Tensors, parse_json, read_torch};
use crate::{Error, Result};

/// Where weights are looked for, in this order: a file, or the index of several.
const PLACES: [(&str, CheckpointLayout); 5] = [
    ("model.safetensors", CheckpointLayout::Whole),
    ("model.safetensors.index.json", CheckpointLayout::Split),
    ("pytorch_model.bin", CheckpointLayout::Whole),
    ("pytorch_model.bin.index.json", CheckpointLayout::Split),
    // TransformerLens's own.
    ("model_final.pth", CheckpointLayout::Whole),
];

/// Ends of the names of files of `torch.save`.
const OF_TORCH: [&str; 3] = ["bin", "pt", "pth"];

/// Fields under which training programs put the weights in a file of `torch.save`.
const WITHIN: [&str; 4] = ["state_dict", "model_state_dict", "model", "module"];

/// Ends of the names of tensors that only quantised checkpoints have.
const QUANTISED: [(&str, &str); 8] = [
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".weight_packed", "compressed-tensors"),
    (".weight_scale", "compressed-tensors"),
    (".weight_scale_inv", "fp8 by blocks"),
    (".SCB", "bitsandbytes, 8 bits"),
    (".weight.absmax", "bitsandbytes, 4 bits"),
    (".W_q", "HQQ"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CheckpointLayout {
    Whole,
    Split,
}

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
    /// The weights of a repository: safetensors, or else files of `torch.save`, of which nothing is
    /// executed; in one file or in several with an index.
    ///
    /// # Errors
    /// No such file; one that is damaged, or does not fit its index; quantised weights.
    pub(super) fn open(repository: &Repository, device: &Device, dtype: DType) -> Result<Self> {
        let mut first = None;
        // Where the hub does not answer it is not asked again: the cache may have the other files.
        let mut places = repository.clone();
        // What is at hand is taken before the hub is asked for another.
        let mut order = PLACES;
        order.sort_by_key(|(name, _)| !repository.has_here(name));
        for (name, layout) in order {
            let content = match places.open(name) {
                Ok(content) => content,
                Err(stopped @ Error::Interrupted { .. }) => return Err(stopped),
                Err(reason) => {
                    if !is_missing(&reason) {
                        places = places.without_network();
                    }
                    first.get_or_insert(reason);
                    continue;
                }
            };
            let weights = match layout {
                CheckpointLayout::Whole => Self::whole(content, device, dtype)?,
                CheckpointLayout::Split => Self::split(repository, name, content, device, dtype)?,
            };
            weights.check_plain()?;
            return Ok(weights);
        }
        let reason = first.unwrap_or_else(|| Error::invalid("the weights", "somewhere", "none"));
        Err(without_weights(repository, reason))
    }

    fn whole(content: Content<Blob>, device: &Device, dtype: DType) -> Result<Self> {
        let Content { path, bytes, source } = content;
        let files = vec![read(&path, &bytes, device)?];
        Ok(Self { path, source, files, index: None, dtype })
    }

    fn split(
        repository: &Repository,
        index_name: &str,
        content: Content<Blob>,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        let Content { path, bytes, source } = content;
        let places = places(&path, &bytes.read().map_err(Error::io("read", &path))?)?;
        let mut names: Vec<&str> = places.values().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        let mut files = Vec::with_capacity(names.len());
        for name in &names {
            let content = repository.open(name).map_err(|reason| match is_missing(&reason) {
                true => Error::NotFound {
                    what: format!("{name} of {repository}"),
                    hint: format!(
                        "It is one of the {} parts that {index_name} names: fetch all of them. \
                         ({reason})",
                        names.len()
                    ),
                },
                false => reason,
            })?;
            files.push(read(&content.path, &content.bytes, device)?);
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

    /// Fails for weights in a form that is not read here, before any is read.
    fn check_plain(&self) -> Result<()> {
        for file in &self.files {
            for name in file.names() {
                let method = QUANTISED.iter().find(|(end, _)| name.ends_with(end));
                let kind = name.ends_with(".weight").then(|| file.other_than_float(name)).flatten();
                let found = match (method, kind) {
                    (Some((_, method)), _) => format!("`{name}` ({method})"),
                    (None, Some(kind)) => format!("`{name}` of type {kind}"),
                    (None, None) => continue,
                };
                let expected = "weights in f32, f16, bf16 or f64";
                let found = format!("quantised ones, such as {found}. {UNQUANTISED}");
                return Err(Error::format(file.path(), expected, found));
            }
        }
        Ok(())
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

    /// The maps to queries above those to keys above those to values, or their biases, which the file
    /// keeps apart: `{attention}.q_proj.weight`. `shape` is that of all three together.
    pub(super) fn take_qkv(
        &mut self,
        config: &Config,
        attention: &str,
        part: ModelParameter,
        shape: &[usize],
    ) -> Result<Tensor> {
        let end = if part == ModelParameter::QkvBias { "bias" } else { "weight" };
        let (q, kv) = (config.q_width(), config.kv_width());
        let mut all = Vec::new();
        for (map, rows) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
            let own: Vec<usize> =
                std::iter::once(rows).chain(shape.iter().skip(1).copied()).collect();
            all.push(self.take(&format!("{attention}.{map}.{end}"), &own)?);
        }
        Ok(Tensor::cat(&all, 0)?)
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

    /// Leaves aside the tensors whose names `harmless` says yes to.
    pub(super) fn forget(&mut self, harmless: impl Fn(&str) -> bool) {
        self.files.iter_mut().for_each(|file| file.forget(&harmless));
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

/// The tensors of a file, of the format that its name says.
fn read(path: &Path, bytes: &Blob, device: &Device) -> Result<Tensors> {
    if !path.extension().is_some_and(|end| OF_TORCH.iter().any(|own| end == *own)) {
        return Tensors::parse(path, bytes, device);
    }
    let loaded = read_torch(path, &bytes.read().map_err(Error::io("read", path))?)?;
    let pickle = loaded.pickle();
    let root = pickle.root();
    let inner = WITHIN.iter().find_map(|name| pickle.field(root, name));
    let tensors = loaded.tensors(root, device)?;
    let empty = tensors.names().next().is_none();
    match inner.filter(|_| empty) {
        Some(inner) => loaded.tensors(inner, device),
        None => Ok(tensors),
    }
}

/// The file of each tensor, as an index tells it.
fn places(path: &Path, text: &[u8]) -> Result<BTreeMap<String, String>> {
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
