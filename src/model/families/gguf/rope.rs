//! Rotary embedding in the metadata and tensors of GGUF files.

use std::f64::consts::TAU;
use std::sync::Arc;

use candle_core::Device;
use serde::Deserialize;
use serde_json::Value as Json;

use super::super::super::{Rotary, Scaling};
use super::metadata::{GgufSizes, LayerSize, Positive};
use crate::Result;
use crate::gguf::Gguf;
use crate::store::Document;

/// Divisors of frequencies, of Llama 3.
pub(super) const FACTORS: &str = "rope_freqs.weight";
/// Divisors for texts up to the context of training, and for longer ones, of Phi-3.
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";

/// What all architectures with rotary embedding have.
#[derive(Debug, Deserialize)]
struct RopeKeys {
    /// The base of the frequencies, θ.
    #[serde(rename = "rope.freq_base")]
    base: Option<Positive>,
    /// Entries of a head that turn: all if left out.
    #[serde(rename = "rope.dimension_count")]
    dims: Option<LayerSize>,
    /// The kind of scaling: linear if it is left out and there is a factor.
    #[serde(rename = "rope.scaling.type")]
    kind: Option<GgufScaling>,
    /// What divides frequencies.
    #[serde(rename = "rope.scaling.factor")]
    factor: Option<Positive>,
    /// The same, in older files.
    #[serde(rename = "rope.scale_linear")]
    scale_linear: Option<Positive>,
    /// The context of training before the scaling, in tokens.
    #[serde(rename = "rope.scaling.original_context_length")]
    original: Option<LayerSize>,
    /// What multiplies cosines and sines: it goes with factors.
    #[serde(rename = "rope.scaling.attn_factor")]
    attention_factor: Option<Positive>,
    /// Whether the model was trained with the scaling: no number depends on it.
    #[serde(rename = "rope.scaling.finetuned")]
    _finetuned: Option<Json>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GgufScaling {
    None,
    Linear,
    LongRope,
}

/// Rotary embedding of base `default` where the file says nothing of it; an architecture without a
/// default must say it.
///
/// # Errors
/// A share of a head that turns, but for Phi-3; a scaling that is not known, or without the numbers
/// that it needs.
pub(super) fn rotary(
    document: &mut Document,
    gguf: &Gguf,
    sizes: &GgufSizes,
    default: Option<f64>,
) -> Result<Rotary> {
    let keys: RopeKeys = document.read()?;
    let dims = keys.dims.map_or(sizes.d_head, |LayerSize(dims)| dims);
    if dims > sizes.d_head || !dims.is_multiple_of(2) {
        let expected = format!("an even number up to {}, the width of a head,", sizes.d_head);
        return Err(document.wrong("rope.dimension_count", &expected, dims));
    }
    let base = keys.base.map(|Positive(base)| base).or(default);
    let base = base.ok_or_else(|| document.missing("rope.freq_base", "a positive number"))?;
    let rotary = Rotary { dims: (dims != sizes.d_head).then_some(dims), ..Rotary::new(base) };
    let factored = [SHORT_FACTORS, LONG_FACTORS].iter().any(|name| gguf.info(name).is_some());
    let scaling = match factored {
        true => long_rope(document, gguf, sizes, &keys, dims / 2)?,
        false => plain(document, &keys)?,
    };
    match (gguf.info(FACTORS).is_some(), scaling) {
        (false, scaling) => Ok(Rotary { scaling, ..rotary }),
        (true, Scaling::None) => Ok(Rotary { scaling: llama3(gguf, base, dims)?, ..rotary }),
        (true, other) => {
            let expected = format!("no factors in `{FACTORS}`, beside a scaling in the metadata");
            Err(gguf.wrong(expected, format!("{other:?}")))
        }
    }
}

/// [`rotary`] of whole heads.
pub(super) fn whole_rotary(
    document: &mut Document,
    gguf: &Gguf,
    sizes: &GgufSizes,
    default: Option<f64>,
) -> Result<Rotary> {
    let rotary = rotary(document, gguf, sizes, default)?;
    match rotary.dims {
        None => Ok(rotary),
        Some(dims) => {
            let expected = format!("{}, the width of a head,", sizes.d_head);
            Err(document.wrong("rope.dimension_count", &expected, dims))
        }
    }
}

/// The scaling that the metadata says.
fn plain(document: &Document, keys: &RopeKeys) -> Result<Scaling> {
    if let Some(Positive(factor)) = keys.attention_factor.filter(|Positive(own)| *own != 1.) {
        let expected = format!("1, because there is no `{LONG_FACTORS}` that it would go with,");
        return Err(document.wrong("rope.scaling.attn_factor", &expected, factor));
    }
    let factor = keys.factor.or(keys.scale_linear).map(|Positive(factor)| factor);
    let wrong = |kind: &str| {
        let expected = "`none`, `linear` with a factor, or `longrope` with tensors of factors,";
        Err(document.wrong("rope.scaling.type", expected, kind))
    };
    match (keys.kind, factor) {
        (Some(GgufScaling::None), _) | (None, None | Some(1.)) => Ok(Scaling::None),
        (None | Some(GgufScaling::Linear), Some(factor)) => Ok(Scaling::Linear { factor }),
        (Some(GgufScaling::Linear), None) => wrong("linear"),
        (Some(GgufScaling::LongRope), _) => wrong("longrope"),
    }
}

/// LongRoPE, whose divisors are tensors.
fn long_rope(
    document: &Document,
    gguf: &Gguf,
    sizes: &GgufSizes,
    keys: &RopeKeys,
    pairs: usize,
) -> Result<Scaling> {
    if let Some(kind) = keys.kind.filter(|kind| *kind != GgufScaling::LongRope) {
        let expected = format!("`longrope`, because there is `{LONG_FACTORS}`,");
        let found = format!("{kind:?}").to_lowercase();
        return Err(document.wrong("rope.scaling.type", &expected, found));
    }
    if let Some(Positive(factor)) = keys.factor.or(keys.scale_linear) {
        let expected = format!("nothing, because there is `{LONG_FACTORS}`,");
        return Err(document.wrong("rope.scaling.factor", &expected, factor));
    }
    let Some(LayerSize(original)) = keys.original else {
        return Err(document.missing("rope.scaling.original_context_length", "a size"));
    };
    let ratio = sizes.context as f64 / original as f64;
    let usual = match ratio > 1. && original > 1 {
        true => (1. + ratio.ln() / (original as f64).ln()).sqrt(),
        false => 1.,
    };
    let divisors = |name| -> Result<Arc<[f64]>> {
        let factors = factors(gguf, name, pairs)?;
        match factors.iter().find(|factor| **factor <= 0.) {
            None => Ok(factors.into_iter().map(f64::from).collect()),
            Some(other) => {
                Err(gguf.wrong(format!("positive numbers in `{name}`"), other.to_string()))
            }
        }
    };
    Ok(Scaling::LongRope {
        short: divisors(SHORT_FACTORS)?,
        long: divisors(LONG_FACTORS)?,
        original: original as f64,
        attention_factor: keys.attention_factor.map_or(usual, |Positive(factor)| factor),
    })
}

/// The numbers of a tensor with one for each pair of a head's entries that turns.
fn factors(gguf: &Gguf, name: &str, pairs: usize) -> Result<Vec<f32>> {
    let shape = gguf.info(name).map(|info| info.shape().to_vec());
    match shape {
        Some(shape) if shape == [pairs] => Ok(gguf.tensor(name, &Device::Cpu)?.to_vec1()?),
        found => {
            let found = found.map_or("no such tensor".to_owned(), |shape| format!("{shape:?}"));
            Err(gguf.wrong(format!("{pairs} factors in `{name}`"), found))
        }
    }
}

/// The scaling behind the file's divisors of frequencies. Files do not say how these were made:
/// they are compared with what the published Llama 3 models do.
fn llama3(gguf: &Gguf, base: f64, dims: usize) -> Result<Scaling> {
    let factors = factors(gguf, FACTORS, dims / 2)?;
    let factor = f64::from(factors.iter().copied().fold(1f32, f32::max));
    let (low, high, original) = (1., 4., 8192.);
    for (i, found) in factors.iter().enumerate() {
        let turns = original / TAU * base.powf(-2. * i as f64 / dims as f64);
        let share = ((turns - low) / (high - low)).clamp(0., 1.);
        let expected = 1. / ((1. - share) / factor + share);
        if (f64::from(*found) - expected).abs() > 1e-4 * expected {
            let what = format!("at {i} a factor of Llama 3, {expected}, in `{FACTORS}`");
            let found = format!("{found}, a scaling that eigenlens does not know");
            return Err(gguf.wrong(what, found));
        }
    }
    Ok(match factor == 1. {
        true => Scaling::None,
        false => Scaling::Llama3 { factor, low, high, original },
    })
}
