//! Tokens as a reader of text sees them.

use crate::Result;
use crate::data::text::{Tokenizer, VisibleToken};

/// The texts of tokens, each with the number of tokens that it is: those that make a character
/// together are one text. Bytes of a character that is not whole are U+FFFD.
///
/// # Errors
/// An id beyond the vocabulary.
pub(in crate::interp) fn pieces(
    tokenizer: &Tokenizer,
    ids: &[u32],
) -> Result<Vec<(String, usize)>> {
    let tokens = tokenizer.visible_text(ids)?;
    let mut found = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|token| !token.bytes.is_empty()).count();
        let (own, after) = rest.split_at(run.max(1));
        match run {
            // A special token, or an id without a text.
            0 => found.push((tokenizer.token(first.id)?, 1)),
            _ => join(own, &mut found),
        }
        rest = after;
    }
    Ok(found)
}

/// Adds the texts of tokens that have bytes.
fn join(tokens: &[VisibleToken], found: &mut Vec<(String, usize)>) {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.bytes.iter().copied()).collect();
    // The places between two bytes of a character.
    let mut is_within = vec![false; bytes.len() + 1];
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            is_within[at + 1..at + letter.len_utf8()].fill(true);
            at += letter.len_utf8();
        }
        at += chunk.invalid().len();
    }
    let (mut start, mut end, mut count) = (0, 0, 0);
    for token in tokens {
        end += token.bytes.len();
        count += 1;
        if !is_within[end] {
            let text = String::from_utf8_lossy(&bytes[start..end]).into_owned();
            found.push((text, count));
            (start, count) = (end, 0);
        }
    }
}
