//! Prompts read back, for a judge that is a program.

use super::shown::read_quoted;
use super::write::{DETECT_SYSTEM, EXPLAIN_SYSTEM, FUZZ_SYSTEM};
use super::{ACTIVATIONS, GIVEN};
use crate::interp::chat::{ChatMessage, ChatRole};

/// A text without marks, and its marked tokens.
pub(in crate::interp) type MarkedText = (String, Vec<String>);

/// The task of a prompt.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::interp) enum ReadPrompt {
    /// Texts to be explained.
    Explain {
        /// Of each text the marked tokens with their activations, from 0 to 10.
        examples: Vec<Vec<(String, f32)>>,
    },
    /// Texts, with and without a feature.
    Detect {
        /// What the feature is said to be.
        explanation: String,
        /// The texts.
        texts: Vec<String>,
    },
    /// Texts with marks, right and wrong ones.
    Fuzz {
        /// What the feature is said to be.
        explanation: String,
        /// Each text without marks, and its marked tokens.
        texts: Vec<MarkedText>,
    },
}

impl ReadPrompt {
    /// The task in the messages of a request, also of one that asks once more; none if they are not
    /// of this version.
    pub(in crate::interp) fn of(messages: &[ChatMessage]) -> Option<Self> {
        let system = messages.first().filter(|message| message.role == ChatRole::System)?;
        let read: fn(&str) -> Option<Self> = match system.content.as_str() {
            EXPLAIN_SYSTEM => read_explain,
            DETECT_SYSTEM => read_detect,
            FUZZ_SYSTEM => read_fuzz,
            _ => return None,
        };
        // Behind the task there may be an answer to it, and the request to repair that.
        let asked = messages.iter().rev().filter(|message| message.role == ChatRole::User);
        asked.map(|message| read(&message.content)).find(Option::is_some).flatten()
    }
}

fn read_explain(task: &str) -> Option<ReadPrompt> {
    let lists = task.lines().filter_map(|line| line.strip_prefix(ACTIVATIONS));
    let examples = lists.map(|list| serde_json::from_str::<Vec<(String, f32)>>(list).ok());
    let examples = examples.collect::<Option<Vec<_>>>()?;
    (!examples.is_empty()).then_some(ReadPrompt::Explain { examples })
}

fn read_detect(task: &str) -> Option<ReadPrompt> {
    let (explanation, texts) = read_judged(task)?;
    let texts = texts.into_iter().map(|(text, _)| text).collect();
    Some(ReadPrompt::Detect { explanation, texts })
}

fn read_fuzz(task: &str) -> Option<ReadPrompt> {
    let (explanation, texts) = read_judged(task)?;
    Some(ReadPrompt::Fuzz { explanation, texts })
}

/// The explanation and the texts of a task, with their marked tokens.
fn read_judged(task: &str) -> Option<(String, Vec<MarkedText>)> {
    let mut lines = task.lines();
    let explanation = lines.next()?.strip_prefix(GIVEN)?.to_owned();
    let literals = lines.filter_map(|line| {
        let (number, literal) = line.split_once(". ")?;
        let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        (is_number && literal.starts_with('"')).then_some(literal)
    });
    let texts = literals.map(read_quoted).collect::<Option<Vec<_>>>()?;
    (!texts.is_empty()).then_some((explanation, texts))
}
