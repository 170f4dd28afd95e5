//! The token judge: a language model's place is taken by a server on this machine that knows tokens
//! and nothing else.
//!
//! It speaks the API of [`ChatModel`] and answers the prompts of [`Interp`](super::Interp) by
//! rules:
//!
//! | asked | answer |
//! | --- | --- |
//! | to explain a feature | the five types of marked tokens with the largest sums of activations over the examples: `the tokens [" the", " a", …]` |
//! | to say which texts have it | those in which one of these types occurs, after the text was tokenized |
//! | to say where its tokens are marked | texts of whose marked tokens at least half are of these types |
//!
//! It has three uses. A notebook on automatic interpretation runs without a network, and its scores
//! can be computed by hand. It is the baseline: a feature that is active at a few token types gets
//! high scores from it, so a language model has to score higher before its explanations tell more
//! than a list of tokens. And the library's own tests ask it.
//!
//! A type is the text of a token with the space before it, so ` the` is found in `in the end` and
//! not in `then`; tokens that make one character together are one. The answer to the same prompt is
//! always the same, and never cut to `max_tokens`. Where log-probabilities are asked for, each label
//! has 0.9 and the other one 0.1. Tokens of prompts and answers are counted by the tokenizer, without
//! those that a model would have around messages; where the tokenizer lacks one of a text's words,
//! the words are counted.
//!
//! Every other prompt is refused with status 422 and a message that says what is understood, and so
//! is an explanation that is not the judge's own.
//!
//! ```
//! use eigenlens::data::text::Tokenizer;
//! use eigenlens::interp::judge;
//!
//! let tokenizer = Tokenizer::of_words("<s>", ["three", "days"])?;
//! let server = judge::serve(&tokenizer)?;
//! let chat = server.chat()?; // answers as long as there is `server`
//! assert!(chat.model().starts_with(judge::TOKEN_JUDGE));
//! # Ok::<(), eigenlens::Error>(())
//! ```

#[cfg(test)]
mod chat_server;
mod exchange;
mod server;
mod token_judge;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Result;
use crate::data::text::Tokenizer;
use crate::display::show_as_text;
use crate::interp::chat::ChatModel;

#[cfg(test)]
pub(crate) use chat_server::{ChatServer, Fault, SeenRequest, completion};
use exchange::{ServerBounds, ServerReply};
use server::LoopbackServer;
use token_judge::TokenJudge;

/// What the judge's name as a model begins with; the number changes with its rules. Behind it are
/// eight digits that tell the tokenizer.
pub const TOKEN_JUDGE: &str = "token-judge-1";

/// Starts a token judge on 127.0.0.1, at a port that is free. It has threads of its own and ends
/// when the value is dropped.
///
/// `tokenizer` is that of the model whose features are explained. At most 64 connections are open at
/// a time, and others wait; a body has at most 8 MB and 30 seconds to arrive.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the system has no port or thread left.
pub fn serve(tokenizer: &Tokenizer) -> Result<Judge> {
    let judge = TokenJudge::new(tokenizer)?;
    let model = judge.name().to_owned();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    let (name, bounds) = ("token judge", ServerBounds::default());
    let server = LoopbackServer::start(name, bounds, move |request, connection| {
        counter.fetch_add(1, Ordering::Relaxed);
        let answer = request.chat_body().and_then(|body| judge.answer(&body));
        let reply = answer.map_or_else(|refusal| refusal, |body| ServerReply::json(200, &body));
        // A client that went away is no news.
        let _ = connection.send(&reply);
    })?;
    Ok(Judge { server, requests, model })
}

/// A token judge that is running: [`serve`]. Keep it while it is asked: it ends when it is dropped,
/// and then connections are refused.
#[derive(Debug)]
pub struct Judge {
    server: LoopbackServer,
    requests: Arc<AtomicUsize>,
    model: String,
}

impl Judge {
    /// Its address, as clients of this API take it: `http://127.0.0.1:PORT/v1`.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.server.address())
    }

    /// A client that asks it, under its name, which begins with [`TOKEN_JUDGE`].
    ///
    /// # Errors
    /// As [`ChatModel::new`].
    pub fn chat(&self) -> Result<ChatModel> {
        ChatModel::new(&self.base_url(), &self.model)
    }

    /// Number of requests so far, with those that were refused.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl fmt::Display for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (model, requests) = (&self.model, self.requests());
        write!(f, "{model} at {}, {requests} requests so far", self.base_url())
    }
}

show_as_text!(Judge);

#[cfg(test)]
mod tests;
