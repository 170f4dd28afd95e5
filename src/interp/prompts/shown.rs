//! Pieces of text as they stand in prompts, with marks around tokens, and back.

use std::fmt::Write as _;

/// The share of an example's largest activation above which a token is marked.
const MARKED_SHARE: f32 = 0.6;
/// The largest number in a line of activations.
const LARGEST_NUMBER: f32 = 10.0;

/// A piece of text with a feature's activation at each token.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::interp) struct ShownExcerpt {
    /// The tokens' texts; tokens that make one character together are one.
    pub(in crate::interp) tokens: Vec<String>,
    /// The activation at each, 0 where the feature is silent.
    pub(in crate::interp) activations: Vec<f32>,
}

impl ShownExcerpt {
    /// The largest activation, 0 if there is none above.
    pub(in crate::interp) fn largest(&self) -> f32 {
        self.activations.iter().copied().fold(0.0, f32::max)
    }

    /// Whether each token is among the most active ones, which an explanation is about.
    pub(super) fn strongest(&self) -> Vec<bool> {
        let least = MARKED_SHARE * self.largest();
        self.activations.iter().map(|value| *value > least).collect()
    }

    /// The text as a JSON string without marks.
    pub(super) fn plain(&self) -> String {
        quoted(&self.tokens, &[])
    }

    /// The text as a JSON string in which the tokens of `marks` are marked.
    pub(super) fn marked(&self, marks: &[bool]) -> String {
        quoted(&self.tokens, marks)
    }

    /// The strongest tokens as a JSON list of pairs with numbers from 0 to 10, which is `largest`.
    pub(super) fn numbers(&self, largest: f32) -> String {
        let strongest = self.strongest().into_iter().zip(self.tokens.iter().zip(&self.activations));
        let pairs = strongest.filter(|(is_strong, _)| *is_strong).map(|(_, (token, value))| {
            // A number that is none becomes 0.
            let number = (LARGEST_NUMBER * value / largest.max(f32::MIN_POSITIVE)).round() as u8;
            let mut pair = String::from("[");
            quote(&[(token, false)], &mut pair);
            let _ = write!(pair, ",{number}]");
            pair
        });
        format!("[{}]", pairs.collect::<Vec<_>>().join(","))
    }
}

/// Tokens as one JSON string, in which those of `marks` are marked; none where `marks` has no entry.
fn quoted(tokens: &[String], marks: &[bool]) -> String {
    let is_marked = |at: usize| marks.get(at).copied().unwrap_or(false);
    let tokens: Vec<(&String, bool)> =
        tokens.iter().enumerate().map(|(at, token)| (token, is_marked(at))).collect();
    let mut text = String::new();
    quote(&tokens, &mut text);
    text
}

/// Writes tokens as one JSON string, those that are marked between `<<` and `>>`.
fn quote(tokens: &[(&String, bool)], text: &mut String) {
    // Letters, and whether they are of a mark.
    let mut letters: Vec<(char, bool)> = Vec::new();
    for (token, is_marked) in tokens {
        let mark = |sign: char| std::iter::repeat_n((sign, true), if *is_marked { 2 } else { 0 });
        letters.extend(mark('<'));
        letters.extend(token.chars().map(|letter| (letter, false)));
        letters.extend(mark('>'));
    }
    text.push('"');
    for (at, (letter, is_of_mark)) in letters.iter().enumerate() {
        let same = |other: usize| letters.get(other).is_some_and(|(own, _)| own == letter);
        let has_neighbour = at.checked_sub(1).is_some_and(same) || same(at + 1);
        let could_be_mark = matches!(letter, '<' | '>') && has_neighbour;
        match letter {
            _ if *is_of_mark => text.push(*letter),
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            _ if could_be_mark || breaks_lines(*letter) => {
                let _ = write!(text, "\\u{:04x}", u32::from(*letter));
            }
            _ => text.push(*letter),
        }
    }
    text.push('"');
}

/// Whether a letter could end a line, or is none that is seen. All of them have four digits.
fn breaks_lines(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// The text and the marked tokens of what [`quote`] wrote; none if it is something else.
pub(super) fn read_quoted(literal: &str) -> Option<(String, Vec<String>)> {
    let unquoted = |raw: &str| serde_json::from_str::<String>(&format!("\"{raw}\"")).ok();
    let mut rest = literal.strip_prefix('"')?.strip_suffix('"')?;
    let (mut text, mut marked) = (String::new(), Vec::new());
    while let Some((before, after)) = rest.split_once("<<") {
        let (own, after) = after.split_once(">>")?;
        let own = unquoted(own)?;
        text.push_str(&unquoted(before)?);
        text.push_str(&own);
        marked.push(own);
        rest = after;
    }
    text.push_str(&unquoted(rest)?);
    Some((text, marked))
}
