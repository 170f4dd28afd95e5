//! What is said to a chat model and what it says: the bodies of `POST /chat/completions`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::display::show_as_text;

/// Alternatives that are asked for each token of an answer.
const TOP_LOG_PROBABILITIES: u32 = 5;
/// Tokens that a server's template may add to a message: its role, and marks around it.
const TEMPLATE_TOKENS: u64 = 16;
/// Bytes of a prompt that usually make a token.
pub(in crate::interp) const BYTES_A_TOKEN: u64 = 4;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// Whoever set the conversation up.
    System,
    /// Whoever asks.
    User,
    /// The model.
    Assistant,
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// The text.
    pub content: String,
}

impl ChatMessage {
    /// A message that sets the conversation up.
    pub fn system(content: impl Into<String>) -> Self {
        Self { role: ChatRole::System, content: content.into() }
    }

    /// A message of whoever asks.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: ChatRole::User, content: content.into() }
    }

    /// A message of the model, as an example of how to answer.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self { role: ChatRole::Assistant, content: content.into() }
    }
}

/// What a chat model is asked. The temperature is always 0.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChatRequest {
    /// The conversation so far; the last message is what is answered.
    pub messages: Vec<ChatMessage>,
    /// Tokens that the answer may have.
    pub max_tokens: u32,
    /// Whether the log-probabilities of the answer's tokens are asked for, each with the five most
    /// probable alternatives. Not every server gives them.
    pub log_probabilities: bool,
    /// The version of the prompt's template. It is not sent; answers to other versions are not taken
    /// from the cache.
    pub version: &'static str,
}

impl ChatRequest {
    /// Tokens of the prompt at most: one for each byte, and 16 for what a server's template adds to a
    /// message.
    pub(crate) fn most_prompt_tokens(&self) -> u64 {
        self.bytes() + TEMPLATE_TOKENS * self.messages.len() as u64
    }

    /// Tokens of the prompt and the answer together, as English texts have them, for limits of rates.
    pub(super) fn usual_tokens(&self) -> u64 {
        self.bytes().div_ceil(BYTES_A_TOKEN) + u64::from(self.max_tokens)
    }

    fn bytes(&self) -> u64 {
        self.messages.iter().map(|message| message.content.len() as u64).sum()
    }
}

/// What a chat model answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatAnswer {
    /// The text; empty if the model said nothing.
    pub text: String,
    /// Tokens of the prompt: as the server counted them, or what they can be at most.
    pub prompt_tokens: u64,
    /// Tokens of the answer: as the server counted them, or what they can be at most.
    pub answer_tokens: u64,
    /// Whether the answer ended because it had `max_tokens` tokens.
    pub is_cut_off: bool,
    /// The answer's tokens with log-probabilities, if they were asked for and the server gives them.
    pub log_probabilities: Option<Vec<AnswerToken>>,
}

impl fmt::Display for ChatAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.is_cut_off { f.write_str(" … (cut off)") } else { Ok(()) }
    }
}

show_as_text!(ChatAnswer);

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerToken {
    /// Its text.
    pub token: String,
    /// Tokens that could have stood there, the token itself included, with the natural logarithms of
    /// their probabilities.
    pub alternatives: Vec<(String, f64)>,
}

/// The parameters of a request, in the order in which a hash takes them.
#[derive(Debug, Serialize)]
pub(super) struct ChatParameters {
    temperature: u32,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
}

impl ChatParameters {
    pub(super) fn of(request: &ChatRequest) -> Self {
        let asked = request.log_probabilities;
        Self {
            temperature: 0,
            max_tokens: request.max_tokens,
            logprobs: asked.then_some(true),
            top_logprobs: asked.then_some(TOP_LOG_PROBABILITIES),
        }
    }
}

/// The body of a request for an answer of `model`.
pub(super) fn request_body(
    model: &str,
    request: &ChatRequest,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct RequestBody<'a> {
        model: &'a str,
        messages: &'a [ChatMessage],
        #[serde(flatten)]
        parameters: ChatParameters,
    }
    let parameters = ChatParameters::of(request);
    serde_json::to_vec(&RequestBody { model, messages: &request.messages, parameters })
}

/// Why a body is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// In words that go on after "status 200, but".
    pub(super) reason: String,
    /// The status that the body itself tells, where it tells of an error.
    pub(super) status: Option<u16>,
}

#[derive(Deserialize)]
struct Completion {
    choices: Option<Vec<CompletionChoice>>,
    usage: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct CompletionChoice {
    message: Option<CompletionMessage>,
    finish_reason: Option<String>,
    logprobs: Option<Value>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct CompletionMessage {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct CompletionLogs {
    content: Option<Vec<CompletionToken>>,
}

#[derive(Deserialize)]
struct CompletionToken {
    token: String,
    logprob: Option<f64>,
    top_logprobs: Option<Vec<CompletionToken>>,
}

/// The answer in the body of a server's answer.
pub(super) fn read_answer(body: &str, request: &ChatRequest) -> Result<ChatAnswer, Unreadable> {
    let unreadable = |reason: String| Unreadable { reason, status: None };
    let completion: Completion = serde_json::from_str(body)
        .map_err(|reason| unreadable(format!("the body is no answer of a chat: {reason}")))?;
    let choice = completion.choices.and_then(|choices| choices.into_iter().next());
    let Some(choice) = choice else {
        return Err(match completion.error {
            Some(error) => told_error(&error),
            None => unreadable("there is no answer in the body".to_owned()),
        });
    };
    if let Some(error) = choice.error {
        return Err(told_error(&error));
    }
    let finish = choice.finish_reason.as_deref();
    if finish == Some("error") {
        return Err(unreadable("the answer ended with an error".to_owned()));
    }
    let (content, refusal) = choice.message.map_or((None, None), |own| (own.content, own.refusal));
    // A model that says nothing has finished; a server that fails has not.
    let text = content.or(refusal).or_else(|| finish.map(|_| String::new()));
    let Some(text) = text else {
        return Err(unreadable("the answer has no text".to_owned()));
    };
    let counted = |name: &str| completion.usage.as_ref()?.get(name)?.as_u64();
    Ok(ChatAnswer {
        text,
        prompt_tokens: counted("prompt_tokens")
            .filter(|count| *count > 0)
            .unwrap_or_else(|| request.most_prompt_tokens()),
        answer_tokens: counted("completion_tokens").unwrap_or(u64::from(request.max_tokens)),
        is_cut_off: finish == Some("length"),
        log_probabilities: choice
            .logprobs
            .filter(|_| request.log_probabilities)
            .and_then(|logs| serde_json::from_value::<CompletionLogs>(logs).ok())
            .and_then(|logs| logs.content)
            .map(|tokens| tokens.into_iter().map(answer_token).collect()),
    })
}

/// An error that a server tells in the body of an answer that has the status of a good one.
fn told_error(error: &Value) -> Unreadable {
    let code = error.get("code").or_else(|| error.get("status"));
    let status = code.and_then(|code| match code {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    });
    let status = status.filter(|status| (400..600).contains(status));
    Unreadable {
        reason: "the body tells of an error".to_owned(),
        status: status.and_then(|status| u16::try_from(status).ok()),
    }
}

fn answer_token(own: CompletionToken) -> AnswerToken {
    let CompletionToken { token, logprob, top_logprobs } = own;
    let tops = top_logprobs.unwrap_or_default().into_iter();
    let mut alternatives: Vec<(String, f64)> =
        tops.filter_map(|top| Some((top.token, top.logprob?))).collect();
    if let Some(log) = logprob
        && !alternatives.iter().any(|(other, _)| *other == token)
    {
        alternatives.push((token.clone(), log));
    }
    AnswerToken { token, alternatives }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request() -> ChatRequest {
        let messages = vec![ChatMessage::system("be brief"), ChatMessage::user("é?")];
        ChatRequest { messages, max_tokens: 7, log_probabilities: false, version: "v" }
    }

    fn read(body: &Value) -> Result<ChatAnswer, Unreadable> {
        read_answer(&body.to_string(), &ChatRequest { log_probabilities: true, ..request() })
    }

    #[test]
    fn a_body_holds_what_is_asked_and_nothing_else() {
        let sent = |request: &ChatRequest| -> Value {
            serde_json::from_slice(&request_body("m", request).unwrap()).unwrap()
        };
        let messages =
            json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "é?"}]);
        let mut body =
            json!({"model": "m", "messages": messages, "temperature": 0, "max_tokens": 7});
        assert_eq!(sent(&request()), body);
        body["logprobs"] = json!(true);
        body["top_logprobs"] = json!(5);
        assert_eq!(sent(&ChatRequest { log_probabilities: true, ..request() }), body);
    }

    #[test]
    fn tokens_at_most_are_bytes_and_sixteen_a_message() {
        assert_eq!(request().most_prompt_tokens(), 8 + 3 + 32);
        assert_eq!(request().usual_tokens(), 3 + 7);
    }

    #[test]
    fn an_answer_is_read_with_its_counts_and_its_end() {
        let body = json!({
            "choices": [{"message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 21, "completion_tokens": 2},
        });
        let answer = read(&body).unwrap();
        assert_eq!((&*answer.text, answer.prompt_tokens, answer.answer_tokens), ("yes", 21, 2));
        assert!(!answer.is_cut_off && answer.log_probabilities.is_none());
        let mut cut = body.clone();
        cut["choices"][0]["finish_reason"] = json!("length");
        cut["usage"] = Value::Null;
        let answer = read(&cut).unwrap();
        assert!(answer.is_cut_off);
        assert_eq!(
            (answer.prompt_tokens, answer.answer_tokens),
            (43, 7),
            "what they can be at most"
        );
        assert_eq!(answer.to_string(), "yes … (cut off)");
    }

    #[test]
    fn log_probabilities_hold_the_token_itself() {
        let tops = json!([{"token": "0", "logprob": -0.1}, {"token": "2", "logprob": null}]);
        let body = json!({"choices": [{
            "message": {"content": "1"},
            "finish_reason": "stop",
            "logprobs": {"content": [
                {"token": "1", "logprob": -2.5, "top_logprobs": tops},
                {"token": "0", "logprob": -0.1, "top_logprobs": tops},
                {"token": "x", "logprob": -1.0},
            ]},
        }]});
        let tokens = read(&body).unwrap().log_probabilities.unwrap();
        let alternative = |token: &str, log: f64| (token.to_owned(), log);
        assert_eq!(tokens[0].alternatives, [alternative("0", -0.1), alternative("1", -2.5)]);
        assert_eq!(tokens[1].alternatives, [alternative("0", -0.1)]);
        assert_eq!(tokens[2].alternatives, [alternative("x", -1.0)]);
        let unasked = read_answer(&body.to_string(), &request()).unwrap();
        assert!(unasked.log_probabilities.is_none());
        let mut other = body;
        other["choices"][0]["logprobs"] = json!({"tokens": ["1"], "token_logprobs": [-2.5]});
        assert!(read(&other).unwrap().log_probabilities.is_none(), "another form is none");
    }

    #[test]
    fn a_model_that_says_nothing_has_answered() {
        let silent =
            json!({"choices": [{"message": {"content": null}, "finish_reason": "length"}]});
        assert_eq!(read(&silent).unwrap().text, "");
        let refused = json!({"choices": [{"message": {"content": null, "refusal": "no"}, "finish_reason": "stop"}]});
        assert_eq!(read(&refused).unwrap().text, "no");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let cases = [
            json!([]),
            json!({}),
            json!({"choices": []}),
            json!({"choices": null}),
            json!({"choices": 7}),
            json!({"choices": [{}]}),
            json!({"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}),
            json!({"choices": [{"message": {"content": null}}]}),
            json!({"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]}),
            json!({"error": {"message": "what?"}}),
            json!({"error": "what?"}),
        ];
        for case in cases {
            assert_eq!(read(&case).unwrap_err().status, None, "{case}");
        }
        assert!(read_answer("{\"choices\": [{\"mess", &request()).is_err());
    }

    #[test]
    fn an_error_in_a_good_answer_tells_its_status() {
        let status = |body: Value| read(&body).unwrap_err().status;
        assert_eq!(status(json!({"error": {"code": 502, "message": "m"}})), Some(502));
        assert_eq!(status(json!({"error": {"code": "401"}, "choices": []})), Some(401));
        assert_eq!(status(json!({"choices": [{"error": {"code": 429}}]})), Some(429));
        assert_eq!(status(json!({"error": {"code": "insufficient_quota"}})), None);
        assert_eq!(status(json!({"error": {"code": 70_000}})), None);
    }
}
