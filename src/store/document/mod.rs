//! Foreign configurations: JSON objects that are read as types.
//!
//! A type that derives [`serde::Deserialize`] says which fields a program writes. A [`Document`] is
//! read as one such type or as several, and knows which fields none of them has: any of these could
//! change numbers, so it is refused by name unless it is known to be harmless or is off.
//!
//! In a type, `Option` means that a field may be left out or null. Fields of other names are
//! `serde` aliases where a file has only one of them, and fields of their own where it may have both.

mod errors;
mod names;
mod off;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::by_name::by_name;
use super::parse_json;
use crate::{Error, Result};

use errors::shortened;
use names::{FieldPath, find, in_both, names_of};
pub(crate) use off::is_off;

/// What happens to fields whose meaning is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UnknownFields {
    /// They are an error, because a field that can change numbers must not be dropped.
    #[default]
    Refuse,
    /// They are ignored and listed, because the user asked for it.
    Allow,
}

/// A JSON object, and the fields of it that no type has so far.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    fields: Map<String, Value>,
    unknown: Vec<FieldPath>,
    /// The name of the field that the object is in, if it is within another.
    within: Option<String>,
}

impl Document {
    /// The object in the JSON text of the file `path`. Of two fields of one name the last counts.
    ///
    /// # Errors
    /// Text that is no JSON, or another kind of value.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        match parse_json(path, text, "a JSON object")? {
            Value::Object(fields) => Ok(Self::new(path, fields)),
            _ => Err(Error::format(path, "a JSON object", "other JSON")),
        }
    }

    /// The object with these fields, which a file holds in another format.
    pub(crate) fn new(path: &Path, fields: Map<String, Value>) -> Self {
        let unknown = fields.keys().map(|name| vec![name.clone()]).collect();
        Self { path: path.to_owned(), fields, unknown, within: None }
    }

    /// The object in the field `name` as a document of its own, whose errors name its fields as
    /// `name.field`. [`Document::join`] puts it back.
    ///
    /// # Errors
    /// No such field, or one of another kind.
    pub(crate) fn inner(&self, name: &str) -> Result<Self> {
        match self.fields.get(name) {
            Some(Value::Object(fields)) => {
                let within = Some(self.named(name));
                Ok(Self { within, ..Self::new(&self.path, fields.clone()) })
            }
            Some(Value::Null) | None => Err(self.missing(name, "an object")),
            Some(other) => Err(self.wrong(name, "an object", other.clone())),
        }
    }

    /// Knows of the object in the field `name` what its [inner](Document::inner) document knows.
    pub(crate) fn join(&mut self, name: &str, inner: Self) {
        self.unknown.retain(|names| names.first().is_none_or(|first| first != name));
        let within = inner.unknown.into_iter();
        self.unknown.extend(within.map(|names| [vec![name.to_owned()], names].concat()));
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The field `name` as it is, if it is there, or null.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// The object as a `T`, whose fields are known from now on.
    ///
    /// # Errors
    /// A field that is missing or of another kind, by its name.
    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut ignored = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| {
            let mut names = Vec::new();
            names_of(&path, &mut names);
            ignored.push(names);
        };
        let fields = serde_ignored::Deserializer::new(by_name(&self.fields), &mut note);
        let read = serde_path_to_error::deserialize(fields);
        let read = read.map_err(|reason| self.refused::<T>(reason))?;
        self.unknown = in_both(&self.unknown, &ignored);
        Ok(read)
    }

    /// The fields that no type has, but for the `harmless` and those that are [off](is_off), as
    /// `name: value`. The name of a field within another has the other's before it:
    /// `metadata.dtype`.
    ///
    /// # Errors
    /// All of them in one error, if they are not allowed. `loader` is what the user calls to allow
    /// them.
    pub(crate) fn finish(
        self,
        harmless: impl Fn(&str) -> bool,
        unknown: UnknownFields,
        loader: &str,
    ) -> Result<Vec<String>> {
        let left = self.unknown.iter().filter_map(|names| {
            let (name, value) = (names.join("."), find(&self.fields, names)?);
            (!harmless(&name) && !is_off(&name, value)).then(|| (name, shortened(value)))
        });
        let left: Vec<(String, String)> = left.collect();
        if left.is_empty() || unknown == UnknownFields::Allow {
            return Ok(left.into_iter().map(|(name, value)| format!("{name}: {value}")).collect());
        }
        let found: Vec<_> = left.iter().map(|(name, value)| format!("`{name}`: {value}")).collect();
        let expected = format!(
            "only fields whose meaning is known here, because others may change numbers ({loader} \
             goes on without them)"
        );
        Err(Error::format(&self.path, expected, format!("also {}", found.join(", "))))
    }
}
