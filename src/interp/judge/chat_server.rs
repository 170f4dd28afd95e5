//! A server for tests, which can be told to fail.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::exchange::{ReceivedRequest, ServerBounds, ServerReply};
use super::server::{LoopbackServer, OpenConnection};
use super::token_judge::chat_completion;
use crate::Result;

/// What goes wrong with a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Another status, with these headers and this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection is closed without an answer.
    Drop,
    /// The connection is closed in the middle of the answer's body.
    Truncated,
    /// The proper answer, after this time.
    Slow(Duration),
    /// JSON that is no answer of a chat.
    WrongJson,
    /// The connection stays open and nothing is sent.
    Silent,
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct SeenRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    /// Null if it was no JSON.
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl SeenRequest {
    /// A header by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A server of chats on this machine, with answers and faults as a test wants them; it ends when it
/// is dropped.
#[derive(Debug)]
pub(crate) struct ChatServer {
    server: LoopbackServer,
    log: Arc<ChatLog>,
}

impl ChatServer {
    /// A server whose answers to requests' bodies are those of `answer`; see [`completion`].
    pub(crate) fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Result<Self> {
        let log = Arc::new(ChatLog::default());
        let own = log.clone();
        let bounds = ServerBounds::default();
        let server = LoopbackServer::start("chat server", bounds, move |request, connection| {
            // A client that went away is no news.
            let _ = serve(&own, &answer, request, connection);
        })?;
        Ok(Self { server, log })
    }

    /// Adds faults: each goes to one of the next requests, in order. Then come proper answers.
    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.log.entries().faults.extend(faults);
    }

    /// What a client takes as its base URL.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.server.address())
    }

    /// The requests so far, in the order in which they arrived.
    pub(crate) fn seen(&self) -> Vec<SeenRequest> {
        self.log.entries().seen.clone()
    }

    /// How many requests there were at once at most, each counted from its arrival until its answer
    /// begins or fails. Those with [`Fault::Silent`] count no longer than others.
    pub(crate) fn most_at_once(&self) -> usize {
        self.log.entries().most
    }
}

/// The body of an answer with this text, with 10 tokens asked and 5 answered.
pub(crate) fn completion(text: &str) -> Value {
    chat_completion("test", text, [10, 5], &Value::Null)
}

#[derive(Debug, Default)]
struct ChatLog(Mutex<ChatLogEntries>);

#[derive(Debug, Default)]
struct ChatLogEntries {
    faults: VecDeque<Fault>,
    seen: Vec<SeenRequest>,
    open: usize,
    most: usize,
}

impl ChatLog {
    fn entries(&self) -> MutexGuard<'_, ChatLogEntries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request while it exists.
struct CountedRequest<'a>(&'a ChatLog);

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        self.0.entries().open -= 1;
    }
}

/// Records a request and takes its fault: none for one that is refused anyway.
fn arrive<'a>(
    log: &'a ChatLog,
    request: &ReceivedRequest,
    body: Option<&Value>,
) -> (CountedRequest<'a>, Option<Fault>) {
    let mut entries = log.entries();
    entries.open += 1;
    entries.most = entries.most.max(entries.open);
    entries.seen.push(SeenRequest {
        method: request.method.clone(),
        path: request.path.clone(),
        headers: request.headers.clone(),
        body: body.cloned().unwrap_or_default(),
        at: Instant::now(),
    });
    let fault = body.and_then(|_| entries.faults.pop_front());
    (CountedRequest(log), fault)
}

fn serve(
    log: &ChatLog,
    answer: &impl Fn(&Value) -> Value,
    request: &ReceivedRequest,
    connection: &OpenConnection,
) -> io::Result<()> {
    let body = request.chat_body();
    let (counted, fault) = arrive(log, request, body.as_ref().ok());
    if let Some(Fault::Slow(time)) = fault
        && !connection.wait(time)
    {
        return Ok(());
    }
    let reply = match (body, &fault) {
        (Err(refusal), _) => refusal,
        (_, Some(Fault::Status(status, headers, body))) => {
            ServerReply { status: *status, headers: headers.clone(), body: body.clone() }
        }
        (_, Some(Fault::WrongJson)) => ServerReply::json(200, &serde_json::json!({"choices": 7})),
        (Ok(body), _) => ServerReply::json(200, &answer(&body)),
    };
    // Before the client can know, and ask again.
    drop(counted);
    match fault {
        Some(Fault::Drop) => Ok(()),
        Some(Fault::Silent) => {
            connection.hold();
            Ok(())
        }
        Some(Fault::Truncated) => {
            let bytes = reply.to_bytes();
            connection.write(&bytes[..bytes.len() - reply.body.len().div_ceil(2)])
        }
        _ => connection.send(&reply),
    }
}

#[cfg(test)]
mod tests;
