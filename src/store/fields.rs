//! The fields of a JSON configuration, each to be asked for once.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::parse_json;
use crate::{Error, Result};

/// Characters of a value that an error or a note shows.
const SHOWN: usize = 80;

/// Words in a field's name for which a value of zero means that the thing is off.
const OFF_AT_ZERO: [&str; 11] = [
    "coef",
    "coeff",
    "coefficient",
    "decay",
    "dropout",
    "jitter",
    "noise",
    "pdrop",
    "penalty",
    "smoothing",
    "warmup",
];

/// What happens to fields whose meaning is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum UnknownFields {
    /// They are an error, because a field that can change numbers must not be dropped.
    #[default]
    Refuse,
    /// They are ignored and listed, because the user asked for it.
    Allow,
}

/// A JSON object whose fields are taken one by one, so that what nobody asked for can be named.
#[derive(Debug)]
pub(crate) struct Fields {
    path: PathBuf,
    /// The names of the objects around it, each with a dot: `metadata.`.
    within: String,
    fields: Map<String, Value>,
}

impl Fields {
    /// The object in the JSON text of the file `path`.
    ///
    /// # Errors
    /// Text that is no JSON, or another kind of value.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self> {
        match parse_json(path, text, "a JSON object")? {
            Value::Object(fields) => {
                Ok(Self { path: path.to_owned(), within: String::new(), fields })
            }
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

    /// The field as it is, if it is there and not null, without taking it.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The object in the field, if there is one.
    ///
    /// # Errors
    /// Another kind of value.
    pub(crate) fn object(&mut self, name: &str) -> Result<Option<Self>> {
        match self.any(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => {
                let within = format!("{}{name}.", self.within);
                Ok(Some(Self { path: self.path.clone(), within, fields }))
            }
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
        Error::format(&self.path, format!("{expected} in `{name}`"), shortened(found))
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

    /// Puts what was not taken of an object inside this one back, so that [`Fields::finish`] reports
    /// it under its full name. The `harmless` fields are dropped.
    pub(crate) fn absorb(&mut self, object: Option<Self>, harmless: &[&str]) {
        let Some(Self { within, fields, .. }) = object else { return };
        let prefix = within.strip_prefix(&self.within).unwrap_or(&within).to_owned();
        let rest = fields.into_iter().filter(|(name, _)| !harmless.contains(&name.as_str()));
        self.fields.extend(rest.map(|(name, value)| (format!("{prefix}{name}"), value)));
    }

    /// Fails if one of the fields is there and not [off](is_off): each would change numbers, and
    /// none of them is supported.
    ///
    /// # Errors
    /// The first field that is on.
    pub(crate) fn expect_off(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            if let Some(value) = self.any(name)
                && !is_off(name, &value)
            {
                return Err(self.wrong(name, "nothing or an off value", &value));
            }
        }
        Ok(())
    }

    /// Forgets fields that change no number and fields that are off, and returns the others as
    /// `name: value`, or reports all of them in one error.
    ///
    /// # Errors
    /// Fields that are not among the `harmless`, if they are not allowed.
    pub(crate) fn finish(self, harmless: &[&str], unknown: UnknownFields) -> Result<Vec<String>> {
        let Self { path, within, fields } = self;
        unknown_fields(&path, &within, &fields, harmless, unknown)
    }
}

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

/// Whether a value says that something is not used: null, false, an empty text, list or object, or
/// an object or list of such values; and zero, where the name is that of an amount whose zero means
/// "none": a dropout, a noise, a penalty, a coefficient, a decay, a warm-up.
///
/// A truth value that is true by default can change numbers when it is false. Readers take such
/// fields before they finish.
pub(crate) fn is_off(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.iter().all(Value::is_null),
        Value::Object(fields) => fields.iter().all(|(name, value)| is_off(name, value)),
        Value::Number(number) => {
            number.as_f64() == Some(0.0)
                && name.split(['_', '.']).any(|word| OFF_AT_ZERO.contains(&word))
        }
    }
}

fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields::parse(Path::new("cfg.json"), value.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn values_that_are_off_are_no_reason_to_refuse() {
        let off = json!({
            "a": null, "b": false, "c": {}, "d": [], "e": "", "f": {"g": null, "h": {"i": false}},
            "seqpos": [null, null], "attn_pdrop": 0.0, "noise": 0, "aux_loss_coefficient": 0.0,
        });
        let left = fields(off).finish(&[], UnknownFields::Refuse).unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    #[test]
    fn zero_is_off_only_where_it_means_none() {
        for (name, value) in [("layer", json!(0)), ("temperature", json!(0.0)), ("x", json!([0]))] {
            assert!(!is_off(name, &value), "{name}");
        }
        assert!(!is_off("noise", &json!(0.1)) && !is_off("use_noise", &json!(true)));
    }

    #[test]
    fn everything_unknown_is_in_one_error_with_the_way_on() {
        let own = json!({"lr": 1, "zoo": "lion", "gain": 2, "off": false, "metadata": {"glow": 3}});
        let read = || {
            let mut fields = fields(own.clone());
            let metadata = fields.object("metadata").unwrap();
            fields.absorb(metadata, &[]);
            fields
        };
        let message = read().finish(&["lr"], UnknownFields::Refuse).unwrap_err().to_string();
        for part in ["`zoo`: \"lion\"", "`gain`: 2", "`metadata.glow`: 3", "allow_unknown_fields"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!message.contains("lr") && !message.contains("off`"), "{message}");
        let mut ignored = read().finish(&["lr"], UnknownFields::Allow).unwrap();
        ignored.sort();
        assert_eq!(ignored, ["gain: 2", "metadata.glow: 3", "zoo: \"lion\""]);
    }

    #[test]
    fn a_field_that_must_be_off_is_refused_when_it_is_on() {
        let mut fields = fields(json!({"noise": 0.0, "shift": 2}));
        fields.expect_off(&["noise", "missing"]).unwrap();
        let message = fields.expect_off(&["shift"]).unwrap_err().to_string();
        assert!(message.contains("`shift`"), "{message}");
    }
}
