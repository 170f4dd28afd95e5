//! Files of tensors: read with every check, written whole or not at all.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor, safetensors};

use crate::linalg::check_finite;
use crate::{Error, Result};

/// The tensors of a safetensors file, to be taken one by one.
#[derive(Debug)]
pub(crate) struct Tensors {
    path: PathBuf,
    tensors: HashMap<String, Tensor>,
}

impl Tensors {
    /// All tensors of the file `path`.
    pub(crate) fn read(path: &Path, device: &Device) -> Result<Self> {
        Self::parse(path, &fs::read(path).map_err(Error::io("read", path))?, device)
    }

    /// All tensors in the bytes of a file; `path` names it in messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8], device: &Device) -> Result<Self> {
        let tensors = safetensors::load_buffer(bytes, device).map_err(|reason| {
            Error::format(path, "a whole safetensors file", reason.to_string())
        })?;
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// The tensor `name` as it is, whatever its shape and type, if it is there.
    pub(crate) fn any(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// The tensor `name`, which must have this shape and hold finite numbers only. bfloat16 and
    /// float16 widen to f32.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let expected = format!("`{name}` of shape {shape:?}");
        let tensor = match self.tensors.remove(name) {
            Some(tensor) if tensor.dims() == shape => tensor,
            Some(tensor) => {
                return Err(Error::format(&self.path, expected, format!("{:?}", tensor.dims())));
            }
            None => return Err(Error::format(&self.path, expected, "no such tensor")),
        };
        let tensor = match tensor.dtype() {
            DType::F32 | DType::F64 => tensor,
            DType::F16 | DType::BF16 => tensor.to_dtype(DType::F32)?,
            other => {
                let expected = format!("`{name}` in floating point");
                return Err(Error::format(&self.path, expected, other.as_str()));
            }
        };
        check_finite(&format!("`{name}` in {}", self.path.display()), &tensor)?;
        Ok(tensor)
    }

    /// The shape of the tensor `name`, if it is there and was not taken.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(Tensor::dims)
    }

    /// Fails if anything was not taken: it could matter.
    pub(crate) fn finish(self, expected: &str) -> Result<()> {
        match self.tensors.into_keys().min() {
            Some(name) => Err(Error::format(&self.path, expected, format!("also `{name}`"))),
            None => Ok(()),
        }
    }
}

/// Writes tensors to the file `path`, in the floating point type `dtype`.
pub(crate) fn save(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, Tensor)>,
    dtype: DType,
) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::invalid("the type to save in", "a floating point type", dtype.as_str()));
    }
    let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_dtype(dtype)?)));
    save_exactly(path, &tensors.collect::<Result<_>>()?)
}

/// Writes tensors to the file `path` as they are.
pub(crate) fn save_exactly(path: &Path, tensors: &HashMap<String, Tensor>) -> Result<()> {
    replace(path, |place| safetensors::save(tensors, place).map_err(std::io::Error::other))
}

/// Puts what `write` writes in the place of `path`, or leaves everything as it was.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = write(&part)
        .and_then(|()| fs::File::open(&part)?.sync_all())
        .and_then(|()| fs::rename(&part, path));
    written.map_err(|reason| {
        let _ = fs::remove_file(&part);
        Error::io("write", path)(reason)
    })
}
