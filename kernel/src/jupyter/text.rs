//! Text on its way from bytes to the front end, and positions in it.

use std::time::{Duration, Instant};

/// Bytes that become text in pieces: a character cut in two waits for its other half, and what is
/// not UTF-8 becomes the replacement character.
#[derive(Debug, Default)]
pub(crate) struct Utf8Stream {
    bytes: Vec<u8>,
    since: Option<Instant>,
}

impl Utf8Stream {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.bytes.extend_from_slice(bytes);
            self.since.get_or_insert_with(Instant::now);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How long the oldest byte has waited.
    pub(crate) fn age(&self) -> Duration {
        self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Takes the text; an unfinished character at the end stays behind, unless `all`.
    pub(crate) fn take(&mut self, all: bool) -> String {
        let unfinished = if all { 0 } else { unfinished(&self.bytes) };
        let rest = self.bytes.split_off(self.bytes.len() - unfinished);
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        self.since = (!rest.is_empty()).then(Instant::now);
        self.bytes = rest;
        text
    }
}

/// How many bytes at the end begin a character that is not complete yet.
fn unfinished(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() => bytes.len() - error.valid_up_to(),
        _ => 0,
    }
}

/// The byte offset of the `position`-th character, where the protocol counts characters.
pub(crate) fn to_bytes(code: &str, position: usize) -> usize {
    code.char_indices().nth(position).map_or(code.len(), |(at, _)| at)
}

/// The number of characters before byte `offset`.
pub(crate) fn to_chars(code: &str, offset: usize) -> usize {
    code.char_indices().take_while(|(at, _)| *at < offset).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_character_waits_for_its_other_half() {
        let mut stream = Utf8Stream::default();
        let bytes = "λ".as_bytes();
        stream.push(&[b'a', bytes[0]]);
        assert_eq!(stream.take(false), "a");
        stream.push(&bytes[1..]);
        assert_eq!(stream.take(false), "λ");
    }

    #[test]
    fn bytes_that_are_not_text_are_replaced() {
        let mut stream = Utf8Stream::default();
        stream.push(&[b'a', 0xff, b'b']);
        assert_eq!(stream.take(false), "a\u{fffd}b");
    }

    #[test]
    fn positions_count_characters() {
        let code = "let λ = 1; λ";
        assert_eq!(to_bytes(code, 5), 6);
        assert_eq!(to_chars(code, 6), 5);
        assert_eq!(to_bytes(code, 99), code.len());
    }
}
