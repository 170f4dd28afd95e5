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
    /// Keys that a query sees in every layer: all if 0.
    #[serde(rename = "attention.sliding_window")]
    window: Option<u32>,
}

pub(super) fn config(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let GgufSizes { layers, heads, d_model, d_hidden, .. } = *sizes;
    let WindowKey { window } = document.read()?;
    let window = window.map_or(0, |window| window as usize);
    Ok(Config {
        norm: Norm::RmsGain { eps: rms_eps(document)? },
        position: Position::Rotary(rotary(document, gguf, sizes, Some(10_000.))?),
        windows: if window > 0 { vec![Some(window); layers] } else { Vec::new() },
        ..sizes.in_config(Config::llama(layers, heads, d_model, d_hidden))
    })
}
