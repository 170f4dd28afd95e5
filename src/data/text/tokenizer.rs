//! Between text and tokens.

use crate::notebook::MimeBundle;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::store::{Format, mistaken, replace};
use crate::{Error, Result};

/// A tokenizer, as `tokenizer.json` files describe it. A cheap handle.
#[derive(Debug, Clone)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    /// The same, blind to special tokens in a text; made when it is first asked for.
    plain: OnceLock<tokenizers::Tokenizer>,
}

impl Tokenizer {
    pub(crate) fn new(tokenizer: tokenizers::Tokenizer) -> Self {
        Self(Arc::new(Inner { tokenizer, plain: OnceLock::new() }))
    }

    /// The tokenizer in the file `path`.
    ///
    /// # Errors
    /// A file that is missing or no tokenizer.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(path, &std::fs::read(path).map_err(Error::io("read", path))?)
    }

    /// The tokenizer in the bytes of a file; `path` names it in messages.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        let tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|reason| mistaken(path, bytes, Format::Json, "a tokenizer", reason.to_string()))?;
        Ok(Self::new(tokenizer))
    }

    /// Learns byte-pair encoding from texts: words as GPT-2 cuts them, every byte a token, and then
    /// the most frequent pairs, up to `vocab` tokens. The same texts give the same tokenizer.
    ///
    /// # Errors
    /// A vocabulary that does not hold the 256 bytes.
    pub fn train<'a>(texts: impl IntoIterator<Item = &'a str>, vocab: usize) -> Result<Self> {
        if vocab < 256 {
            return Err(Error::invalid("the vocabulary", "at least 256, a token a byte", vocab));
        }
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(BPE::default()));
        let bytes = ByteLevel::new(false, true, true);
        tokenizer.with_pre_tokenizer(Some(bytes));
        tokenizer.with_decoder(Some(bytes));
        let trainer = BpeTrainer::builder()
            .vocab_size(vocab)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        // Whole texts are too long for the trainer to share out: lines are not.
        let lines: Vec<String> = texts
            .into_iter()
            .flat_map(|text| text.split_inclusive('\n').map(str::to_owned))
            .collect();
        tokenizer
            .train(&mut TrainerWrapper::from(trainer), lines.into_iter())
            .map_err(|reason| Error::invalid("the texts", "fit to learn from", reason))?;
        Ok(Self::new(tokenizer))
    }

    /// Writes the file `path`.
    ///
    /// # Errors
    /// A place that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.0.tokenizer.to_string(true).map_err(std::io::Error::other);
        replace(path.as_ref(), |place| std::fs::write(place, text?))
    }

    /// Number of tokens.
    pub fn vocab(&self) -> usize {
        self.0.tokenizer.get_vocab_size(true)
    }

    /// The tokens of a text, with those at its start and end that the tokenizer's file asks for.
    ///
    /// # Errors
    /// A text that the tokenizer has no tokens for.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Self::encode_by(&self.0.tokenizer, text, true)
    }

    /// The tokens of a text in which special tokens, where they are written out, are no more than
    /// their letters; none are added at its ends. For text that is not trusted.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let plain = self.0.plain.get_or_init(|| {
            let mut plain = self.0.tokenizer.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        Self::encode_by(plain, text, false)
    }

    fn encode_by(tokenizer: &tokenizers::Tokenizer, text: &str, ends: bool) -> Result<Vec<u32>> {
        let encoding = tokenizer
            .encode_fast(text, ends)
            .map_err(|reason| Error::invalid("the text", "one the tokenizer knows", reason))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of tokens, without special ones. Bytes that are no UTF-8 become replacement
    /// characters.
    ///
    /// # Errors
    /// A token there is not.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let vocab = self.vocab();
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::invalid("every token", format!("below {vocab}"), token));
        }
        self.0
            .tokenizer
            .decode(tokens, true)
            .map_err(|reason| Error::invalid("the tokens", "ones with a text", reason))
    }

    /// The text of one token as it stands within others, with the space before it.
    ///
    /// # Errors
    /// A token there is not.
    pub fn token(&self, token: u32) -> Result<String> {
        match self.0.tokenizer.id_to_token(token) {
            // SentencePiece's sign for a space, which a decoder drops at the start of a text.
            Some(piece) if piece.contains('\u{2581}') => Ok(piece.replace('\u{2581}', " ")),
            Some(piece) => match self.decode(&[token])? {
                // A part of a character, which has no text: as the vocabulary has it.
                text if text.contains('\u{fffd}') => Ok(piece),
                text => Ok(text),
            },
            None => self.decode(&[token]),
        }
    }
}

impl Tokenizer {
    /// Shows what it is as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a tokenizer of {} tokens", self.vocab())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "It is a truth universally acknowledged, that a single man in possession of \
                        a good fortune, must be in want of a wife.\nIt is a truth.\n";

    #[test]
    fn texts_come_back_and_frequent_pairs_are_one_token() {
        let tokenizer = Tokenizer::train([TEXT, TEXT], 300).unwrap();
        let tokens = tokenizer.encode(TEXT).unwrap();
        assert!(tokens.len() < TEXT.len() / 2 && tokenizer.vocab() <= 300);
        assert_eq!(tokenizer.decode(&tokens).unwrap(), TEXT);
        let other = "Ünïcode — \u{1F40B}\n\n  spaces";
        assert_eq!(tokenizer.decode(&tokenizer.encode(other).unwrap()).unwrap(), other);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        assert_eq!(Tokenizer::from_file(&path).unwrap().encode(TEXT).unwrap(), tokens);
        assert_eq!(Tokenizer::train([TEXT, TEXT], 300).unwrap().encode(TEXT).unwrap(), tokens);
    }

    #[test]
    fn bad_files_and_tokens_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("could not read"));
        std::fs::write(&path, "{\"model\": ").unwrap();
        assert!(Tokenizer::from_file(&path).unwrap_err().to_string().contains("a tokenizer"));
        let tokenizer = Tokenizer::train([TEXT], 256).unwrap();
        assert!(tokenizer.decode(&[256]).unwrap_err().to_string().contains("below 256"));
        assert!(Tokenizer::train([TEXT], 255).is_err());
    }
}
