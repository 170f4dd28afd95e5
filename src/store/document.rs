//! Foreign configurations: JSON objects that are read as types.
//!
//! A type that derives [`serde::Deserialize`] says which fields a program writes. A [`Document`] is
//! read as one such type or as several, and knows which fields none of them has: any of these could
//! change numbers, so it is refused by name unless it is known to be harmless or is off.
//!
//! In a type, `Option` means that a field may be left out or null. Fields of other names are
//! `serde` aliases where a file has only one of them, and fields of their own where it may have both.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;

use super::by_name::by_name;
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

/// The names that lead to a field: `["metadata", "dtype"]`.
type FieldPath = Vec<String>;

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

    /// The value of a field that has two names, under which it must not have two values.
    ///
    /// # Errors
    /// Two values.
    pub(crate) fn agreed<T: PartialEq + fmt::Debug>(
        &self,
        (name, value): (&str, Option<T>),
        (other_name, other): (&str, Option<T>),
    ) -> Result<Option<T>> {
        match (value, other) {
            (Some(value), Some(other)) if value != other => {
                let (name, other_name) = (self.named(name), self.named(other_name));
                let expected = format!("the same in `{name}` and `{other_name}`");
                Err(Error::format(&self.path, expected, format!("{value:?} and {other:?}")))
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
    fn named(&self, name: &str) -> String {
        match &self.within {
            Some(outer) => format!("{outer}.{name}"),
            None => name.to_owned(),
        }
    }

    fn refused<T: DeserializeOwned>(
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

fn names_of(path: &serde_ignored::Path<'_>, names: &mut FieldPath) {
    use serde_ignored::Path as P;
    match path {
        P::Root => {}
        P::Seq { parent, index } => {
            names_of(parent, names);
            names.push(index.to_string());
        }
        P::Map { parent, key } => {
            names_of(parent, names);
            names.push(key.clone());
        }
        P::Some { parent } | P::NewtypeStruct { parent } | P::NewtypeVariant { parent } => {
            names_of(parent, names);
        }
    }
}

/// The fields that are in both lists, where a field's name stands for all that is within it.
fn in_both(a: &[FieldPath], b: &[FieldPath]) -> Vec<FieldPath> {
    let within =
        |names: &FieldPath, list: &[FieldPath]| list.iter().any(|outer| names.starts_with(outer));
    let (first, second) = (a.iter().filter(|names| within(names, b)), b.iter());
    let second = second.filter(|names| !a.contains(names) && within(names, a));
    first.chain(second).cloned().collect()
}

fn find<'a>(fields: &'a Map<String, Value>, names: &[String]) -> Option<&'a Value> {
    let (first, rest) = names.split_first()?;
    rest.iter().try_fold(fields.get(first)?, |value, name| match value {
        Value::Array(values) => values.get(name.parse::<usize>().ok()?),
        other => other.get(name),
    })
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

/// Whether a value says that something is not used: null, false, an empty text, list or object, or
/// an object or list of such values; and zero, where the name is that of an amount whose zero means
/// "none": a dropout, a noise, a penalty, a coefficient, a decay, a warm-up.
///
/// A truth value that is true by default can change numbers when it is false. Types have such fields.
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
    use serde::Deserialize;
    use serde_json::json;

    use super::super::{MustBe, Off, Size, nullable};
    use super::*;

    const LOADER: &str = "the loader's `.allow_unknown_fields()`";

    #[derive(Debug, Default, Deserialize)]
    struct NoFields {}

    #[derive(Debug, Deserialize)]
    struct OuterFields {
        lr: Option<f64>,
        width: Option<Size>,
        metadata: Option<InnerFields>,
    }

    #[derive(Debug, Deserialize)]
    struct InnerFields {
        depth: Size,
        flat: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    struct OtherFields {
        metadata: Option<ModelFields>,
    }

    #[derive(Debug, Deserialize)]
    struct ModelFields {
        model: Option<String>,
    }

    fn document(value: Value) -> Document {
        Document::parse(Path::new("cfg.json"), value.to_string().as_bytes()).unwrap()
    }

    fn message<T: DeserializeOwned + std::fmt::Debug>(value: Value) -> String {
        document(value).read::<T>().unwrap_err().to_string()
    }

    #[test]
    fn values_that_are_off_are_no_reason_to_refuse() {
        let off = json!({
            "a": null, "b": false, "c": {}, "d": [], "e": "", "f": {"g": null, "h": {"i": false}},
            "seqpos": [null, null], "attn_pdrop": 0.0, "noise": 0, "aux_loss_coefficient": 0.0,
        });
        for read in [true, false] {
            let mut document = document(off.clone());
            if read {
                document.read::<NoFields>().unwrap();
            }
            let left = document.finish(|_| false, UnknownFields::Refuse, LOADER).unwrap();
            assert!(left.is_empty(), "{left:?}");
        }
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
        let fields = json!({
            "lr": 1, "zoo": "lion", "gain": 2, "off": false, "seed": 5,
            "metadata": {"glow": 3, "depth": 1},
        });
        let read = || {
            let mut document = document(fields.clone());
            assert_eq!(document.read::<OuterFields>().unwrap().lr, Some(1.0));
            document
        };
        let harmless = |name: &str| name == "seed";
        let message = read().finish(harmless, UnknownFields::Refuse, LOADER).unwrap_err();
        let message = message.to_string();
        for part in ["`zoo`: \"lion\"", "`gain`: 2", "`metadata.glow`: 3", "allow_unknown_fields"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!["lr", "off`", "seed", "depth"].iter().any(|name| message.contains(name)));
        let mut ignored = read().finish(harmless, UnknownFields::Allow, LOADER).unwrap();
        ignored.sort();
        assert_eq!(ignored, ["gain: 2", "metadata.glow: 3", "zoo: \"lion\""]);
    }

    #[test]
    fn a_field_is_known_where_one_of_several_types_has_it() {
        let fields = json!({"zoo": 1, "metadata": {"depth": 2, "model": "gpt2", "glow": 3}});
        let mut ab = document(fields.clone());
        let outer: OuterFields = ab.read().unwrap();
        let other: OtherFields = ab.read().unwrap();
        let inner = outer.metadata.unwrap();
        assert_eq!((outer.lr, outer.width, inner.depth.0, inner.flat), (None, None, 2, None));
        assert_eq!(other.metadata.unwrap().model.as_deref(), Some("gpt2"));
        let mut ba = document(fields);
        ba.read::<OtherFields>().unwrap();
        ba.read::<NoFields>().unwrap();
        ba.read::<OuterFields>().unwrap();
        for document in [ab, ba] {
            let mut left = document.finish(|_| false, UnknownFields::Allow, LOADER).unwrap();
            left.sort();
            assert_eq!(left, ["metadata.glow: 3", "zoo: 1"]);
        }
    }

    #[test]
    fn an_object_within_is_a_document_of_its_own_and_comes_back() {
        let mut outer = document(json!({"zoo": 1, "text": {"lr": 1, "glow": 2, "width": true}}));
        outer.read::<NoFields>().unwrap();
        let mut inner = outer.inner("text").unwrap();
        let message = inner.read::<OuterFields>().unwrap_err().to_string();
        assert!(message.contains("a size in `text.width`, found true"), "{message}");
        let message = inner.missing("depth", "a size").to_string();
        assert!(message.contains("the field `text.depth`, a size"), "{message}");
        assert!(inner.wrong("lr", "0", 1).to_string().contains("0 in `text.lr`, found 1"));
        let message = inner.agreed(("a", Some(1)), ("b", Some(2))).unwrap_err().to_string();
        assert!(message.contains("`text.a` and `text.b`"), "{message}");
        for wrong in ["zoo", "none"] {
            assert!(outer.inner(wrong).unwrap_err().to_string().contains("an object"));
        }
        let fields = json!({"zoo": 1, "text": {"lr": 1, "glow": 2, "metadata": {"x": 3}}});
        let mut outer = document(fields);
        inner = outer.inner("text").unwrap();
        inner.read::<NoFields>().unwrap();
        inner.read::<OuterFields>().unwrap_err();
        #[derive(Debug, Deserialize)]
        struct Rate {
            lr: f64,
        }
        assert_eq!(inner.read::<Rate>().unwrap().lr, 1.0);
        outer.join("text", inner);
        let mut left = outer.finish(|_| false, UnknownFields::Allow, LOADER).unwrap();
        left.sort();
        assert_eq!(left, ["text.glow: 2", "text.metadata: {\"x\":3}", "zoo: 1"]);
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place_and_what_was_expected() {
        for (value, expected) in [
            (json!({"lr": "high"}), "expected a number in `lr`, found \"high\""),
            (json!({"width": 1.5}), "expected a size in `width`, found 1.5"),
            (json!({"width": -3}), "expected a size in `width`, found -3"),
            (json!({"metadata": 3}), "expected an object in `metadata`, found 3"),
            (json!({"metadata": [1, true]}), "expected an object in `metadata`, found [1,true]"),
            (json!({"metadata": {}}), "expected the field `metadata.depth`, a size, found no such"),
            (
                json!({"metadata": {"depth": 1, "flat": 0}}),
                "expected true or false in `metadata.flat`, found 0",
            ),
        ] {
            let message = message::<OuterFields>(value);
            assert!(message.starts_with("cfg.json is not usable: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
        let long = message::<OuterFields>(json!({"lr": "x".repeat(200)}));
        assert!(long.len() < 200 && long.ends_with('…'), "{long}");
        let text = message::<ModelFields>(json!({"model": true}));
        assert!(text.contains("expected a text in `model`, found true"), "{text}");
        let error = Document::parse(Path::new("cfg.json"), b"[1]").unwrap_err().to_string();
        assert!(error.contains("expected a JSON object, found other JSON"), "{error}");
    }

    #[test]
    fn a_name_that_is_none_of_a_list_is_told_with_the_list() {
        #[derive(Debug, Deserialize)]
        struct KindField {
            kind: Animal,
        }
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Animal {
            Cat,
            Dog,
        }
        let mut pets: Vec<Animal> = Vec::new();
        for name in ["cat", "dog"] {
            pets.push(document(json!({"kind": name})).read::<KindField>().unwrap().kind);
        }
        assert_eq!(pets, [Animal::Cat, Animal::Dog]);
        let text = message::<KindField>(json!({"kind": "lion"}));
        assert!(text.contains("expected `cat` or `dog` in `kind`, found \"lion\""), "{text}");
        let text = message::<KindField>(json!({"kind": 3}));
        assert!(text.contains("expected a name in `kind`, found 3"), "{text}");
    }

    #[test]
    fn a_whole_number_may_have_a_point_and_null_is_as_nothing() {
        let mut document = document(json!({"width": 4.0, "lr": null, "metadata": null}));
        let outer: OuterFields = document.read().unwrap();
        assert_eq!(outer.width.map(usize::from), Some(4));
        assert!(outer.lr.is_none() && outer.metadata.is_none());
    }

    #[test]
    fn what_cannot_be_applied_is_refused_unless_it_is_off() {
        #[derive(Debug, Deserialize)]
        struct RefusedFields {
            shift: Option<Off>,
            fixed: Option<MustBe<true>>,
        }
        for off in [json!(false), json!(null), json!(""), json!({}), json!([])] {
            let parts: RefusedFields =
                document(json!({"shift": off, "fixed": true})).read().unwrap();
            assert!(parts.fixed.is_some());
            assert!(parts.shift.is_none() || off != json!(null));
        }
        let text = message::<RefusedFields>(json!({"shift": 2}));
        assert!(text.contains("nothing or an off value in `shift`, found 2"), "{text}");
        let text = message::<RefusedFields>(json!({"fixed": false}));
        assert!(text.contains("expected true in `fixed`, found false"), "{text}");
    }

    #[test]
    fn two_names_of_a_field_have_one_value_and_left_out_is_not_null() {
        #[derive(Debug, Deserialize)]
        struct Window {
            #[serde(default, deserialize_with = "nullable")]
            window: Option<Option<Size>>,
        }
        for (value, expected) in [
            (json!({}), None),
            (json!({"window": null}), Some(None)),
            (json!({"window": 3}), Some(Some(Size(3)))),
        ] {
            assert_eq!(document(value).read::<Window>().unwrap().window, expected);
        }
        let fields = document(json!({}));
        let agreed = |a, b| fields.agreed(("n_ctx", a), ("length", b));
        assert_eq!(agreed(None, Some(3)).unwrap(), Some(3));
        assert_eq!(agreed(Some(3), Some(3)).unwrap(), Some(3));
        let message = agreed(Some(3), Some(4)).unwrap_err().to_string();
        assert!(message.contains("the same in `n_ctx` and `length`, found 3 and 4"), "{message}");
    }
}
