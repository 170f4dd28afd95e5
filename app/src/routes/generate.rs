//! Text with and without interventions, token by token.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use eigenlens::model::Generation;
use eigenlens::prelude::{Hooks, Sampling};
use futures_core::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Shared;
use super::intervention::{Intervention, interventions};
use crate::fault::Fault;
use crate::request::{Asker, Json};
use crate::server::Served;
use crate::worker::{Turn, Waiting};

/// Tokens that are generated at most.
pub(super) const MOST: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GenerateRequest {
    prompt: String,
    #[serde(default)]
    interventions: Vec<Intervention>,
    tokens: usize,
    temperature: f64,
    top_k: Option<usize>,
    seed: u64,
    #[serde(default)]
    compare: bool,
}

pub(super) async fn generate(
    State(served): Shared,
    Asker(view): Asker,
    Json(asked): Json<GenerateRequest>,
) -> Result<Response, Fault> {
    let mut sides = sides(&served, &asked)?.into_iter().collect::<Vec<_>>();
    let (lines, more) = unbounded_channel();
    let (told, own) = (lines.clone(), Arc::clone(&served));
    // A turn is a token of one side; then others have theirs.
    let mut at = 0;
    let work = move || {
        let side = &mut sides[at];
        match side.turn(&own, &lines) {
            Side::Over => drop(sides.remove(at)),
            Side::Goes => at += 1,
        }
        at = if at < sides.len() { at } else { 0 };
        if sides.is_empty() { Turn::Over } else { Turn::Again }
    };
    let failed = move |fault: Fault| tell(&told, &fault.json());
    let waiting = served.worker.push(view, work, failed)?;
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(Lines { more, _waiting: waiting })).into_response())
}

/// The texts that were asked for, with everything checked.
fn sides(served: &Served, asked: &GenerateRequest) -> Result<Vec<GeneratedSide>, Fault> {
    let subject = &served.subject;
    let tokens = subject.tokens(&asked.prompt)?;
    let room = subject.mlsae.model().config().context.saturating_sub(tokens.len());
    let most = MOST.min(room);
    if !(1..=most).contains(&asked.tokens) {
        let expected = format!("between 1 and {most} after this prompt");
        return Err(Fault::invalid("the number of tokens", expected, asked.tokens));
    }
    let GenerateRequest { temperature, top_k, seed, .. } = *asked;
    let sampling = Sampling { temperature, top_k, seed, ..Sampling::default() };
    if !(0.0..=100.0).contains(&sampling.temperature) {
        let expected = "between 0 and 100";
        return Err(Fault::invalid("`temperature`", expected, sampling.temperature));
    }
    if sampling.top_k == Some(0) {
        return Err(Fault::invalid("`top_k`", "at least 1", 0));
    }
    let changes = interventions(served, &asked.interventions)?;
    let side = |name, hooks: &Hooks| -> Result<GeneratedSide, Fault> {
        let own = subject.mlsae.model().generation(&tokens, asked.tokens, sampling, hooks)?;
        Ok(GeneratedSide { name, generation: own, prompt: tokens.len(), said: 0 })
    };
    let plain = asked.compare || changes.is_empty();
    let plain = plain.then(|| side("plain", &Hooks::new()));
    let steered = match changes.is_empty() {
        true => None,
        false => Some(side("steered", &subject.mlsae.steering_hooks(&changes)?)),
    };
    plain.into_iter().chain(steered).collect()
}

/// A text that grows.
struct GeneratedSide {
    name: &'static str,
    generation: Generation,
    /// Tokens of the prompt.
    prompt: usize,
    /// Bytes of text that were sent.
    said: usize,
}

enum Side {
    Goes,
    Over,
}

impl GeneratedSide {
    /// Draws a token and sends what it adds to the text.
    fn turn(&mut self, served: &Served, lines: &UnboundedSender<Bytes>) -> Side {
        match self.generation.next() {
            Some(Ok(_)) => {
                let text = served.subject.texts.running(&self.generation.tokens()[self.prompt..]);
                let is_over = self.generation.left() == 0;
                // A character that several tokens make waits for its last one.
                let whole = match is_over {
                    true => text.as_str(),
                    false => text.trim_end_matches(char::REPLACEMENT_CHARACTER),
                };
                let more = whole.get(self.said..).unwrap_or_default();
                self.said = self.said.max(whole.len());
                tell(lines, &json!({"side": self.name, "text": more}));
                if is_over {
                    tell(lines, &json!({"side": self.name, "done": true}));
                    return Side::Over;
                }
                Side::Goes
            }
            Some(Err(error)) => {
                tell(lines, &Fault::from(error).json());
                Side::Over
            }
            None => Side::Over,
        }
    }
}

fn tell(lines: &UnboundedSender<Bytes>, value: &Value) {
    // Nobody may be there any more; then the work is about to be told.
    let _ = lines.send(Bytes::from(format!("{value}\n")));
}

/// Lines as they come. Dropping it, because the client went away, ends the work.
struct Lines {
    more: UnboundedReceiver<Bytes>,
    _waiting: Waiting,
}

impl Stream for Lines {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.more.poll_recv(context).map(|own| own.map(Ok))
    }
}
