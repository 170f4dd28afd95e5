//! GPT-2 in GGUF files.

use serde::Deserialize;

use super::super::super::{Config, Norm};
use super::metadata::{GgufSizes, Positive};
use crate::Result;
use crate::gguf::Gguf;
use crate::store::Document;

#[derive(Debug, Deserialize)]
struct NormKey {
    /// What is added to the variance in norms.
    #[serde(rename = "attention.layer_norm_epsilon")]
    eps: Positive,
}

pub(super) fn config(document: &mut Document, _: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let NormKey { eps: Positive(eps) } = document.read()?;
    let GgufSizes { layers, heads, d_model, d_hidden, .. } = *sizes;
    let gpt2 = Config::gpt2(layers, heads, d_model, d_hidden);
    Ok(Config { norm: Norm::LayerNorm { eps }, ..sizes.in_config(gpt2) })
}
