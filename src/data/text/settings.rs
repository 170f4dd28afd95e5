//! What `tokenizer_config.json` says of a tokenizer, applied as Python's `transformers` does.
//!
//! The file names a class, and the class decides what counts. Those of Llama, Gemma, Cohere and
//! GPT-NeoX put the first and last tokens around a text by `add_bos_token` and `add_eos_token`,
//! whatever `tokenizer.json` says. Every other class leaves that to `tokenizer.json`. Where the
//! flags are missing, a template in `tokenizer.json` decides, and without one the class's default.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper};

use super::chat_settings::{ChatSettings, chat_templates};
use super::jinja::ChatTemplate;
use super::pieces::META_SPACE;
use super::sentencepiece::SpaceBefore;
use crate::hub::Repository;
use crate::store::parse_json;
use crate::{Error, Result};

const SETTINGS: &str = "tokenizer_config.json";
/// Where old folders keep the names of special tokens.
const NAMES: &str = "special_tokens_map.json";
const CONFIG: &str = "config.json";
/// Where folders from before transformers 4.34 keep the tokens that a `tokenizer.model` lacks.
const ADDED: &str = "added_tokens.json";
/// Where newer ones do.
const ADDED_KEY: &str = "added_tokens_decoder";
/// Keys of tokens with a part to play, apart from the first and last ones.
const ROLES: [&str; 5] = ["unk_token", "pad_token", "sep_token", "cls_token", "mask_token"];
/// Texts of special tokens that are known to begin a text, the surest first.
const BEGINNINGS: [&str; 8] = [
    "<s>",
    "<bos>",
    "<|begin_of_text|>",
    "<｜begin▁of▁sentence｜>",
    "<|startoftext|>",
    "<BOS_TOKEN>",
    "[BOS]",
    "<|endoftext|>",
];
/// Texts of special tokens that are known to end a text or a turn.
const ENDINGS: [&str; 19] = [
    "</s>",
    "<eos>",
    "<EOS>",
    "[EOS]",
    "<|eos|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<end_of_turn>",
    "<turn|>",
    "<|end_of_turn|>",
    "<|END_OF_TURN_TOKEN|>",
    "<|endofturn|>",
    "<｜end▁of▁sentence｜>",
];

/// The tokens at which texts begin and end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends {
    /// The first token, if there is one.
    pub(crate) bos: Option<u32>,
    /// The tokens after which nothing follows.
    pub(crate) eos: Vec<u32>,
    /// Whether the first token is known by its text only.
    pub(crate) bos_by_name: bool,
    /// Whether the last tokens are known by their texts only.
    pub(crate) eos_by_name: bool,
}

impl Ends {
    /// What can be told from a tokenizer alone: the token that its template begins with, and the
    /// special tokens with well-known names.
    pub(super) fn by_name(tokenizer: &tokenizers::Tokenizer, before: &[u32]) -> Self {
        let added = tokenizer.get_added_vocabulary();
        let special =
            |name: &&str| tokenizer.token_to_id(name).filter(|_| added.is_special_token(name));
        let named = BEGINNINGS.iter().find_map(special);
        Self {
            bos: before.first().copied().or(named),
            eos: ENDINGS.iter().filter_map(special).collect(),
            bos_by_name: before.is_empty(),
            eos_by_name: true,
        }
    }
}

/// What a class of `transformers` does at the ends of a text.
struct Class {
    /// Whether it adds a first and a last token unless told, if it decides that itself.
    adds: Option<(bool, bool)>,
    bos: Option<&'static str>,
    eos: Option<&'static str>,
}

fn class(name: &str) -> Class {
    let class = |adds, bos, eos| Class { adds, bos, eos };
    match name.strip_suffix("Fast").unwrap_or(name) {
        "LlamaTokenizer" | "CodeLlamaTokenizer" => {
            class(Some((true, false)), Some("<s>"), Some("</s>"))
        }
        "GemmaTokenizer" => class(Some((true, false)), Some("<bos>"), Some("<eos>")),
        "CohereTokenizer" => {
            class(Some((true, false)), Some("<BOS_TOKEN>"), Some("<|END_OF_TURN_TOKEN|>"))
        }
        "GPTNeoXTokenizer" => {
            class(Some((false, false)), Some("<|endoftext|>"), Some("<|endoftext|>"))
        }
        "GPT2Tokenizer" | "CodeGenTokenizer" => {
            class(None, Some("<|endoftext|>"), Some("<|endoftext|>"))
        }
        "Qwen2Tokenizer" => class(None, None, Some("<|endoftext|>")),
        _ => class(None, None, None),
    }
}

/// The class of a model whose files name none.
fn class_of_model(model_type: &str) -> &'static str {
    match model_type {
        "llama" | "mistral" | "mixtral" | "phi3" => "LlamaTokenizer",
        "gemma" | "gemma2" | "gemma3" | "gemma3_text" => "GemmaTokenizer",
        "gpt_neox" | "olmo" => "GPTNeoXTokenizer",
        "gpt2" | "gpt_neo" | "gptj" | "opt" => "GPT2Tokenizer",
        "qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe" => "Qwen2Tokenizer",
        "cohere" | "cohere2" => "CohereTokenizer",
        _ => "PreTrainedTokenizerFast",
    }
}

/// The settings of a tokenizer in a repository.
#[derive(Debug, Default)]
pub(super) struct Settings {
    fields: Map<String, Value>,
    class: String,
    /// Whether there are any.
    found: bool,
    pub(super) notes: Vec<String>,
    templates: Vec<ChatTemplate>,
}

impl Settings {
    /// Reads what stands in the files around `tokenizer.json`.
    ///
    /// A hub that cannot be asked is no reason to fail: a model that is in the cache loads without
    /// a network. A note tells of it.
    pub(super) fn read(repository: &Repository) -> Result<Self> {
        let mut settings = Self::default();
        let mut path = PathBuf::from(SETTINGS);
        match repository.read_if(SETTINGS) {
            Ok(Some(content)) => {
                settings.fields = object(&content.path, &content.bytes)?;
                settings.found = true;
                path = content.path;
            }
            Ok(None) => {}
            Err(reason @ Error::Io { action: "fetch", .. }) => {
                settings.notes.push(format!(
                    "whether the repository has a {SETTINGS} is not known ({reason}): special \
                     tokens are added as tokenizer.json says"
                ));
                return Ok(settings);
            }
            Err(reason) => return Err(reason),
        }
        // Newer files hold all tokens themselves; before, the other file counts where both name one.
        if !settings.fields.contains_key(ADDED_KEY)
            && let Ok(Some(content)) = repository.read_if(NAMES)
        {
            for (key, value) in object(&content.path, &content.bytes)? {
                match (settings.fields.entry(key).or_insert(Value::Null), value) {
                    (Value::Array(known), Value::Array(more)) => {
                        let new: Vec<Value> =
                            more.into_iter().filter(|token| !known.contains(token)).collect();
                        known.extend(new);
                    }
                    (known, value) => *known = value,
                }
            }
        }
        settings.class = match settings.text("tokenizer_class") {
            Some(class) => class,
            None if settings.found => class_in_config(repository),
            None => String::new(),
        };
        match chat_templates(repository, &path, &settings.fields) {
            Ok(templates) => settings.templates = templates,
            Err(reason @ Error::Io { action: "fetch", .. }) => {
                settings.notes.push(format!("the chat template could not be fetched ({reason})"));
            }
            Err(reason) => return Err(reason),
        }
        Ok(settings)
    }

    /// The chat templates, and the special tokens that they are given.
    pub(super) fn chat(&mut self) -> ChatSettings {
        let class = class(&self.class);
        let keys = [("bos_token", class.bos), ("eos_token", class.eos)];
        let keys = keys.into_iter().chain(ROLES.map(|key| (key, None)));
        let texts = keys.filter_map(|(key, usual)| Some((key.to_owned(), self.token(key, usual)?)));
        let tells = self.fields.keys().any(|key| key != ADDED_KEY);
        let special = tells.then(|| texts.collect());
        ChatSettings { templates: std::mem::take(&mut self.templates), chosen: None, special }
    }

    /// The same with the class that `config.json` tells, if `tokenizer_config.json` names none.
    pub(super) fn or_class_in_config(mut self, repository: &Repository) -> Self {
        if self.class.is_empty() {
            self.class = class_in_config(repository);
        }
        self
    }

    /// The name of the class, without the ending `Fast`.
    pub(super) fn class(&self) -> &str {
        self.class.strip_suffix("Fast").unwrap_or(&self.class)
    }

    /// Before what a space is put by the tokenizer of a `tokenizer.model`, which `asked` for it: the
    /// settings `add_prefix_space` and `legacy` of `transformers`.
    pub(super) fn space_before(&self, asked: SpaceBefore) -> SpaceBefore {
        let adds = self.flag("add_prefix_space").unwrap_or(asked != SpaceBefore::Never);
        match (adds, self.flag("legacy")) {
            (false, _) => SpaceBefore::Never,
            (true, Some(false)) => SpaceBefore::Text,
            (true, _) => SpaceBefore::EachPart,
        }
    }

    /// Reads the tokens in `added_tokens.json`, where the settings list none.
    ///
    /// # Errors
    /// Numbers that do not follow those of `tokenizer` one by one, or differ from its own.
    pub(super) fn read_added_tokens(
        &mut self,
        repository: &Repository,
        tokenizer: &tokenizers::Tokenizer,
    ) -> Result<()> {
        if self.fields.contains_key(ADDED_KEY) {
            return Ok(());
        }
        let Some(content) = repository.read_if(ADDED)? else { return Ok(()) };
        let wrong = |found: String| {
            let expected =
                "tokens with the numbers that follow those of tokenizer.model, without a hole";
            Error::format(&content.path, expected, found)
        };
        let mut tokens = Vec::new();
        for (text, value) in object(&content.path, &content.bytes)? {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.ok_or_else(|| wrong(format!("{value} as the number of {text:?}")))?;
            tokens.push((id, text));
        }
        tokens.sort_unstable();
        let mut next = next_id(tokenizer);
        for (id, text) in &tokens {
            match tokenizer.token_to_id(text) {
                Some(known) if known == *id => {}
                None if next == *id => next += 1,
                Some(known) => {
                    return Err(wrong(format!(
                        "{text:?} as number {id}, which has number {known}"
                    )));
                }
                None => return Err(wrong(format!("{text:?} as number {id}, after {next} tokens"))),
            }
        }
        let token = |(id, text): (u32, String)| {
            let special = self.named().any(|name| name == text);
            let token = json!({"content": text, "special": special, "normalized": false});
            (id.to_string(), token)
        };
        let tokens: Map<String, Value> = tokens.into_iter().map(token).collect();
        self.fields.insert(ADDED_KEY.to_owned(), Value::Object(tokens));
        Ok(())
    }

    /// Changes a tokenizer as its class does when it loads the files, and tells where texts begin
    /// and end.
    pub(super) fn apply(
        &mut self,
        tokenizer: &mut tokenizers::Tokenizer,
        path: &Path,
    ) -> Result<Ends> {
        self.add_tokens(tokenizer, path)?;
        if self.flag("split_special_tokens") == Some(true) {
            tokenizer.set_encode_special_tokens(true);
        }
        if let (Some(space), Some(PreTokenizerWrapper::ByteLevel(bytes))) =
            (self.flag("add_prefix_space"), tokenizer.get_pre_tokenizer().cloned())
        {
            tokenizer.with_pre_tokenizer(Some(bytes.add_prefix_space(space)));
        }
        let class = class(&self.class);
        let bos = self.token("bos_token", class.bos);
        let eos = self.token("eos_token", class.eos);
        self.add_ends(tokenizer, &class, [bos.as_deref(), eos.as_deref()], path)?;
        let id = |text: &Option<String>| tokenizer.token_to_id(text.as_deref()?);
        let (before, _) = ends_of_template(tokenizer);
        let mut ends = Ends::by_name(tokenizer, &before);
        if let Some(bos) = id(&bos) {
            ends = Ends { bos: Some(bos), bos_by_name: false, ..ends };
        }
        if let Some(eos) = id(&eos) {
            ends = Ends { eos: vec![eos], eos_by_name: false, ..ends };
        }
        Ok(ends)
    }

    /// Puts the first and last tokens around texts where the class decides that.
    fn add_ends(
        &mut self,
        tokenizer: &mut tokenizers::Tokenizer,
        class: &Class,
        tokens: [Option<&str>; 2],
        path: &Path,
    ) -> Result<()> {
        let flags = [("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")];
        let asked = flags.map(|(flag, _)| self.flag(flag));
        let explicit = asked.iter().any(Option::is_some);
        let Some((first, last)) = class.adds else {
            let (before, after) = ends_of_template(tokenizer);
            for ((flag, key), (asked, text)) in flags.iter().zip(asked.iter().zip(tokens)) {
                let added = if *key == "bos_token" { &before } else { &after };
                let id = text.and_then(|text| tokenizer.token_to_id(text));
                let adds = id.is_some_and(|id| added.contains(&id));
                if let Some(asked) = asked.filter(|asked| *asked != adds && id.is_some()) {
                    let class = match self.class.as_str() {
                        "" => "PreTrainedTokenizerFast",
                        class => class,
                    };
                    self.notes.push(format!(
                        "{SETTINGS} has `{flag}` {asked}, and {class} does not act on it: \
                         {} {} the token",
                        file_name(path),
                        if adds { "adds" } else { "does not add" }
                    ));
                }
            }
            return Ok(());
        };
        let decided = tokenizer.get_post_processor().is_some_and(decides);
        if decided && !explicit {
            return Ok(());
        }
        let mut around = [None, None];
        for (at, default) in [first, last].into_iter().enumerate() {
            if !asked[at].unwrap_or(default) {
                continue;
            }
            let (flag, key) = flags[at];
            let found = tokens[at].map(|text| (text, tokenizer.token_to_id(text)));
            match found {
                Some((text, Some(id))) => around[at] = Some((text.to_owned(), id)),
                Some((text, None)) if asked[at].is_some() => {
                    let file = file_name(path);
                    let expected = format!("`{key}` to be a token of {file}, as `{flag}` is set");
                    let path = path.with_file_name(SETTINGS);
                    return Err(Error::format(&path, expected, format!("{text:?}, which is not")));
                }
                // As `transformers` does since version 5.
                _ => self.notes.push(format!(
                    "{} adds a token by `{flag}`, and there is no `{key}` to add",
                    self.class
                )),
            }
        }
        tokenizer.with_post_processor(template(&around)?);
        Ok(())
    }

    /// Marks tokens as special, and adds those that `tokenizer.json` lacks.
    fn add_tokens(&mut self, tokenizer: &mut tokenizers::Tokenizer, path: &Path) -> Result<()> {
        let mut tokens: Vec<(Option<u32>, AddedToken)> = Vec::new();
        let listed = self.fields.get(ADDED_KEY).and_then(Value::as_object);
        for (id, token) in listed.into_iter().flatten() {
            let Ok(id) = id.parse::<u32>() else { continue };
            let token = added_token(token).map(|token| with_spaces(token, id, tokenizer));
            tokens.extend(token.map(|token| (Some(id), token)));
        }
        tokens.sort_by_key(|(id, _)| *id);
        // A class has its own first and last token where the file names none.
        let class = class(&self.class);
        let usual = [("bos_token", class.bos), ("eos_token", class.eos)].into_iter();
        let usual = usual.filter(|(key, _)| !self.fields.contains_key(*key));
        let usual = usual.filter_map(|(_, text)| text);
        let usual = usual.filter(|text| tokenizer.token_to_id(text).is_some());
        for name in self.named().chain(usual) {
            tokens.push((None, AddedToken::from(name, true).normalized(false)));
        }
        for (id, token) in tokens {
            let vocabulary = tokenizer.get_added_vocabulary();
            let known = tokenizer.token_to_id(&token.content);
            let listed = known.and_then(|id| vocabulary.get_added_tokens_decoder().get(&id));
            // A token that is listed stays as tokenizer.json has it, unless it is said to differ.
            let settled = match listed {
                Some(listed) => id.is_none() || *listed == token,
                None => false,
            };
            let text = token.content.clone();
            match known {
                _ if settled => continue,
                Some(_) => {}
                None if id.is_some() && id == Some(next_id(tokenizer)) => {}
                None => {
                    self.notes.push(format!(
                        "{SETTINGS} names the token {text:?}, which is not in {}",
                        file_name(path)
                    ));
                    continue;
                }
            }
            tokenizer.add_tokens([token]).map_err(|reason| {
                Error::format(path, format!("a token {text:?} to add"), reason.to_string())
                    .caused_by(reason)
            })?;
        }
        Ok(())
    }

    /// The texts of the tokens that have a part to play or are called special.
    fn named(&self) -> impl Iterator<Item = &str> {
        let roles = ["bos_token", "eos_token"].into_iter().chain(ROLES);
        let more = ["additional_special_tokens", "extra_special_tokens"].into_iter();
        let more = more.filter_map(move |key| self.fields.get(key)?.as_array()).flatten();
        roles.filter_map(move |key| self.fields.get(key)).chain(more).filter_map(text_of)
    }

    /// Puts the first token before texts if it is asked for, as GPT-2's class does when it reads
    /// `vocab.json` and `merges.txt`.
    pub(super) fn convert(&self, tokenizer: &mut tokenizers::Tokenizer) -> Result<()> {
        let bos = self.token("bos_token", class(&self.class).bos);
        let bos = bos.filter(|_| self.flag("add_bos_token") == Some(true));
        let bos = bos.and_then(|text| Some((tokenizer.token_to_id(&text)?, text)));
        let around = [bos.map(|(id, text)| (text, id)), None];
        tokenizer.with_post_processor(template(&around)?);
        Ok(())
    }

    fn text(&self, key: &str) -> Option<String> {
        self.fields.get(key)?.as_str().map(str::to_owned)
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.fields.get(key)?.as_bool()
    }

    /// The text of a token by its key. A key that is null means that there is none.
    fn token(&self, key: &str, default: Option<&str>) -> Option<String> {
        match self.fields.get(key) {
            Some(token) => text_of(token).map(str::to_owned),
            None => default.map(str::to_owned),
        }
    }
}

fn object(path: &Path, bytes: &[u8]) -> Result<Map<String, Value>> {
    match parse_json(path, bytes, "a JSON object")? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::format(path, "a JSON object", "another value")),
    }
}

/// The class that `config.json` names, or the usual one of the model's type.
fn class_in_config(repository: &Repository) -> String {
    let config = repository.read_if(CONFIG).ok().flatten();
    let config = config.and_then(|content| object(&content.path, &content.bytes).ok());
    let text = |key: &str| config.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let of_model = || Some(class_of_model(&text("model_type")?).to_owned());
    text("tokenizer_class").or_else(of_model).unwrap_or_default()
}

/// The text of a token: itself, or the content of an object.
fn text_of(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str()).filter(|text| !text.is_empty())
}

fn added_token(value: &Value) -> Option<AddedToken> {
    let flag = |key: &str| value.get(key).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    let token = AddedToken::from(text_of(value)?, special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false));
    Some(token.normalized(flag("normalized").unwrap_or(!special)))
}

/// A token as the tokenizer spells it: settings spell the spaces in a user's pieces of a
/// `tokenizer.model` as ▁.
fn with_spaces(token: AddedToken, id: u32, tokenizer: &tokenizers::Tokenizer) -> AddedToken {
    let content = token.content.replace(META_SPACE, " ");
    match tokenizer.token_to_id(&content) == Some(id) {
        true => AddedToken { content, ..token },
        false => token,
    }
}

/// The name of a tokenizer's file.
fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The id that a token gets which is added next.
fn next_id(tokenizer: &tokenizers::Tokenizer) -> u32 {
    let size = tokenizer.get_vocab_size(false) as u32;
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    added.keys().max().map_or(size, |largest| size.max(largest + 1))
}

/// Whether a post-processor says what begins and ends a text, be it nothing.
fn decides(processor: &PostProcessorWrapper) -> bool {
    match processor {
        PostProcessorWrapper::ByteLevel(_) => false,
        PostProcessorWrapper::Sequence(all) => all.as_ref().iter().any(decides),
        _ => true,
    }
}

/// What puts a first and a last token around a text; nothing where there is neither.
fn template(around: &[Option<(String, u32)>; 2]) -> Result<Option<TemplateProcessing>> {
    if around.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut special = Map::new();
    for (text, id) in around.iter().flatten() {
        special.insert(text.clone(), json!({"id": text, "ids": [id], "tokens": [text]}));
    }
    let pieces = |sequence: &str, type_id: u32| -> Vec<Value> {
        let token = |end: &Option<(String, u32)>| {
            end.as_ref().map(|(text, _)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
        };
        let text = json!({"Sequence": {"id": sequence, "type_id": type_id}});
        token(&around[0]).into_iter().chain([text]).chain(token(&around[1])).collect()
    };
    let pair = [pieces("A", 0), pieces("B", 1)].concat();
    let value = json!({"type": "TemplateProcessing", "single": pieces("A", 0), "pair": pair,
                       "special_tokens": special});
    serde_json::from_value(value).map(Some).map_err(|reason| {
        Error::invalid("the tokens around a text", "ones for a template", &reason).caused_by(reason)
    })
}

/// The tokens that a tokenizer puts before and after a text.
pub(super) fn ends_of_template(tokenizer: &tokenizers::Tokenizer) -> (Vec<u32>, Vec<u32>) {
    // Any other id may be a token.
    const TEXT: u32 = u32::MAX;
    let text = tokenizers::Token::new(TEXT, String::new(), (0, 0));
    let text = tokenizers::Encoding::from_tokens(vec![text], 0);
    let ids = match tokenizer.post_process(text, None, true) {
        Ok(around) => around.get_ids().to_vec(),
        Err(_) => return (Vec::new(), Vec::new()),
    };
    match ids.iter().position(|id| *id == TEXT) {
        Some(at) => (ids[..at].to_vec(), ids[at + 1..].to_vec()),
        None => (Vec::new(), Vec::new()),
    }
}

/// The token numbers in a field of a configuration: one, several or none; a negative one is none.
///
/// # Errors
/// If the field holds anything else.
pub(crate) fn numbers(path: &Path, field: &str, value: Option<&Value>) -> Result<Vec<u32>> {
    let wrong = |value: &Value| {
        let expected = format!("the number of a token, or a list of them, in `{field}`");
        Error::format(path, expected, value.to_string())
    };
    let all = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(all)) => all.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let mut found = Vec::new();
    for value in all {
        match value.as_i64() {
            Some(number) if number < 0 => {}
            Some(number) => found.push(u32::try_from(number).map_err(|_| wrong(value))?),
            None => return Err(wrong(value)),
        }
    }
    Ok(found)
}

/// The first of [`numbers`].
pub(crate) fn number(path: &Path, field: &str, value: Option<&Value>) -> Result<Option<u32>> {
    Ok(numbers(path, field, value)?.first().copied())
}
