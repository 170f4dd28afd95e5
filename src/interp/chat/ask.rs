//! Sending a request until it has an answer.

use std::time::{Duration, SystemTime};

use super::cache::no_json;
use super::retry::{Fate, asked_pause, fate};
use super::throttle::{Permit, stopped};
use super::wire::{ChatAnswer, ChatRequest, Unreadable, read_answer, request_body};
use super::{ChatModel, ENDPOINT};
use crate::error::SharedCause;
use crate::http::{HttpFailure, HttpRequest, NoAnswer, Reach};
use crate::random::Rng;
use crate::{Error, Result};

/// Of the pauses' jitter; each request has a stream of its own.
const JITTER_SEED: u64 = 0x6a69_7474_6572;
/// Bytes of an answer.
const MOST_BYTES: usize = 16 << 20;
/// Characters of a body that an error shows.
const SHOWN: usize = 300;
/// What stands in place of the key.
const HIDDEN: &str = "[key]";
/// Bytes of a key from which on it is no word that an answer could hold.
const SECRET_BYTES: usize = 16;

/// A request that is on its way to an answer.
struct ChatCall<'a> {
    chat: &'a ChatModel,
    request: &'a ChatRequest,
    address: String,
    body: Vec<u8>,
    key: Option<String>,
}

/// What a server sent.
struct ChatReply {
    status: u16,
    /// The pause that it asks for.
    asked: Option<Duration>,
    /// None if it is too long.
    body: Option<Vec<u8>>,
}

/// An attempt without an answer.
struct FailedAttempt {
    /// What happened, as the beginning of a sentence.
    what: String,
    /// The beginning of the body.
    told: String,
    cause: Option<SharedCause>,
    fate: Fate,
    status: Option<u16>,
    asked: Option<Duration>,
}

impl ChatModel {
    /// The answer of the server, with its failures tried again. `number` is one of the request's own.
    pub(super) fn send(&self, request: &ChatRequest, number: u64) -> Result<ChatAnswer> {
        self.check()?;
        let call = ChatCall {
            chat: self,
            request,
            address: format!("{}{ENDPOINT}", self.base_url),
            body: request_body(&self.model, request).map_err(no_json)?,
            key: self.key()?,
        };
        let mut rng = Rng::stream(JITTER_SEED, number);
        let mut failures = 0;
        loop {
            let failed = match call.attempt(failures > 0)? {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            failures += 1;
            if failed.fate != Fate::Again || failures >= self.retries.attempts {
                return Err(call.error(failed, failures));
            }
            let pause = self.retries.pause(failures, failed.asked, &mut rng);
            if failed.status == Some(429) && failed.asked.is_some() {
                // The limit is the account's, not the request's.
                self.throttle.rest(pause);
            }
            self.throttle.pause(pause)?;
        }
    }
}

impl ChatCall<'_> {
    fn attempt(&self, is_retry: bool) -> Result<Result<ChatAnswer, FailedAttempt>> {
        let (chat, request) = (self.chat, self.request);
        let most = [request.most_prompt_tokens(), u64::from(request.max_tokens)];
        let highest = chat.price_of(most[0], most[1]).unwrap_or(0.0);
        let reservation = chat.ledger.reserve(highest, chat.limits.most_cost)?;
        let expected = request.usual_tokens();
        let mut permit = chat.throttle.enter(expected)?;
        chat.ledger.count_request(is_retry);
        let reply = match self.exchange(&permit) {
            Ok(reply) => reply,
            Err(HttpFailure::Stopped) => {
                permit.hang_up();
                reservation.settle_highest();
                return Err(stopped());
            }
            Err(HttpFailure::NoAnswer { reason, cause, reach }) => {
                // What was sent may have to be paid.
                if matches!(reach, Reach::Unanswered | Reach::Broken) {
                    reservation.settle_highest();
                }
                let fate = match reach {
                    Reach::Lasting => Fate::Never("Another try would end in the same way"),
                    Reach::Unreached | Reach::Unanswered | Reach::Broken => Fate::Again,
                };
                let (what, told) = (self.without_key(&reason), String::new());
                return Ok(Err(FailedAttempt {
                    what,
                    told,
                    cause,
                    fate,
                    status: None,
                    asked: None,
                }));
            }
        };
        drop(permit);
        if !(200..300).contains(&reply.status) {
            if reply.status == 504 {
                // Who waited has gone, not who works.
                reservation.settle_highest();
            }
            return Ok(Err(self.refused(&reply, reply.status, format!("status {}", reply.status))));
        }
        match self.read(reply.body.as_deref()) {
            Ok(answer) => {
                let (prompt, own) = (answer.prompt_tokens, answer.answer_tokens);
                reservation.settle(chat.price_of(prompt, own).unwrap_or(0.0));
                chat.throttle.count(expected, prompt.saturating_add(own));
                chat.ledger.count_tokens(prompt, own);
                Ok(Ok(answer))
            }
            Err(Unreadable { reason, status: Some(own) }) => {
                let what = format!("status {}, but {reason}, of status {own}", reply.status);
                Ok(Err(self.refused(&reply, own, what)))
            }
            Err(Unreadable { reason, status: None }) => {
                reservation.settle_highest();
                let what = format!("status {}, but {reason}", reply.status);
                let failed = self.refused(&reply, reply.status, what);
                Ok(Err(FailedAttempt { fate: Fate::Again, ..failed }))
            }
        }
    }

    fn exchange(&self, permit: &Permit<'_>) -> Result<ChatReply, HttpFailure> {
        let mut request = HttpRequest::post(self.address.as_str(), self.body.clone())
            .header("Content-Type", "application/json")
            .header("Accept", "application/json")
            .header("Accept-Encoding", "identity");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut answer = permit.send(request)?;
        let (status, headers) = (answer.status, &answer.headers);
        let asked = asked_pause(|name| headers.get(name), SystemTime::now());
        let body = match answer.body.read(MOST_BYTES) {
            // The status says enough.
            Err(HttpFailure::NoAnswer { .. }) if status >= 300 => Some(Vec::new()),
            read => read?,
        };
        Ok(ChatReply { status, asked, body })
    }

    fn read(&self, body: Option<&[u8]>) -> Result<ChatAnswer, Unreadable> {
        let unreadable = |reason: String| Unreadable { reason, status: None };
        let Some(body) = body else {
            return Err(unreadable(format!("the body has more than {MOST_BYTES} bytes")));
        };
        let text = std::str::from_utf8(body);
        let text = text.map_err(|reason| unreadable(format!("the body is no text: {reason}")))?;
        let mut answer = read_answer(text, self.request)?;
        if let Some(key) = self.key.as_ref().filter(|key| key.len() >= SECRET_BYTES) {
            // After decoding: JSON can write a letter in several ways.
            answer.text = answer.text.replace(key.as_str(), HIDDEN);
            let tokens = answer.log_probabilities.iter().flatten();
            let all: String = tokens.map(|own| own.token.as_str()).collect();
            answer.log_probabilities.take_if(|_| all.contains(key.as_str()));
        }
        Ok(answer)
    }

    /// A failure that the server told by `status`.
    fn refused(&self, reply: &ChatReply, status: u16, what: String) -> FailedAttempt {
        let body = String::from_utf8_lossy(reply.body.as_deref().unwrap_or_default());
        FailedAttempt {
            what: self.without_key(&what),
            told: start_of(&self.without_key(&body)),
            cause: None,
            fate: fate(status, &body),
            status: Some(status),
            asked: reply.asked,
        }
    }

    /// A text in which the key, should somebody have put it there, cannot be read.
    fn without_key(&self, text: &str) -> String {
        let Some(key) = &self.key else { return text.to_owned() };
        let plain = text.replace(key.as_str(), HIDDEN);
        match serde_json::to_string(key) {
            // As JSON writes it, without the quotes.
            Ok(quoted) => {
                let quoted = &quoted[1..quoted.len() - 1];
                plain.replace(quoted, HIDDEN).replace(&quoted.replace('/', "\\/"), HIDDEN)
            }
            Err(_) => plain,
        }
    }

    fn error(&self, failed: FailedAttempt, attempts: u32) -> Error {
        let FailedAttempt { what, told, cause, fate, .. } = failed;
        let attempts = match attempts {
            1 => "1 attempt".to_owned(),
            more => format!("{more} attempts"),
        };
        let advice = match fate {
            Fate::Again => String::new(),
            Fate::Never(advice) => format!(". {advice}"),
        };
        let told = if told.is_empty() { told } else { format!(". It says: {told}") };
        NoAnswer::error(
            "ask",
            &self.address,
            format!("{what}, after {attempts}{advice}{told}"),
            cause,
        )
    }
}

/// The beginning of a body, in a line.
fn start_of(body: &str) -> String {
    let plain: String =
        body.trim().chars().map(|own| if own.is_control() { ' ' } else { own }).collect();
    let mut start: String = plain.chars().take(SHOWN).collect();
    if start.len() < plain.len() {
        start.push('…');
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interp::chat::ChatMessage;

    fn call<'a>(chat: &'a ChatModel, request: &'a ChatRequest, key: &str) -> ChatCall<'a> {
        let (address, body) = ("http://a/v1/chat/completions".to_owned(), Vec::new());
        ChatCall { chat, request, address, body, key: Some(key.to_owned()) }
    }

    #[test]
    fn the_beginning_of_a_body_is_a_line_of_so_many_characters() {
        assert_eq!(start_of(" a\nb\u{1b}[31m "), "a b [31m");
        let long = start_of(&"ä".repeat(301));
        assert_eq!(long, format!("{}…", "ä".repeat(300)));
        assert_eq!(start_of(&"ä".repeat(300)), "ä".repeat(300));
    }

    #[test]
    fn a_key_is_hidden_as_it_is_and_as_json_writes_it() {
        let chat = ChatModel::new("http://a/v1", "m").unwrap();
        let messages = vec![ChatMessage::user("a")];
        let request =
            ChatRequest { messages, max_tokens: 1, log_probabilities: false, version: "" };
        let own = call(&chat, &request, "sk\\0123456789\"abcdef");
        let text = "sk\\0123456789\"abcdef, {\"k\": \"sk\\\\0123456789\\\"abcdef\"}";
        assert_eq!(own.without_key(text), "[key], {\"k\": \"[key]\"}");
        let body = br#"{"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}"#;
        let short = call(&chat, &request, "x");
        assert_eq!(short.read(Some(body)).unwrap().text, "x", "a word is no secret");
        assert!(own.read(None).unwrap_err().reason.contains("more than"));
        assert!(own.read(Some(b"\xff")).unwrap_err().reason.contains("no text"));
    }
}
