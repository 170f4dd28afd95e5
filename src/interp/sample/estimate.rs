//! What a plan would cost.

use std::collections::HashMap;
use std::fmt;

use super::plan::Plan;
use super::planned::NOT_YET_KNOWN;
use crate::data::text::Tokenizer;
use crate::display::show_as_text;
use crate::interp::chat::{BYTES_A_TOKEN, ChatModel, ChatRequest};
use crate::interp::prompts::{read_explanation, repaired};
use crate::progress::Progress;
use crate::text::thousands;
use crate::{Error, Result};

/// What the call is named.
const LABEL: &str = "estimating the plan";
/// Tokens that a server puts around a message.
const AROUND_MESSAGE: u64 = 4;
/// What running a plan takes. What was answered before costs nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Requests of the plan. Those that ask once more after an answer that cannot be read come on top.
    pub requests: usize,
    /// Requests whose answers are kept. Of those that score an explanation this is known once the
    /// explanation is.
    pub cached: usize,
    /// Tokens of the prompts that are left, by the tokenizer of the model that the features are of;
    /// that of the model which is asked may need more or fewer.
    pub prompt_tokens: u64,
    /// Tokens of their answers, at most.
    pub answer_tokens: u64,
    /// Their price, about, if [`ChatModel::prices`] were given; what bounds it is `most_cost` of
    /// [`Limits`](crate::interp::Limits).
    pub cost: Option<f64>,
    /// The minutes that the limits per minute make of it, if there are any; the server may take longer.
    pub minutes: Option<f64>,
}

impl Plan {
    /// What [`Plan::run`] would take with this model. Nothing is sent.
    ///
    /// # Errors
    /// Answers that are kept and cannot be read from the disk; [`Error::Interrupted`] when Stop is
    /// pressed.
    pub fn estimate(&self, chat: &ChatModel) -> Result<Estimate> {
        let mut tokens = PromptTokens { tokenizer: self.tokenizer(), known: HashMap::new() };
        let (mut requests, mut cached) = (0, 0);
        let (mut prompt_tokens, mut answer_tokens) = (0, 0);
        let mut add = |request: &ChatRequest, is_cached: bool| -> Result<()> {
            requests += 1;
            if is_cached {
                cached += 1;
            } else {
                prompt_tokens += tokens.of(request)?;
                answer_tokens += u64::from(request.max_tokens);
            }
            Ok(())
        };
        let mut progress = Progress::new(LABEL, self.planned().len() as u64, "feature");
        for feature in self.planned() {
            let request = feature.explain_request();
            let (is_cached, explanation) = kept_explanation(chat, &request)?;
            add(&request, is_cached)?;
            for scoring in &self.options().scores {
                for places in feature.batches(*scoring) {
                    let words = explanation.as_deref().unwrap_or(NOT_YET_KNOWN);
                    let with = self.options().log_probabilities;
                    let request = feature.score_request(*scoring, places, words, with);
                    let is_cached = explanation.is_some() && chat.cached(&request)?.is_some();
                    add(&request, is_cached)?;
                }
            }
            if progress.advance(1) {
                return Err(Error::Interrupted { what: LABEL.to_owned() });
            }
        }
        progress.finish();
        let limits = chat.limits_ref();
        let minutes = |amount: f64, limit: Option<u32>| Some(amount / f64::from(limit?));
        let all = [
            minutes((requests - cached) as f64, limits.requests_a_minute),
            minutes((prompt_tokens + answer_tokens) as f64, limits.tokens_a_minute),
        ];
        Ok(Estimate {
            requests,
            cached,
            prompt_tokens,
            answer_tokens,
            cost: chat.price_of(prompt_tokens, answer_tokens),
            minutes: all.into_iter().flatten().reduce(f64::max),
        })
    }
}

/// Whether a request for an explanation was answered, and the explanation if it could be read, at once
/// or when it was asked for once more.
fn kept_explanation(chat: &ChatModel, request: &ChatRequest) -> Result<(bool, Option<String>)> {
    let Some(answer) = chat.cached(request)? else { return Ok((false, None)) };
    let explanation = match read_explanation(&answer.text) {
        Some(explanation) => Some(explanation),
        None => {
            let again = chat.cached(&repaired(request, &answer.text, 0))?;
            again.and_then(|answer| read_explanation(&answer.text))
        }
    };
    Ok((true, explanation))
}

/// Counts the tokens of prompts, whose beginnings are the same.
struct PromptTokens<'a> {
    tokenizer: &'a Tokenizer,
    known: HashMap<String, u64>,
}

impl PromptTokens<'_> {
    fn of(&mut self, request: &ChatRequest) -> Result<u64> {
        let mut sum = 0;
        for (at, message) in request.messages.iter().enumerate() {
            let known = self.known.get(&message.content).copied();
            let own = match known {
                Some(own) => own,
                None => self.of_text(&message.content)?,
            };
            if known.is_none() && at + 1 < request.messages.len() {
                self.known.insert(message.content.clone(), own);
            }
            sum += own + AROUND_MESSAGE;
        }
        Ok(sum)
    }

    fn of_text(&self, text: &str) -> Result<u64> {
        match self.tokenizer.encode_plain(text) {
            Ok(ids) => Ok(ids.len() as u64),
            Err(stopped @ Error::Interrupted { .. }) => Err(stopped),
            // A tokenizer of some words has no tokens for others.
            Err(_) => Ok((text.len() as u64).div_ceil(BYTES_A_TOKEN)),
        }
    }
}

show_as_text!(Estimate);

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |number: u64| thousands(usize::try_from(number).unwrap_or(usize::MAX));
        write!(f, "{} requests", thousands(self.requests))?;
        if self.cached > 0 {
            write!(f, ", {} of them answered already", thousands(self.cached))?;
        }
        let (prompts, answers) = (shown(self.prompt_tokens), shown(self.answer_tokens));
        write!(f, "; about {prompts} tokens of prompts and at most {answers} of answers")?;
        match self.cost {
            Some(cost) => write!(f, "; about {cost:.2} at the prices given")?,
            None => write!(f, "; without prices there is no cost (ChatModel::prices)")?,
        }
        if let Some(minutes) = self.minutes {
            write!(f, "; at least {minutes:.1} minutes by the limits")?;
        }
        Ok(())
    }
}
