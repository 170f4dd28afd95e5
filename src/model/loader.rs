//! How to load a model.

use std::path::Path;

use candle_core::{DType, Device};

use super::Decoder;
use super::decoder::check_float;
use super::families::{self, CONFIG};
use super::fetched::fetched;
use crate::Result;
use crate::gguf::in_folder;
use crate::hub::Repository;
use crate::store::UnknownFields;

/// How to load a [`Decoder`], where [`Decoder::from_pretrained`] does not do what is wanted: another
/// floating point type, or a configuration with fields that are not known here.
///
/// ```no_run
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let loader = DecoderLoader::new().dtype(DType::BF16).allow_unknown_fields();
/// let model = loader.load("owner/name", &Device::Cpu)?;
/// println!("{:?}", model.notes());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DecoderLoader {
    dtype: DType,
    unknown: UnknownFields,
}

impl Default for DecoderLoader {
    fn default() -> Self {
        Self { dtype: DType::F32, unknown: UnknownFields::Refuse }
    }
}

impl DecoderLoader {
    /// Weights in f32, and unknown fields refused.
    pub fn new() -> Self {
        Self::default()
    }

    /// The floating point type of weights and activations; f32. f16 and bf16 halve the memory and
    /// cost digits, f64 doubles it.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype, ..self }
    }

    /// Ignores fields of `config.json` (or of a GGUF file's metadata) whose meaning is not known
    /// here, which are an error otherwise because any of them may change numbers.
    /// [`Decoder::notes`] lists them. A known field with a value that cannot be applied is still
    /// refused.
    #[must_use]
    pub fn allow_unknown_fields(self) -> Self {
        Self { unknown: UnknownFields::Allow, ..self }
    }

    /// The model `name`: embedded, in a folder, a `.gguf` file or a folder with one, or of the hub, as
    /// [`Decoder::from_pretrained`] finds it.
    ///
    /// # Errors
    /// As [`Decoder::from_pretrained`]; a type that is not floating point.
    pub fn load(&self, name: &str, device: &Device) -> Result<Decoder> {
        let path = Path::new(name);
        if let Some(path) = fetched(name)? {
            return self.gguf(path, device);
        }
        let is_gguf = path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"));
        if is_gguf && !path.is_dir() {
            return self.gguf(path, device);
        }
        if path.is_dir()
            && !path.join(CONFIG).exists()
            && let Some(path) = in_folder(path)?
        {
            return self.gguf(path, device);
        }
        self.from_repository(&Repository::find(name)?, device)
    }

    /// The model of a repository.
    ///
    /// # Errors
    /// As [`DecoderLoader::load`].
    pub fn from_repository(&self, repository: &Repository, device: &Device) -> Result<Decoder> {
        check_float(self.dtype)?;
        families::load(repository, device, self.dtype, self.unknown)
    }

    /// The model in the GGUF file `path`; see [`Decoder::from_gguf`].
    ///
    /// # Errors
    /// As [`Decoder::from_gguf`].
    pub fn gguf(&self, path: impl AsRef<Path>, device: &Device) -> Result<Decoder> {
        check_float(self.dtype)?;
        Decoder::read_gguf(path.as_ref(), device, self.dtype, self.unknown)
    }
}
