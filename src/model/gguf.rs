//! Models in GGUF files.

use std::path::Path;
use std::sync::OnceLock;

use candle_core::{DType, Device};

use super::families::llama;
use super::text::Origin;
use super::{Config, Decoder, Norm, Position, Rotary, Scaling};
use crate::gguf::{Gguf, Llama, Rope};
use crate::hub::Source;
use crate::{Error, Result};

impl Decoder {
    /// The model in the GGUF file `path`, of architecture `llama` (Llama, SmolLM2, Mistral), its
    /// weights widened to f32, its tokenizer the file's.
    ///
    /// Tensors are read one by one: beyond the weights, memory holds one of them twice.
    ///
    /// # Errors
    /// A file that is missing, damaged, of another architecture, quantised in a way that is not read
    /// here (see [`gguf`](crate::gguf)), or that says something unknown of the model that could
    /// change its numbers.
    pub fn from_gguf(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::from_gguf_as(path, device, DType::F32)
    }

    /// [`Decoder::from_gguf`] with weights and activations in another floating point type.
    ///
    /// # Errors
    /// As [`Decoder::from_gguf`]; a type that is not floating point.
    pub fn from_gguf_as(path: impl AsRef<Path>, device: &Device, dtype: DType) -> Result<Self> {
        if !dtype.is_float() {
            let found = dtype.as_str();
            return Err(Error::invalid("the type of weights", "a floating point type", found));
        }
        let gguf = Gguf::open(path)?;
        let mut model = Llama::new(&gguf)?;
        let config = config(&model);
        let origin = Origin {
            source: Source::File(gguf.path().to_owned()),
            repository: None,
            tokenizer_name: None,
            gguf: Some(gguf.clone()),
            tokenizer: OnceLock::new(),
        };
        config
            .check()
            .map_err(|reason| gguf.wrong("the sizes of a transformer", reason.to_string()))?;
        let decoder = llama::build(config, origin, |name, shape| {
            Ok(model.take(name, shape, device)?.to_dtype(dtype)?)
        })?;
        model.finish()?;
        Ok(decoder)
    }
}

fn config(model: &Llama) -> Config {
    let scaling = match model.rope {
        Rope::Plain => Scaling::None,
        Rope::Linear(factor) => Scaling::Linear { factor },
        Rope::Llama3 { factor, low, high, original } => {
            Scaling::Llama3 { factor, low, high, original }
        }
    };
    let usual = model.d_head * model.heads == model.d_model;
    Config {
        kv_heads: (model.kv_heads != model.heads).then_some(model.kv_heads),
        d_head: (!usual).then_some(model.d_head),
        context: model.context,
        vocab: model.vocab,
        norm: Norm::RmsGain { eps: model.eps },
        position: Position::Rotary(Rotary { scaling, ..Rotary::new(model.rope_base) }),
        qkv_bias: model.qkv_bias,
        attention_bias: model.attention_bias,
        tied: model.tied,
        ..Config::llama(model.layers, model.heads, model.d_model, model.d_hidden)
    }
}
