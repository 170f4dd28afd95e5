//! Work on long texts that Stop can end.
//!
//! A long text is cut where the cut cannot change its tokens, and the parts are encoded one by one.
//! Where that cannot be promised for a tokenizer, the text stays whole; in both cases another
//! thread does the work, and this one listens to Stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;
use serde_json::Value;

use super::patterns::{GPT2, LLAMA_3, QWEN};
use crate::progress::{Progress, interruptible_by};
use crate::{Error, Result};

/// Texts of fewer bytes are encoded at once: they take a fraction of a second.
pub(super) const LONG: usize = 1 << 18;
/// Bytes of a part of a long text.
const PART: usize = 1 << 17;
const KILOBYTE: u64 = 1024;

/// What work on another thread tells about itself, and is told.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Set when nobody waits for the result any more.
    stopped: AtomicBool,
    /// Bytes that are done.
    done: AtomicU64,
}

impl Watch {
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Counts bytes as done.
    pub(super) fn count(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Does `work` on another thread, with a bar that counts up to `bytes`; without one for none.
///
/// # Errors
/// Those of the work; [`Error::Interrupted`] when Stop is pressed.
pub(super) fn stoppable<T: Send + 'static>(
    what: &str,
    bytes: usize,
    work: impl FnOnce(&Watch) -> Result<T> + Send + 'static,
) -> Result<T> {
    let total = (bytes as u64).div_ceil(KILOBYTE);
    let mut bar = match total {
        0 => Progress::silent(),
        total => Progress::new(what, total, "kilobyte"),
    };
    let mut counted = 0;
    let result = attended(what, work, |watch| {
        let done = watch.done.load(Ordering::Relaxed) / KILOBYTE;
        let more = done - counted;
        counted = done;
        bar.advance(more)
    });
    if result.is_ok() {
        // The result is there, whether Stop was pressed in the meantime or not.
        let _ = bar.advance(total - counted);
    }
    result
}

/// [`stoppable`] with `stop` asked every now and then whether to go on.
fn attended<T: Send + 'static>(
    what: &str,
    work: impl FnOnce(&Watch) -> Result<T> + Send + 'static,
    mut stop: impl FnMut(&Watch) -> bool,
) -> Result<T> {
    let watch = Arc::new(Watch::default());
    let theirs = watch.clone();
    let is_stopped = || {
        let stops = stop(&watch);
        if stops {
            watch.stopped.store(true, Ordering::Relaxed);
        }
        stops
    };
    interruptible_by(is_stopped, what, move || work(&theirs))
}

/// The tokens of a long text, from `encode` of its parts.
pub(super) fn encode_parts(
    parts: &[&str],
    watch: &Watch,
    encode: impl Fn(&str) -> Result<Vec<u32>> + Sync,
) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for group in parts.chunks(rayon::current_num_threads()) {
        if watch.is_stopped() {
            return Err(Error::Interrupted { what: "encoding".to_owned() });
        }
        let found: Vec<Vec<u32>> =
            group.par_iter().map(|part| encode(part)).collect::<Result<_>>()?;
        found.iter().for_each(|part| ids.extend(part));
        watch.count(group.iter().map(|part| part.len()).sum());
    }
    Ok(ids)
}

/// Parts of a text, cut where `may_cut` the tokenizer: between a letter and a single space or line
/// feed before another letter. All the ways of cutting words that [`cuts_words`] knows end a word
/// there, whatever surrounds it.
pub(super) fn parts(text: &str, may_cut: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while may_cut && rest.len() > PART {
        let Some(cut) = next_cut(rest, PART) else { break };
        let (part, after) = rest.split_at(cut);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// The first place after `start` bytes where a text can be cut.
fn next_cut(text: &str, start: usize) -> Option<usize> {
    let start = text.ceil_char_boundary(start);
    let (mut before, mut at) = (None, None);
    for (offset, letter) in text[start..].char_indices() {
        if at.is_some() && is_letter(letter) {
            return at.map(|cut: usize| start + cut);
        }
        let gap = matches!(letter, ' ' | '\n') && before.is_some_and(is_letter);
        at = gap.then_some(offset);
        before = Some(letter);
    }
    None
}

/// Whether a character is a letter by itself: of class `L`, and composed with nothing.
fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphabetic()
        || matches!(letter,
            // Greek, Cyrillic, kana, Chinese and Hangul without marks and signs.
            'α'..='ω' | 'А'..='я' | 'ぁ'..='ゖ' | 'ァ'..='ヺ' | '\u{4e00}'..='\u{9fff}'
            | '\u{ac00}'..='\u{d7a3}')
}

/// Whether a text can be cut as in [`parts`] without changing its tokens.
///
/// True if everything the tokenizer does on the way is known to look no further than a word and the
/// white space around it.
pub(super) fn cuts_words(tokenizer: &tokenizers::Tokenizer) -> bool {
    let value = |part: Option<Value>| part.unwrap_or_default();
    let normalizer = value(tokenizer.get_normalizer().and_then(|n| serde_json::to_value(n).ok()));
    let words = value(tokenizer.get_pre_tokenizer().and_then(|p| serde_json::to_value(p).ok()));
    let added = tokenizer.get_added_vocabulary().get_added_tokens_decoder();
    let mut divides = false;
    is_local(&normalizer)
        && is_word_cut(&words, &mut divides)
        && divides
        && added.values().all(|token| {
            let letters: Vec<char> = token.content.chars().collect();
            let crosses =
                letters.windows(2).any(|pair| is_letter(pair[0]) && matches!(pair[1], ' ' | '\n'));
            !(token.lstrip || token.rstrip || token.single_word || crosses)
        })
}

fn is_local(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        None => normalizer.is_null(),
        Some("NFC" | "NFD" | "NFKC" | "NFKD" | "Lowercase") => true,
        Some("Sequence") => {
            normalizer["normalizers"].as_array().is_some_and(|all| all.iter().all(is_local))
        }
        Some(_) => false,
    }
}

/// Ways of cutting words that look no further than a word and the white space around it.
const PATTERNS: [&str; 3] = [GPT2, LLAMA_3, QWEN];

fn is_word_cut(words: &Value, divides: &mut bool) -> bool {
    match words["type"].as_str() {
        Some("WhitespaceSplit" | "Whitespace" | "BertPreTokenizer") => {
            *divides = true;
            true
        }
        Some("ByteLevel") => {
            *divides |= words["use_regex"].as_bool() != Some(false);
            true
        }
        Some("Split") => {
            let known =
                words["pattern"]["Regex"].as_str().is_some_and(|own| PATTERNS.contains(&own));
            let isolated = words["behavior"] == "Isolated" && words["invert"] != true;
            *divides |= known && isolated;
            known && isolated
        }
        Some("Digits" | "Punctuation") => true,
        Some("Sequence") => {
            let all = words["pretokenizers"].as_array();
            all.is_some_and(|all| all.iter().all(|part| is_word_cut(part, divides)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json as value;

    use super::super::tokenizer::tests::{bpe, json};
    use super::*;

    #[test]
    fn stop_ends_work_that_would_go_on() {
        let mut polls = 0;
        let endless = |watch: &Watch| -> Result<u32> {
            while !watch.is_stopped() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            Ok(1)
        };
        let error = attended("encoding", endless, |_| {
            polls += 1;
            polls > 2
        });
        assert!(matches!(error, Err(Error::Interrupted { what }) if what == "encoding"));
        assert_eq!(attended("encoding", |_| Ok(7), |_| false).unwrap(), 7);
        let failed =
            attended("encoding", |_| Err::<(), _>(Error::invalid("x", "y", "z")), |_| false);
        assert!(failed.unwrap_err().to_string().contains("x must be y"));
        // Parts are not begun after Stop.
        let watch = Watch::default();
        watch.stopped.store(true, Ordering::Relaxed);
        assert!(encode_parts(&["a"], &watch, |_| Ok(vec![1])).is_err());
    }

    /// A text of words, numbers, odd spaces, punctuation and other scripts.
    fn text(words: usize) -> String {
        let mut rng = crate::random::Rng::seed(5);
        let pieces = [
            "the",
            "King's",
            "don't",
            "42",
            "x=1;",
            "\n",
            "\n\n",
            "  ",
            "\t",
            "中文",
            "наука",
            "été",
            "<|end|>",
            "\r\n",
            ".",
            "a",
            "It",
            "\u{a0}",
            "がく",
            "…",
            "'ll",
            "of\nthe",
            "x y",
        ];
        let mut text = String::new();
        for _ in 0..words {
            text.push_str(pieces[rng.below(pieces.len())]);
            text.push_str([" ", "", "\n", " "][rng.below(4)]);
        }
        text
    }

    #[test]
    fn parts_of_a_text_have_the_tokens_of_the_whole() {
        let text = text(150_000);
        let isolated = |pattern: &str| {
            value!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                    "invert": false})
        };
        let bytes = |regex: bool| {
            value!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                    "use_regex": regex})
        };
        let sequence = |all: Vec<Value>| value!({"type": "Sequence", "pretokenizers": all});
        let digits = value!({"type": "Digits", "individual_digits": true});
        let ways = [
            bytes(true),
            sequence(vec![digits, bytes(true)]),
            sequence(vec![isolated(PATTERNS[1]), bytes(false)]),
            sequence(vec![isolated(PATTERNS[2]), bytes(false)]),
        ];
        let trained = super::super::Tokenizer::train([text.as_str()], 600).unwrap();
        for words in ways {
            let mut file: Value = serde_json::from_str(&trained.to_json().unwrap()).unwrap();
            file["pre_tokenizer"] = words.clone();
            file["added_tokens"] = value!([{"id": 600, "content": "<|end|>", "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false, "special": true}]);
            let tokenizer: tokenizers::Tokenizer = file.to_string().parse().unwrap();
            assert!(cuts_words(&tokenizer), "{words}");
            let encode = |text: &str| -> Result<Vec<u32>> {
                Ok(tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec())
            };
            let parts = parts(&text, true);
            assert!(parts.len() > 4 && parts.concat() == text);
            let found = encode_parts(&parts, &Watch::default(), encode).unwrap();
            assert_eq!(found, encode(&text).unwrap(), "{words}");
        }
    }

    #[test]
    fn a_text_stays_whole_where_a_cut_could_change_it() {
        let mut file = bpe(value!({"a": 0}), &[]);
        let backend = |file: &Value| file.to_string().parse::<tokenizers::Tokenizer>().unwrap();
        assert!(!cuts_words(&backend(&file)), "no words at all");
        file["pre_tokenizer"] = value!({"type": "WhitespaceSplit"});
        assert!(cuts_words(&backend(&file)));
        let mut odd = file.clone();
        odd["normalizer"] = value!({"type": "Prepend", "prepend": "▁"});
        assert!(!cuts_words(&backend(&odd)), "a sign before each text");
        let mut odd = file.clone();
        odd["pre_tokenizer"] = value!({"type": "Metaspace", "replacement": "▁",
                                       "prepend_scheme": "always", "split": true});
        assert!(!cuts_words(&backend(&odd)), "a sign before each text");
        let mut odd = bpe(value!({"a": 0}), &[("is a", 1, false)]);
        odd["pre_tokenizer"] = value!({"type": "WhitespaceSplit"});
        assert!(!cuts_words(&backend(&odd)), "an added token of two words");
        // Without letters around a space there is no place to cut.
        assert_eq!(parts(&"1 2\n".repeat(PART), true).len(), 1);
        assert_eq!(parts(&"a b\n".repeat(PART), false).len(), 1);
        let tokenizer = json(&file);
        let text = "a a\n".repeat(LONG);
        assert_eq!(tokenizer.encode(&text).unwrap().len(), 2 * LONG);
    }
}
