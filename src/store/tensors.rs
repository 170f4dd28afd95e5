//! The tensors of a file, whatever its format, to be taken one by one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::raw::{NumberType, Raw};
use super::{Blob, safetensors};
use crate::check::check_finite;
use crate::progress::safe_point;
use crate::{Error, Result};

/// The tensors of a file, to be taken one by one. Those of a file on disk are read as they
/// are taken, so that at most one is held twice.
#[derive(Debug)]
pub(crate) struct Tensors {
    path: PathBuf,
    tensors: BTreeMap<String, Raw>,
    device: Device,
}

impl Tensors {
    /// The tensors of the safetensors file `path`.
    pub(crate) fn open(path: &Path, device: &Device) -> Result<Self> {
        Self::parse(path, &Blob::open(path)?, device)
    }

    /// The tensors of a safetensors file with these bytes; `path` names it in messages.
    pub(crate) fn parse(path: &Path, bytes: &Blob, device: &Device) -> Result<Self> {
        Ok(Self::of(path, safetensors::parse(path, bytes)?, device))
    }

    /// Tensors read by other means from the file `path`.
    pub(crate) fn of(path: &Path, tensors: BTreeMap<String, Raw>, device: &Device) -> Self {
        Self { path: path.to_owned(), tensors, device: device.clone() }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor `name` as it is, whatever its shape, if it is there and of a type that is read here.
    pub(crate) fn any(&mut self, name: &str) -> Option<Tensor> {
        let raw = self.tensors.remove(name)?;
        raw.tensor(name, &self.path, &self.device, false).ok()
    }

    /// The tensor `name`, which must have this shape and hold finite numbers only. bfloat16 and
    /// float16 widen to f32.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checked(name, shape, true)
    }

    /// [`Tensors::take`] without widening.
    pub(crate) fn take_narrow(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        self.checked(name, shape, false)
    }

    /// [`Tensors::take`], if the tensor is there.
    pub(crate) fn take_if(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        self.shape(name).is_some().then(|| self.take(name, shape)).transpose()
    }

    fn checked(&mut self, name: &str, shape: &[usize], wide: bool) -> Result<Tensor> {
        safe_point("loading")?;
        let expected = || format!("`{name}` of shape {shape:?}");
        let raw = match self.tensors.remove(name) {
            Some(raw) if raw.shape == shape => raw,
            Some(raw) => {
                return Err(Error::format(&self.path, expected(), format!("{:?}", raw.shape)));
            }
            None => return Err(Error::format(&self.path, expected(), "no such tensor")),
        };
        let tensor = raw.tensor(name, &self.path, &self.device, wide)?;
        check_finite(&format!("`{name}` in {}", self.path.display()), &tensor)?;
        Ok(tensor)
    }

    /// The integers of the tensor `name`, if it is there; it counts as taken.
    pub(crate) fn integers(&mut self, name: &str) -> Option<Vec<i64>> {
        self.tensors.remove(name)?.integers()
    }

    /// Forgets the tensors whose names `harmless` says yes to.
    pub(crate) fn forget(&mut self, harmless: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !harmless(name));
    }

    /// The same with names changed, or the tensor left out.
    pub(crate) fn rename(self, name: impl Fn(&str) -> Option<String>) -> Self {
        let tensors = self.tensors.into_iter();
        let tensors = tensors.filter_map(|(own, raw)| Some((name(&own)?, raw))).collect();
        Self { tensors, ..self }
    }

    /// Names of the tensors that were not taken, in alphabetical order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of the tensor `name`, if it is there and was not taken.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|raw| &*raw.shape)
    }

    /// The type of the tensor `name`, if it is there and of none of the floating point types that
    /// are read here.
    pub(crate) fn other_than_float(&self, name: &str) -> Option<String> {
        match self.tensors.get(name)?.kind {
            NumberType::F64 | NumberType::F32 | NumberType::F16 | NumberType::BF16 => None,
            kind => Some(kind.name()),
        }
    }

    /// The two sizes of the matrix `name`.
    ///
    /// # Errors
    /// No such tensor, or no matrix with entries.
    pub(crate) fn matrix(&self, name: &str) -> Result<[usize; 2]> {
        let expected = format!("`{name}`, a matrix with entries");
        match self.shape(name) {
            Some(&[rows, columns]) if rows > 0 && columns > 0 => Ok([rows, columns]),
            Some(shape) => Err(Error::format(&self.path, expected, format!("shape {shape:?}"))),
            None => Err(Error::format(&self.path, expected, "no such tensor")),
        }
    }

    /// Fails if anything was not taken: it could matter.
    pub(crate) fn finish(self, expected: &str) -> Result<()> {
        match self.tensors.into_keys().min() {
            Some(name) => Err(Error::format(&self.path, expected, format!("also `{name}`"))),
            None => Ok(()),
        }
    }
}

/// The dtype that a name in a configuration stands for, such as `torch.float32` or `bfloat16`.
pub(crate) fn named_dtype(name: &str) -> Option<DType> {
    match name.strip_prefix("torch.").unwrap_or(name) {
        "float32" | "float" | "fp32" | "f32" => Some(DType::F32),
        "float16" | "half" | "fp16" | "f16" => Some(DType::F16),
        "bfloat16" | "bf16" => Some(DType::BF16),
        "float64" | "double" | "f64" => Some(DType::F64),
        _ => None,
    }
}
