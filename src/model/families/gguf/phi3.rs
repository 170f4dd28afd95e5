//! Phi-3, and with it Phi-4 and Phi-4-mini, in GGUF files.

use serde::Deserialize;

use super::super::super::{Config, Norm, Position};
use super::metadata::{GgufSizes, rms_eps};
use super::rope::rotary;
use crate::Result;
use crate::gguf::Gguf;
use crate::store::Document;

#[derive(Debug, Deserialize)]
struct WindowKey {
    /// Keys that a query sees in every layer: all if 0. Files of the first Phi-3 leave it out.
    #[serde(rename = "attention.sliding_window")]
    window: Option<u32>,
}

pub(super) fn config(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let GgufSizes { layers, heads, d_model, d_hidden, .. } = *sizes;
    let WindowKey { window } = document.read()?;
    let window = window.map(|window| window as usize).or_else(|| first_window(sizes));
    let window = window.ok_or_else(|| {
        document.missing("attention.sliding_window", "the keys that a query sees, 0 for all")
    })?;
    Ok(Config {
        norm: Norm::RmsGain { eps: rms_eps(document)? },
        position: Position::Rotary(rotary(document, gguf, sizes, Some(10_000.))?),
        windows: if window > 0 { vec![Some(window); layers] } else { Vec::new() },
        ..sizes.in_config(Config::llama(layers, heads, d_model, d_hidden))
    })
}

/// The window of the models that were converted before files had it, which are known by their sizes:
/// Phi-3 mini and medium for 4096 tokens, mini and medium for 131072. Source: llama.cpp's loader.
fn first_window(sizes: &GgufSizes) -> Option<usize> {
    match (sizes.layers, sizes.kv_heads, sizes.context) {
        (32 | 40, _, 4096) => Some(2047),
        (32, 32, 131_072) => Some(262_144),
        (40, _, 131_072) => Some(131_072),
        _ => None,
    }
}
