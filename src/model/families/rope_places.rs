//! Where `config.json` has the settings of rotary embedding: in `rope_parameters` as transformers 5
//! writes them, or in `rope_scaling` as earlier versions do; one for all layers, or one for the layers
//! that see everything and one for those with a window.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::store::{Document, is_off};
use crate::{Error, Result};

/// Layers that settings are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RopeLayers {
    /// All, in families whose layers are alike.
    All,
    /// Those that see everything, in families where those with a window turn otherwise. What a file
    /// says of no kind of layer is said of these.
    Full,
    /// Those with a window.
    Sliding,
}

/// The two places of the settings, in one of which they are, or the same in both.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct RopePlaces<T> {
    rope_scaling: Option<UnlessOff<T>>,
    rope_parameters: Option<UnlessOff<T>>,
}

/// Settings for each kind of layers, of which those that see everything are read.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct FullSettings<T> {
    full_attention: Option<UnlessOff<T>>,
}

/// The same, of which those with a window are read.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct SlidingSettings<T> {
    sliding_attention: Option<UnlessOff<T>>,
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

/// A part of the settings of some layers.
pub(super) fn settings<T>(document: &mut Document, layers: RopeLayers) -> Result<T>
where
    T: DeserializeOwned + Default,
{
    let found = match (layers, is_by_layer(document)) {
        (RopeLayers::All, _) | (RopeLayers::Full, false) => at_place(document)?,
        (RopeLayers::Sliding, false) => None,
        (RopeLayers::Full, true) => {
            let all: Option<FullSettings<T>> = at_place(document)?;
            all.and_then(|all| all.full_attention?.0)
        }
        (RopeLayers::Sliding, true) => {
            let all: Option<SlidingSettings<T>> = at_place(document)?;
            all.and_then(|all| all.sliding_attention?.0)
        }
    };
    Ok(found.unwrap_or_default())
}

/// The settings as a `T`, from the place where they are.
fn at_place<T: DeserializeOwned>(document: &mut Document) -> Result<Option<T>> {
    let places: RopePlaces<T> = document.read()?;
    let place = match place(document) {
        "rope_scaling" => places.rope_scaling,
        _ => places.rope_parameters,
    };
    Ok(place.and_then(|UnlessOff(settings)| settings))
}

/// The name of a setting of some layers, from the outermost object on.
pub(super) fn setting_name(document: &Document, layers: RopeLayers, name: &str) -> String {
    let kind = match (layers, is_by_layer(document)) {
        (RopeLayers::Full, true) => "full_attention.",
        (RopeLayers::Sliding, true) => "sliding_attention.",
        (RopeLayers::All, _) | (_, false) => "",
    };
    document.named(&format!("{}.{kind}{name}", place(document)))
}

/// The field that the settings are in.
fn place(document: &Document) -> &'static str {
    match has_settings(document, "rope_scaling") {
        true => "rope_scaling",
        false => "rope_parameters",
    }
}

fn has_settings(document: &Document, place: &str) -> bool {
    document.get(place).is_some_and(|value| !is_off(place, value))
}

/// Whether there are settings for each kind of layers.
pub(super) fn is_by_layer(document: &Document) -> bool {
    let settings = document.get(place(document));
    let kinds = ["full_attention", "sliding_attention"];
    settings.is_some_and(|settings| kinds.iter().any(|kind| settings.get(kind).is_some()))
}

/// Fails if the settings are in both places and differ.
pub(super) fn check_places(document: &Document) -> Result<()> {
    let places = ["rope_scaling", "rope_parameters"];
    let both = places.iter().all(|place| has_settings(document, place));
    if both && document.get(places[0]) != document.get(places[1]) {
        let [scaling, parameters] = places.map(|place| document.named(place));
        let expected = format!("the same in `{scaling}` and `{parameters}`");
        return Err(Error::format(document.path(), expected, "two settings"));
    }
    Ok(())
}
