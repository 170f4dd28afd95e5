//! Between a model and text.

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;
use serde_json::Value as Json;

use super::{Decoder, Hooks, Sampling};
use crate::data::text::{Tokenizer, number, numbers};
use crate::gguf::Gguf;
use crate::hub::{Repository, Source};
use crate::{Error, Result};

const TOKENIZER: &str = "tokenizer.json";
const CONFIG: &str = "config.json";
const GENERATION: &str = "generation_config.json";
/// Fields of a GGUF file for tokens after which nothing follows: of a text, a turn, a message.
const GGUF_ENDS: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];

/// Where a model came from, and the tokenizer it speaks through.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) repository: Option<Repository>,
    /// The repository of its tokenizer, if `config.json` names one.
    pub(super) tokenizer_name: Option<String>,
    /// The GGUF file it was loaded from, which has a tokenizer in it.
    pub(super) gguf: Option<Gguf>,
    /// Read when it is first asked for: weights can be looked at without it.
    pub(super) tokenizer: OnceLock<Tokenizer>,
    /// Tokens that end what the model says, if they were chosen by hand.
    pub(super) chosen_ends: Option<Arc<[u32]>>,
    /// Those that its files name; read when they are first asked for.
    pub(super) found_ends: OnceLock<Arc<[u32]>>,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            source: Source::Memory,
            repository: None,
            tokenizer_name: None,
            gguf: None,
            tokenizer: OnceLock::new(),
            chosen_ends: None,
            found_ends: OnceLock::new(),
        }
    }
}

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
    /// says of it, else in the repository that `config.json` names as `tokenizer`; the one in a GGUF
    /// file.
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
            (Some(gguf), _) => gguf_tokenizer(gguf)?,
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
        Ok(self.with_origin(Origin { tokenizer, found_ends: OnceLock::new(), ..origin }))
    }

    /// A tokenizer that shows rows of the embedding which have no token as signs.
    fn fitted(&self, tokenizer: &Tokenizer) -> Result<Tokenizer> {
        let (rows, ids) = (self.config().vocab, tokenizer.vocab());
        if ids > rows {
            let what = format!("the ids of the tokenizer (the largest is {})", ids - 1);
            return Err(Error::invalid(what, format!("at most {rows}, the model's vocabulary"), ids));
        }
        Ok(tokenizer.for_rows(rows))
    }

    fn with_origin(&self, origin: Origin) -> Self {
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
        Ok(self.with_origin(Origin { chosen_ends: Some(tokens.into()), ..self.origin().clone() }))
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

    fn row(&self, tokens: Vec<u32>) -> Result<Tensor> {
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

/// The tokenizer of a GGUF file, with the first and last tokens that the file names.
fn gguf_tokenizer(gguf: &Gguf) -> Result<Tokenizer> {
    let tokenizer = gguf.tokenizer()?;
    let id = |name: &str| {
        let value = gguf.get(&format!("tokenizer.ggml.{name}"))?;
        value.as_u64().and_then(|id| u32::try_from(id).ok())
    };
    let mut ends = tokenizer.ends().clone();
    if let Some(bos) = id("bos_token_id") {
        (ends.bos, ends.bos_by_name) = (Some(bos), false);
    }
    let eos: Vec<u32> = GGUF_ENDS.iter().filter_map(|name| id(name)).collect();
    if !eos.is_empty() {
        (ends.eos, ends.eos_by_name) = (eos, false);
    }
    Ok(tokenizer.with(ends))
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
    let wrong = |reason: serde_json::Error| {
        Error::format(&content.path, "a JSON object", reason.to_string())
    };
    let value = serde_json::from_slice(&content.bytes).map_err(wrong)?;
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
