//! Answers that are kept on disk, by what was asked.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use eigenlens_common::files;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::wire::{ChatAnswer, ChatMessage, ChatParameters, ChatRequest};
use crate::{Error, Result};

/// What decides an answer: model, messages, parameters and the prompt's version. Which server was
/// asked does not, and neither does the key.
#[derive(Debug)]
pub(super) struct AskedKey {
    asked: Value,
    /// SHA-256 of the same as JSON without spaces, in hexadecimal.
    name: String,
    /// The first eight bytes of it.
    pub(super) number: u64,
}

impl AskedKey {
    pub(super) fn of(model: &str, request: &ChatRequest) -> Result<Self> {
        #[derive(Serialize)]
        struct AskedFields<'a> {
            model: &'a str,
            messages: &'a [ChatMessage],
            parameters: ChatParameters,
            version: &'a str,
        }
        let parameters = ChatParameters::of(request);
        let (messages, version) = (request.messages.as_slice(), request.version);
        // The order of a struct's fields is fixed, so equal requests have equal texts.
        let asked = AskedFields { model, messages, parameters, version };
        let text = serde_json::to_vec(&asked).map_err(no_json)?;
        let hash = Sha256::digest(&text);
        Ok(Self {
            asked: serde_json::from_slice(&text).map_err(no_json)?,
            name: format!("{hash:x}"),
            number: hash.iter().take(8).fold(0, |number, byte| (number << 8) | u64::from(*byte)),
        })
    }
}

/// A request that cannot be written as JSON.
pub(super) fn no_json(reason: serde_json::Error) -> Error {
    Error::invalid("the request", "one that can be written as JSON", &reason).caused_by(reason)
}

/// What a file holds.
#[derive(Serialize, Deserialize)]
struct KeptAnswer {
    request: Value,
    answer: ChatAnswer,
}

/// A folder of answers: a file each, `ab/abcdef….json`.
#[derive(Debug)]
pub(super) struct AnswerCache(PathBuf);

impl AnswerCache {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    fn path(&self, key: &AskedKey) -> PathBuf {
        self.0.join(&key.name[..2]).join(format!("{}.json", key.name))
    }

    /// The answer to what was asked before. A damaged file counts as none.
    pub(super) fn read(&self, key: &AskedKey) -> Result<Option<ChatAnswer>> {
        let path = self.path(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(Error::io("read", &path)(reason)),
        };
        let kept = serde_json::from_slice::<KeptAnswer>(&bytes).ok();
        Ok(kept.filter(|kept| kept.request == key.asked).map(|kept| kept.answer))
    }

    /// Keeps an answer, and returns it as [`read`](Self::read) will: the last digit of a
    /// log-probability may be another one.
    pub(super) fn write(&self, key: &AskedKey, answer: ChatAnswer) -> Result<ChatAnswer> {
        let path = self.path(key);
        let folder = self.0.join(&key.name[..2]);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let kept = KeptAnswer { request: key.asked.clone(), answer };
        let bytes = serde_json::to_vec(&kept).map_err(no_json)?;
        files::write(&path, &bytes).map_err(Error::io("write", &path))?;
        let kept: KeptAnswer = serde_json::from_slice(&bytes).map_err(no_json)?;
        Ok(kept.answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp::chat::wire::AnswerToken;

    fn request() -> ChatRequest {
        let messages = vec![ChatMessage::user("how\nmany?")];
        ChatRequest { messages, max_tokens: 3, log_probabilities: false, version: "1" }
    }

    fn answer() -> ChatAnswer {
        let alternatives = vec![("1".to_owned(), -0.1), ("0".to_owned(), -1.0 / 3.0)];
        ChatAnswer {
            text: "ä \"1\"".into(),
            prompt_tokens: 4,
            answer_tokens: 2,
            is_cut_off: true,
            log_probabilities: Some(vec![AnswerToken { token: "1".into(), alternatives }]),
        }
    }

    #[test]
    fn a_name_is_the_hash_of_what_decides_the_answer() {
        let key = AskedKey::of("m", &request()).unwrap();
        let text = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"how\\nmany?\"}],\
                    \"parameters\":{\"temperature\":0,\"max_tokens\":3},\"version\":\"1\"}";
        assert_eq!(key.name, format!("{:x}", Sha256::digest(text)));
        assert_eq!(format!("{:016x}", key.number), key.name[..16]);
        let base = request();
        let others = [
            ChatRequest { max_tokens: 4, ..base.clone() },
            ChatRequest { log_probabilities: true, ..base.clone() },
            ChatRequest { version: "2", ..base.clone() },
            ChatRequest { messages: vec![ChatMessage::assistant("how\nmany?")], ..base.clone() },
            ChatRequest { messages: vec![ChatMessage::user("how\nmany")], ..base },
        ];
        let mut names: Vec<String> =
            others.iter().map(|other| AskedKey::of("m", other).unwrap().name).collect();
        names.extend([key.name, AskedKey::of("n", &request()).unwrap().name]);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 7);
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let cache = AnswerCache::new(folder.path().join("a/b"));
        let key = AskedKey::of("m", &request()).unwrap();
        assert!(cache.read(&key).unwrap().is_none());
        let written = cache.write(&key, answer()).unwrap();
        assert_eq!((&written.text, written.is_cut_off), (&answer().text, true));
        assert_eq!(cache.read(&key).unwrap().unwrap(), written);
        let path = folder.path().join("a/b").join(&key.name[..2]);
        assert!(path.join(format!("{}.json", key.name)).is_file());
    }

    #[test]
    fn a_file_that_is_damaged_or_of_another_request_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let cache = AnswerCache::new(folder.path().to_owned());
        let key = AskedKey::of("m", &request()).unwrap();
        cache.write(&key, answer()).unwrap();
        let other = AskedKey::of("other", &request()).unwrap();
        fs::create_dir_all(folder.path().join(&other.name[..2])).unwrap();
        fs::copy(cache.path(&key), cache.path(&other)).unwrap();
        assert!(cache.read(&other).unwrap().is_none());
        let whole = fs::read(cache.path(&key)).unwrap();
        for damaged in [&whole[..whole.len() / 2], b"", b"{}"] {
            fs::write(cache.path(&key), damaged).unwrap();
            assert!(cache.read(&key).unwrap().is_none());
        }
    }

    #[test]
    fn a_cache_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let cache = AnswerCache::new(file);
        let key = AskedKey::of("m", &request()).unwrap();
        assert!(cache.read(&key).unwrap_err().to_string().contains("could not read"));
        assert!(cache.write(&key, answer()).unwrap_err().to_string().contains("could not create"));
    }
}
