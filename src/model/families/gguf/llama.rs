//! Llama (with SmolLM2 and Mistral), Qwen-2 and Qwen 3 in GGUF files.

use super::super::super::{Config, Norm, Position, QkNorm};
use super::metadata::{GgufSizes, rms_eps};
use super::rope::whole_rotary;
use crate::Result;
use crate::gguf::Gguf;
use crate::store::Document;

pub(super) fn llama(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let has = |name: &str| gguf.info(name).is_some();
    let GgufSizes { layers, heads, d_model, d_hidden, .. } = *sizes;
    Ok(Config {
        norm: Norm::RmsGain { eps: rms_eps(document)? },
        position: Position::Rotary(whole_rotary(document, gguf, sizes, Some(10_000.))?),
        qkv_bias: has("blk.0.attn_q.bias"),
        attention_bias: has("blk.0.attn_output.bias"),
        ..sizes.in_config(Config::llama(layers, heads, d_model, d_hidden))
    })
}

/// As Llama: queries, keys and values have biases.
pub(super) fn qwen2(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    llama(document, gguf, sizes)
}

/// As Llama with norms of each head's queries and keys.
pub(super) fn qwen3(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let config = llama(document, gguf, sizes)?;
    Ok(Config { qk_norm: Some(QkNorm::PerHead), ..config })
}
