//! Models in GGUF files: the metadata of an architecture becomes the family's config, and tensors are
//! taken under the names of Hugging Face's files, so that the families build the model.
//!
//! | architecture | rows of q, k | gains | rotary embedding | embedding |
//! | --- | --- | --- | --- | --- |
//! | `llama` | for neighbours that turn together | as at Hugging Face | base and factors of the file | |
//! | `qwen2`, `qwen3` | as at Hugging Face | as at Hugging Face | base of the file | |
//! | `gemma2` | as at Hugging Face | with the 1 in them | base of the file | times √d_model |
//! | `gemma3` | as at Hugging Face | with the 1 in them | 10000 in layers with a window | times √d_model |
//! | `phi3` | fused, as at Hugging Face | as at Hugging Face | factors for short and long texts | |
//! | `gpt2` | fused, transposed | as at Hugging Face | none: a vector for each position | |
//!
//! A window of attention is read for `gemma2`, `gemma3` and `phi3`. Files of `llama` have none, also
//! where the model had one: Mistral 7B v0.1 attends to 4096 positions at Hugging Face and to all here.
//!
//! Source: llama.cpp's converter (`convert_hf_to_gguf.py`) and loader.

mod architecture;
mod gemma;
mod gpt2;
mod llama;
mod metadata;
mod phi3;
mod rope;
mod tensors;
#[cfg(test)]
mod tests;

use candle_core::{DType, Device};

use super::super::origin::ModelOrigin;
use super::super::{Config, Decoder};
use super::ignored_note;
use crate::gguf::Gguf;
use crate::provenance::Source;
use crate::store::UnknownFields;
use crate::{Error, Result};

use architecture::GgufArchitecture;
use tensors::GgufTensors;

/// A model in a file, of which the metadata was read.
#[derive(Debug)]
pub(crate) struct GgufModel {
    gguf: Gguf,
    architecture: GgufArchitecture,
    config: Config,
    notes: Vec<String>,
}

impl GgufModel {
    /// The model in a file.
    ///
    /// # Errors
    /// A file of an architecture that is not supported, or with no model of language in it; tensors of
    /// types that are not read here, before any is read; metadata that is missing, wrong, or, unless
    /// allowed, unknown.
    pub(crate) fn new(gguf: &Gguf, unknown: UnknownFields) -> Result<Self> {
        let architecture = GgufArchitecture::of(gguf)?;
        let (config, ignored) = architecture.config(gguf, unknown)?;
        config.check().map_err(|reason| {
            gguf.wrong("the sizes of a transformer", reason.to_string()).caused_by(reason)
        })?;
        gguf.check_types()?;
        let file = gguf.path().file_name().unwrap_or_default().to_string_lossy();
        let notes = ignored_note(&file, &ignored).into_iter().collect();
        Ok(Self { gguf: gguf.clone(), architecture, config, notes })
    }

    /// The model with its weights in `dtype`. Beyond them, memory holds one tensor twice.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, or not finite; one that the metadata does not speak
    /// of.
    pub(crate) fn load(self, device: &Device, dtype: DType) -> Result<Decoder> {
        let Self { gguf, architecture, config, notes } = self;
        let mut tensors = GgufTensors::new(&gguf, architecture, config.d_head(), device, dtype);
        let take = |name: &str, shape: &[usize]| tensors.take(name, shape);
        let parameters = match architecture {
            GgufArchitecture::Gpt2 => super::gpt2::parameters_from(&config, take),
            GgufArchitecture::Phi3 => super::phi3::parameters_from(&config, take),
            _ => super::llama::parameters(&config, take),
        }?;
        tensors.finish()?;
        let origin = ModelOrigin {
            source: Source::File(gguf.path().to_owned()),
            gguf: Some(gguf),
            notes,
            ..ModelOrigin::default()
        };
        Ok(Decoder::from_parameters(config, parameters, device, origin))
    }
}

/// The error for a name that no tensor of an architecture has.
fn no_such_name(name: &str) -> Error {
    Error::invalid("the name of a tensor", "one of the model's family", name)
}
