//! Fields of rotary embedding in `config.json`: in `rope_parameters` as transformers 5 writes them, or
//! in `rope_scaling` and at the top as earlier versions do.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::model::{Rotary, Scaling};
use crate::store::{Document, is_off};
use crate::{Error, Result};

/// The base where no file says it.
const BASE: f64 = 10_000.;

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
}

/// Of `linear`, `dynamic` and `llama3`.
#[derive(Debug, Default, Deserialize)]
struct RopeFactor {
    /// The factor that divides frequencies.
    factor: Option<f64>,
}

/// Of all but `dynamic`; it counts for `llama3` alone.
#[derive(Debug, Default, Deserialize)]
struct RopeOriginal {
    /// The context of training before the scaling, in tokens.
    original_max_position_embeddings: Option<f64>,
}

/// Of `llama3`.
#[derive(Debug, Default, Deserialize)]
struct RopeBands {
    /// Turns within the original context below which a frequency is divided.
    low_freq_factor: Option<f64>,
    /// Turns from which it is not.
    high_freq_factor: Option<f64>,
}

/// The two places of the settings, in one of which they are, or the same in both.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct RopePlaces<T> {
    rope_scaling: Option<UnlessOff<T>>,
    rope_parameters: Option<UnlessOff<T>>,
}

/// An object, or a value that says that there is none: false, an empty text or list.
#[derive(Debug)]
struct UnlessOff<T>(Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UnlessOff<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct AsSettings<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AsSettings<T> {
            type Value = UnlessOff<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<UnlessOff<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|found| UnlessOff(Some(found)))
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> std::result::Result<UnlessOff<T>, E> {
                match on {
                    true => Err(E::invalid_type(de::Unexpected::Bool(on), &self)),
                    false => Ok(UnlessOff(None)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<UnlessOff<T>, E> {
                match text.is_empty() {
                    true => Ok(UnlessOff(None)),
                    false => Err(E::invalid_type(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut list: A,
            ) -> std::result::Result<UnlessOff<T>, A::Error> {
                match list.next_element::<Value>()? {
                    Some(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &self)),
                    None => Ok(UnlessOff(None)),
                }
            }
        }
        deserializer.deserialize_any(AsSettings(PhantomData))
    }
}

/// A part of the settings, from the place where they are.
fn settings<T: DeserializeOwned + Default>(document: &mut Document) -> Result<T> {
    let places: RopePlaces<T> = document.read()?;
    let place = match has_settings(document, "rope_scaling") {
        true => places.rope_scaling,
        false => places.rope_parameters,
    };
    Ok(place.and_then(|UnlessOff(settings)| settings).unwrap_or_default())
}

fn has_settings(document: &Document, place: &str) -> bool {
    document.get(place).is_some_and(|value| !is_off(place, value))
}

/// Rotary embedding of heads of width `d_head`. `base` and `share` are what the file says of the
/// frequencies' base and of the share of a head under names of the family's, `default_share` the
/// share where it says nothing.
pub(super) fn rotary(
    document: &mut Document,
    d_head: usize,
    [base, share]: [Option<f64>; 2],
    default_share: f64,
) -> Result<Rotary> {
    check_places(document)?;
    let top: RopeFrequencies = document.read()?;
    let inner: RopeFrequencies = settings(document)?;
    // Some files say the same thing two or three times.
    let one = |name: &str, all: [Option<f64>; 3], default: f64| -> Result<f64> {
        let mut said = all.into_iter().flatten();
        let first = said.next().unwrap_or(default);
        match said.find(|value| *value != first) {
            Some(other) => {
                let found = format!("{first} and {other}");
                Err(Error::format(document.path(), format!("one value of `{name}`"), found))
            }
            None => Ok(first),
        }
    };
    let base = one("rope_theta", [base, top.rope_theta, inner.rope_theta], BASE)?;
    let shares = [share, top.partial_rotary_factor, inner.partial_rotary_factor];
    let share = one("partial_rotary_factor", shares, default_share)?;
    let scaling = scaling(document)?;
    if !(share > 0. && share <= 1.) {
        let expected = "a share of a head between 0 and 1 for rotary embedding";
        return Err(Error::format(document.path(), expected, share.to_string()));
    }
    let dims = (d_head as f64 * share) as usize;
    Ok(Rotary { dims: (dims != d_head).then_some(dims), base, scaling })
}

/// Fails if the settings are in both places and differ.
fn check_places(document: &Document) -> Result<()> {
    let places = ["rope_scaling", "rope_parameters"];
    let both = places.iter().all(|place| has_settings(document, place));
    if both && document.get(places[0]) != document.get(places[1]) {
        let expected = "the same in `rope_scaling` and `rope_parameters`";
        return Err(Error::format(document.path(), expected, "two settings"));
    }
    Ok(())
}

/// The scaling of the frequencies.
fn scaling(document: &mut Document) -> Result<Scaling> {
    let RopeType { rope_type, r#type } = settings(document)?;
    let kind = rope_type.or(r#type).unwrap_or(RopeKind::Default);
    let RopeOriginal { original_max_position_embeddings: original } = match kind {
        RopeKind::Dynamic => RopeOriginal::default(),
        RopeKind::Default | RopeKind::Linear | RopeKind::Llama3 => settings(document)?,
    };
    let RopeFactor { factor } = match kind {
        RopeKind::Default => RopeFactor::default(),
        RopeKind::Linear | RopeKind::Dynamic | RopeKind::Llama3 => settings(document)?,
    };
    let bands: RopeBands = match kind {
        RopeKind::Llama3 => settings(document)?,
        RopeKind::Default | RopeKind::Linear | RopeKind::Dynamic => RopeBands::default(),
    };
    let needed = |name: &str, number: Option<f64>| {
        number.ok_or_else(|| {
            let expected = format!("the number `{name}` of rotary embedding");
            Error::format(document.path(), expected, "no such field")
        })
    };
    match kind {
        RopeKind::Default | RopeKind::Dynamic => Ok(Scaling::None),
        RopeKind::Linear => Ok(Scaling::Linear { factor: needed("factor", factor)? }),
        RopeKind::Llama3 => Ok(Scaling::Llama3 {
            factor: needed("factor", factor)?,
            low: needed("low_freq_factor", bands.low_freq_factor)?,
            high: needed("high_freq_factor", bands.high_freq_factor)?,
            original: needed("original_max_position_embeddings", original)?,
        }),
    }
}
