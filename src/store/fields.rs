//! The fields of a JSON configuration, each to be asked for once.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::parse_json;
use crate::{Error, Result};

/// A JSON object whose fields are taken one by one, so that what nobody asked for can be named.
#[derive(Debug)]
pub(crate) struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    /// The object in the JSON text of the file `path`.
    ///
    /// # Errors
    /// Text that is no JSON, or another kind of value.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        match parse_json(path, text, "a JSON object")? {
            Value::Object(fields) => Ok(Self { path: path.to_owned(), fields }),
            _ => Err(Error::format(path, "a JSON object", "other JSON")),
        }
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the field is there and was not taken.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// The field as it is, if it is there and not null.
    pub(crate) fn any(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name).filter(|value| !value.is_null())
    }

    /// The object in the field, if there is one.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { path: self.path.clone(), fields })),
            Some(other) => Err(self.wrong(name, "an object", &other)),
        }
    }

    /// A size, if the field is there.
    ///
    /// # Errors
    /// What is no whole number from 0.
    pub(crate) fn size_if(&mut self, name: &str) -> Result<Option<usize>> {
        self.read(name, "a size", |value| {
            // Some libraries write 4.0 for 4.
            let whole = value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..1e15).contains(x));
            value.as_u64().or(whole.map(|x| x as u64)).and_then(|size| usize::try_from(size).ok())
        })
    }

    /// A size.
    ///
    /// # Errors
    /// No such field, or what is no whole number from 0.
    pub(crate) fn size(&mut self, name: &str) -> Result<usize> {
        self.size_if(name)?.ok_or_else(|| self.missing(name, "a size"))
    }

    /// A number, if the field is there.
    ///
    /// # Errors
    /// What is no number.
    pub(crate) fn number_if(&mut self, name: &str) -> Result<Option<f64>> {
        self.read(name, "a number", Value::as_f64)
    }

    /// A truth value, if the field is there.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn flag_if(&mut self, name: &str) -> Result<Option<bool>> {
        self.read(name, "true or false", Value::as_bool)
    }

    /// A text, if the field is there.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn text_if(&mut self, name: &str) -> Result<Option<String>> {
        self.read(name, "a text", |value| value.as_str().map(ToOwned::to_owned))
    }

    fn read<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.any(name) {
            None => Ok(None),
            Some(value) => match read(&value) {
                Some(read) => Ok(Some(read)),
                None => Err(self.wrong(name, expected, &value)),
            },
        }
    }

    /// The error for a field that is not there.
    pub(crate) fn missing(&self, name: &str, expected: &str) -> Error {
        Error::format(&self.path, format!("the field `{name}`, {expected}"), "no such field")
    }

    /// The error for a field of another value than `expected`.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        let found: String = found.to_string().chars().take(80).collect();
        Error::format(&self.path, format!("{expected} in `{name}`"), found)
    }

    /// Fails if the field is there with a value other than `value` or null: the meaning of any other
    /// is not known here.
    pub(crate) fn expect(&mut self, name: &str, value: impl Into<Value>) -> Result<()> {
        let value = value.into();
        match self.any(name) {
            Some(found) if found != value => Err(self.wrong(name, &value.to_string(), &found)),
            _ => Ok(()),
        }
    }

    /// Forgets fields that change no number, and fails if others are left.
    ///
    /// # Errors
    /// A field that is not among the `harmless`, by its name.
    pub(crate) fn finish(mut self, harmless: &[&str]) -> Result<()> {
        for name in harmless {
            self.fields.remove(*name);
        }
        match self.fields.iter().find(|(_, value)| !value.is_null()) {
            Some((name, value)) => {
                let found: String = value.to_string().chars().take(80).collect();
                let expected = "only fields whose meaning is known here";
                Err(Error::format(&self.path, expected, format!("also `{name}`: {found}")))
            }
            None => Ok(()),
        }
    }
}
