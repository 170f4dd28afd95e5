//! JSON whose fields are read by their names alone.
//!
//! `serde` reads a struct also from a list, its fields by their places: `[16]` would be the first
//! field of any object within a configuration. No program writes one so, and a list in an object's
//! place has another meaning, so that it is refused.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Map, Value};

/// The object with these fields, to be read as a type; within it structs are objects too.
pub(super) fn by_name(fields: &Map<String, Value>) -> impl Deserializer<'_, Error = Error> {
    MapDeserializer::new(fields.iter().map(|(name, value)| (name.as_str(), ByName(value))))
}

/// A value that is read as its own [`Deserializer`] does it, but for lists in the place of structs.
struct ByName<'a>(&'a Value);

impl<'de> IntoDeserializer<'de, Error> for ByName<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for ByName<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(values) => {
                let mut left = values.iter().map(ByName);
                let found = visitor.visit_seq(SeqDeserializer::new(left.by_ref()))?;
                match left.len() {
                    0 => Ok(found),
                    _ => Err(Error::invalid_length(values.len(), &"fewer elements in array")),
                }
            }
            Value::Object(fields) => by_name(fields).deserialize_any(visitor),
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    /// Enums here are names, or guessed from what is there.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, de::DeserializeOwned};
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Cage {
        lions: Vec<Lion>,
        keeper: Option<Keeper>,
        names: BTreeMap<String, Lion>,
        size: (f64, f64),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Lion {
        age: u64,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Keeper(Lion);

    fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
        T::deserialize(by_name(value.as_object().unwrap())).map_err(|reason| reason.to_string())
    }

    fn cage() -> Value {
        json!({
            "lions": [{"age": 3}, {"age": 4, "mane": true}], "keeper": {"age": 50},
            "names": {"Leo": {"age": 3}}, "size": [4, 2.5],
        })
    }

    #[test]
    fn objects_are_read_as_serde_json_reads_them() {
        let found: Cage = read(&cage()).unwrap();
        assert_eq!(found, serde_json::from_value(cage()).unwrap());
        assert_eq!((found.lions[1].age, found.size), (4, (4.0, 2.5)));
        for (name, wrong) in [
            ("lions", json!([{"age": -3}])),
            ("lions", json!([{}])),
            ("lions", json!("two")),
            ("keeper", json!(true)),
            ("names", json!([["Leo", 3]])),
            ("size", json!([1.0])),
            ("size", json!([1.0, 2.0, 3.0])),
            ("size", json!([null, 2.0])),
        ] {
            let mut value = cage();
            value[name] = wrong;
            let theirs = serde_json::from_value::<Cage>(value.clone()).unwrap_err().to_string();
            assert_eq!(read::<Cage>(&value).unwrap_err(), theirs);
        }
    }

    #[test]
    fn a_list_is_no_object_wherever_it_stands() {
        let lists =
            [("lions", json!([[3]])), ("keeper", json!([50])), ("names", json!({"Leo": [3]}))];
        for (name, list) in lists {
            let mut value = cage();
            value[name] = list;
            assert!(serde_json::from_value::<Cage>(value.clone()).is_ok(), "{name}");
            let reason = read::<Cage>(&value).unwrap_err();
            assert_eq!(reason, "invalid type: sequence, expected struct Lion", "{name}");
        }
    }
}
