//! Between text and tokens.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::TOKENIZER_FILE;
use super::chat_settings::ChatSettings;
use super::long::{LONG, cuts_words, encode_parts, parts, stoppable};
use super::pieces::{META_SPACE, Piece, Spelling, readable, sign_of_hole};
use super::settings::{Ends, ends_of_template};
use crate::display::show_as_text;
use crate::progress::interrupted;
use crate::store::replace;
use crate::{Error, Result};

/// More tokens than this are decoded where Stop can end it.
const MANY_TOKENS: usize = 1 << 18;

/// A tokenizer, as `tokenizer.json` files describe it, with what the `tokenizer_config.json` of the
/// same folder says of its first and last tokens, and its chat template. A cheap handle.
///
/// Truncation and padding that a file asks for do not act: a text has the tokens it has.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<TokenizerData>,
    /// Ids below this are shown and decoded, with a sign where no token has them.
    rows: usize,
    ends: Ends,
    notes: Arc<[String]>,
    chat: Arc<ChatSettings>,
}

struct TokenizerData {
    tokenizer: tokenizers::Tokenizer,
    /// The same, blind to special tokens in a text; made when it is first asked for.
    plain: OnceLock<tokenizers::Tokenizer>,
    spelling: Spelling,
    /// One more than the largest id.
    ids: usize,
    /// Tokens that are put before and after a text.
    before: Vec<u32>,
    after: Vec<u32>,
    /// Whether the tokens of a text are those of its parts.
    cuts_words: bool,
    /// Tokens that look like another one by their texts; found when they are first asked for.
    twins: OnceLock<HashSet<u32>>,
}

impl Tokenizer {
    pub(crate) fn new(tokenizer: tokenizers::Tokenizer) -> Self {
        Self::with_ends(tokenizer, None, Vec::new())
    }

    /// A tokenizer of which it is known where texts begin and end.
    pub(super) fn with_ends(
        mut tokenizer: tokenizers::Tokenizer,
        ends: Option<Ends>,
        notes: Vec<String>,
    ) -> Self {
        // Without truncation this cannot fail.
        let _ = tokenizer.with_truncation(None);
        tokenizer.with_padding(None);
        let spelling = Spelling::of(&tokenizer);
        if tokenizer.get_decoder().is_none() && spelling.is_byte_level() {
            tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        }
        let (before, after) = ends_of_template(&tokenizer);
        let ends = ends.unwrap_or_else(|| Ends::by_name(&tokenizer, &before));
        let largest = tokenizer.get_vocab(true).into_values().max();
        let ids = largest.map_or(0, |largest| largest as usize + 1);
        let inner = TokenizerData {
            cuts_words: cuts_words(&tokenizer),
            tokenizer,
            plain: OnceLock::new(),
            spelling,
            ids,
            before,
            after,
            twins: OnceLock::new(),
        };
        Self { inner: Arc::new(inner), rows: ids, ends, notes: notes.into(), chat: Arc::default() }
    }

    /// Learns byte-pair encoding from texts: words as GPT-2 cuts them, every byte a token, and then
    /// the most frequent pairs, up to `vocab` tokens. The same texts give the same tokenizer.
    ///
    /// # Errors
    /// A vocabulary that does not hold the 256 bytes; [`Error::Interrupted`] when Stop is pressed.
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
        let size = lines.iter().map(String::len).sum();
        stoppable("training the tokenizer", size, move |watch| {
            let lines = lines.into_iter().take_while(|line| {
                watch.count(line.len());
                !watch.is_stopped()
            });
            tokenizer.train(&mut TrainerWrapper::from(trainer), lines).map_err(|reason| {
                Error::invalid("the texts", "fit to learn from", &reason).caused_by(reason)
            })?;
            Ok(Self::new(tokenizer))
        })
    }

    /// A tokenizer of whole words: `begin`, the special token that begins a text, has the id 0, and
    /// each word, with the space before it, the next. A text with another word is refused.
    ///
    /// ```
    /// use eigenlens::data::text::Tokenizer;
    /// let tokenizer = Tokenizer::of_words("<s>", ["three", "days"])?;
    /// assert_eq!(tokenizer.encode_with_bos("three days")?, [0, 1, 2]);
    /// assert_eq!(tokenizer.token(2)?, " days");
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Words that are empty, hold a space or are there twice; a `begin` that is one of them.
    pub fn of_words<'a>(begin: &str, words: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let words: Vec<&str> = words.into_iter().collect();
        let mut seen = HashSet::from([begin]);
        for &word in &words {
            if word.is_empty() || word.contains(char::is_whitespace) || !seen.insert(word) {
                let expected = "different words without spaces";
                return Err(Error::invalid("the vocabulary", expected, format!("{word:?}")));
            }
        }
        let spelled = words.into_iter().map(|word| format!("{META_SPACE}{word}"));
        let vocab = std::iter::once(begin.to_owned()).chain(spelled).zip(0..).collect();
        let model = WordLevel::builder().vocab(vocab).build().map_err(|reason| {
            Error::invalid("the vocabulary", "fit for a tokenizer", &reason).caused_by(reason)
        })?;
        let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::WordLevel(model));
        let spaces = Metaspace::new(META_SPACE, PrependScheme::Always, true);
        tokenizer.with_pre_tokenizer(Some(spaces.clone()));
        tokenizer.with_decoder(Some(spaces));
        tokenizer
            .add_special_tokens([AddedToken::from(begin, true).normalized(false)])
            .map_err(|reason| Error::invalid("`begin`", "a token", &reason).caused_by(reason))?;
        Ok(Self::new(tokenizer))
    }

    /// Writes the file `path`.
    ///
    /// # Errors
    /// A place that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.inner.tokenizer.to_string(true).map_err(std::io::Error::other);
        replace(path.as_ref(), |place| std::fs::write(place, text?))
    }

    /// Writes `tokenizer.json` and, where texts have known first or last tokens or there is a chat
    /// template, `tokenizer_config.json` into a folder.
    pub(crate) fn save_in(&self, folder: &Path) -> Result<()> {
        self.save(folder.join(TOKENIZER_FILE))?;
        let [bos, eos] = self.saved_ends();
        let template = self.chat.as_field();
        if bos.is_none() && eos.is_none() && template.is_none() {
            return Ok(());
        }
        // This class leaves what is put around a text to tokenizer.json.
        let class = "PreTrainedTokenizerFast";
        let mut settings = json!({"tokenizer_class": class, "bos_token": bos, "eos_token": eos});
        if let Some(template) = template {
            settings["chat_template"] = template;
            for (key, text) in self.special_texts() {
                settings[key] = text.into();
            }
        }
        let path = folder.join("tokenizer_config.json");
        replace(&path, |place| std::fs::write(place, format!("{settings:#}\n")))
    }

    /// The first and last token in the `tokenizer_config.json` that is saved. With a chat template it
    /// names no others than the file that was read: the template would be given them.
    fn saved_ends(&self) -> [Option<String>; 2] {
        if let Some(named) = self.chat.special.as_ref().filter(|_| !self.chat.templates.is_empty())
        {
            let text =
                |key: &str| named.iter().find(|(own, _)| own == key).map(|(_, text)| text.clone());
            return ["bos_token", "eos_token"].map(text);
        }
        let text = |id: Option<&u32>| self.inner.tokenizer.id_to_token(*id?);
        let known = |by_name: bool, id: Option<&u32>| if by_name { None } else { text(id) };
        let bos = known(self.ends.bos_by_name, self.ends.bos.as_ref());
        [bos, known(self.ends.eos_by_name, self.ends.eos.first())]
    }

    /// Fields of `config.json` for the first and last tokens that are known, and that
    /// [`Tokenizer::save_in`] does not name.
    pub(crate) fn fields_for_config(&self) -> Vec<(&'static str, serde_json::Value)> {
        let [bos, eos] = self.saved_ends();
        let mut fields = Vec::new();
        if let Some(id) = self.ends.bos.filter(|_| bos.is_none() && !self.ends.bos_by_name) {
            fields.push(("bos_token_id", json!(id)));
        }
        if eos.is_none() && !self.ends.eos_by_name && !self.ends.eos.is_empty() {
            fields.push(("eos_token_id", json!(self.ends.eos)));
        }
        fields
    }

    /// Number of ids: one more than the largest. A model needs as many rows in its embedding.
    pub fn vocab(&self) -> usize {
        self.inner.ids
    }

    /// SHA-256 of the file that [`save`](Self::save) would write without its line breaks.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tokenizer that cannot be saved.
    pub(crate) fn sum(&self) -> Result<String> {
        let file = self.inner.tokenizer.to_string(false);
        let file = file.map_err(|reason| {
            Error::invalid("the tokenizer", "one that can be saved", &reason).caused_by(reason)
        })?;
        Ok(format!("{:x}", Sha256::digest(file)))
    }

    /// Whether the other is the same tokenizer: both would be saved as the same file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let file = |own: &Self| own.inner.tokenizer.to_string(false).ok();
        Arc::ptr_eq(&self.inner, &other.inner)
            || file(self).is_some_and(|own| file(other) == Some(own))
    }

    /// The token that begins a text (BOS), if there is one: as `tokenizer_config.json` names it or
    /// the tokenizer puts it there, else a special token with a well-known name such as `<s>`.
    pub fn bos(&self) -> Option<u32> {
        self.ends.bos
    }

    /// The token that ends a text (EOS), if there is one: as `tokenizer_config.json` names it, else
    /// a special token with a well-known name such as `</s>`.
    pub fn eos(&self) -> Option<u32> {
        self.ends.eos.first().copied()
    }

    /// What the files say that is not followed here, or that could not be asked for.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many tokens at the start of a text were put there by the tokenizer.
    pub(crate) fn added_before(&self, tokens: &[u32]) -> usize {
        let before = &self.inner.before;
        if tokens.starts_with(before) { before.len() } else { 0 }
    }

    pub(super) fn chat(&self) -> &ChatSettings {
        &self.chat
    }

    /// The same with other chat templates.
    pub(super) fn with_chat(&self, chat: ChatSettings) -> Self {
        Self { chat: chat.into(), ..self.clone() }
    }

    /// The texts of special tokens that a chat template is given, by their keys: those of
    /// `tokenizer_config.json`, or without one the first and last tokens that are known.
    pub(super) fn special_texts(&self) -> Vec<(String, String)> {
        if let Some(named) = &self.chat.special {
            return named.clone();
        }
        let text = |id: Option<u32>| self.inner.tokenizer.id_to_token(id?);
        let ends = [("bos_token", text(self.bos())), ("eos_token", text(self.eos()))];
        ends.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?))).collect()
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The same with other first and last tokens.
    pub(crate) fn with(&self, ends: Ends) -> Self {
        Self { ends, ..self.clone() }
    }

    /// The same for a model with `rows` rows in its embedding: those above the largest id have no
    /// token, and are shown as a sign.
    pub(crate) fn for_rows(&self, rows: usize) -> Self {
        Self { rows, ..self.clone() }
    }

    /// The tokens of a text, with those at its start and end that the tokenizer's files ask for.
    ///
    /// Long texts are encoded in parts, on all processors, and Stop ends it.
    ///
    /// # Errors
    /// A text that the tokenizer has no tokens for; [`Error::Interrupted`] when Stop is pressed.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let ids = self.encode_inside(text)?;
        Ok([self.inner.before.as_slice(), &ids, &self.inner.after].concat())
    }

    /// [`Tokenizer::encode`] without tokens at the ends.
    pub(super) fn encode_inside(&self, text: &str) -> Result<Vec<u32>> {
        let inner = self.inner.clone();
        self.encode_by(text, move |part| encode_by(&inner.tokenizer, part))
    }

    /// [`Tokenizer::encode`] with the first token (BOS) before the text, for tokenizers that do not
    /// put it there; never twice.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; if the tokenizer has no token that begins a text.
    pub fn encode_with_bos(&self, text: &str) -> Result<Vec<u32>> {
        let bos = self.bos().ok_or_else(|| Error::NotFound {
            what: "the token that begins a text (BOS)".to_owned(),
            hint: "Neither tokenizer_config.json nor tokenizer.json names one: put the token you \
                   mean before those of `encode`."
                .to_owned(),
        })?;
        let mut ids = self.encode(text)?;
        if ids.first() != Some(&bos) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The tokens of a text in which special tokens, where they are written out, are no more than
    /// their letters; none are added at its ends. For text that is not trusted.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        let inner = self.inner.clone();
        self.encode_by(text, move |part| {
            let plain = inner.plain.get_or_init(|| {
                let mut plain = inner.tokenizer.clone();
                plain.set_encode_special_tokens(true);
                plain
            });
            encode_by(plain, part)
        })
    }

    fn encode_by(
        &self,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>> + Send + Sync + 'static,
    ) -> Result<Vec<u32>> {
        // A safe point for loops over many short texts too.
        if interrupted() {
            return Err(Error::Interrupted { what: "encoding".to_owned() });
        }
        if text.len() < LONG {
            return encode(text);
        }
        let (text, may_cut) = (text.to_owned(), self.inner.cuts_words);
        stoppable("encoding", text.len(), move |watch| {
            encode_parts(&parts(&text, may_cut), watch, encode)
        })
    }

    /// The text of tokens, without special ones. Bytes that are no UTF-8 become replacement
    /// characters, and an id without a text becomes a sign such as `[id 50300]`.
    ///
    /// # Errors
    /// If an id is beyond the vocabulary.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.decode_by(tokens, false)
    }

    /// [`Tokenizer::decode`] with special tokens as their own texts.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_with_special(&self, tokens: &[u32]) -> Result<String> {
        self.decode_by(tokens, true)
    }

    fn decode_by(&self, tokens: &[u32], special: bool) -> Result<String> {
        if let Some(token) = tokens.iter().find(|token| **token as usize >= self.rows) {
            return Err(Error::invalid("every token", format!("below {}", self.rows), token));
        }
        if tokens.len() < MANY_TOKENS {
            return self.inner.decode(tokens, special);
        }
        let (inner, tokens) = (self.inner.clone(), tokens.to_vec());
        stoppable("decoding", 0, move |_| inner.decode(&tokens, special))
    }

    /// The text of one token as it stands within others, with the space before it.
    ///
    /// A special token is its own text, such as `<|endoftext|>`. Bytes that are only a part of a
    /// character read `<0xE4>`, and an id without a text `[id 50300]`. For displays see
    /// [`Tokenizer::visible`].
    ///
    /// # Errors
    /// If the id is beyond the vocabulary.
    pub fn token(&self, token: u32) -> Result<String> {
        Ok(match self.piece(token)? {
            Piece::Special(text) => text,
            Piece::Hole(id) => sign_of_hole(id),
            Piece::Bytes(bytes) => readable(&bytes),
        })
    }

    /// What a token adds to a text.
    pub(super) fn piece(&self, token: u32) -> Result<Piece> {
        if token as usize >= self.rows {
            return Err(Error::invalid("the token", format!("below {}", self.rows), token));
        }
        let inner = &self.inner;
        let added = inner.tokenizer.get_added_vocabulary().get_added_tokens_decoder().get(&token);
        Ok(match (added, inner.tokenizer.id_to_token(token)) {
            (Some(added), _) if added.special => Piece::Special(added.content.clone()),
            // The letters of GPT-2's alphabet are not meant in a text that was added.
            (Some(added), _) if inner.spelling.is_byte_level() => {
                Piece::Bytes(added.content.clone().into_bytes())
            }
            (Some(added), _) => Piece::Bytes(inner.spelling.bytes(&added.content)),
            (None, Some(piece)) => Piece::Bytes(inner.spelling.bytes(&piece)),
            (None, None) => Piece::Hole(token),
        })
    }

    /// The byte that a token of SentencePiece such as `<0x0A>` is.
    pub(super) fn fallback_byte(&self, token: u32) -> Option<u8> {
        let inner = &self.inner;
        let piece = inner.tokenizer.id_to_token(token).filter(|_| inner.spelling.byte_fallback)?;
        inner.spelling.fallback(&piece)
    }

    /// Tokens that look like another one by their marked texts.
    pub(super) fn twins(&self) -> &HashSet<u32> {
        self.inner.twins.get_or_init(|| {
            let ids = self.inner.tokenizer.get_vocab(true).into_values();
            let mut shown: Vec<(String, u32)> =
                ids.filter_map(|id| Some((self.marked(id).ok()?, id))).collect();
            shown.sort_unstable();
            shown.dedup();
            let pairs = shown.windows(2).filter(|pair| pair[0].0 == pair[1].0);
            pairs.flat_map(|pair| [pair[0].1, pair[1].1]).collect()
        })
    }
}

impl TokenizerData {
    fn decode(&self, tokens: &[u32], special: bool) -> Result<String> {
        let added = self.tokenizer.get_added_vocabulary();
        let mut text = String::new();
        let mut run = Vec::new();
        for token in tokens {
            let whole = match added.get_added_tokens_decoder().get(token) {
                Some(own) if own.special && !special => continue,
                Some(own) if own.special && self.is_bent(&own.content) => own.content.clone(),
                None if self.tokenizer.id_to_token(*token).is_none() => sign_of_hole(*token),
                _ => {
                    run.push(*token);
                    continue;
                }
            };
            self.decode_run(&std::mem::take(&mut run), &mut text)?;
            text.push_str(&whole);
        }
        self.decode_run(&run, &mut text)?;
        Ok(text)
    }

    /// Whether the tokenizer's decoder would change the text of a special token.
    fn is_bent(&self, content: &str) -> bool {
        self.spelling.bytes(content) != content.as_bytes()
    }

    /// Writes the text of tokens that all have one.
    fn decode_run(&self, run: &[u32], text: &mut String) -> Result<()> {
        let Some(first) = run.first() else { return Ok(()) };
        let decode = |tokens: &[u32]| {
            let text = self.tokenizer.decode(tokens, false);
            text.map_err(|reason| {
                Error::invalid("the tokens", "ones with a text", &reason).caused_by(reason)
            })
        };
        if text.is_empty() || self.spelling.space.is_none() {
            text.push_str(&decode(run)?);
            return Ok(());
        }
        // These decoders drop the first space of a text, and this is not its start.
        let twice = decode(&[std::slice::from_ref(first), run].concat())?;
        let once = decode(std::slice::from_ref(first))?;
        text.push_str(twice.strip_prefix(once.as_str()).unwrap_or(&twice));
        Ok(())
    }
}

fn encode_by(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|reason| {
        Error::invalid("the text", "one the tokenizer knows", &reason).caused_by(reason)
    })?;
    Ok(encoding.get_ids().to_vec())
}

show_as_text!(Tokenizer);

impl fmt::Display for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.inner.tokenizer.get_vocab_size(true);
        write!(f, "a tokenizer of {count} tokens")?;
        if count != self.vocab() {
            write!(f, " with ids below {}", self.vocab())?;
        }
        let shown = |ids: &[u32]| {
            let texts: Vec<String> =
                ids.iter().map(|id| self.token(*id).unwrap_or_default()).collect();
            texts.join("")
        };
        if !self.inner.before.is_empty() {
            write!(f, "; it begins a text with {}", shown(&self.inner.before))?;
        }
        if !self.inner.after.is_empty() {
            write!(f, "; it ends a text with {}", shown(&self.inner.after))?;
        }
        for note in self.notes() {
            write!(f, "\n  {note}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Tokenizer {
    /// Without the vocabulary.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocab", &self.vocab())
            .field("bos", &self.bos())
            .field("eos", &self.eos())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests;
