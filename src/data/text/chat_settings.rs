//! Where the chat templates of a tokenizer are.
//!
//! `chat_template.jinja` comes first, as in `transformers`, then `chat_template` in
//! `tokenizer_config.json`, which is a text or a list of named ones, then `chat_template.json`, in
//! which models with images keep theirs. A GGUF file has them in its metadata.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::jinja::{ChatTemplate, DEFAULT, TemplateOrigin};
use crate::gguf::Gguf;
use crate::hub::Repository;
use crate::store::parse_json;
use crate::{Error, Result};

const JINJA_FILE: &str = "chat_template.jinja";
const JSON_FILE: &str = "chat_template.json";
const FIELD: &str = "chat_template";
/// Of a GGUF file: the template, and the names of more.
const GGUF_TEMPLATE: &str = "tokenizer.chat_template";
const GGUF_NAMES: &str = "tokenizer.chat_templates";

/// The chat templates of a tokenizer, and the special tokens that they are given.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct ChatSettings {
    pub(super) templates: Vec<ChatTemplate>,
    /// The name of the one in use; of none, `default`.
    pub(super) chosen: Option<String>,
    /// Texts of special tokens by their keys, if a `tokenizer_config.json` says them.
    pub(super) special: Option<Vec<(String, String)>>,
}

impl ChatSettings {
    /// Those in the metadata of a GGUF file.
    ///
    /// # Errors
    /// Metadata of another kind.
    pub(super) fn of_gguf(gguf: &Gguf) -> Result<Self> {
        let names = gguf.get(GGUF_NAMES).and_then(|names| names.as_array()?.strings());
        let names =
            names.into_iter().flatten().map(|name| (name, format!("{GGUF_TEMPLATE}.{name}")));
        let mut templates = Vec::new();
        for (name, key) in [(DEFAULT, GGUF_TEMPLATE.to_owned())].into_iter().chain(names) {
            let Some(value) = gguf.get(&key) else { continue };
            let source = value
                .as_str()
                .ok_or_else(|| gguf.wrong(format!("a text in `{key}`"), value.to_string()))?;
            templates.push(ChatTemplate {
                name: name.to_owned(),
                source: source.to_owned(),
                origin: TemplateOrigin::File(gguf.path().to_owned()),
            });
        }
        Ok(Self { templates, ..Self::default() })
    }

    /// The same with one template, which the program gives.
    pub(super) fn with_given(&self, source: &str) -> Self {
        let origin = TemplateOrigin::Given;
        let template = ChatTemplate { name: DEFAULT.to_owned(), source: source.to_owned(), origin };
        Self { templates: vec![template], chosen: None, special: self.special.clone() }
    }

    /// The template in use, if there is one.
    pub(super) fn template(&self) -> Option<&ChatTemplate> {
        let name = self.chosen.as_deref().unwrap_or(DEFAULT);
        self.templates.iter().find(|template| template.name == name)
    }

    /// Names of all templates, in words.
    pub(super) fn names(&self) -> String {
        let names: Vec<String> =
            self.templates.iter().map(|template| format!("`{}`", template.name)).collect();
        names.join(", ")
    }

    /// The field of a `tokenizer_config.json` for them, if there are any.
    pub(super) fn as_field(&self) -> Option<Value> {
        match (self.templates.as_slice(), self.template()) {
            ([], _) => None,
            // One that was chosen is the default of what is saved.
            (all, Some(one)) if all.len() == 1 || self.chosen.is_some() => {
                Some(one.source.clone().into())
            }
            (all, _) => {
                let named = |one: &ChatTemplate| json!({"name": one.name, "template": one.source});
                Some(all.iter().map(named).collect())
            }
        }
    }
}

/// The templates of a repository, whose `tokenizer_config.json` at `path` has `fields`.
///
/// # Errors
/// A file that is damaged, a field of another kind; a hub that cannot be asked.
pub(super) fn chat_templates(
    repository: &Repository,
    path: &Path,
    fields: &Map<String, Value>,
) -> Result<Vec<ChatTemplate>> {
    if let Some(content) = repository.read_if(JINJA_FILE)? {
        let source = String::from_utf8(content.bytes.to_vec()).map_err(|reason| {
            Error::format(&content.path, "UTF-8", reason.to_string()).caused_by(reason)
        })?;
        let origin = TemplateOrigin::File(content.path);
        return Ok(vec![ChatTemplate { name: DEFAULT.to_owned(), source, origin }]);
    }
    if let Some(value) = fields.get(FIELD).filter(|value| !value.is_null()) {
        return in_field(path, value);
    }
    let Some(content) = repository.read_if(JSON_FILE)? else { return Ok(Vec::new()) };
    let value: Value = parse_json(&content.path, &content.bytes, "JSON")?;
    match value.get(FIELD).unwrap_or(&value) {
        Value::Null => Ok(Vec::new()),
        value => in_field(&content.path, value),
    }
}

/// One template or several, in a field of a file.
fn in_field(path: &Path, value: &Value) -> Result<Vec<ChatTemplate>> {
    let wrong = |value: &Value| {
        let expected =
            format!("a text in `{FIELD}`, or a list of objects with `name` and `template`");
        let kind = match value {
            Value::Object(_) => "an object without them".to_owned(),
            other => other.to_string(),
        };
        Error::format(path, expected, kind)
    };
    let template = |name: &str, source: &str| ChatTemplate {
        name: name.to_owned(),
        source: source.to_owned(),
        origin: TemplateOrigin::File(path.to_owned()),
    };
    match value {
        Value::String(source) => Ok(vec![template(DEFAULT, source)]),
        Value::Array(all) => {
            let named = all.iter().map(|one| {
                let text = |key: &str| one.get(key)?.as_str();
                let both = text("name").zip(text("template"));
                both.map(|(name, source)| template(name, source)).ok_or_else(|| wrong(one))
            });
            named.collect()
        }
        other => Err(wrong(other)),
    }
}
