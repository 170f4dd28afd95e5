//! JSON files of cases, and what is in them.

use std::path::Path;

use eigenlens::{Error, Result};
use serde_json::Value;

/// The JSON file `name` of a case.
pub(crate) fn read(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&bytes)
        .map_err(|reason| Error::format(&path, "JSON", reason.to_string()))
}

pub(crate) fn array<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let found = value[name].as_array();
    found.ok_or_else(|| Error::invalid(format!("`{name}`"), "an array", &value[name]))
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let found = value[name].as_str();
    found.ok_or_else(|| Error::invalid(format!("`{name}`"), "a text", &value[name]))
}

pub(crate) fn id(value: &Value) -> Result<u32> {
    let found = value.as_u64().and_then(|id| u32::try_from(id).ok());
    found.ok_or_else(|| Error::invalid("an id", "a token", value))
}

pub(crate) fn ids(value: &Value, name: &str) -> Result<Vec<u32>> {
    array(value, name)?.iter().map(id).collect()
}

pub(crate) fn numbers(value: &Value) -> Result<Vec<f64>> {
    let found = value.as_array().and_then(|all| all.iter().map(Value::as_f64).collect());
    found.ok_or_else(|| Error::invalid("an array", "numbers", value))
}
