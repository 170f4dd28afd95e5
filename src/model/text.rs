//! Between a model and text.

use std::sync::OnceLock;

use candle_core::Tensor;
use serde_json::Value as Json;

use super::origin::ModelOrigin;
use super::{Decoder, Hooks, Sampling};
use crate::data::text::{Tokenizer, number, numbers};
use crate::hub::Repository;
use crate::provenance::Source;
use crate::store::parse_json;
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";

impl Decoder {
    /// Where its weights came from.
    pub fn source(&self) -> &Source {
        &self.origin().source
    }

    /// The repository it was loaded from, if it was.
    pub fn repository(&self) -> Option<&Repository> {
        self.origin().repository.as_ref()
    }

    /// The repository of its autoencoders: its own with `-scope` behind the name.
    ///
    /// # Errors
    /// A model that was not loaded from a repository.
    pub fn scope(&self) -> Result<Repository> {
        let own = self.repository().map(|repository| repository.sibling("-scope"));
        own.ok_or_else(|| Error::NotFound {
            what: "the repository of the model's autoencoders".to_owned(),
            hint: "The model was made in memory: give autoencoders to the call.".to_owned(),
        })
    }

    /// The tokenizer: `tokenizer.json` in the model's repository with what `tokenizer_config.json`
    /// says of it, else in the repository that `config.json` names as `tokenizer` (TransformerLens's
    /// own: as `tokenizer_name`), else the repository's `tokenizer.model`; the one in a GGUF file.
    ///
    /// # Errors
    /// A model that has none, or one that is not reachable, damaged, or of another format; one whose
    /// largest id is beyond the model's vocabulary.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let origin = self.origin();
        if let Some(tokenizer) = origin.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        let tokenizer = match (&origin.gguf, &origin.repository) {
            (Some(gguf), _) => gguf.tokenizer()?,
            (None, Some(repository)) => {
                let found = match (repository.read(TOKENIZER), &origin.tokenizer_name) {
                    (Ok(content), _) => Tokenizer::from_content(repository, &content)?,
                    (Err(_), Some(name)) => {
                        Tokenizer::from_repository(&repository.neighbour(name)?)?
                    }
                    (Err(reason), None) => Tokenizer::in_other_files(repository, reason)?,
                };
                with_bos_of_config(found, repository)?
            }
            (None, None) => {
                return Err(Error::NotFound {
                    what: "the model's tokenizer".to_owned(),
                    hint: "It was made in memory: give it one with `with_tokenizer`.".to_owned(),
                });
            }
        };
        let tokenizer = self.fitted(&tokenizer)?;
        Ok(origin.tokenizer.get_or_init(|| tokenizer).clone())
    }

    /// The same model, sharing its weights, with a tokenizer. More rows in the embedding than
    /// tokens are usual: many models pad them.
    ///
    /// # Errors
    /// A tokenizer whose largest id is beyond the model's vocabulary.
    pub fn with_tokenizer(&self, tokenizer: &Tokenizer) -> Result<Self> {
        let tokenizer = OnceLock::from(self.fitted(tokenizer)?);
        let origin = self.origin().clone();
        Ok(self.with_origin(ModelOrigin { tokenizer, found_ends: OnceLock::new(), ..origin }))
    }

    /// A tokenizer that shows rows of the embedding which have no token as signs.
    fn fitted(&self, tokenizer: &Tokenizer) -> Result<Tokenizer> {
        let (rows, ids) = (self.config().vocab, tokenizer.vocab());
        if ids > rows {
            let what = format!("the ids of the tokenizer (the largest is {})", ids - 1);
            return Err(Error::invalid(
                what,
                format!("at most {rows}, the model's vocabulary"),
                ids,
            ));
        }
        Ok(tokenizer.for_rows(rows))
    }

    fn with_origin(&self, origin: ModelOrigin) -> Self {
        let parameters = self.parameters().clone();
        Self::from_parameters(self.config().clone(), parameters, self.device(), origin)
    }

    /// The tokens after which [`Decoder::generate`] stops, in ascending order: those of
    /// [`Decoder::with_end_tokens`], else what the model's files name:
    ///
    /// - `eos_token_id` in `generation_config.json`, else in `config.json`;
    /// - the `eos_token` of the tokenizer, which comes from `tokenizer_config.json`;
    /// - the tokens in a GGUF file that end a text, a turn or a message;
    /// - where none of these names one, special tokens of the tokenizer with well-known texts, such
    ///   as `</s>`, `<|endoftext|>` and `<|im_end|>`.
    ///
    /// [`Decoder::chat`] also stops after what the chat template writes after a reply.
    ///
    /// # Errors
    /// A file that is damaged.
    pub fn end_tokens(&self) -> Result<Vec<u32>> {
        let origin = self.origin();
        if let Some(ends) = origin.chosen_ends.as_ref().or_else(|| origin.found_ends.get()) {
            return Ok(ends.to_vec());
        }
        let mut found = match &origin.repository {
            Some(repository) => ends_in_files(repository)?,
            None => Vec::new(),
        };
        // A model can speak in numbers without a tokenizer.
        if let Ok(tokenizer) = self.tokenizer() {
            let ends = tokenizer.ends();
            if found.is_empty() || !ends.eos_by_name {
                found.extend(&ends.eos);
            }
        }
        found.retain(|token| (*token as usize) < self.config().vocab);
        found.sort_unstable();
        found.dedup();
        Ok(origin.found_ends.get_or_init(|| found.into()).to_vec())
    }

    /// The same model, sharing its weights, which stops after these tokens when it generates.
    /// Without any it goes on to the number of tokens that is asked for.
    ///
    /// # Errors
    /// A token beyond the vocabulary.
    pub fn with_end_tokens(&self, tokens: &[u32]) -> Result<Self> {
        let vocab = self.config().vocab;
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::invalid("every end token", format!("below {vocab}"), token));
        }
        let mut tokens = tokens.to_vec();
        tokens.sort_unstable();
        tokens.dedup();
        Ok(self
            .with_origin(ModelOrigin { chosen_ends: Some(tokens.into()), ..self.origin().clone() }))
    }

    /// The tokens of a text, `[1, positions]`.
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`]; a text without tokens.
    pub fn tokens(&self, text: &str) -> Result<Tensor> {
        self.row(self.tokenizer()?.encode(text)?)
    }

    /// [`Decoder::tokens`] with the token that begins a text (BOS) first, for models whose
    /// tokenizer does not put it there, such as GPT-2 and Pythia; never twice.
    ///
    /// # Errors
    /// As [`Decoder::tokens`] and [`Tokenizer::encode_with_bos`].
    pub fn tokens_with_bos(&self, text: &str) -> Result<Tensor> {
        self.row(self.tokenizer()?.encode_with_bos(text)?)
    }

    /// The text as `[1, positions]` tokens without what the tokenizer puts before it, such as a first
    /// token (BOS).
    ///
    /// # Errors
    /// As [`Decoder::tokens`].
    pub fn tokens_without_bos(&self, text: &str) -> Result<Tensor> {
        let tokenizer = self.tokenizer()?;
        let tokens = tokenizer.encode(text)?;
        self.row(tokens[tokenizer.added_before(&tokens)..].to_vec())
    }

    pub(super) fn row(&self, tokens: Vec<u32>) -> Result<Tensor> {
        if tokens.is_empty() {
            return Err(Error::invalid("the prompt", "at least one token", "none"));
        }
        Ok(Tensor::new(tokens, self.device())?.unsqueeze(0)?)
    }

    /// The text with up to `count` tokens more; see [`Decoder::generate_tokens`].
    ///
    /// Special tokens are shown as themselves. A model that stopped before `count` tokens ends with
    /// the token that it stopped at, such as `<|im_end|>`. A first token that the tokenizer put
    /// before the text is left out.
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`] and [`Decoder::generate_tokens`].
    pub fn generate(&self, text: &str, count: usize, sampling: Sampling) -> Result<String> {
        self.generate_with(text, count, sampling, &Hooks::new())
    }

    /// [`Decoder::generate`] with `hooks` acting on every position.
    ///
    /// # Errors
    /// As [`Decoder::generate`] and [`Decoder::run`].
    pub fn generate_with(
        &self,
        text: &str,
        count: usize,
        sampling: Sampling,
        hooks: &Hooks,
    ) -> Result<String> {
        let tokenizer = self.tokenizer()?;
        let tokens = tokenizer.encode(text)?;
        let all = self.generate_tokens_with(&tokens, count, sampling, hooks)?;
        tokenizer.decode_with_special(&all[tokenizer.added_before(&tokens)..])
    }
}

/// A tokenizer with the first token that `config.json` names, if its own files name none.
fn with_bos_of_config(tokenizer: Tokenizer, repository: &Repository) -> Result<Tokenizer> {
    if tokenizer.ends().bos.is_some() && !tokenizer.ends().bos_by_name {
        return Ok(tokenizer);
    }
    let Some((path, config)) = object(repository, CONFIG)? else { return Ok(tokenizer) };
    let bos = number(&path, "bos_token_id", field(&config, "bos_token_id"))?;
    let Some(bos) = bos.filter(|id| (*id as usize) < tokenizer.vocab()) else {
        return Ok(tokenizer);
    };
    let mut ends = tokenizer.ends().clone();
    (ends.bos, ends.bos_by_name) = (Some(bos), false);
    Ok(tokenizer.with(ends))
}

/// The tokens at which a model stops, as its files name them: what is made for generating counts
/// before what describes the model.
fn ends_in_files(repository: &Repository) -> Result<Vec<u32>> {
    for file in [GENERATION, CONFIG] {
        let Some((path, fields)) = object(repository, file)? else { continue };
        let ends = numbers(&path, "eos_token_id", field(&fields, "eos_token_id"))?;
        if !ends.is_empty() {
            return Ok(ends);
        }
    }
    Ok(Vec::new())
}

/// A JSON file of a repository and its path, if it has such a file and the hub can be asked.
fn object(repository: &Repository, file: &str) -> Result<Option<(std::path::PathBuf, Json)>> {
    let content = match repository.read_if(file) {
        Ok(Some(content)) => content,
        Ok(None) | Err(Error::Io { action: "fetch", .. }) => return Ok(None),
        Err(reason) => return Err(reason),
    };
    let value = parse_json(&content.path, &content.bytes, "a JSON object")?;
    Ok(Some((content.path, value)))
}

/// A field of a configuration, or of its part for text.
fn field<'a>(config: &'a Json, name: &str) -> Option<&'a Json> {
    config.get(name).or_else(|| config.get("text_config")?.get(name))
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::data::text::tests::word_level;
    use crate::model::Config;

    const TEXT: &str = "It is a truth universally acknowledged, that it is a truth.";

    fn tokenizer() -> Tokenizer {
        Tokenizer::train([TEXT], 260).unwrap()
    }

    fn model(vocab: usize) -> Decoder {
        let config = Config { vocab, context: 40, ..Config::bilinear(1, 2, 8, 6) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_model_and_its_tokenizer_are_saved_and_speak() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let model = model(260).with_tokenizer(&tokenizer()).unwrap();
        model.save(path).unwrap();
        let loaded = Decoder::from_pretrained(path, &Device::Cpu).unwrap();
        assert_eq!(loaded.source(), &Source::Folder(path.into()));
        let say = |model: &Decoder| model.generate("It is", 5, Sampling::default()).unwrap();
        assert!(say(&loaded).starts_with("It is"));
        assert_eq!(say(&loaded), say(&model));
        let tokens = loaded.tokens("It is a truth").unwrap();
        let ids: Vec<u32> = tokens.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(tokenizer().decode(&ids).unwrap(), "It is a truth");
    }

    /// Words, with `<eos>` as token 3 and `<s>` as token 4.
    fn words() -> Tokenizer {
        let vocab = serde_json::json!({"a": 0, "b": 1, "[UNK]": 2, "<eos>": 3, "<s>": 4});
        word_level(vocab, &["<eos>", "<s>"])
    }

    /// A model that says `<eos>` with a probability of one in five.
    fn speaker() -> Decoder {
        let config = Config { vocab: 5, context: 50, ..Config::bilinear(1, 2, 8, 6) };
        Decoder::random(config, 0, &Device::Cpu).unwrap()
    }

    /// Case 07: generation stops at the end token and shows it.
    #[test]
    fn generation_stops_at_an_end_token_and_shows_it() {
        let model = speaker().with_tokenizer(&words()).unwrap();
        assert_eq!(model.end_tokens().unwrap(), [3]);
        let tokens = model.generate_tokens(&[0, 1], 40, Sampling::default()).unwrap();
        assert!(tokens.len() < 42 && tokens.last() == Some(&3), "{tokens:?}");
        assert!(!tokens[..tokens.len() - 1].contains(&3), "{tokens:?}");
        let text = model.generate("a b", 40, Sampling::default()).unwrap();
        assert!(text.starts_with("a b") && text.ends_with(" <eos>"), "{text}");
        // Without end tokens it goes on, and the text has every one of them.
        let on = model.with_end_tokens(&[]).unwrap();
        let all = on.generate_tokens(&[0, 1], 40, Sampling::default()).unwrap();
        assert_eq!((all.len(), &all[..tokens.len()]), (42, &tokens[..]));
        let text = on.generate("a b", 40, Sampling::default()).unwrap();
        assert_eq!(text.split(' ').count(), 42, "{text}");
        let ends = all.iter().filter(|token| **token == 3).count();
        assert!(ends > 1 && text.matches("<eos>").count() == ends, "{text}");
        // Tokens of one's own.
        let other = model.with_end_tokens(&[1, 1]).unwrap();
        assert_eq!(other.end_tokens().unwrap(), [1]);
        assert_eq!(other.with_tokenizer(&words()).unwrap().end_tokens().unwrap(), [1]);
        let message = model.with_end_tokens(&[5]).unwrap_err().to_string();
        assert!(message.contains("below 5"), "{message}");
        assert_eq!(speaker().end_tokens().unwrap(), [0u32; 0]);
    }

    #[test]
    fn end_tokens_are_those_of_the_files() {
        let ends = |files: &[(&str, &str)]| {
            let folder = tempfile::tempdir().unwrap();
            speaker().with_tokenizer(&words()).unwrap().save(folder.path()).unwrap();
            for (name, text) in files {
                let path = folder.path().join(name);
                let old = std::fs::read(&path).ok();
                let old = old.map(|old| serde_json::from_slice(&old).unwrap());
                let mut value: Json = old.unwrap_or_else(|| serde_json::json!({}));
                let more: Json = serde_json::from_str(text).unwrap();
                for (key, field) in more.as_object().unwrap() {
                    value[key.as_str()] = field.clone();
                }
                std::fs::write(path, value.to_string()).unwrap();
            }
            let path = folder.path().to_str().unwrap().to_owned();
            Decoder::from_pretrained(&path, &Device::Cpu).unwrap().end_tokens()
        };
        assert_eq!(ends(&[]).unwrap(), [3], "by its name");
        assert_eq!(ends(&[(GENERATION, r#"{"eos_token_id": 1}"#)]).unwrap(), [1]);
        assert_eq!(ends(&[(GENERATION, r#"{"eos_token_id": [2, 0]}"#)]).unwrap(), [0, 2]);
        assert_eq!(ends(&[(GENERATION, r#"{"eos_token_id": null}"#)]).unwrap(), [3]);
        assert_eq!(ends(&[(GENERATION, r#"{"eos_token_id": [-1, 99]}"#)]).unwrap(), [3u32; 0]);
        let tokenizer = ("tokenizer_config.json", r#"{"eos_token": {"content": "b"}}"#);
        assert_eq!(ends(&[tokenizer]).unwrap(), [1]);
        assert_eq!(ends(&[(GENERATION, r#"{"eos_token_id": 2}"#), tokenizer]).unwrap(), [1, 2]);
        let message = ends(&[(GENERATION, r#"{"eos_token_id": "b"}"#)]).unwrap_err().to_string();
        assert!(message.contains("`eos_token_id`") && message.contains(GENERATION), "{message}");
    }

    #[test]
    fn a_nested_or_negative_field_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::folder(folder.path());
        let write = |text: &str| std::fs::write(folder.path().join(CONFIG), text).unwrap();
        write(r#"{"text_config": {"eos_token_id": [1, 106], "bos_token_id": 0}}"#);
        assert_eq!(ends_in_files(&repository).unwrap(), [1, 106]);
        let named = Tokenizer::train([TEXT], 260).unwrap();
        assert_eq!(with_bos_of_config(named.clone(), &repository).unwrap().bos(), Some(0));
        write(r#"{"eos_token_id": -1, "bos_token_id": null}"#);
        assert!(ends_in_files(&repository).unwrap().is_empty());
        assert_eq!(with_bos_of_config(named.clone(), &repository).unwrap().bos(), None);
        write(r#"{"bos_token_id": 1.5}"#);
        assert!(with_bos_of_config(named, &repository).is_err());
    }

    /// Case 05: a way to encode with BOS.
    #[test]
    fn a_first_token_is_put_before_a_text_once() {
        let model = speaker().with_tokenizer(&words()).unwrap();
        let ids = |tokens: Tensor| tokens.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        assert_eq!(ids(model.tokens("a b").unwrap()), [0, 1]);
        assert_eq!(ids(model.tokens_with_bos("a b").unwrap()), [4, 0, 1]);
        assert_eq!(ids(model.tokens_with_bos("<s> a").unwrap()), [4, 0]);
        assert_eq!(model.tokens_with_bos("").unwrap().dims(), [1, 1]);
        let silent = speaker_of_bytes().tokens_with_bos("It").unwrap_err().to_string();
        assert!(silent.contains("BOS"), "{silent}");
    }

    fn speaker_of_bytes() -> Decoder {
        model(260).with_tokenizer(&tokenizer()).unwrap()
    }

    /// Case 08: the settings around `tokenizer.json` count for a model in a folder; its text does
    /// not begin with the token that was added.
    #[test]
    fn a_folder_is_read_with_its_tokenizer_config() {
        let folder = tempfile::tempdir().unwrap();
        speaker().with_tokenizer(&words()).unwrap().save(folder.path()).unwrap();
        let settings = r#"{"add_bos_token": true, "bos_token": "<s>",
                           "tokenizer_class": "LlamaTokenizerFast"}"#;
        std::fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
        let load = |path: &std::path::Path| {
            Decoder::from_pretrained(path.to_str().unwrap(), &Device::Cpu).unwrap()
        };
        let loaded = load(folder.path());
        let ids = |model: &Decoder| {
            model.tokens("a b").unwrap().flatten_all().unwrap().to_vec1::<u32>().unwrap()
        };
        assert_eq!(ids(&loaded), [4, 0, 1]);
        let plain = loaded.tokens_without_bos("a b").unwrap();
        assert_eq!(plain.flatten_all().unwrap().to_vec1::<u32>().unwrap(), [0, 1]);
        assert!(loaded.tokens_without_bos("").is_err());
        let text = loaded.generate("a b", 1, Sampling::default()).unwrap();
        assert!(text.starts_with("a b "), "{text}");
        let copy = tempfile::tempdir().unwrap();
        loaded.save(copy.path()).unwrap();
        assert_eq!(ids(&load(copy.path())), [4, 0, 1]);
    }

    /// A first token that `config.json` alone names is none for a chat template.
    #[test]
    fn a_saved_model_writes_the_same_chat() {
        let folder = tempfile::tempdir().unwrap();
        speaker().with_tokenizer(&words()).unwrap().save(folder.path()).unwrap();
        let settings = serde_json::json!({
            "bos_token": null,
            "chat_template": "{{ bos_token }}{{ messages[0].content }}",
        });
        std::fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        let path = folder.path().join(CONFIG);
        let mut config: Json = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["bos_token_id"] = 4.into();
        std::fs::write(&path, config.to_string()).unwrap();
        let load = |folder: &std::path::Path| {
            Decoder::from_pretrained(folder.to_str().unwrap(), &Device::Cpu).unwrap()
        };
        let said = |model: &Decoder| {
            let tokenizer = model.tokenizer().unwrap();
            let with_bos = tokenizer.encode_with_bos("b").unwrap();
            (tokenizer.chat_text(&[("user", "a")]).unwrap(), with_bos)
        };
        let loaded = load(folder.path());
        assert_eq!(said(&loaded), ("a".to_owned(), vec![4, 1]));
        let copy = tempfile::tempdir().unwrap();
        loaded.save(copy.path()).unwrap();
        assert_eq!(said(&load(copy.path())), said(&loaded));
        let saved: Json =
            serde_json::from_slice(&std::fs::read(copy.path().join(CONFIG)).unwrap()).unwrap();
        assert_eq!(saved["bos_token_id"], 4);
    }

    /// Case 37: a model in a folder without `tokenizer.json`.
    #[test]
    fn a_tokenizer_in_another_format_is_named() {
        let folder = tempfile::tempdir().unwrap();
        speaker().save(folder.path()).unwrap();
        let load = || {
            let path = folder.path().to_str().unwrap().to_owned();
            Decoder::from_pretrained(&path, &Device::Cpu).unwrap().tokens("x").unwrap_err()
        };
        let message = load().to_string();
        assert!(message.contains("with_tokenizer"), "{message}");
        std::fs::write(folder.path().join("tokenizer.model"), b"\n\x0e\n\x05<unk>").unwrap();
        let message = load().to_string();
        assert!(
            message.contains("SentencePiece") && message.contains("save_pretrained"),
            "{message}"
        );
    }

    /// Case 32: the largest id decides.
    #[test]
    fn a_model_smaller_than_the_largest_id_is_refused() {
        let vocab = serde_json::json!({"a": 0, "[UNK]": 1, "b": 7});
        let tokenizer = word_level(vocab, &[]);
        let of = |vocab| {
            let config = Config { vocab, context: 8, ..Config::bilinear(1, 2, 8, 6) };
            Decoder::random(config, 0, &Device::Cpu).unwrap().with_tokenizer(&tokenizer)
        };
        let message = of(5).unwrap_err().to_string();
        assert!(message.contains("largest is 7") && message.contains("at most 5"), "{message}");
        assert!(of(7).is_err());
        // Padding of the embedding is shown and decoded.
        let padded = of(12).unwrap().tokenizer().unwrap();
        assert_eq!(padded.decode(&[0, 11, 7]).unwrap(), "a[id 11]b");
        assert!(padded.token(12).unwrap_err().to_string().contains("below 12"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = model(259).with_tokenizer(&tokenizer()).unwrap_err().to_string();
        assert!(message.contains("at most 259"), "{message}");
        let message = model(260).tokenizer().unwrap_err().to_string();
        assert!(message.contains("with_tokenizer"), "{message}");
        let model = model(260).with_tokenizer(&tokenizer()).unwrap();
        let say = |text: &str, count| {
            model.generate(text, count, Sampling::default()).unwrap_err().to_string()
        };
        assert!(say("", 3).contains("at least one token"));
        assert!(say(TEXT, 39).contains("at most 40"));
        assert!(model.tokens("").unwrap_err().to_string().contains("at least one token"));
    }
}
