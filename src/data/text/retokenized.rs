//! A text in the tokens of another model.

use super::{Contexts, Tokenizer};
use crate::Result;

impl Contexts {
    /// The same text in the tokens of `to`, in contexts of the same length: what `from` decodes,
    /// encoded by `to`. Contexts that were taken from different places of a text follow each other, and
    /// what is left at the end is left out. If both tokenizers are the same, so are the contexts.
    ///
    /// A model that was published without text can read the one that is part of the library:
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let text = Contexts::from_pretrained("eigenlens/classics-4k")?;
    /// # let text = Contexts::new(text.length(), text.as_slice()[..4 * text.length()].to_vec())?;
    /// let own = Tokenizer::from_pretrained("eigenlens/classics")?;
    /// let bytes = Tokenizer::train(["by bytes"], 256)?;
    /// let read = text.retokenized(&own, &bytes)?;
    /// assert_eq!(read.length(), text.length());
    /// assert!(read.len() > text.len()); // a byte is less than a word
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`Tokenizer::decode`] and [`Tokenizer::encode_plain`]; a text that is shorter than a context in
    /// the tokens of `to`.
    pub fn retokenized(&self, from: &Tokenizer, to: &Tokenizer) -> Result<Self> {
        if from.is_same(to) {
            return Ok(self.clone());
        }
        let mut tokens = to.encode_plain(&from.decode(self.as_slice())?)?;
        tokens.truncate(tokens.len() / self.length() * self.length());
        Self::new(self.length(), tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "It is a truth universally acknowledged, that a single man in possession of \
                        a good fortune, must be in want of a wife.";

    #[test]
    fn the_same_text_is_in_other_tokens() {
        let (words, bytes) =
            (Tokenizer::train([TEXT, TEXT], 300).unwrap(), Tokenizer::train([TEXT], 256).unwrap());
        let mut tokens = words.encode_plain(TEXT).unwrap();
        tokens.truncate(tokens.len() / 5 * 5);
        let text = words.decode(&tokens).unwrap();
        let contexts = Contexts::new(5, tokens).unwrap();
        let read = contexts.retokenized(&words, &bytes).unwrap();
        assert_eq!((read.length(), read.len()), (5, text.len() / 5));
        let whole = text.len() / 5 * 5;
        assert_eq!(bytes.decode(read.as_slice()).unwrap(), text[..whole]);
        // A tokenizer that was saved is the same one.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        words.save(&path).unwrap();
        let again = Tokenizer::from_file(&path).unwrap();
        let same = contexts.retokenized(&again, &words).unwrap();
        assert_eq!(same.as_slice(), contexts.as_slice());
    }

    #[test]
    fn a_text_that_is_too_short_in_other_tokens_is_refused() {
        let (words, bytes) =
            (Tokenizer::train([TEXT, TEXT], 300).unwrap(), Tokenizer::train([TEXT], 256).unwrap());
        let tokens = bytes.encode_plain("It is").unwrap();
        let contexts = Contexts::new(tokens.len(), tokens).unwrap();
        let error = contexts.retokenized(&bytes, &words).unwrap_err().to_string();
        assert!(error.contains("the number of tokens"), "{error}");
    }
}
