//! Between a model and text.

use std::sync::OnceLock;

use candle_core::Tensor;

use super::{Decoder, Hooks, Sampling};
use crate::data::text::Tokenizer;
use crate::gguf::Gguf;
use crate::hub::{Repository, Source};
use crate::{Error, Result};

pub(super) const TOKENIZER: &str = "tokenizer.json";

/// Where a model came from, and the tokenizer it speaks through.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) repository: Option<Repository>,
    /// The repository of its tokenizer, if `config.json` names one.
    pub(super) tokenizer_name: Option<String>,
    /// The GGUF file it was loaded from, which has a tokenizer in it.
    pub(super) gguf: Option<Gguf>,
    /// What to know before trusting the model's numbers.
    pub(super) notes: Vec<String>,
    /// Read when it is first asked for: weights can be looked at without it.
    pub(super) tokenizer: OnceLock<Tokenizer>,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            source: Source::Memory,
            repository: None,
            tokenizer_name: None,
            gguf: None,
            notes: Vec::new(),
            tokenizer: OnceLock::new(),
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

    /// The tokenizer: `tokenizer.json` beside the weights, else of the repository that `config.json`
    /// names as `tokenizer`; the one in a GGUF file.
    ///
    /// # Errors
    /// A model that has none, or one that is not reachable, damaged, or has more tokens than the
    /// model.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let origin = self.origin();
        if let Some(tokenizer) = origin.tokenizer.get() {
            return Ok(tokenizer.clone());
        }
        if let Some(gguf) = &origin.gguf {
            let tokenizer = gguf.tokenizer()?;
            self.check_tokenizer(&tokenizer)?;
            return Ok(origin.tokenizer.get_or_init(|| tokenizer).clone());
        }
        let Some(repository) = &origin.repository else {
            return Err(Error::NotFound {
                what: "the model's tokenizer".to_owned(),
                hint: "It was made in memory: give it one with `with_tokenizer`.".to_owned(),
            });
        };
        let content = match (repository.read(TOKENIZER), &origin.tokenizer_name) {
            (Ok(content), _) => content,
            (Err(_), Some(name)) => repository.neighbour(name)?.read(TOKENIZER)?,
            (Err(reason), None) => return Err(reason),
        };
        let tokenizer = Tokenizer::parse(&content.path, &content.bytes)?;
        self.check_tokenizer(&tokenizer)?;
        Ok(origin.tokenizer.get_or_init(|| tokenizer).clone())
    }

    /// The same model, sharing its weights, with a tokenizer.
    ///
    /// # Errors
    /// A tokenizer with more tokens than the model.
    pub fn with_tokenizer(&self, tokenizer: &Tokenizer) -> Result<Self> {
        self.check_tokenizer(tokenizer)?;
        let origin =
            Origin { tokenizer: OnceLock::from(tokenizer.clone()), ..self.origin().clone() };
        let parameters = self.parameters().clone();
        Ok(Self::from_parameters(self.config().clone(), parameters, self.device(), origin))
    }

    fn check_tokenizer(&self, tokenizer: &Tokenizer) -> Result<()> {
        let vocab = self.config().vocab;
        if tokenizer.vocab() > vocab {
            let expected = format!("at most {vocab}, the model's vocabulary");
            return Err(Error::invalid("the tokenizer's tokens", expected, tokenizer.vocab()));
        }
        Ok(())
    }

    /// The tokens of a text, `[1, positions]`.
    ///
    /// # Errors
    /// As [`Decoder::tokenizer`]; a text without tokens.
    pub fn tokens(&self, text: &str) -> Result<Tensor> {
        let tokens = self.tokenizer()?.encode(text)?;
        if tokens.is_empty() {
            return Err(Error::invalid("the prompt", "at least one token", "none"));
        }
        Ok(Tensor::new(tokens, self.device())?.unsqueeze(0)?)
    }

    /// The text with `count` tokens more; see [`Decoder::generate_tokens`].
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
        tokenizer.decode(&self.generate_tokens_with(&tokens, count, sampling, hooks)?)
    }
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
