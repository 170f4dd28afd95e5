//! Errors that name a field as the file has it, with what was expected in it and what was found.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::super::by_name::by_name;
use super::Document;
use super::names::{FieldPath, find};
use crate::{Error, Result};

/// Characters of a value that an error or a note shows.
const SHOWN: usize = 80;

impl Document {
    /// The value of a field that has two names, under which it must not have two values. A name with
    /// points is that of a field within others.
    ///
    /// # Errors
    /// Two values, as the file has them.
    pub(crate) fn agreed<T: PartialEq>(
        &self,
        (name, value): (&str, Option<T>),
        (other_name, other): (&str, Option<T>),
    ) -> Result<Option<T>> {
        match (value, other) {
            (Some(value), Some(other)) if value != other => {
                let names = [name, other_name];
                let found = names.map(|name| {
                    let names: FieldPath = name.split('.').map(str::to_owned).collect();
                    find(&self.fields, &names).map_or("null".to_owned(), shortened)
                });
                let names = names.map(|name| self.named(name));
                let expected = format!("the same in `{}` and `{}`", names[0], names[1]);
                Err(Error::format(&self.path, expected, found.join(" and ")))
            }
            (value, other) => Ok(value.or(other)),
        }
    }

    /// The error for a field that is not there.
    pub(crate) fn missing(&self, name: &str, expected: &str) -> Error {
        let expected = format!("the field `{}`, {expected}", self.named(name));
        Error::format(&self.path, expected, "no such field")
    }

    /// The error for a field of another value than `expected`.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: impl Into<Value>) -> Error {
        let expected = format!("{expected} in `{}`", self.named(name));
        Error::format(&self.path, expected, shortened(&found.into()))
    }

    /// The field `name` as the file has it, from the outermost object on.
    pub(crate) fn named(&self, name: &str) -> String {
        match &self.within {
            Some(outer) => format!("{outer}.{name}"),
            None => name.to_owned(),
        }
    }

    /// The error for an object that is no `T`.
    pub(super) fn refused<T: DeserializeOwned>(
        &self,
        reason: serde_path_to_error::Error<serde_json::Error>,
    ) -> Error {
        let mut names: FieldPath = reason
            .path()
            .iter()
            .filter_map(|segment| match segment {
                Segment::Map { key } => Some(key.clone()),
                Segment::Seq { index } => Some(index.to_string()),
                Segment::Enum { .. } | Segment::Unknown => None,
            })
            .collect();
        let text = reason.inner().to_string();
        let Some(missing) = text.strip_prefix("missing field `") else {
            let found = find(&self.fields, &names).map(shortened).unwrap_or_default();
            let name = self.named(&names.join("."));
            let expected = format!("{} in `{name}`", expectation(&text));
            return Error::format(&self.path, expected, found).caused_by(reason.into_inner());
        };
        names.push(missing.trim_end_matches('`').to_owned());
        // What should be there is what null is not.
        let mut filled = self.fields.clone();
        let filled = put_null(&mut filled, &names)
            .then(|| serde_path_to_error::deserialize::<_, T>(by_name(&filled)).err())
            .flatten()
            .map(|reason| reason.into_inner().to_string())
            .filter(|text| text.contains(EXPECTED));
        let kind = filled.map_or("a value".to_owned(), |text| expectation(&text));
        self.missing(&names.join("."), &kind).caused_by(reason.into_inner())
    }
}

/// What `serde` puts before the description of what it looked for.
const EXPECTED: &str = ", expected ";

/// What `serde` looked for, in the words of this library.
fn expectation(text: &str) -> String {
    match text.rsplit_once(EXPECTED).map_or(text, |(_, expected)| expected) {
        "a boolean" => "true or false".to_owned(),
        "a string" => "a text".to_owned(),
        "string or map" => "a name".to_owned(),
        "f64" | "f32" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// Adds a null under `names`, and returns whether there is an object for it.
fn put_null(fields: &mut Map<String, Value>, names: &[String]) -> bool {
    match names {
        [] => false,
        [name] => {
            fields.insert(name.clone(), Value::Null);
            true
        }
        [name, rest @ ..] => match fields.get_mut(name) {
            Some(Value::Object(inner)) => put_null(inner, rest),
            _ => false,
        },
    }
}

/// The text of a value, or its beginning.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
