//! Where the chat templates of a tokenizer are.
//!
//! `chat_template.jinja` comes first, with named ones in `additional_chat_templates`, as in
//! `transformers`, then `chat_template` in `tokenizer_config.json`, which is a text or a list of named
//! ones, then `chat_template.json`, in which models with images keep theirs. A GGUF file has them in
//! its metadata.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::jinja::{ChatTemplate, DEFAULT, TemplateOrigin};
use crate::gguf::{Gguf, Value as GgufValue};
use crate::hub::Repository;
use crate::store::parse_json;
use crate::{Error, Result};

const JINJA_FILE: &str = "chat_template.jinja";
/// A folder of named ones, each in a file `<name>.jinja`.
const JINJA_FOLDER: &str = "additional_chat_templates";
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
        let template = |name: &str, key: &str, value: &GgufValue| {
            let wrong = || gguf.wrong(format!("a text in `{key}`"), value.to_string());
            let source = value.as_str().ok_or_else(wrong)?.to_owned();
            let origin = TemplateOrigin::File(gguf.path().to_owned());
            Ok::<_, Error>(ChatTemplate { name: name.to_owned(), source, origin })
        };
        let mut templates = Vec::new();
        if let Some(value) = gguf.get(GGUF_TEMPLATE) {
            templates.push(template(DEFAULT, GGUF_TEMPLATE, value)?);
        }
        if let Some(value) = gguf.get(GGUF_NAMES) {
            let wrong =
                || gguf.wrong(format!("a list of texts in `{GGUF_NAMES}`"), value.to_string());
            for name in value.as_array().and_then(|names| names.strings()).ok_or_else(wrong)? {
                let key = format!("{GGUF_TEMPLATE}.{name}");
                let expected = || format!("the template `{key}`, which `{GGUF_NAMES}` names");
                let value = gguf.get(&key).ok_or_else(|| gguf.wrong(expected(), "no such key"))?;
                templates.push(template(name, &key, value)?);
            }
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
    let in_files = in_files(repository)?;
    if !in_files.is_empty() {
        return Ok(in_files);
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

/// The templates in files of their own: the usual one, and named ones in alphabetical order.
fn in_files(repository: &Repository) -> Result<Vec<ChatTemplate>> {
    let mut files = vec![(DEFAULT.to_owned(), JINJA_FILE.to_owned())];
    for file in repository.names_in(JINJA_FOLDER)? {
        if let Some(name) = file.strip_suffix(".jinja").filter(|name| !name.is_empty()) {
            files.push((name.to_owned(), format!("{JINJA_FOLDER}/{file}")));
        }
    }
    let mut templates: Vec<ChatTemplate> = Vec::new();
    for (name, file) in files {
        let Some(content) = repository.read_if(&file)? else { continue };
        let source = String::from_utf8(content.bytes.to_vec()).map_err(|reason| {
            Error::format(&content.path, "UTF-8", reason.to_string()).caused_by(reason)
        })?;
        // Of two usual ones that of the folder counts, as in `transformers`.
        templates.retain(|template| template.name != name);
        templates.push(ChatTemplate { name, source, origin: TemplateOrigin::File(content.path) });
    }
    Ok(templates)
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
