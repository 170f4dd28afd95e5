//! Requests that end: each runs on a thread of its own, so that Stop is seen while nothing arrives,
//! and no step of it may last longer than its limit. The whole of a download has no limit.

use std::error;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::HeaderMap;
use ureq::{Agent, Timeout};

use crate::error::SharedCause;
use crate::progress::{Progress, interrupted};
use crate::{Error, Result};

/// Bytes that are handed over at once.
const CHUNK: usize = 1 << 18;
/// Chunks that may wait to be written.
const QUEUE: usize = 4;
/// How often Stop is looked for.
const POLL: Duration = Duration::from_millis(100);
/// A wait of this length is shown.
const QUIET: Duration = Duration::from_secs(2);
const REDIRECTS: usize = 10;

/// How long a hub may take, and how Stop is noticed.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    /// For the name of the host, and for a connection to it.
    pub(super) connect: Duration,
    /// From the request to the first byte of the answer.
    pub(super) answer: Duration,
    /// Without any byte in the middle of an answer.
    pub(super) stall: Duration,
    /// Before a first further try; later ones wait longer.
    pub(super) pause: Duration,
    pub(super) is_stopped: fn() -> bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            pause: Duration::from_millis(500),
            is_stopped: interrupted,
        }
    }
}

impl Patience {
    /// Waits, or fails when Stop is pressed.
    pub(super) fn sleep(&self, duration: Duration) -> Result<(), Refusal> {
        let end = Instant::now() + duration;
        loop {
            if (self.is_stopped)() {
                return Err(Refusal::Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }
}

/// Why the hub did not give what was asked for.
#[derive(Debug, Clone)]
pub(super) enum Refusal {
    Stopped,
    /// No hub was reached, or it is out of order.
    Unreachable {
        address: String,
        reason: String,
        /// The error that told, where one did.
        cause: Option<SharedCause>,
        /// Whether another try may help, and after what time the hub wants it.
        again: Option<Option<Duration>>,
    },
    /// The hub has it not, or not for everyone: what to do.
    Missing {
        hint: String,
    },
    /// What answers is no hub.
    Odd {
        address: String,
        found: String,
    },
}

impl Refusal {
    /// The same, with what the cache has, if a hub out of reach is the reason.
    pub(super) fn or_cached(self, cached: &str) -> Self {
        match self {
            Self::Unreachable { address, reason, cause, again } if !cached.is_empty() => {
                Self::Unreachable { address, reason: format!("{reason}; {cached}"), cause, again }
            }
            other => other,
        }
    }

    /// As an error about `what`.
    pub(super) fn into_error(self, what: impl fmt::Display) -> Error {
        match self {
            Self::Stopped => Error::Interrupted { what: format!("fetching {what}") },
            Self::Missing { hint } => Error::NotFound { what: what.to_string(), hint },
            Self::Odd { address, found } => {
                let found = format!("{found}; is HF_ENDPOINT right?");
                Error::format(address.as_ref(), "a hub's answer", found)
            }
            Self::Unreachable { address, reason, cause, .. } => {
                let source = std::io::Error::other(NoAnswer { reason, cause });
                Error::Io { action: "fetch", path: address.into(), source }
            }
        }
    }
}

/// Why there is no answer, in words, and the error behind them.
#[derive(Debug)]
struct NoAnswer {
    reason: String,
    cause: Option<SharedCause>,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl error::Error for NoAnswer {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// An answer, after its redirects.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) address: String,
    pub(super) status: u16,
    pub(super) headers: Headers,
    /// The headers of the redirects before it, in their order.
    pub(super) before: Vec<Headers>,
    chunks: Receiver<Result<Vec<u8>, Refusal>>,
    patience: Patience,
}

#[derive(Debug)]
pub(super) struct Headers(HeaderMap);

impl Headers {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }
}

/// A sender of requests to one hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    /// Where the token may go.
    origin: String,
    token: Option<String>,
    patience: Patience,
}

impl Client {
    pub(super) fn new(endpoint: &str, token: Option<&str>, patience: &Patience) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall))
            .user_agent(concat!("eigenlens/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            agent: config.into(),
            origin: origin(endpoint).to_owned(),
            token: token.map(str::to_owned),
            patience: patience.clone(),
        }
    }

    /// The answer to a request for the bytes `range` of `address`, with redirects followed.
    pub(super) fn get(&self, address: &str, range: Option<&str>) -> Result<Answer, Refusal> {
        let mut before = Vec::new();
        let mut address = address.to_owned();
        loop {
            let mut answer = self.ask(&address, range)?;
            if !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                answer.before = before;
                return Ok(answer);
            }
            let odd = |found: String| Refusal::Odd { address: address.clone(), found };
            let Some(location) = answer.headers.get("location") else {
                let status = answer.status;
                return Err(odd(format!("a redirect (status {status}) without a Location")));
            };
            if before.len() == REDIRECTS {
                return Err(odd(format!("more than {REDIRECTS} redirects")));
            }
            address = join(&address, location);
            before.push(answer.headers);
        }
    }

    /// One request, on a thread of its own.
    fn ask(&self, address: &str, range: Option<&str>) -> Result<Answer, Refusal> {
        let mut request = self.agent.get(address).header("Accept-Encoding", "identity");
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        if let Some(token) = self.token.as_ref().filter(|_| origin(address) == self.origin) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let (head, arrived) = sync_channel(1);
        let (send, chunks) = sync_channel(QUEUE);
        let (place, patience) = (address.to_owned(), self.patience.clone());
        let work = move || {
            let response = match request.call() {
                Ok(response) => response,
                Err(reason) => {
                    let _ = head.send(Err(unreachable(&place, reason, &patience)));
                    return;
                }
            };
            let (parts, body) = response.into_parts();
            if head.send(Ok((parts.status.as_u16(), Headers(parts.headers)))).is_err() {
                return;
            }
            let mut reader = body.into_reader();
            loop {
                let mut chunk = vec![0; CHUNK];
                let read = reader.read(&mut chunk);
                let end = !matches!(read, Ok(1..));
                let message = match read {
                    Ok(count) => {
                        chunk.truncate(count);
                        Ok(chunk)
                    }
                    Err(reason) => Err(unreachable(&place, reason.into(), &patience)),
                };
                // Nobody listens after Stop.
                if send.send(message).is_err() || end {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("hub".to_owned());
        let (place, patience) = (address.to_owned(), self.patience.clone());
        thread
            .spawn(work)
            .map_err(|reason| broken(&place, reason.to_string(), Some(Arc::new(reason))))?;
        let (status, headers) = wait(&arrived, &place, &patience)??;
        Ok(Answer { address: place, status, headers, before: Vec::new(), chunks, patience })
    }
}

impl Answer {
    /// The next bytes, none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        let chunk = wait(&self.chunks, &self.address, &self.patience)??;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// All of it, if it is at most `limit` bytes.
    pub(super) fn read(&mut self, limit: usize) -> Result<Vec<u8>, Refusal> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next()? {
            if all.len() + chunk.len() > limit {
                let found = format!("more than {limit} bytes");
                return Err(Refusal::Odd { address: self.address.clone(), found });
            }
            all.extend(chunk);
        }
        Ok(all)
    }

    /// Whether it is a page for people.
    pub(super) fn is_page(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    }
}

/// What a request's thread sends next; shown if it takes long.
fn wait<T>(from: &Receiver<T>, address: &str, patience: &Patience) -> Result<T, Refusal> {
    let start = Instant::now();
    let mut bar = None;
    loop {
        if (patience.is_stopped)() {
            return Err(Refusal::Stopped);
        }
        match from.recv_timeout(POLL) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(broken(
                    address,
                    "the request ended without an answer".to_owned(),
                    None,
                ));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let seconds = start.elapsed().as_secs();
        if seconds >= QUIET.as_secs() {
            let (bar, shown) = bar.get_or_insert_with(|| {
                let limit = patience.connect + patience.answer;
                let label = format!("waiting for {}", origin(address));
                (Progress::new(label, limit.as_secs(), "second"), 0)
            });
            // Stop was looked for above.
            let _ = bar.advance(seconds - *shown);
            *shown = seconds;
        }
    }
}

fn broken(address: &str, reason: String, cause: Option<SharedCause>) -> Refusal {
    Refusal::Unreachable { address: address.to_owned(), reason, cause, again: None }
}

/// Why there is no answer, in words, and what to do.
fn unreachable(address: &str, error: ureq::Error, patience: &Patience) -> Refusal {
    let timed_out = |what: &str, limit: Duration| (format!("{what} for {limit:?}"), None);
    let (reason, again) = match &error {
        ureq::Error::HostNotFound => ("there is no host of this name".to_owned(), None),
        ureq::Error::Timeout(Timeout::Resolve) => {
            timed_out("its name was looked up", patience.connect)
        }
        ureq::Error::Timeout(Timeout::Connect) => timed_out("no connection", patience.connect),
        ureq::Error::Timeout(Timeout::RecvResponse) => timed_out("no answer", patience.answer),
        ureq::Error::Timeout(_) => timed_out("nothing arrived", patience.stall),
        // A connection that breaks in the middle is worth another try; a closed door is not.
        ureq::Error::Io(reason) => (reason.to_string(), is_passing(reason.kind()).then_some(None)),
        other => (other.to_string(), None),
    };
    let target = address.parse::<ureq::http::Uri>().ok();
    let proxy = ureq::Proxy::try_from_env()
        .filter(|proxy| target.is_some_and(|target| !proxy.is_no_proxy(&target)));
    let proxy = proxy.map(|proxy| {
        let (host, port) = (proxy.host().to_owned(), proxy.port());
        format!(" (through the proxy {host}:{port} of HTTPS_PROXY or ALL_PROXY)")
    });
    let advice = "HF_HUB_OFFLINE=1 takes what is in the cache, HF_ENDPOINT names a mirror, and \
                  HTTPS_PROXY a proxy";
    let reason = format!("{reason}{}. {advice}", proxy.unwrap_or_default());
    Refusal::Unreachable {
        address: address.to_owned(),
        reason,
        cause: Some(Arc::new(error)),
        again,
    }
}

fn is_passing(kind: std::io::ErrorKind) -> bool {
    use std::io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, Interrupted, UnexpectedEof,
    };
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | UnexpectedEof)
}

/// Scheme, host and port of an address.
pub(super) fn origin(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    &address[..end]
}

/// Where a redirect of `address` leads.
fn join(address: &str, location: &str) -> String {
    let scheme = address.split_once("://").map_or("https", |(scheme, _)| scheme);
    if location.contains("://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{}{location}", origin(address))
    } else {
        let path = address.split(['?', '#']).next().unwrap_or(address);
        let folder = path.rfind('/').filter(|at| *at > origin(address).len());
        format!("{}/{location}", &path[..folder.unwrap_or(origin(address).len())])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_a_browser_would_go() {
        let from = "https://hub.org:8080/a/b?c=d/e";
        let cases = [
            ("https://other/x", "https://other/x"),
            ("//other/x", "https://other/x"),
            ("/x?y", "https://hub.org:8080/x?y"),
            ("x", "https://hub.org:8080/a/x"),
        ];
        for (location, expected) in cases {
            assert_eq!(join(from, location), expected);
        }
        assert_eq!(join("http://hub", "x"), "http://hub/x");
        assert_eq!(origin("http://hub?x"), "http://hub");
    }
}
