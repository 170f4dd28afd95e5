//! Values of foreign configurations, as the programs of the field write them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde_json::Value;

use super::is_off;

/// A size: a whole number from 0. Some programs write 4.0 for 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Size(pub(crate) usize);

/// The largest size that is read from a number with a point.
const LARGEST_POINTED: f64 = 1e15;

impl From<Size> for usize {
    fn from(Size(size): Size) -> Self {
        size
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsSize;
        impl Visitor<'_> for AsSize {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size")
            }

            fn visit_u64<E: Error>(self, size: u64) -> Result<Size, E> {
                let wrong = |_| E::invalid_value(Unexpected::Unsigned(size), &self);
                usize::try_from(size).map(Size).map_err(wrong)
            }

            fn visit_f64<E: Error>(self, size: f64) -> Result<Size, E> {
                match size.fract() == 0.0 && (0.0..LARGEST_POINTED).contains(&size) {
                    true => self.visit_u64(size as u64),
                    false => Err(E::invalid_value(Unexpected::Float(size), &self)),
                }
            }
        }
        deserializer.deserialize_u64(AsSize)
    }
}

/// A field that would change numbers and is not supported: it may only be [off](is_off).
#[derive(Debug)]
pub(crate) struct Off;

impl<'de> Deserialize<'de> for Off {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match is_off("", &Value::deserialize(deserializer)?) {
            true => Ok(Self),
            false => Err(D::Error::custom("another value, expected nothing or an off value")),
        }
    }
}

/// A truth value whose opposite would change numbers and is not supported.
#[derive(Debug)]
pub(crate) struct MustBe<const TRUTH: bool>;

impl<'de, const TRUTH: bool> Deserialize<'de> for MustBe<TRUTH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? == Value::Bool(TRUTH) {
            true => Ok(Self),
            false => Err(D::Error::custom(format!("another value, expected {TRUTH}"))),
        }
    }
}

/// What is `None` where the field is left out and `Some(None)` where it is null.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
