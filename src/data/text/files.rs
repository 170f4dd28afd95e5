//! Where a tokenizer is: in `tokenizer.json`, or in another file that is named for what it is.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Model as _;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::sentencepiece::{ModelFile, SpaceBefore};
use super::settings::{Ends, Settings};
use super::{TOKENIZER_FILE, Tokenizer};
use crate::hub::{Content, Repository};
use crate::store::{Format, mistaken};
use crate::{Error, Result};

const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
/// The file of a SentencePiece model.
const PIECES: &str = "tokenizer.model";
/// Files that tokenizers are kept in elsewhere, and what they are.
const OTHERS: [(&str, &str); 5] = [
    (PIECES, SENTENCEPIECE),
    ("tekken.json", TEKKEN),
    ("spiece.model", SENTENCEPIECE),
    ("sentencepiece.bpe.model", SENTENCEPIECE),
    ("vocab.txt", "the vocabulary of a WordPiece tokenizer (BERT)"),
];
const SENTENCEPIECE: &str = "a SentencePiece model";
const TEKKEN: &str = "a Tekken tokenizer of Mistral";
const TIKTOKEN: &str = "a tiktoken vocabulary";

impl Tokenizer {
    /// The tokenizer in the file or folder `path`. A file named `tokenizer.json` or, without one,
    /// `tokenizer.model` (SentencePiece), and a folder with one, are read together with the
    /// `tokenizer_config.json` and the chat template in the same folder; a `tokenizer.model` also with
    /// the `added_tokens.json` of older folders.
    ///
    /// # Errors
    /// If there is no such file, or if it holds no tokenizer in these formats: a `vocab.json`, a
    /// tiktoken or Tekken file are named for what they are, with the way to a `tokenizer.json`; a
    /// SentencePiece model that chooses among unigrams or changes texts in a way that is not known
    /// here; an `added_tokens.json` whose numbers do not follow those of the model.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return Self::from_repository(&Repository::folder(path));
        }
        let is_named =
            |own: &str| path.is_file() && path.file_name().is_some_and(|name| name == own);
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = Repository::folder(folder.unwrap_or(Path::new(".")));
        if is_named(TOKENIZER_FILE) {
            return Self::from_repository(&folder);
        }
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        if kind(&bytes) == Some(SENTENCEPIECE) {
            return match is_named(PIECES) {
                true => Self::from_pieces(&folder, path, &bytes),
                false => pieces(path, &bytes, |asked| asked).map(|(backend, ends, notes)| {
                    let ends = ends.over(Ends::by_name(&backend, &[]));
                    Self::with_ends(backend, Some(ends), notes)
                }),
            };
        }
        Ok(Self::new(backend(path, &bytes)?))
    }

    /// The tokenizer of the model `name`, without the model: embedded, in a folder, or of the hub.
    ///
    /// ```
    /// use eigenlens::data::text::Tokenizer;
    /// let tokenizer = Tokenizer::from_pretrained("eigenlens/classics")?;
    /// assert_eq!(tokenizer.vocab(), 4_096);
    /// # Ok::<(), eigenlens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A model that there is not, or whose files have no tokenizer in this format; as
    /// [`Tokenizer::from_file`].
    pub fn from_pretrained(name: &str) -> Result<Self> {
        Self::from_repository(&Repository::find(name)?)
    }

    /// The tokenizer of a repository: `tokenizer.json`, with what `tokenizer_config.json` says of
    /// it; for GPT-2 and its relatives also `vocab.json` with `merges.txt`; a SentencePiece model.
    pub(crate) fn from_repository(repository: &Repository) -> Result<Self> {
        match repository.read(TOKENIZER_FILE) {
            Ok(content) => Self::from_content(repository, &content),
            Err(reason) => Self::in_other_files(repository, reason),
        }
    }

    /// The tokenizer in the `tokenizer.json` of a repository.
    pub(crate) fn from_content(repository: &Repository, content: &Content) -> Result<Self> {
        let mut backend = backend(&content.path, &content.bytes)?;
        let mut settings = Settings::read(repository)?;
        let ends = settings.apply(&mut backend, &content.path)?;
        let chat = settings.chat();
        Ok(Self::with_ends(backend, Some(ends), settings.notes).with_chat(chat))
    }

    /// The tokenizer in the SentencePiece model `path` of a repository, with what its other files say
    /// of it. Without a word, the class of the model's type decides what begins a text, and a space
    /// that the model asks for is put before each part of a text, as `transformers` does.
    fn from_pieces(repository: &Repository, path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut settings = Settings::read(repository)?.or_class_in_config(repository);
        let (mut backend, own, notes) = pieces(path, bytes, |asked| settings.space_before(asked))?;
        settings.read_added_tokens(repository, &backend)?;
        let ends = own.over(settings.apply(&mut backend, path)?);
        settings.notes.extend(notes);
        let chat = settings.chat();
        Ok(Self::with_ends(backend, Some(ends), settings.notes).with_chat(chat))
    }

    /// A repository without `tokenizer.json`; `reason` is why it could not be read.
    pub(crate) fn in_other_files(repository: &Repository, reason: Error) -> Result<Self> {
        let has = |name: &str| matches!(repository.has(name), Ok(true));
        let missing = match &reason {
            Error::NotFound { .. } => true,
            Error::Io { source, action, .. } => {
                *action != "fetch" && source.kind() == std::io::ErrorKind::NotFound
            }
            _ => false,
        };
        if !missing {
            return Err(reason);
        }
        if has(VOCAB) && has(MERGES) {
            let settings = Settings::read(repository)?;
            return match settings.class() {
                "GPT2Tokenizer" => gpt2(repository, settings),
                class => {
                    let class = if class.is_empty() { "an unnamed class" } else { class };
                    let what = format!(
                        "the vocabulary of {class}, whose way of cutting words they do not tell"
                    );
                    Err(explain(repository, &format!("{VOCAB} and {MERGES}"), &what))
                }
            };
        }
        if let Some((file, what)) = OTHERS.iter().find(|(file, _)| has(file)) {
            let content = repository.read(file)?;
            let what = kind(&content.bytes).unwrap_or(what);
            if *file == PIECES && what == SENTENCEPIECE {
                return Self::from_pieces(repository, &content.path, &content.bytes);
            }
            return Err(explain(repository, file, what));
        }
        if let Some(file) = tiktoken_in(Path::new(repository.name())) {
            return Err(explain(repository, &file, TIKTOKEN));
        }
        Err(match reason {
            reason @ Error::NotFound { .. } => reason,
            reason => Error::NotFound {
                what: format!("the tokenizer of {repository} ({TOKENIZER_FILE})"),
                hint: format!("{reason}. {}", way_out(repository.name())),
            },
        })
    }
}

/// A tokenizer of the crate from the bytes of `tokenizer.json`; `path` names it in messages.
pub(super) fn backend(path: &Path, bytes: &[u8]) -> Result<tokenizers::Tokenizer> {
    let read = |bytes: &[u8]| {
        tokenizers::Tokenizer::from_bytes(bytes).map_err(|reason| {
            let expected = "a tokenizer (tokenizer.json)";
            match kind(bytes) {
                Some(what) => {
                    let found = format!("{what}. {}", way_out("the model's name or folder"));
                    Error::format(path, expected, found)
                }
                None => mistaken(path, bytes, Format::Json, expected, reason.to_string()),
            }
            .caused_by(reason)
        })
    };
    let tokenizer = read(bytes)?;
    // The crate numbers added tokens one after the other, whatever the file says, unless they are
    // in the vocabulary of the model: so that is where those after a hole go.
    let Declared { added_tokens } = serde_json::from_slice(bytes).unwrap_or_default();
    let in_model = |token: &DeclaredToken| tokenizer.get_model().token_to_id(&token.content);
    let more: Vec<&DeclaredToken> =
        added_tokens.iter().filter(|token| in_model(token).is_none()).collect();
    let is_moved =
        |token: &&&DeclaredToken| tokenizer.token_to_id(&token.content) != Some(token.id);
    let Some(moved) = more.iter().find(is_moved) else { return Ok(tokenizer) };
    let mut file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let Some(vocab) = file["model"]["vocab"].as_object_mut() else {
        let expected = "added tokens numbered after the others";
        let found = format!("{:?} as number {}", moved.content, moved.id);
        return Err(Error::format(path, expected, found));
    };
    for token in more {
        vocab.insert(token.content.clone(), token.id.into());
    }
    read(file.to_string().as_bytes())
}

/// A tokenizer of the crate from the bytes of the SentencePiece model `path`, its first and last tokens,
/// and what to know of its pieces. `space` makes of what the model asks for what is done.
fn pieces(
    path: &Path,
    bytes: &[u8],
    space: impl FnOnce(SpaceBefore) -> SpaceBefore,
) -> Result<(tokenizers::Tokenizer, PieceEnds, Vec<String>)> {
    let wrong = |expected: &str, found: String| {
        let found = format!("{found}. {}", way_out("the model's name or folder"));
        Error::format(path, format!("in a SentencePiece model, {expected}"), found)
    };
    let ModelFile { mut model, bos, eos } =
        ModelFile::read(bytes).map_err(|(expected, found)| wrong(&expected, found))?;
    model.space_before = space(model.space_before);
    Ok((model.tokenizer(&wrong)?, PieceEnds { bos, eos }, model.notes()))
}

/// [`pieces`] of bytes that are called `tokenizer.model`.
#[cfg(test)]
pub(super) fn read_pieces(bytes: &[u8]) -> Result<Tokenizer> {
    pieces(Path::new(PIECES), bytes, |asked| asked).map(|(backend, ..)| Tokenizer::new(backend))
}

/// The first and last tokens that a SentencePiece model names.
struct PieceEnds {
    bos: Option<u32>,
    eos: Option<u32>,
}

impl PieceEnds {
    /// What other files say, with these tokens where they say nothing.
    fn over(self, mut ends: Ends) -> Ends {
        if let Some(bos) = self.bos.filter(|_| ends.bos_by_name) {
            (ends.bos, ends.bos_by_name) = (Some(bos), false);
        }
        if let Some(eos) = self.eos.filter(|_| ends.eos_by_name) {
            (ends.eos, ends.eos_by_name) = (vec![eos], false);
        }
        ends
    }
}

/// The added tokens of a `tokenizer.json`, with the numbers that it gives them.
#[derive(Default, Deserialize)]
struct Declared {
    #[serde(default)]
    added_tokens: Vec<DeclaredToken>,
}

#[derive(Deserialize)]
struct DeclaredToken {
    id: u32,
    content: String,
}

/// What a file is that is no `tokenizer.json`, if its first bytes tell.
fn kind(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(512)];
    let text = String::from_utf8_lossy(start);
    // Lines of base64 and a number.
    let line = text.lines().next().and_then(|line| line.split_once(' '));
    if let Some((token, rank)) = line {
        let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        if rank.parse::<u32>().is_ok() && token.chars().all(base64) {
            return Some(TIKTOKEN);
        }
    }
    // The first field of the protocol buffer: a piece, and in it its text.
    if start.first() == Some(&0x0A) && start.get(2) == Some(&0x0A) {
        return Some(SENTENCEPIECE);
    }
    let Ok(Value::Object(fields)) = serde_json::from_slice(bytes) else { return None };
    if fields.contains_key("vocab") && fields.contains_key("config") {
        return Some(TEKKEN);
    }
    if fields.contains_key("tokenizer_class") || fields.contains_key("bos_token") {
        return Some(
            "a tokenizer_config.json, which has the settings of a tokenizer and no tokens",
        );
    }
    if fields.contains_key("model_type") || fields.contains_key("architectures") {
        return Some("a config.json, which describes a model");
    }
    let is_vocab = !fields.is_empty() && fields.values().all(Value::is_u64);
    is_vocab.then_some("a vocab.json, which lacks the merges and the way of cutting words")
}

/// A file of tiktoken in a folder.
fn tiktoken_in(folder: &Path) -> Option<String> {
    let names = std::fs::read_dir(folder).ok()?.flatten();
    let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.find(|name| name.ends_with(".tiktoken"))
}

fn explain(repository: &Repository, file: &str, what: &str) -> Error {
    Error::NotFound {
        what: format!("{TOKENIZER_FILE} of {repository}"),
        hint: format!(
            "There is {file}, {what}, which eigenlens does not read. {}",
            way_out(repository.name())
        ),
    }
}

/// How to get a `tokenizer.json`.
fn way_out(name: &str) -> String {
    format!(
        "In Python, `AutoTokenizer.from_pretrained({name:?}).save_pretrained(\"converted\")` \
         (from transformers) writes a {TOKENIZER_FILE}. Put it into the model's folder, or give it to the \
         model: `model.with_tokenizer(&Tokenizer::from_file(\"converted/{TOKENIZER_FILE}\")?)?`."
    )
}

/// GPT-2's tokenizer from its two files.
fn gpt2(repository: &Repository, mut settings: Settings) -> Result<Tokenizer> {
    let (vocab, merges) = (repository.read(VOCAB)?, repository.read(MERGES)?);
    let wrong = |content: &Content, expected: &str, found: String| {
        Error::format(&content.path, expected.to_owned(), found)
    };
    let ids: std::collections::HashMap<String, u32> = serde_json::from_slice(&vocab.bytes)
        .map_err(|reason| {
            wrong(&vocab, "tokens and their numbers", reason.to_string()).caused_by(reason)
        })?;
    let text = std::str::from_utf8(&merges.bytes)
        .map_err(|reason| wrong(&merges, "UTF-8", reason.to_string()).caused_by(reason))?;
    let mut pairs = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()) {
        let pair = line.split_once(' ');
        let (left, right) =
            pair.ok_or_else(|| wrong(&merges, "two tokens a line", format!("{line:?}")))?;
        pairs.push((left.to_owned(), right.to_owned()));
    }
    let model = BPE::builder()
        .vocab_and_merges(ids.into_iter().collect::<tokenizers::models::bpe::Vocab>(), pairs)
        .build()
        .map_err(|reason| {
            wrong(&merges, "pairs of tokens of vocab.json", reason.to_string()).caused_by(reason)
        })?;
    let mut backend = tokenizers::Tokenizer::new(model);
    let bytes = ByteLevel::new(settings.flag("add_prefix_space") == Some(true), true, true);
    backend.with_pre_tokenizer(Some(bytes));
    backend.with_decoder(Some(bytes));
    settings.convert(&mut backend)?;
    let ends = settings.apply(&mut backend, &vocab.path)?;
    let chat = settings.chat();
    Ok(Tokenizer::with_ends(backend, Some(ends), settings.notes).with_chat(chat))
}
