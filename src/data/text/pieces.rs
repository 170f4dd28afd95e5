//! The bytes that a piece of a vocabulary stands for.
//!
//! A vocabulary spells bytes in its own letters: GPT-2 writes a space as `Ġ` and the first byte of
//! a Chinese character as `ä`, SentencePiece writes a space as U+2581 and single bytes as `<0xE4>`.
//! Which spelling a tokenizer uses is told by its decoder.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::Value;

/// SentencePiece's sign for a space.
pub(super) const META_SPACE: char = '\u{2581}';

/// How a vocabulary spells bytes.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelling {
    /// Each character of a piece is a byte, in GPT-2's alphabet.
    byte_level: bool,
    /// A piece `<0xE4>` is a byte.
    pub(super) byte_fallback: bool,
    /// The sign for a space, if there is one.
    pub(super) space: Option<char>,
    /// What ends a word, if a sign does.
    word_end: Option<String>,
}

impl Spelling {
    /// The spelling that a tokenizer's decoder undoes; without a decoder, the one that its
    /// pre-tokenizer makes.
    pub(super) fn of(tokenizer: &tokenizers::Tokenizer) -> Self {
        let mut spelling = Self::default();
        match tokenizer.get_decoder() {
            Some(decoder) => spelling.read(&serde_json::to_value(decoder).unwrap_or_default()),
            None => {
                if let Some(before) = tokenizer.get_pre_tokenizer() {
                    spelling.read(&serde_json::to_value(before).unwrap_or_default());
                }
                if let Some(before) = tokenizer.get_normalizer() {
                    spelling.read(&serde_json::to_value(before).unwrap_or_default());
                }
            }
        }
        spelling
    }

    fn read(&mut self, part: &Value) {
        match part["type"].as_str() {
            Some("ByteLevel") => self.byte_level = true,
            Some("ByteFallback") => self.byte_fallback = true,
            Some("Metaspace") => self.space = sign(&part["replacement"]).or(Some(META_SPACE)),
            // A decoder replaces the sign by a space, a normalizer a space by the sign.
            Some("Replace") => {
                let (from, to) = (&part["pattern"]["String"], &part["content"]);
                match (from.as_str(), to.as_str()) {
                    (_, Some(" ")) => self.space = sign(from).or(self.space),
                    (Some(" "), _) => self.space = sign(to).or(self.space),
                    _ => {}
                }
            }
            Some("BPEDecoder") => {
                let suffix = part["suffix"].as_str().filter(|suffix| !suffix.is_empty());
                self.word_end = suffix.map(str::to_owned);
            }
            _ => {}
        }
        for list in ["decoders", "pretokenizers", "normalizers"] {
            for part in part[list].as_array().into_iter().flatten() {
                self.read(part);
            }
        }
    }

    pub(super) fn is_byte_level(&self) -> bool {
        self.byte_level
    }

    /// The bytes of a piece, with the space before it.
    pub(super) fn bytes(&self, piece: &str) -> Vec<u8> {
        if self.byte_level {
            // A piece with a letter that is no byte stands for itself, as its decoder has it.
            let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
            return bytes.unwrap_or_else(|| piece.as_bytes().to_vec());
        }
        if let Some(byte) = self.fallback(piece) {
            return vec![byte];
        }
        let mut text = match self.space {
            Some(space) => piece.replace(space, " "),
            None => piece.to_owned(),
        };
        if let Some(end) = &self.word_end
            && let Some(word) = text.strip_suffix(end.as_str())
        {
            text = format!("{word} ");
        }
        text.into_bytes()
    }

    /// The byte that a piece such as `<0xE4>` is, where there are such pieces.
    pub(super) fn fallback(&self, piece: &str) -> Option<u8> {
        let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
        let is_byte = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        u8::from_str_radix(digits, 16).ok().filter(|_| is_byte && self.byte_fallback)
    }
}

fn sign(value: &Value) -> Option<char> {
    let text = value.as_str()?;
    let mut letters = text.chars();
    letters.next().filter(|letter| letters.next().is_none() && *letter != ' ')
}

/// The byte that a letter of GPT-2's alphabet stands for: printable Latin-1 letters for themselves,
/// and the other bytes in order from U+0100 on.
fn byte_of(letter: char) -> Option<u8> {
    static ALPHABET: OnceLock<HashMap<char, u8>> = OnceLock::new();
    let alphabet = ALPHABET.get_or_init(|| {
        let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let others = (0..=u8::MAX).filter(|byte| !printable(*byte));
        let others = ('\u{100}'..).zip(others);
        (0..=u8::MAX)
            .filter(|byte| printable(*byte))
            .map(|byte| (char::from(byte), byte))
            .chain(others)
            .collect()
    });
    alphabet.get(&letter).copied()
}

/// Bytes as text; those that are no UTF-8 read `<0xE4>`.
pub(super) fn readable(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "<0x{byte:02X}>");
        }
    }
    text
}

/// What a token adds to a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// A special token, which is its own text.
    Special(String),
    /// An id that no token has.
    Hole(u32),
    /// Bytes, which can be a part of a character.
    Bytes(Vec<u8>),
}

/// The sign for an id that no token has.
pub(super) fn sign_of_hole(id: u32) -> String {
    format!("[id {id}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alphabet_is_that_of_the_crate() {
        let letters = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut bytes: Vec<u8> = letters.iter().filter_map(|letter| byte_of(*letter)).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!([byte_of('Ġ'), byte_of('Ċ'), byte_of('ä')], [Some(32), Some(10), Some(0xE4)]);
        assert_eq!([byte_of(' '), byte_of('中')], [None, None]);
    }

    #[test]
    fn each_decoder_tells_its_spelling() {
        let of = |decoder: Value| {
            let mut spelling = Spelling::default();
            spelling.read(&decoder);
            spelling
        };
        let llama = of(serde_json::json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
        ]}));
        assert_eq!(llama.bytes("▁the"), b" the");
        assert_eq!((llama.bytes("<0xE4>"), llama.fallback("<0xE4>")), (vec![0xE4], Some(0xE4)));
        assert_eq!((llama.bytes("<0xE>"), llama.fallback("<0x+4>")), (b"<0xE>".to_vec(), None));
        let gpt2 = of(serde_json::json!({"type": "ByteLevel"}));
        assert_eq!(gpt2.bytes("Ġä"), [0x20, 0xE4]);
        assert_eq!(gpt2.bytes("<0xE4>"), b"<0xE4>");
        assert_eq!(gpt2.bytes("a 中"), "a 中".as_bytes());
        let clip = of(serde_json::json!({"type": "BPEDecoder", "suffix": "</w>"}));
        assert_eq!((clip.bytes("cat</w>"), clip.bytes("cat")), (b"cat ".to_vec(), b"cat".to_vec()));
        let plain = of(Value::Null);
        assert_eq!(plain.bytes("▁<0x41>"), "▁<0x41>".as_bytes());
        assert_eq!(readable(&[b'a', 0xE4, 0xB8, b'b', 0xEF, 0xBF, 0xBD]), "a<0xE4><0xB8>b\u{fffd}");
    }
}
