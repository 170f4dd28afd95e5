//! Fields of a JSON object that nobody asked for.

use std::path::Path;

use serde_json::{Map, Value};

use super::{UnknownFields, is_off};
use crate::{Error, Result};

/// Characters of a value that an error or a note shows.
const SHOWN: usize = 80;

/// The fields that are neither among the `harmless` nor [off](is_off), as `name: value`.
///
/// # Errors
/// All of them in one error, if they are not allowed.
pub(crate) fn unknown_fields(
    path: &Path,
    within: &str,
    fields: &Map<String, Value>,
    harmless: &[&str],
    unknown: UnknownFields,
) -> Result<Vec<String>> {
    let left = fields
        .iter()
        .filter(|(name, value)| !harmless.contains(&name.as_str()) && !is_off(name, value));
    let left = left.map(|(name, value)| (format!("{within}{name}"), shortened(value)));
    let left: Vec<(String, String)> = left.collect();
    if left.is_empty() || unknown == UnknownFields::Allow {
        return Ok(left.into_iter().map(|(name, value)| format!("{name}: {value}")).collect());
    }
    let found: Vec<_> = left.iter().map(|(name, value)| format!("`{name}`: {value}")).collect();
    let expected = "only fields whose meaning is known here, because others may change numbers \
                    (the loader's `.allow_unknown_fields()` goes on without them)";
    Err(Error::format(path, expected, format!("also {}", found.join(", "))))
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
