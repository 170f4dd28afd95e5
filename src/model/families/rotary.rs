//! Fields of rotary embedding in `config.json`, at its top level and in the settings that
//! [`settings`] finds.

use std::sync::Arc;

use serde::Deserialize;

use super::rope_places::{RopeLayers, check_places, setting_name, settings};
use crate::model::{Rotary, Scaling};
use crate::store::{Document, MustBe};
use crate::{Error, Result};

/// The fields of the share of a head that turns, and of the context of training before a scaling.
const SHARE: &str = "partial_rotary_factor";
const ORIGINAL: &str = "original_max_position_embeddings";

/// What a family has where a file says nothing of its rotary embedding.
#[derive(Debug, Clone, Copy)]
pub(super) struct RotaryFields {
    /// Width of a head.
    pub(super) d_head: usize,
    /// The base of the frequencies, θ.
    pub(super) base: f64,
    /// The share of a head's entries that turn.
    pub(super) share: f64,
    /// The context of training before a scaling, in tokens. `None`: the longest sequence.
    pub(super) original: Option<f64>,
}

/// Fields that a config has at its top level or within its rotary settings.
#[derive(Debug, Default, Deserialize)]
struct RopeFrequencies {
    /// The base of the frequencies, θ.
    rope_theta: Option<f64>,
    /// The share of a head's entries that turn.
    partial_rotary_factor: Option<f64>,
}

/// The kind of scaling, under one of two names.
#[derive(Debug, Default, Deserialize)]
struct RopeType {
    rope_type: Option<RopeKind>,
    r#type: Option<RopeKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RopeKind {
    /// None.
    Default,
    /// All frequencies divided by one factor.
    Linear,
    /// None within the context. It changes the frequencies of longer texts, which are refused.
    Dynamic,
    /// That of Llama 3: low frequencies alone are divided.
    Llama3,
    /// Low frequencies divided, with a ramp between them and the others; cosines and sines multiplied.
    Yarn,
    /// Each frequency divided by a factor of its own, which depends on the sequence's length. The
    /// first Phi-3 files call it `su`.
    #[serde(alias = "su")]
    LongRope,
}

/// Of all but `default`.
#[derive(Debug, Default, Deserialize)]
struct RopeFactor {
    /// The factor that divides frequencies; of `longrope`, how much longer sequences may be.
    factor: Option<f64>,
}

/// Of all but `dynamic`, at the top level or within; it counts for `llama3`, `yarn` and `longrope`.
#[derive(Debug, Default, Deserialize)]
struct RopeOriginal {
    /// The context of training before the scaling, in tokens.
    original_max_position_embeddings: Option<f64>,
}

/// At the top level.
#[derive(Debug, Deserialize)]
struct RopeContext {
    /// The longest sequence in tokens.
    max_position_embeddings: Option<f64>,
}

/// Of `llama3`.
#[derive(Debug, Default, Deserialize)]
struct RopeBands {
    /// Turns within the original context below which a frequency is divided.
    low_freq_factor: Option<f64>,
    /// Turns from which it is not.
    high_freq_factor: Option<f64>,
}

/// Of `yarn`.
#[derive(Debug, Default, Deserialize)]
struct RopeRamp {
    /// Turns within the original context from which a frequency stays: 32 if left out or 0.
    beta_fast: Option<f64>,
    /// Turns below which it is divided: 1 if left out or 0.
    beta_slow: Option<f64>,
    /// Weights of the logarithm in the factor of cosines and sines and in what divides it, which
    /// count where both are there.
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
}

/// Of `yarn`.
#[derive(Debug, Default, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct RopeRampEnds {
    /// Whether the ramp's ends are whole numbers. True if left out.
    truncate: Option<MustBe<true>>,
}

/// Of `yarn` and `longrope`.
#[derive(Debug, Default, Deserialize)]
struct RopeAttention {
    /// What multiplies cosines and sines.
    attention_factor: Option<f64>,
}

/// Of `longrope`: what divides each frequency.
#[derive(Debug, Default, Deserialize)]
struct RopeFactors {
    /// In sequences up to the original context.
    short_factor: Option<Vec<f64>>,
    /// In longer ones.
    long_factor: Option<Vec<f64>>,
}

/// Rotary embedding of heads of width `d_head`, the same in all layers. `base` and `share` are what
/// the file says of the frequencies' base and of the share of a head under names of the family's,
/// `default_share` the share where it says nothing.
pub(super) fn rotary(
    document: &mut Document,
    d_head: usize,
    names: [Option<f64>; 2],
    default_share: f64,
) -> Result<Rotary> {
    let fields = RotaryFields { share: default_share, ..RotaryFields::new(d_head) };
    fields.read(document, RopeLayers::All, names)
}

impl RotaryFields {
    /// Of heads of this width, all of which turns, by frequencies of base 10,000.
    pub(super) fn new(d_head: usize) -> Self {
        Self { d_head, base: 10_000., share: 1., original: None }
    }

    /// Rotary embedding of some layers. `base` and `share` are what the file says of the frequencies'
    /// base and of the share of a head under names of the family's.
    pub(super) fn read(
        self,
        document: &mut Document,
        layers: RopeLayers,
        [base, share]: [Option<f64>; 2],
    ) -> Result<Rotary> {
        check_places(document)?;
        let top: RopeFrequencies = match layers {
            RopeLayers::All | RopeLayers::Full => document.read()?,
            RopeLayers::Sliding => RopeFrequencies::default(),
        };
        let inner: RopeFrequencies = settings(document, layers)?;
        let base = one(document, "rope_theta", [base, top.rope_theta, inner.rope_theta])?;
        let shares = [share, top.partial_rotary_factor, inner.partial_rotary_factor];
        let share = one(document, SHARE, shares)?.unwrap_or(self.share);
        if !(share > 0. && share <= 1.) {
            let place = match (top.partial_rotary_factor, inner.partial_rotary_factor) {
                (Some(_), _) => format!("in `{}`", document.named(SHARE)),
                (None, Some(_)) => format!("in `{}`", setting_name(document, layers, SHARE)),
                (None, None) => "for rotary embedding".to_owned(),
            };
            let expected = format!("a share of a head between 0 and 1 {place}");
            return Err(Error::format(document.path(), expected, share.to_string()));
        }
        let dims = (self.d_head as f64 * share) as usize;
        Ok(Rotary {
            dims: (dims != self.d_head).then_some(dims),
            base: base.unwrap_or(self.base),
            scaling: self.scaling(document, layers, dims / 2)?,
        })
    }

    /// [`RotaryFields::read`], of which all of a head must turn.
    pub(super) fn whole(
        self,
        document: &mut Document,
        layers: RopeLayers,
        base: Option<f64>,
    ) -> Result<Rotary> {
        let rotary = self.read(document, layers, [base, None])?;
        match rotary.dims {
            None => Ok(rotary),
            Some(dims) => {
                let expected = format!("rotary embedding of all {} entries of a head", self.d_head);
                Err(Error::format(document.path(), expected, dims.to_string()))
            }
        }
    }

    /// Rotary embedding of the layers that see everything, and of those with a window where that is
    /// another: `local_base` is what the file says of its base under a name of the family's,
    /// `default_local` the base where it says nothing.
    pub(super) fn by_layer(
        self,
        document: &mut Document,
        local_base: Option<f64>,
        default_local: f64,
    ) -> Result<(Rotary, Option<Rotary>)> {
        let full = self.whole(document, RopeLayers::Full, None)?;
        let local = Self { base: default_local, ..self };
        let local = local.whole(document, RopeLayers::Sliding, local_base)?;
        let other = (local != full).then_some(local);
        Ok((full, other))
    }

    /// The scaling of so many frequencies.
    fn scaling(self, document: &mut Document, layers: RopeLayers, pairs: usize) -> Result<Scaling> {
        let RopeType { rope_type, r#type } = settings(document, layers)?;
        let kind = rope_type.or(r#type).unwrap_or(RopeKind::Default);
        let original = match kind {
            RopeKind::Dynamic => None,
            _ => original(document, layers)?,
        };
        let RopeFactor { factor } = match kind {
            RopeKind::Default => RopeFactor::default(),
            _ => settings(document, layers)?,
        };
        match kind {
            RopeKind::Default | RopeKind::Dynamic => Ok(Scaling::None),
            RopeKind::Linear => {
                Ok(Scaling::Linear { factor: needed(document, layers, "factor", factor)? })
            }
            RopeKind::Llama3 => {
                let RopeBands { low_freq_factor, high_freq_factor } = settings(document, layers)?;
                Ok(Scaling::Llama3 {
                    factor: needed(document, layers, "factor", factor)?,
                    low: needed(document, layers, "low_freq_factor", low_freq_factor)?,
                    high: needed(document, layers, "high_freq_factor", high_freq_factor)?,
                    original: needed(document, layers, ORIGINAL, original)?,
                })
            }
            RopeKind::Yarn => {
                let factor = needed(document, layers, "factor", factor)?;
                let original = self.original_or_context(document, layers, original)?;
                yarn(document, layers, factor, original)
            }
            RopeKind::LongRope => {
                let original = self.original_or_context(document, layers, original)?;
                let factor = match factor {
                    Some(factor) => factor,
                    None => {
                        let RopeContext { max_position_embeddings } = document.read()?;
                        max_position_embeddings.map_or(1., |context| context / original)
                    }
                };
                long_rope(document, layers, factor, original, pairs)
            }
        }
    }

    /// The context of training before the scaling.
    fn original_or_context(
        self,
        document: &mut Document,
        layers: RopeLayers,
        original: Option<f64>,
    ) -> Result<f64> {
        let RopeContext { max_position_embeddings } = document.read()?;
        let found = original.or(self.original).or(max_position_embeddings);
        let found = needed(document, layers, ORIGINAL, found)?;
        if found > 1. && found.is_finite() {
            return Ok(found);
        }
        let is_at_top = document.get(ORIGINAL).is_some_and(|value| !value.is_null());
        let name = match original {
            Some(_) if is_at_top => document.named(ORIGINAL),
            Some(_) => setting_name(document, layers, ORIGINAL),
            None => document.named("max_position_embeddings"),
        };
        let expected = format!("a size from 2 in `{name}`");
        Err(Error::format(document.path(), expected, found.to_string()))
    }
}

/// A value that some files say two or three times.
fn one(document: &Document, name: &str, all: [Option<f64>; 3]) -> Result<Option<f64>> {
    let mut said = all.into_iter().flatten();
    let Some(first) = said.next() else { return Ok(None) };
    match said.find(|value| *value != first) {
        Some(other) => {
            let found = format!("{first} and {other}");
            let expected = format!("one value of `{}`", document.named(name));
            Err(Error::format(document.path(), expected, found))
        }
        None => Ok(Some(first)),
    }
}

fn needed<T>(document: &Document, layers: RopeLayers, name: &str, found: Option<T>) -> Result<T> {
    found.ok_or_else(|| {
        let name = setting_name(document, layers, name);
        let expected = format!("the number `{name}` of rotary embedding");
        Error::format(document.path(), expected, "no such field")
    })
}

/// What the file says of the context of training before the scaling.
fn original(document: &mut Document, layers: RopeLayers) -> Result<Option<f64>> {
    let top: RopeOriginal = document.read()?;
    let inner: RopeOriginal = settings(document, layers)?;
    let all = [top, inner].map(|place| place.original_max_position_embeddings);
    one(document, ORIGINAL, [all[0], all[1], None])
}

/// YaRN. Cosines and sines are multiplied by `attention_factor`, or else by `m(1)` for
/// `m(s) = 0.1 s ln(factor) + 1`, or by `m(mscale) / m(mscale_all_dim)` where a file has both.
fn yarn(
    document: &mut Document,
    layers: RopeLayers,
    factor: f64,
    original: f64,
) -> Result<Scaling> {
    settings::<RopeRampEnds>(document, layers)?;
    let ramp: RopeRamp = settings(document, layers)?;
    let RopeAttention { attention_factor } = settings(document, layers)?;
    let used = |number: Option<f64>| number.filter(|number| *number != 0.);
    let grown = |scale: f64| if factor > 1. { 0.1 * scale * factor.ln() + 1. } else { 1. };
    let default = match (used(ramp.mscale), used(ramp.mscale_all_dim)) {
        (Some(own), Some(all)) => grown(own) / grown(all),
        _ => grown(1.),
    };
    Ok(Scaling::Yarn {
        factor,
        original,
        beta_fast: used(ramp.beta_fast).unwrap_or(32.),
        beta_slow: used(ramp.beta_slow).unwrap_or(1.),
        attention_factor: attention_factor.unwrap_or(default),
    })
}

/// LongRoPE, for sequences `factor` times as long as the original context. Cosines and sines are
/// multiplied by `attention_factor`, or else by `√(1 + ln(factor) / ln(original))`.
fn long_rope(
    document: &mut Document,
    layers: RopeLayers,
    factor: f64,
    original: f64,
    pairs: usize,
) -> Result<Scaling> {
    let RopeFactors { short_factor, long_factor } = settings(document, layers)?;
    let RopeAttention { attention_factor } = settings(document, layers)?;
    let list = |name: &str, found: Option<Vec<f64>>| -> Result<Arc<[f64]>> {
        let expected = format!(
            "{pairs} positive numbers in `{}`, one for each pair of a head's entries that turns",
            setting_name(document, layers, name)
        );
        let wrong = |found: String| Err(Error::format(document.path(), expected, found));
        match found {
            None => wrong("no such field".to_owned()),
            Some(list) if list.len() != pairs => wrong(format!("{} of them", list.len())),
            Some(list) => {
                let mut all = list.iter().copied();
                match all.find(|own| !(*own > 0. && own.is_finite())) {
                    Some(own) => wrong(own.to_string()),
                    None => Ok(list.into()),
                }
            }
        }
    };
    let default = match factor > 1. {
        true => (1. + factor.ln() / original.ln()).sqrt(),
        false => 1.,
    };
    Ok(Scaling::LongRope {
        short: list("short_factor", short_factor)?,
        long: list("long_factor", long_factor)?,
        original,
        attention_factor: attention_factor.unwrap_or(default),
    })
}
