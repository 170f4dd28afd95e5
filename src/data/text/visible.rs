//! Tokens for the eye: no two look the same, and nothing in them is invisible.
//!
//! | in a token | shown as |
//! | --- | --- |
//! | space | `␣` |
//! | line feed | `↵` |
//! | tab | `⇥` |
//! | carriage return | `␍` |
//! | no-break space, U+00A0 | `⍽` |
//! | other spaces, controls, zero-width and private characters | `⟨U+200B⟩` |
//! | one of these signs itself | `⟨U+2423⟩` |
//! | a combining mark at the start | `◌` before it |
//! | a byte that is only part of a character | `<0xE4>` |
//! | a special token | its own text |
//! | an id without a text | `[id 50300]` |
//!
//! Two tokens that would still look the same get their ids: `␣␣[id 50276]`.
//!
//! Within a text a single space before a word stays a space, and a character that several tokens
//! make is shown once, at the first of them; the others have a `◂`, which points to it.

use std::fmt::Write as _;

use super::Tokenizer;
use super::pieces::{Piece, readable, sign_of_hole};
use crate::Result;

const SPACE: char = '␣';
/// Marks a token that continues the character of the one before it.
const CONTINUES: char = '◂';
/// What a combining mark sits on where there is no letter.
const DOTTED_CIRCLE: char = '◌';

/// A token as displays show it within a text; see [`Tokenizer::visible_text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisibleToken {
    /// Its number in the vocabulary.
    pub id: u32,
    /// What it adds to the text, with everything invisible marked. A character that several tokens
    /// make is at the first of them, and the others begin with `◂`.
    pub text: String,
    /// The token by itself, as [`Tokenizer::visible`] shows it.
    pub alone: String,
    /// The bytes that it stands for; none for a special token or an id without a text.
    pub bytes: Vec<u8>,
}

impl VisibleToken {
    /// What a mouse over the token can tell: the token by itself, its number and its bytes.
    pub fn label(&self) -> String {
        let mut label = format!("{} · id {}", self.alone, self.id);
        if !self.bytes.is_ascii() {
            label.push_str(" · bytes");
            for byte in &self.bytes {
                let _ = write!(label, " {byte:02X}");
            }
        }
        label
    }
}

impl Tokenizer {
    /// A token by itself, for displays: every space, control and zero-width character is marked,
    /// and no other token of the vocabulary looks the same.
    ///
    /// | token | shown as |
    /// | --- | --- |
    /// | `" the"` | `␣the` |
    /// | `"\n"`, `"\t"`, U+00A0, U+200B | `↵`, `⇥`, `⍽`, `⟨U+200B⟩` |
    /// | the first byte of `中` | `<0xE4>` |
    /// | the end token of GPT-2 | `<\|endoftext\|>` |
    /// | an id without a text | `[id 50300]` |
    ///
    /// # Errors
    /// If the id is beyond the vocabulary.
    pub fn visible(&self, token: u32) -> Result<String> {
        let mut text = self.marked(token)?;
        if self.twins().contains(&token) {
            let _ = write!(text, "[id {token}]");
        }
        Ok(text)
    }

    /// The tokens of a text for displays: as [`Tokenizer::visible`], but a single space before a
    /// word stays a space, and a character that several tokens make is readable: the first of them
    /// shows it, and the others begin with `◂`.
    ///
    /// # Errors
    /// If an id is beyond the vocabulary.
    pub fn visible_text(&self, tokens: &[u32]) -> Result<Vec<VisibleToken>> {
        let pieces: Vec<Piece> =
            tokens.iter().map(|token| self.piece(*token)).collect::<Result<_>>()?;
        let texts = running(&pieces);
        let shown = tokens.iter().zip(pieces).zip(texts).map(|((id, piece), text)| {
            let bytes = match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Special(_) | Piece::Hole(_) => Vec::new(),
            };
            Ok(VisibleToken { id: *id, text, alone: self.visible(*id)?, bytes })
        });
        shown.collect()
    }

    /// A token with its invisible parts marked; other tokens may look the same.
    pub(super) fn marked(&self, token: u32) -> Result<String> {
        if let Some(byte) = self.fallback_byte(token) {
            return Ok(format!("<0x{byte:02X}>"));
        }
        Ok(match self.piece(token)? {
            // The signs of ids without a text are told from tokens that read like one.
            Piece::Bytes(bytes) if bytes.starts_with(b"[id ") => {
                format!("⟨U+005B⟩{}", marks(&readable(&bytes[1..])))
            }
            Piece::Bytes(bytes) => marks(&readable(&bytes)),
            Piece::Special(text) => marks(&text),
            Piece::Hole(id) => sign_of_hole(id),
        })
    }
}

/// A text with every character visible.
fn marks(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    if text.chars().next().is_some_and(is_combining) {
        shown.push(DOTTED_CIRCLE);
    }
    text.chars().for_each(|letter| mark(letter, &mut shown));
    shown
}

/// Writes a character, or a sign for it if it could not be seen or told from another.
fn mark(letter: char, shown: &mut String) {
    match letter {
        ' ' => shown.push(SPACE),
        '\n' => shown.push('↵'),
        '\t' => shown.push('⇥'),
        '\r' => shown.push('␍'),
        '\u{a0}' => shown.push('⍽'),
        SPACE | '↵' | '⇥' | '␍' | '⍽' | CONTINUES | DOTTED_CIRCLE | '⟨' => {
            code(letter, shown)
        }
        letter if is_invisible(letter) => code(letter, shown),
        letter => shown.push(letter),
    }
}

fn code(letter: char, shown: &mut String) {
    let _ = write!(shown, "⟨U+{:04X}⟩", u32::from(letter));
}

/// Whether a character leaves no trace of its own on a page: odd spaces, controls, format and
/// zero-width characters, private and unassigned ones.
fn is_invisible(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    let ignorable = matches!(u32::from(letter),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F | 0x2800
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x3164 | 0xFE00..=0xFE0F | 0xFEFF
        | 0xFFA0 | 0xFFF0..=0xFFFB | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0000..=0xE0FFF);
    // The standard library escapes what cannot be printed. Combining marks are escaped by
    // themselves only, so they are asked for behind a letter.
    ignorable || letter.is_whitespace() || letter.is_control() || {
        let behind: String = ['a', letter].into_iter().collect();
        behind.escape_debug().any(|sign| sign == '\\')
    }
}

fn is_combining(letter: char) -> bool {
    !letter.is_ascii() && !is_invisible(letter) && letter.escape_debug().len() > 1
}

/// A part of a token within a text.
enum TokenPiece {
    Letter(char),
    /// A byte of no character.
    Byte(u8),
    /// Bytes of a character that an earlier token shows.
    Rest,
}

/// What each token adds to a text, characters that several tokens make being joined.
fn running(pieces: &[Piece]) -> Vec<String> {
    let mut shown = vec![String::new(); pieces.len()];
    let mut at = 0;
    while at < pieces.len() {
        let mut bytes = Vec::new();
        // The token that each byte belongs to.
        let mut owners = Vec::new();
        let start = at;
        while let Some(Piece::Bytes(more)) = pieces.get(at) {
            owners.extend(std::iter::repeat_n(at - start, more.len()));
            bytes.extend(more);
            at += 1;
        }
        for (offset, parts) in shared_out(&bytes, &owners, at - start).into_iter().enumerate() {
            shown[start + offset] = spell(&parts);
        }
        match pieces.get(at) {
            Some(Piece::Special(text)) => shown[at] = marks(text),
            Some(Piece::Hole(id)) => shown[at] = sign_of_hole(*id),
            Some(Piece::Bytes(_)) | None => continue,
        }
        at += 1;
    }
    shown
}

/// The parts of a text by token.
fn shared_out(bytes: &[u8], owners: &[usize], tokens: usize) -> Vec<Vec<TokenPiece>> {
    let mut parts: Vec<Vec<TokenPiece>> = (0..tokens).map(|_| Vec::new()).collect();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            let end = at + letter.len_utf8();
            parts[owners[at]].push(TokenPiece::Letter(letter));
            for later in at + 1..end {
                if owners[later] != owners[later - 1] {
                    parts[owners[later]].push(TokenPiece::Rest);
                }
            }
            at = end;
        }
        for byte in chunk.invalid() {
            parts[owners[at]].push(TokenPiece::Byte(*byte));
            at += 1;
        }
    }
    parts
}

fn spell(parts: &[TokenPiece]) -> String {
    let mut text = String::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            TokenPiece::Letter(' ') => {
                let next = parts.get(at + 1);
                let before_word =
                    matches!(next, Some(TokenPiece::Letter(letter)) if !letter.is_whitespace());
                text.push(if before_word { ' ' } else { SPACE });
            }
            TokenPiece::Letter(letter) => mark(*letter, &mut text),
            TokenPiece::Byte(byte) => {
                let _ = write!(text, "<0x{byte:02X}>");
            }
            TokenPiece::Rest => text.push(CONTINUES),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tokenizer::tests::{bpe, json, word_level};
    use super::*;
    use serde_json::json as value;

    #[test]
    fn invisible_characters_have_signs() {
        for (text, expected) in [
            (" the", "␣the"),
            ("a\u{a0}b", "a⍽b"),
            ("\r\n\t", "␍↵⇥"),
            ("\u{200b}\u{200d}\u{feff}", "⟨U+200B⟩⟨U+200D⟩⟨U+FEFF⟩"),
            ("\u{2003}\u{3000}\u{ad}", "⟨U+2003⟩⟨U+3000⟩⟨U+00AD⟩"),
            ("\u{0}\u{7f}\u{85}\u{1b}", "⟨U+0000⟩⟨U+007F⟩⟨U+0085⟩⟨U+001B⟩"),
            ("\u{e000}\u{fe0f}\u{e0041}", "⟨U+E000⟩⟨U+FE0F⟩⟨U+E0041⟩"),
            ("␣↵◂⟨", "⟨U+2423⟩⟨U+21B5⟩⟨U+25C2⟩⟨U+27E8⟩"),
            ("\u{301}", "◌\u{301}"),
            ("e\u{301}", "e\u{301}"),
            ("naïve 中🐋→·\u{fffd}\\\"'", "naïve␣中🐋→·\u{fffd}\\\"'"),
        ] {
            assert_eq!(marks(text), expected);
        }
    }

    /// Case 19: every character of a text can be read, although its tokens are bytes.
    #[test]
    fn characters_made_of_several_tokens_are_readable() {
        let tokenizer = Tokenizer::train(["hello hello"], 260).unwrap();
        let ids = tokenizer.encode("中🐋 naïve\u{a0}x").unwrap();
        let shown = tokenizer.visible_text(&ids).unwrap();
        let text: String = shown.iter().map(|token| token.text.as_str()).collect();
        // A space and the letter after it are tokens of their own here.
        assert_eq!(text, "中◂◂🐋◂◂◂␣naï◂ve⍽◂x");
        assert_eq!(shown[0].alone, "<0xE4>");
        assert_eq!(shown[0].label(), format!("<0xE4> · id {} · bytes E4", ids[0]));
        let tokens: Vec<String> =
            ids.iter().take(4).map(|id| tokenizer.token(*id).unwrap()).collect();
        assert_eq!(tokens, ["<0xE4>", "<0xB8>", "<0xAD>", "<0xF0>"]);
        // Half a character is bytes, and a special sign ends what can be joined.
        let half = tokenizer.visible_text(&ids[1..4]).unwrap();
        let half: Vec<&str> = half.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(half, ["<0xB8>", "<0xAD>", "<0xF0>"]);
    }

    #[test]
    fn a_token_can_end_one_character_and_begin_another() {
        let bytes = |bytes: &[u8]| Piece::Bytes(bytes.to_vec());
        let pieces =
            [bytes(&[0xE4, 0xB8]), bytes(&[0xAD, b' ', 0xC3]), bytes(&[0xA9]), bytes(b"  x ")];
        assert_eq!(running(&pieces), ["中", "◂ é", "◂", "␣ x␣"]);
        let cut = [bytes(&[0xE4]), Piece::Special("<eos>".to_owned()), bytes(&[0xB8, 0xAD])];
        assert_eq!(running(&cut), ["<0xE4>", "<eos>", "<0xB8><0xAD>"]);
        assert!(running(&[]).is_empty());
    }

    #[test]
    fn no_two_tokens_look_the_same() {
        // Two spaces twice, as in the vocabulary of GPT-NeoX; text that reads like a sign.
        let vocab = value!({"ĠĠ": 0, "a": 1, "Ġa": 2, "ä": 3, "<0xE4>": 4, "[id": 5, "[idĠ6]": 8});
        let mut file = bpe(vocab, &[("  ", 7, false), ("<|end|>", 9, true)]);
        file["decoder"] = value!({"type": "ByteLevel", "add_prefix_space": false,
                                  "trim_offsets": true, "use_regex": true});
        let tokenizer = json(&file);
        let shown: Vec<String> = (0..10).map(|id| tokenizer.visible(id).unwrap()).collect();
        let expected = [
            "␣␣[id 0]",
            "a",
            "␣a",
            "<0xE4>[id 3]",
            "<0xE4>[id 4]",
            "[id",
            "[id 6]",
            "␣␣[id 7]",
            "⟨U+005B⟩id␣6]",
            "<|end|>",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn bytes_of_sentencepiece_are_told_from_letters() {
        let vocab = value!({"<0x41>": 0, "A": 1, "▁A": 2, "<0xE4>": 3, "<0x0A>": 4});
        let mut file = bpe(vocab, &[("▁▁", 5, false), ("\n\n", 6, false)]);
        file["decoder"] = value!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]});
        let tokenizer = json(&file);
        let shown: Vec<String> = (0..7).map(|id| tokenizer.visible(id).unwrap()).collect();
        assert_eq!(shown, ["<0x41>", "A", "␣A", "<0xE4>", "<0x0A>", "␣␣", "↵↵"]);
        let tokens: Vec<String> = (0..7).map(|id| tokenizer.token(id).unwrap()).collect();
        assert_eq!(tokens, ["A", "A", " A", "<0xE4>", "\n", "  ", "\n\n"]);
        assert_eq!(tokenizer.decode(&[2, 4, 1]).unwrap(), "A\nA");
    }

    /// Case 06: a special token is its own text.
    #[test]
    fn special_tokens_are_shown() {
        let deepseek = "<｜begin▁of▁sentence｜>";
        let tokenizer = word_level(
            value!({"a": 0, "b": 1, "[UNK]": 2, "<eos>": 3, deepseek: 4}),
            &["<eos>", deepseek],
        );
        assert_eq!(tokenizer.token(3).unwrap(), "<eos>");
        assert_eq!(tokenizer.token(4).unwrap(), deepseek);
        assert_eq!(tokenizer.token(0).unwrap(), "a");
        assert_eq!(tokenizer.visible(4).unwrap(), deepseek);
    }
}
