//! Gemma 2 and 3 in GGUF files.
//!
//! Files do not say by what scores are multiplied, which layers have a window, nor the base of the
//! rotary embedding in layers with a window: llama.cpp has these as constants, and so has this file.

use serde::Deserialize;

use super::super::super::{Config, Norm, Position, Rotary};
use super::metadata::{GgufSizes, LayerSize, Positive, rms_eps};
use super::rope::whole_rotary;
use crate::Result;
use crate::gguf::Gguf;
use crate::store::Document;

/// Layers of the models of 27B, whose scores are multiplied by `(d_model / heads)^(-1/2)`. Those of
/// all others are multiplied by `d_head^(-1/2)`.
const GEMMA2_27B_LAYERS: usize = 46;
const GEMMA3_27B_LAYERS: usize = 62;
/// The window of Gemma 2 where a file leaves it out, as older ones do.
const GEMMA2_WINDOW: usize = 4096;
/// One layer in so many sees everything.
const GEMMA3_PATTERN: usize = 6;

/// What bounds scores and logits.
#[derive(Debug, Deserialize)]
struct CapKeys {
    /// c of c·tanh(score / c).
    #[serde(rename = "attn_logit_softcapping")]
    score: Option<Positive>,
    /// c of c·tanh(logit / c).
    #[serde(rename = "final_logit_softcapping")]
    logit: Option<Positive>,
}

/// Which layers have a window.
#[derive(Debug, Deserialize)]
struct WindowKeys {
    /// Positions that attention sees there.
    #[serde(rename = "attention.sliding_window")]
    window: Option<LayerSize>,
    /// One layer in so many has none.
    #[serde(rename = "attention.sliding_window_pattern")]
    pattern: Option<LayerSize>,
}

/// Of Gemma 3.
#[derive(Debug, Deserialize)]
struct LocalRopeKeys {
    /// The base of the frequencies in layers with a window: 10000 if left out.
    #[serde(rename = "rope.freq_base_swa")]
    base: Option<Positive>,
}

pub(super) fn gemma2(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let caps: CapKeys = document.read()?;
    let cap = |cap: Option<Positive>, default| cap.map_or(default, |Positive(cap)| cap);
    let usual = usual(document, gguf, sizes, GEMMA2_27B_LAYERS)?;
    Ok(Config {
        score_cap: Some(cap(caps.score, 50.)),
        logit_cap: Some(cap(caps.logit, 30.)),
        windows: windows(document, sizes.layers, 2, Some(GEMMA2_WINDOW))?,
        position: Position::Rotary(whole_rotary(document, gguf, sizes, Some(10_000.))?),
        local_rotary: None,
        qk_norm: None,
        ..usual
    })
}

pub(super) fn gemma3(document: &mut Document, gguf: &Gguf, sizes: &GgufSizes) -> Result<Config> {
    let caps: CapKeys = document.read()?;
    let cap = |cap: Option<Positive>| cap.map(|Positive(cap)| cap);
    let LocalRopeKeys { base } = document.read()?;
    let local = Rotary::new(base.map_or(10_000., |Positive(base)| base));
    let usual = usual(document, gguf, sizes, GEMMA3_27B_LAYERS)?;
    let windows = windows(document, sizes.layers, GEMMA3_PATTERN, None)?;
    let full = whole_rotary(document, gguf, sizes, None)?;
    Ok(Config {
        score_cap: cap(caps.score),
        logit_cap: cap(caps.logit),
        local_rotary: (local != full && !windows.is_empty()).then_some(local),
        windows,
        position: Position::Rotary(full),
        ..usual
    })
}

/// What both have.
fn usual(
    document: &mut Document,
    gguf: &Gguf,
    sizes: &GgufSizes,
    layers_of_27b: usize,
) -> Result<Config> {
    let has = |name: &str| gguf.info(name).is_some();
    let GgufSizes { layers, heads, d_model, d_hidden, .. } = *sizes;
    let width = match layers == layers_of_27b {
        true => d_model as f64 / heads as f64,
        false => sizes.d_head as f64,
    };
    Ok(Config {
        norm: Norm::RmsOnePlusGain { eps: rms_eps(document)? },
        qkv_bias: has("blk.0.attn_q.bias"),
        attention_bias: has("blk.0.attn_output.bias"),
        score_scale: Some(width.powf(-0.5)),
        ..sizes.in_config(Config::gemma3(layers, heads, d_model, d_hidden))
    })
}

/// The window of each layer, of `usual` positions where the file says nothing: the last of every
/// `pattern` layers has none. Empty where no layer has one.
fn windows(
    document: &mut Document,
    layers: usize,
    pattern: usize,
    usual: Option<usize>,
) -> Result<Vec<Option<usize>>> {
    let WindowKeys { window, pattern: stated } = document.read()?;
    let window = window.map(|LayerSize(window)| window).or(usual);
    let window = window.ok_or_else(|| {
        document.missing("attention.sliding_window", "the positions that attention sees")
    })?;
    let pattern = stated.map_or(pattern, |LayerSize(pattern)| pattern);
    let windows = (1..=layers).map(|number| (!number.is_multiple_of(pattern)).then_some(window));
    let windows: Vec<_> = windows.collect();
    Ok(if windows.iter().any(Option::is_some) { windows } else { Vec::new() })
}
