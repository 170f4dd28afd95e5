//! Requests of each kind.

use std::fmt::Write as _;

use super::shots::{ExplainShot, JudgeShot, detected, explained, fuzzed};
use super::shown::ShownExcerpt;
use super::{ACTIVATIONS, EXPLANATION, GIVEN, PROMPTS_VERSION};
use crate::interp::chat::{ChatMessage, ChatRequest, ChatRole};

/// Tokens that an explanation may take.
const EXPLANATION_TOKENS: u32 = 128;
/// Tokens that a list may take beside its numbers: fences around it, for example.
const LIST_TOKENS: u32 = 24;
/// Tokens that a number in a list may take.
const NUMBER_TOKENS: u32 = 6;

/// What to do where examples are explained.
pub(super) const EXPLAIN_SYSTEM: &str = "\
One feature of a language model is switched on by some tokens and stays off at all others. You see \
texts in which it is on, and find out what switches it on.

Each text is a JSON string. The tokens at which the feature is strongest stand between << and >>; if \
a text has such signs of its own, they are written \\u003c and \\u003e. The list below a text repeats \
these tokens, each with its strength from 0 to 10.

Write one line that begins with [EXPLANATION]: and then names, in 25 words at most, what the marked \
tokens have in common: what they are, what they mean, or what stands around them. Be as exact as the \
texts allow, so that somebody could find more such tokens by your words. Do not speak of the texts, \
the signs or the feature.";

/// What to do where texts with a feature are told from others.
pub(super) const DETECT_SYSTEM: &str = "\
One feature of a language model is switched on by some tokens and stays off at all others. You get an \
explanation of what switches it on, and texts with numbers, each a JSON string. Some of them may \
switch it on somewhere, or all, or none.

Decide for each text by itself: 1 if something in it is what the explanation describes, 0 if nothing \
is. Answer with a JSON list of these numbers in the order of the texts, and with nothing else.";

/// What to do where right marks are told from wrong ones.
pub(super) const FUZZ_SYSTEM: &str = "\
One feature of a language model is switched on by some tokens and stays off at all others. You get an \
explanation of what switches it on, and texts with numbers, each a JSON string in which tokens are \
marked by << and >>. Signs that a text has of its own are written \\u003c and \\u003e. In some texts \
the marks are at the tokens that switch the feature on, in others they are at tokens by chance.

Decide for each text by itself: 1 if the marked tokens are what the explanation describes, 0 if they \
are not, even if other tokens of the text would be. Answer with a JSON list of these numbers in the \
order of the texts, and with nothing else.";

/// The request for an explanation of texts that activate a feature.
pub(in crate::interp) fn explain(examples: &[ShownExcerpt]) -> ChatRequest {
    let shots = explained().into_iter().map(|ExplainShot { examples, explanation }| {
        (explain_task(&examples), format!("{EXPLANATION} {explanation}"))
    });
    request(EXPLAIN_SYSTEM, shots, explain_task(examples), EXPLANATION_TOKENS)
}

/// The request to tell which of some texts a feature with this explanation is active in.
pub(in crate::interp) fn detect(explanation: &str, texts: &[&ShownExcerpt]) -> ChatRequest {
    let shots = detected().into_iter().map(|JudgeShot { explanation, texts, labels }| {
        let texts: Vec<String> = texts.iter().map(ShownExcerpt::plain).collect();
        (judge_task(explanation, &texts), list(&labels))
    });
    let texts: Vec<String> = texts.iter().map(|text| text.plain()).collect();
    let longest = list_tokens(texts.len());
    request(DETECT_SYSTEM, shots, judge_task(explanation, &texts), longest)
}

/// The request to tell in which of some texts the marked tokens are those that an explanation means.
pub(in crate::interp) fn fuzz(
    explanation: &str,
    marked: &[(&ShownExcerpt, &[bool])],
) -> ChatRequest {
    let shots = fuzzed().into_iter().map(|JudgeShot { explanation, texts, labels }| {
        let texts: Vec<String> = texts.iter().map(|text| text.marked(&text.strongest())).collect();
        (judge_task(explanation, &texts), list(&labels))
    });
    let texts: Vec<String> = marked.iter().map(|(text, marks)| text.marked(marks)).collect();
    let longest = list_tokens(texts.len());
    request(FUZZ_SYSTEM, shots, judge_task(explanation, &texts), longest)
}

/// The request that asks once more after an `answer` that could not be read: for a list of `expected`
/// numbers, or for an explanation if that is 0.
pub(in crate::interp) fn repaired(
    request: &ChatRequest,
    answer: &str,
    expected: usize,
) -> ChatRequest {
    let asked = match expected {
        0 => format!("That line is missing. Write it now: one line that begins with {EXPLANATION}"),
        _ => format!(
            "I cannot read that. Write nothing but a JSON list of {expected} numbers, each 0 or 1."
        ),
    };
    // Servers refuse messages without content.
    let answer = if answer.trim().is_empty() { "…" } else { answer };
    let mut repaired = request.clone();
    repaired.messages.push(message(ChatRole::Assistant, answer));
    repaired.messages.push(message(ChatRole::User, asked));
    repaired
}

fn message(role: ChatRole, content: impl Into<String>) -> ChatMessage {
    ChatMessage { role, content: content.into() }
}

fn request(
    system: &str,
    shots: impl Iterator<Item = (String, String)>,
    task: String,
    max_tokens: u32,
) -> ChatRequest {
    let mut messages = vec![message(ChatRole::System, system)];
    for (task, answer) in shots {
        messages.push(message(ChatRole::User, task));
        messages.push(message(ChatRole::Assistant, answer));
    }
    messages.push(message(ChatRole::User, task));
    ChatRequest { messages, max_tokens, log_probabilities: false, version: PROMPTS_VERSION }
}

fn explain_task(examples: &[ShownExcerpt]) -> String {
    let largest = examples.iter().map(ShownExcerpt::largest).fold(0.0, f32::max);
    let mut task = String::new();
    for (number, example) in (1..).zip(examples) {
        let (text, numbers) = (example.marked(&example.strongest()), example.numbers(largest));
        let _ = writeln!(task, "{number}. {text}\n{ACTIVATIONS}{numbers}");
    }
    task.push_str("\nWhat switches the feature on?");
    task
}

fn judge_task(explanation: &str, texts: &[String]) -> String {
    // Its line ends where the explanation does.
    let explanation = explanation.trim().replace(['\n', '\r'], " ");
    let mut task = format!("{GIVEN}{explanation}\n\n");
    for (number, text) in (1..).zip(texts) {
        let _ = writeln!(task, "{number}. {text}");
    }
    let _ = write!(task, "\nA JSON list of {} numbers, each 0 or 1:", texts.len());
    task
}

/// Labels as the answer that is asked for.
fn list(labels: &[bool]) -> String {
    let numbers: Vec<&str> = labels.iter().map(|label| if *label { "1" } else { "0" }).collect();
    format!("[{}]", numbers.join(", "))
}

fn list_tokens(texts: usize) -> u32 {
    let texts = u32::try_from(texts).unwrap_or(u32::MAX);
    texts.saturating_mul(NUMBER_TOKENS).saturating_add(LIST_TOKENS)
}
