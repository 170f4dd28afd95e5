//! The tokenizer in a GGUF file's metadata.
//!
//! Byte-level byte-pair encoding (`tokenizer.ggml.model` = `gpt2`), with the published ways of cutting
//! a text into words (`tokenizer.ggml.pre`), and SentencePiece (`llama`). A way of cutting words that is
//! not known would give other tokens without a word, so it is refused.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, SplitDelimiterBehavior};

use super::Tokenizer;
use super::chat_settings::ChatSettings;
use super::patterns::{GPT_4O, LLAMA_3, QWEN, TEKKEN};
use super::sentencepiece::{PieceKind, ScoredPiece, SentencePiece, SpaceBefore};
use super::settings::{Ends, ends_of_template};
use crate::gguf::{Gguf, Value};
use crate::{Error, Result};

const PREFIX: &str = "tokenizer.ggml.";
/// Keys that are read below, or that do not change the tokens of a text.
const KNOWN: [&str; 8] =
    ["model", "pre", "tokens", "token_type", "merges", "add_bos_token", "add_eos_token", "scores"];
/// Names of ways of cutting words that are known.
const PRE_TOKENIZERS: [&str; 13] = [
    "gpt-2",
    "phi-2",
    "olmo",
    "smollm",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "falcon3",
    "dbrx",
    "qwen2",
    "deepseek-r1-qwen",
    "tekken",
    "gpt-4o",
];
/// Settings for tokens after which nothing follows: of a text, a turn, a message.
const LAST: [&str; 3] = ["eos_token_id", "eot_token_id", "eom_token_id"];
/// A key of SentencePiece alone: whether a space is put before a text. True if left out.
const SPACE_BEFORE: &str = "add_space_prefix";
/// What says that the model is a Phi-3.
const ARCHITECTURE: &str = "general.architecture";
/// What to do where the file's tokenizer cannot be read.
const WAY_OUT: &str = "Take tokenizer.json of the repository that the file was made from (for a model \
     that has none, Python writes one: AutoTokenizer.from_pretrained(name).save_pretrained(folder)), \
     and give it to the model: \
     model.with_tokenizer(&Tokenizer::from_file(\"tokenizer.json\")?)?";
/// A way of cutting a text into words, and what goes with it.
struct Words {
    cut: PreTokenizerWrapper,
    /// Whether a word that is a token is taken as it is.
    whole: bool,
    /// Whether a text begins with the token for it, unless the file says otherwise.
    begins: bool,
    /// Whether letters are composed first (NFC).
    composes: bool,
}

impl Gguf {
    /// The tokenizer in the file's metadata, with its chat template, and the first and last tokens that
    /// the file names.
    ///
    /// # Errors
    /// A file without one, of a kind other than byte-level byte-pair encoding or SentencePiece, or with
    /// a way of cutting words or a setting that is unknown here; a first or last token that it does not
    /// have; a damaged one.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let mut notes = Vec::new();
        let (mut tokenizer, begins) = match self.text("model")? {
            "gpt2" => self.byte_level()?,
            "llama" => {
                let (tokenizer, found) = self.sentencepiece()?;
                notes = found;
                // A text begins with the token for it, unless the file says otherwise.
                (tokenizer, true)
            }
            other => return Err(self.unknown_model(other)),
        };
        let tokens = self.texts("tokens")?;
        if let Some(around) = self.around(&tokens, begins)? {
            tokenizer.with_post_processor(Some(around));
        }
        let ends = self.ends(&tokenizer, tokens.len())?;
        let tokenizer = Tokenizer::with_ends(tokenizer, Some(ends), notes);
        Ok(tokenizer.with_chat(ChatSettings::of_gguf(self)?))
    }

    /// The first and last of `count` tokens that the file names, else special ones with well-known
    /// names.
    fn ends(&self, tokenizer: &tokenizers::Tokenizer, count: usize) -> Result<Ends> {
        let named = |name: &str| -> Result<Option<u32>> {
            let Some(value) = self.setting(name) else { return Ok(None) };
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            let id = id.filter(|id| (*id as usize) < count);
            let expected = || format!("the number of one of {count} tokens in `{PREFIX}{name}`");
            id.map(Some).ok_or_else(|| self.wrong(expected(), value.to_string()))
        };
        let (before, _) = ends_of_template(tokenizer);
        let mut ends = Ends::by_name(tokenizer, &before);
        if let Some(bos) = named("bos_token_id")? {
            (ends.bos, ends.bos_by_name) = (Some(bos), false);
        }
        let last: Vec<Option<u32>> = LAST.into_iter().map(named).collect::<Result<_>>()?;
        let last: Vec<u32> = last.into_iter().flatten().collect();
        if !last.is_empty() {
            (ends.eos, ends.eos_by_name) = (last, false);
        }
        Ok(ends)
    }

    /// Byte-level byte-pair encoding, and whether a text begins with the token for it unless the file
    /// says otherwise.
    fn byte_level(&self) -> Result<(tokenizers::Tokenizer, bool)> {
        self.check_settings(&[])?;
        let words = self.words()?;
        let tokens = self.texts("tokens")?;
        let vocab = self.vocab(&tokens)?;
        let merges = self.merges(&vocab)?;
        let owned: Vocab = vocab.iter().map(|(token, id)| ((*token).to_owned(), *id)).collect();
        let model = BPE::builder()
            .vocab_and_merges(owned, merges)
            .ignore_merges(words.whole)
            .build()
            .map_err(|reason| self.wrong("a tokenizer", reason.to_string()).caused_by(reason))?;
        let mut tokenizer = tokenizers::Tokenizer::new(model);
        if words.composes {
            tokenizer.with_normalizer(Some(NFC)).map_err(|reason| {
                self.wrong("a tokenizer", reason.to_string()).caused_by(reason)
            })?;
        }
        tokenizer.with_pre_tokenizer(Some(words.cut));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, true)));
        tokenizer.add_tokens(self.marked(&tokens)?).map_err(|reason| {
            self.wrong("tokens to look for in texts", reason.to_string()).caused_by(reason)
        })?;
        Ok((tokenizer, words.begins))
    }

    /// SentencePiece, and what to know of its pieces.
    fn sentencepiece(&self) -> Result<(tokenizers::Tokenizer, Vec<String>)> {
        self.check_settings(&[SPACE_BEFORE])?;
        let tokens = self.texts("tokens")?;
        let numbers = |name: &str, what: &str| -> Result<Vec<Value>> {
            let value = self.setting(name);
            let list = value.and_then(Value::as_array).filter(|list| list.len() == tokens.len());
            let found = || value.map_or("nothing".to_owned(), Value::to_string);
            let expected =
                || format!("{what} for each of {} tokens in `{PREFIX}{name}`", tokens.len());
            Ok(list.ok_or_else(|| self.wrong(expected(), found()))?.values().collect())
        };
        let (scores, kinds) = (numbers("scores", "a score")?, numbers("token_type", "a type")?);
        let mut pieces = Vec::with_capacity(tokens.len());
        for ((&text, score), kind) in tokens.iter().zip(&scores).zip(&kinds) {
            let Some(score) = score.as_f64() else {
                let expected = format!("a score with a point in `{PREFIX}scores`");
                return Err(self.wrong(expected, format!("{score} for {text:?}")));
            };
            let Some(kind) = kind.as_u64().and_then(PieceKind::from_number) else {
                let expected = format!("a type (1 to 6) in `{PREFIX}token_type`");
                return Err(self.wrong(expected, format!("{kind} for {text:?}")));
            };
            pieces.push(ScoredPiece { text, score: score as f32, kind });
        }
        let space_before = match self.flag(SPACE_BEFORE)? {
            Some(false) => SpaceBefore::Never,
            Some(true) | None => SpaceBefore::EachPart,
        };
        // Files do not say it: llama.cpp knows it by the model's name.
        let phi3 = self.get(ARCHITECTURE).and_then(Value::as_str) == Some("phi3");
        let model = SentencePiece { pieces, space_before, phi3 };
        let expected = |expected: &str| format!("{expected} in `{PREFIX}tokens`");
        let tokenizer = model.tokenizer(&|what, found| self.wrong(expected(what), found))?;
        Ok((tokenizer, model.notes()))
    }

    fn unknown_model(&self, model: &str) -> Error {
        let expected = format!(
            "byte-level byte-pair encoding (`gpt2`) or SentencePiece (`llama`) in `{PREFIX}model`"
        );
        let kind = match model {
            "bert" => " (WordPiece)",
            "t5" => " (SentencePiece, unigrams)",
            _ => "",
        };
        self.wrong(expected, format!("`{model}`{kind}, which eigenlens cannot read. {WAY_OUT}"))
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.get(&format!("{PREFIX}{name}"))
    }

    fn flag(&self, name: &str) -> Result<Option<bool>> {
        let value = self.setting(name);
        let found = |value: &Value| {
            let expected = format!("true or false in `{PREFIX}{name}`");
            value.as_bool().ok_or_else(|| self.wrong(expected, value.to_string()))
        };
        value.map(found).transpose()
    }

    fn text(&self, name: &str) -> Result<&str> {
        let value = self.setting(name);
        let found = || value.map_or("nothing".to_owned(), Value::to_string);
        let text = value.and_then(Value::as_str);
        text.ok_or_else(|| self.wrong(format!("a text in `{PREFIX}{name}`"), found()))
    }

    fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let value = self.setting(name);
        let found = || value.map_or("nothing".to_owned(), Value::to_string);
        let texts = value.and_then(Value::as_array).and_then(|array| array.strings());
        let texts = texts.map(Iterator::collect::<Vec<_>>).filter(|texts| !texts.is_empty());
        texts.ok_or_else(|| self.wrong(format!("texts in `{PREFIX}{name}`"), found()))
    }

    /// Fails for a setting that could change the tokens of a text and is not known here, nor one of
    /// `more`.
    fn check_settings(&self, more: &[&str]) -> Result<()> {
        for (key, value) in self.metadata() {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let off = value.as_bool() == Some(false);
            let known = KNOWN.contains(&name) || more.contains(&name);
            if !(known || off || name.ends_with("_token_id")) {
                let expected = "only settings of the tokenizer that are known here";
                return Err(self.wrong(expected, format!("also `{key}`: {value}. {WAY_OUT}")));
            }
        }
        Ok(())
    }

    /// How words are cut. The names are those of llama.cpp, the ways those of the models' own files.
    fn words(&self) -> Result<Words> {
        let gpt2 = ByteLevel::new(false, true, true);
        let plain = |cut| Words { cut, whole: false, begins: false, composes: false };
        let by_pattern = |pattern: &str| -> Result<Words> {
            let split = Split::new(
                SplitPattern::Regex(pattern.to_owned()),
                SplitDelimiterBehavior::Isolated,
                false,
            );
            let split = split.map_err(|reason| {
                self.wrong("a tokenizer", reason.to_string()).caused_by(reason)
            })?;
            let bytes = ByteLevel::new(false, true, false);
            Ok(plain(Sequence::new(vec![split.into(), bytes.into()]).into()))
        };
        let unknown = |found: String| {
            let names = PRE_TOKENIZERS.map(|name| format!("`{name}`")).join(", ");
            let expected = format!("one of {names} in `{PREFIX}pre`");
            self.wrong(expected, format!("{found}. {WAY_OUT}"))
        };
        if self.setting("pre").is_none() {
            return Err(unknown(
                "nothing, so that the way of cutting words is not known".to_owned(),
            ));
        }
        match self.text("pre")? {
            "gpt-2" | "phi-2" => Ok(plain(gpt2.into())),
            "olmo" => Ok(Words { composes: true, ..plain(gpt2.into()) }),
            // First every digit becomes a word; the order matters for the spaces before it.
            "smollm" => {
                Ok(plain(Sequence::new(vec![Digits::new(true).into(), gpt2.into()]).into()))
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" => {
                Ok(Words { whole: true, begins: true, ..by_pattern(LLAMA_3)? })
            }
            "dbrx" => by_pattern(LLAMA_3),
            "qwen2" | "deepseek-r1-qwen" => Ok(Words { composes: true, ..by_pattern(QWEN)? }),
            "tekken" => Ok(Words { whole: true, begins: true, ..by_pattern(TEKKEN)? }),
            "gpt-4o" => by_pattern(GPT_4O),
            other => Err(unknown(format!(
                "`{other}`, a way of cutting words that eigenlens does not know"
            ))),
        }
    }

    fn vocab<'a>(&self, tokens: &[&'a str]) -> Result<HashMap<&'a str, u32>> {
        let mut vocab = HashMap::with_capacity(tokens.len());
        for (id, token) in (0u32..).zip(tokens) {
            if let Some(before) = vocab.insert(*token, id) {
                let found = format!("{token:?} as numbers {before} and {id}");
                return Err(self.wrong(format!("different texts in `{PREFIX}tokens`"), found));
            }
        }
        Ok(vocab)
    }

    /// Pairs of tokens that become one, the first first. Each of the three must be a token.
    fn merges(&self, vocab: &HashMap<&str, u32>) -> Result<Vec<(String, String)>> {
        let pairs = self.texts("merges")?.into_iter().map(|merge| {
            let pair = merge.split_once(' ').filter(|(left, right)| {
                let known = |token: &str| !token.is_empty() && vocab.contains_key(token);
                known(left) && known(right) && known(&[*left, *right].concat())
            });
            pair.map(|(left, right)| (left.to_owned(), right.to_owned())).ok_or_else(|| {
                let expected = format!("two tokens that make one in `{PREFIX}merges`");
                self.wrong(expected, format!("{merge:?}"))
            })
        });
        pairs.collect()
    }

    /// Tokens that are found in a text before it is cut into words: special ones, and those that
    /// the file calls its user's.
    fn marked(&self, tokens: &[&str]) -> Result<Vec<AddedToken>> {
        let Some(value) = self.setting("token_type") else { return Ok(Vec::new()) };
        let wrong = |found: String| {
            let expected = format!("a type (1 to 5) for each token in `{PREFIX}token_type`");
            self.wrong(expected, found)
        };
        let kinds = value.as_array().filter(|array| array.len() == tokens.len());
        let kinds = kinds.ok_or_else(|| wrong(value.to_string()))?;
        let mut marked = Vec::new();
        for (token, kind) in tokens.iter().zip(kinds.values()) {
            match kind.as_u64() {
                // Normal, and not in use.
                Some(1 | 5) => {}
                // Unknown, and control.
                Some(2 | 3) => marked.push(AddedToken::from(*token, true).normalized(false)),
                Some(4) => marked.push(AddedToken::from(*token, false).normalized(false)),
                _ => return Err(wrong(format!("{kind} for {token:?}"))),
            }
        }
        Ok(marked)
    }

    /// What puts the tokens for start and end around a text, where the file asks for it.
    fn around(&self, tokens: &[&str], begins: bool) -> Result<Option<TemplateProcessing>> {
        let token = |name: &str| -> Result<(String, u32)> {
            let value = self.setting(name);
            let id = value.and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
            let token = id.and_then(|id| Some(((*tokens.get(id as usize)?).to_owned(), id)));
            // Signs that a template has a meaning for.
            token.filter(|(text, _)| !text.starts_with('$') && !text.contains(':')).ok_or_else(
                || {
                    let found = value.map_or("nothing".to_owned(), Value::to_string);
                    self.wrong(format!("the number of a token in `{PREFIX}{name}`"), found)
                },
            )
        };
        let start = self.flag("add_bos_token")?.unwrap_or(begins);
        let start = start.then(|| token("bos_token_id")).transpose()?;
        let end = self.flag("add_eos_token")?.unwrap_or(false);
        let end = end.then(|| token("eos_token_id")).transpose()?;
        if start.is_none() && end.is_none() {
            return Ok(None);
        }
        let wrong = |reason: String| self.wrong("tokens for the ends of a text", reason);
        let mut pieces = vec!["$A".to_owned()];
        pieces.splice(0..0, start.iter().map(|(text, _)| text.clone()));
        pieces.extend(end.iter().map(|(text, _)| text.clone()));
        let mut special: Vec<(String, u32)> = start.into_iter().chain(end).collect();
        special.dedup();
        let ends = TemplateProcessing::builder().try_single(pieces).and_then(|builder| {
            builder.special_tokens(special).build().map_err(|reason| reason.to_string())
        });
        ends.map(Some).map_err(wrong)
    }
}

#[cfg(test)]
mod tests;
