//! Explains features by tokens, and judges texts by them.

use std::collections::{HashMap, HashSet};

use serde::Deserialize as _;
use serde_json::{Value, json};

use super::TOKEN_JUDGE;
use super::exchange::ServerReply;
use crate::data::text::Tokenizer;
use crate::interp::chat::ChatMessage;
use crate::interp::prompts::ReadPrompt;
use crate::{Error, Result};

/// Token types that an explanation names.
const MAX_TOKEN_TYPES: usize = 5;
/// What stands before the list of them.
const LIST: &str = "the tokens ";
/// Probability of each answer given.
const SURE: f64 = 0.9;
/// Letters of a prompt or explanation that an error quotes.
const MAX_QUOTED: usize = 60;

/// Answers requests for a chat by the rules of [`crate::interp::judge`].
#[derive(Debug)]
pub(super) struct TokenJudge {
    tokenizer: Tokenizer,
    name: String,
}

impl TokenJudge {
    /// A judge by the tokens of `tokenizer`.
    ///
    /// # Errors
    /// As [`Tokenizer::sum`].
    pub(super) fn new(tokenizer: &Tokenizer) -> Result<Self> {
        // Answers are kept by the name of the model, and other tokens may give others.
        let name = format!("{TOKEN_JUDGE}-{}", &tokenizer.sum()?[..8]);
        Ok(Self { tokenizer: tokenizer.clone(), name })
    }

    /// Its name as a model.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The answer to the body of a request.
    ///
    /// # Errors
    /// The refusal to send: 400 for a body without messages, 404 for another model, 422 for prompts
    /// that are none of this library's, 503 if Stop came between.
    pub(super) fn answer(&self, body: &Value) -> Result<Value, ServerReply> {
        let model = &body["model"];
        if !model.is_null() && *model != *self.name {
            let message = format!("the model must be {:?}, found {model}", self.name);
            return Err(ServerReply::refusal(404, message));
        }
        if body["stream"] == true {
            let message = "expected a request for a whole answer, found `stream`: true";
            return Err(ServerReply::refusal(422, message));
        }
        let messages = &body["messages"];
        if !messages.is_array() {
            return Err(ServerReply::refusal(400, "expected a list of `messages` in the body"));
        }
        let messages = Vec::<ChatMessage>::deserialize(messages)
            .map_err(|reason| unknown_prompt(&format!("`messages` of another form: {reason}")))?;
        let last = || messages.last().map_or("", |message| message.content.as_str());
        let prompt = ReadPrompt::of(&messages).ok_or_else(|| unknown_prompt(&quoted(last())))?;
        let answer = self.answer_to(&prompt)?;
        let asked: u64 = messages.iter().map(|message| self.count(&message.content)).sum();
        let log_probabilities = match &answer {
            JudgeAnswer::Labels(labels) if body["logprobs"] == true => label_probabilities(labels),
            _ => Value::Null,
        };
        let text = answer.text();
        let usage = [asked, self.count(&text)];
        Ok(chat_completion(&self.name, &text, usage, &log_probabilities))
    }

    fn answer_to(&self, prompt: &ReadPrompt) -> Result<JudgeAnswer, ServerReply> {
        Ok(match prompt {
            ReadPrompt::Explain { examples } => {
                let types = strongest_types(examples);
                if types.is_empty() {
                    return Err(unknown_prompt("examples without a marked token"));
                }
                JudgeAnswer::Explanation(explanation_by(&types))
            }
            ReadPrompt::Detect { explanation, texts } => {
                let types = types_of(explanation)?;
                let labels = texts.iter().map(|text| self.holds(text, &types));
                JudgeAnswer::Labels(labels.collect::<crate::Result<_>>().map_err(refused_text)?)
            }
            ReadPrompt::Fuzz { explanation, texts } => {
                let types = types_of(explanation)?;
                let labels = texts.iter().map(|(_, marked)| are_mostly(marked, &types));
                JudgeAnswer::Labels(labels.collect())
            }
        })
    }

    /// Whether one of a text's tokens is of these types.
    fn holds(&self, text: &str, types: &HashSet<String>) -> crate::Result<bool> {
        let ids = self.tokenizer.encode_plain(text)?;
        let pieces = crate::interp::sample::pieces(&self.tokenizer, &ids)?;
        for (place, (token, _)) in pieces.iter().enumerate() {
            // A space that the tokenizer, not the text, begins with may be none of the token's.
            let bare = token.strip_prefix(' ').filter(|_| place == 0 && !text.starts_with(' '));
            if types.contains(token) || bare.is_some_and(|bare| types.contains(bare)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tokens of a text; its words, if the tokenizer does not have all of them.
    fn count(&self, text: &str) -> u64 {
        let tokens = self.tokenizer.encode_plain(text).map(|tokens| tokens.len());
        tokens.unwrap_or_else(|_| text.split_whitespace().count()) as u64
    }
}

/// What the judge says.
#[derive(Debug)]
enum JudgeAnswer {
    Explanation(String),
    Labels(Vec<bool>),
}

impl JudgeAnswer {
    fn text(&self) -> String {
        match self {
            Self::Explanation(explanation) => format!("[EXPLANATION]: {explanation}"),
            Self::Labels(labels) => {
                label_pieces(labels).into_iter().map(|(text, _)| text).collect()
            }
        }
    }
}

/// The types of marked tokens with the largest sums of activations, the largest first and, of equal
/// ones, that which was seen first.
fn strongest_types(examples: &[Vec<(String, f32)>]) -> Vec<&str> {
    let mut sums: Vec<(&str, f64)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (token, activation) in examples.iter().flatten() {
        if activation.is_finite() {
            let token = token.as_str();
            let place = *places.entry(token).or_insert(sums.len());
            if place == sums.len() {
                sums.push((token, 0.0));
            }
            sums[place].1 += f64::from(*activation);
        }
    }
    // Equal ones keep their order.
    sums.sort_by(|one, other| other.1.total_cmp(&one.1));
    sums.into_iter().take(MAX_TOKEN_TYPES).map(|(token, _)| token).collect()
}

/// An explanation that [`types_of`] reads.
fn explanation_by(types: &[&str]) -> String {
    let types: Vec<String> = types.iter().map(|token| Value::from(*token).to_string()).collect();
    format!("{LIST}[{}]", types.join(", "))
}

/// The types that an explanation of the judge names.
fn types_of(explanation: &str) -> Result<HashSet<String>, ServerReply> {
    let list = explanation.trim().strip_prefix(LIST.trim_end());
    list.and_then(|list| serde_json::from_str(list).ok()).ok_or_else(|| {
        let found = quoted(explanation);
        let message = format!(
            "the token judge scores its own explanations alone: expected `{LIST}[\" one\", …]`, \
             found {found}"
        );
        ServerReply::refusal(422, message)
    })
}

/// Whether at least half of the marked tokens are of these types.
fn are_mostly(marked: &[String], types: &HashSet<String>) -> bool {
    let own = marked.iter().filter(|token| types.contains(*token)).count();
    !marked.is_empty() && 2 * own >= marked.len()
}

/// The pieces of a list such as `[1, 0]` that are tokens of the answer, with the label where a piece
/// is one.
fn label_pieces(labels: &[bool]) -> Vec<(&'static str, Option<bool>)> {
    let mut pieces = vec![("[", None)];
    for (place, label) in labels.iter().enumerate() {
        if place > 0 {
            pieces.push((", ", None));
        }
        pieces.push((label_text(*label), Some(*label)));
    }
    pieces.push(("]", None));
    pieces
}

fn label_text(label: bool) -> &'static str {
    if label { "1" } else { "0" }
}

/// Tokens of a list of labels with their log-probabilities: [`SURE`] of each label, and certain of
/// what is between.
fn label_probabilities(labels: &[bool]) -> Value {
    let tokens = label_pieces(labels).into_iter().map(|(text, label)| {
        let alternatives = match label {
            Some(label) => vec![(text, SURE.ln()), (label_text(!label), (1.0 - SURE).ln())],
            None => vec![(text, 0.0)],
        };
        let entry = |(token, log): (&str, f64)| {
            json!({"token": token, "logprob": log, "bytes": token.as_bytes()})
        };
        let mut own = entry(alternatives[0]);
        own["top_logprobs"] = alternatives.into_iter().map(entry).collect();
        own
    });
    json!({"content": tokens.collect::<Vec<_>>(), "refusal": null})
}

/// The body of an answer, with the numbers of tokens of the prompt and of the answer.
pub(super) fn chat_completion(
    model: &str,
    text: &str,
    usage: [u64; 2],
    log_probabilities: &Value,
) -> Value {
    let [asked, answered] = usage;
    json!({
        "id": "chatcmpl-loopback",
        "object": "chat.completion",
        // Equal requests have equal answers.
        "created": 0,
        "model": model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "logprobs": log_probabilities,
            "finish_reason": "stop",
        }],
        "usage": {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        },
    })
}

fn unknown_prompt(found: &str) -> ServerReply {
    let message = format!(
        "the token judge answers prompts of eigenlens's `Interp` alone: to explain a feature by \
         examples with marked tokens, to say which texts have a feature, or to say in which its \
         tokens are marked; found {found}"
    );
    ServerReply::refusal(422, message)
}

/// Stop is not the text's fault, and a text that cannot be read is not a text without the feature.
fn refused_text(reason: Error) -> ServerReply {
    let status = if matches!(reason, Error::Interrupted { .. }) { 503 } else { 422 };
    ServerReply::refusal(status, format!("a text could not be tokenized: {reason}"))
}

/// The beginning of a text, in quotes.
fn quoted(text: &str) -> String {
    let start: String = text.chars().take(MAX_QUOTED).collect();
    let more = if start.len() < text.len() { "…" } else { "" };
    format!("{:?}", format!("{start}{more}"))
}

#[cfg(test)]
mod tests;
