//! What answers say.

use std::ops::Range;

use serde_json::Value;

use super::EXPLANATION;
use crate::interp::chat::ChatAnswer;

/// What some models write around their thoughts, before the answer.
const START_OF_THOUGHTS: &str = "<think>";
const END_OF_THOUGHTS: &str = "</think>";

/// The explanation in an answer: what follows `[EXPLANATION]:`, up to the end of the line; none if
/// nothing does.
pub(in crate::interp) fn read_explanation(answer: &str) -> Option<String> {
    let answer = &answer[thoughts(answer)..];
    // A line that begins with it, else it is quoted within one.
    let begins = |line: &&str| behind_mark(line.trim_start_matches(['*', '#', ' '])).is_some();
    let line = match answer.lines().rev().find(begins) {
        Some(line) => &line[line.find('[')?..],
        None => &answer[answer.find(EXPLANATION)?..],
    };
    // Some models put the words on the next line.
    let after = &answer[answer.len().min(place_of(answer, line) + line.len())..];
    let text = behind_mark(line)?;
    let mut lines = text.lines().chain(after.lines()).map(str::trim);
    let own = lines.find(|line| !line.is_empty())?;
    Some(own.to_owned())
}

/// What stands behind the mark that an explanation begins with, if a text begins with it.
fn behind_mark(text: &str) -> Option<&str> {
    let mark = text.get(..EXPLANATION.len())?;
    let rest = &text[EXPLANATION.len()..];
    // Bold marks end behind the colon.
    mark.eq_ignore_ascii_case(EXPLANATION).then(|| rest.strip_prefix("**").unwrap_or(rest))
}

/// Where `part`, a slice of `text`, begins in it.
fn place_of(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// Where an answer begins behind the thoughts of the model.
fn thoughts(answer: &str) -> usize {
    let begin = answer.rfind(END_OF_THOUGHTS).map_or(0, |at| at + END_OF_THOUGHTS.len());
    // Thoughts that were cut off have no answer behind them.
    if answer[begin..].contains(START_OF_THOUGHTS) { answer.len() } else { begin }
}

/// The labels in an answer: a JSON list of `expected` numbers, each 0 or 1, whatever stands around
/// it. None if there is no such list, or two that differ.
pub(in crate::interp) fn read_labels(answer: &ChatAnswer, expected: usize) -> Option<Vec<bool>> {
    labels_in(&answer.text, expected).map(|(labels, _)| labels)
}

/// P(1) of each label, from the log-probabilities of an answer:
///
/// ```text
/// P(1) = Σ p(alternatives that read 1) / Σ p(alternatives that read 0 or 1)
/// ```
///
/// at the token of the label. None without log-probabilities, or if a token holds more than a label.
pub(in crate::interp) fn read_probabilities(
    answer: &ChatAnswer,
    expected: usize,
) -> Option<Vec<f64>> {
    let tokens = answer.log_probabilities.as_ref()?;
    let text: String = tokens.iter().map(|token| token.token.as_str()).collect();
    let (labels, place) = labels_in(&text, expected)?;
    if labels_in(&answer.text, expected)?.0 != labels {
        return None;
    }
    let (mut found, mut start) = (Vec::new(), 0);
    for token in tokens {
        let end = start + token.token.len();
        let is_within = start < place.end && end > place.start;
        start = end;
        if !is_within || !token.token.contains(|sign: char| sign.is_ascii_digit()) {
            continue;
        }
        let own = label(&token.token)?;
        let mut sums = [0f64; 2];
        for (alternative, logarithm) in &token.alternatives {
            if let Some(label) = label(alternative) {
                sums[usize::from(label)] += logarithm.exp();
            }
        }
        let both = sums[0] + sums[1];
        // Probabilities that no f64 holds, or none at all, leave what was said.
        let is_number = both.is_finite() && both > 0.0;
        found.push(if is_number { sums[1] / both } else { f64::from(u8::from(own)) });
    }
    (found.len() == expected).then_some(found)
}

/// The label that a token is, with the signs of a list around it.
fn label(token: &str) -> Option<bool> {
    let is_around = |sign: char| sign.is_whitespace() || matches!(sign, '[' | ']' | ',');
    match token.trim_matches(is_around) {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// The labels in a text, and where their last list stands.
fn labels_in(text: &str, expected: usize) -> Option<(Vec<bool>, Range<usize>)> {
    let mut found: Option<(Vec<bool>, Range<usize>)> = None;
    let mut at = thoughts(text);
    while let Some(start) = text[at..].find('[').map(|offset| at + offset) {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        let Some(Ok(Value::Array(list))) = values.next() else {
            at = start + 1;
            continue;
        };
        let end = start + values.byte_offset();
        at = end;
        let labels = list.iter().map(|value| match value.as_u64() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        });
        let Some(labels) = labels.collect::<Option<Vec<bool>>>() else { continue };
        if labels.len() != expected {
            continue;
        }
        // Of two lists that differ none is the answer.
        if found.as_ref().is_some_and(|(before, _)| *before != labels) {
            return None;
        }
        found = Some((labels, start..end));
    }
    found
}
