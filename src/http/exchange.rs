//! One request, and its answer as it arrives.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{HeaderMap, Method, Request, Response, Uri};
use ureq::{Agent, AsSendBody, Body, Timeout};

use super::failure::{HttpFailure, Reach};
use super::patience::{POLL, Patience};
use crate::error::SharedCause;
use crate::progress::Progress;

/// Bytes that are handed over at once.
const CHUNK: usize = 1 << 18;
/// Chunks that may wait to be taken.
const QUEUE: usize = 4;
/// A wait of this length is shown.
const QUIET: Duration = Duration::from_secs(2);

/// What is asked of a server.
#[derive(Clone)]
pub(crate) struct HttpRequest {
    method: Method,
    address: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
}

impl HttpRequest {
    pub(crate) fn get(address: impl Into<String>) -> Self {
        Self::new(Method::GET, address.into(), None)
    }

    pub(crate) fn post(address: impl Into<String>, body: Vec<u8>) -> Self {
        Self::new(Method::POST, address.into(), Some(body))
    }

    fn new(method: Method, address: String, body: Option<Vec<u8>>) -> Self {
        Self { method, address, headers: Vec::new(), body }
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl fmt::Debug for HttpRequest {
    /// Without the values of headers, one of which may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("address", &self.address)
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

/// An answer of any status; its body arrives later.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: HttpBody,
}

#[derive(Debug)]
pub(crate) struct Headers(HeaderMap);

impl Headers {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok()).map(str::trim)
    }
}

/// The body of an answer, which another thread reads.
#[derive(Debug)]
pub(crate) struct HttpBody {
    address: String,
    chunks: Receiver<Result<Vec<u8>, HttpFailure>>,
    patience: Patience,
}

impl HttpBody {
    /// The next bytes, none at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>, HttpFailure> {
        let chunk = wait(&self.chunks, &self.address, &self.patience)??;
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }

    /// All of it, or none if it is more than `limit` bytes.
    pub(crate) fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>, HttpFailure> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next()? {
            if all.len() + chunk.len() > limit {
                return Ok(None);
            }
            all.extend(chunk);
        }
        Ok(Some(all))
    }
}

/// A sender of requests, which keeps connections for the next one. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct HttpSender {
    agent: Agent,
    patience: Patience,
}

impl HttpSender {
    pub(crate) fn new(patience: &Patience) -> Self {
        let config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(patience.whole)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.answer))
            .timeout_per_read(Some(patience.stall))
            .timeout_per_write(Some(patience.stall))
            .user_agent(concat!("eigenlens/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), patience: patience.clone() }
    }

    /// The beginning of the answer to a request, which is sent on a thread of its own.
    pub(crate) fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        let HttpRequest { method, address, headers, body } = request;
        let mut builder = Request::builder().method(method).uri(address.as_str());
        for (name, value) in &headers {
            builder = builder.header(*name, value.as_str());
        }
        let (head, arrived) = sync_channel(1);
        let (send, chunks) = sync_channel(QUEUE);
        let (place, patience, agent) = (address.clone(), self.patience.clone(), self.agent.clone());
        let work = move || {
            let response = match body {
                Some(body) => builder
                    .body(body)
                    .map_err(ureq::Error::from)
                    .and_then(|request| run(&agent, request)),
                None => builder
                    .body(())
                    .map_err(ureq::Error::from)
                    .and_then(|request| run(&agent, request)),
            };
            let response = match response {
                Ok(response) => response,
                Err(reason) => {
                    let _ = head.send(Err(failure(&place, reason, &patience)));
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
                    Err(reason) => Err(failure(&place, reason.into(), &patience)),
                };
                // Nobody listens after Stop.
                if send.send(message).is_err() || end {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("http".to_owned())
            .spawn(work)
            .map_err(|reason| broken(reason.to_string(), Some(Arc::new(reason))))?;
        let patience = self.patience.clone();
        let (status, headers) = wait(&arrived, &address, &patience)??;
        Ok(HttpAnswer { status, headers, body: HttpBody { address, chunks, patience } })
    }

    /// Closes all its connections, so that requests that are still under way end at once; nothing can
    /// be sent afterwards. For requests that nobody waits for any more.
    pub(crate) fn shut_down(self) {
        self.agent.shutdown();
    }
}

/// What a request's thread sends next; shown if it takes long.
fn wait<T>(from: &Receiver<T>, address: &str, patience: &Patience) -> Result<T, HttpFailure> {
    let start = Instant::now();
    let mut bar = None;
    loop {
        if (patience.is_stopped)() {
            return Err(HttpFailure::Stopped);
        }
        match from.recv_timeout(POLL) {
            Ok(message) => return Ok(message),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(broken("the request ended without an answer".to_owned(), None));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        let seconds = start.elapsed().as_secs();
        if seconds >= QUIET.as_secs() {
            let (bar, shown) = bar.get_or_insert_with(|| {
                let limit = patience.whole.unwrap_or(patience.connect + patience.answer);
                let label = format!("waiting for {}", origin(address));
                (Progress::new(label, limit.as_secs(), "second"), 0)
            });
            // Stop was looked for above.
            let _ = bar.advance(seconds - *shown);
            *shown = seconds;
        }
    }
}

fn broken(reason: String, cause: Option<SharedCause>) -> HttpFailure {
    HttpFailure::NoAnswer { reason, cause, reach: Reach::Lasting }
}

/// Why there is no answer, in words.
fn failure(address: &str, error: ureq::Error, patience: &Patience) -> HttpFailure {
    let no_time = |what: &str, limit: Duration| format!("{what} for {limit:?}");
    let (reason, reach) = match &error {
        ureq::Error::HostNotFound => ("there is no host of this name".to_owned(), Reach::Unreached),
        ureq::Error::Timeout(Timeout::Resolve) => {
            (no_time("its name was looked up", patience.connect), Reach::Unreached)
        }
        ureq::Error::Timeout(Timeout::Connect) => {
            (no_time("no connection", patience.connect), Reach::Unreached)
        }
        ureq::Error::Timeout(Timeout::RecvResponse) => {
            (no_time("no answer", patience.answer), Reach::Unanswered)
        }
        ureq::Error::Timeout(Timeout::Global) => {
            (no_time("no whole answer", patience.whole.unwrap_or_default()), Reach::Unanswered)
        }
        ureq::Error::Timeout(_) => (no_time("nothing arrived", patience.stall), Reach::Unanswered),
        ureq::Error::Io(reason) => (reason.to_string(), reach_of(reason.kind())),
        ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            (error.to_string(), Reach::Unreached)
        }
        ureq::Error::Protocol(_) => (error.to_string(), Reach::Unanswered),
        other => (other.to_string(), Reach::Lasting),
    };
    let target = address.parse::<Uri>().ok();
    let proxy = ureq::Proxy::try_from_env()
        .filter(|proxy| target.is_some_and(|own| !is_near(&own) && !proxy.is_no_proxy(&own)));
    let proxy = proxy.map(|proxy| {
        let (host, port) = (proxy.host().to_owned(), proxy.port());
        format!(" (through the proxy {host}:{port} of HTTPS_PROXY or ALL_PROXY)")
    });
    let reason = format!("{reason}{}", proxy.unwrap_or_default());
    HttpFailure::NoAnswer { reason, cause: Some(Arc::new(error)), reach }
}

/// Runs a request: one to this machine through no proxy.
fn run<S: AsSendBody>(agent: &Agent, request: Request<S>) -> Result<Response<Body>, ureq::Error> {
    match is_near(request.uri()) {
        true => agent.run(agent.configure_request(request).proxy(None).build()),
        false => agent.run(request),
    }
}

/// Whether an address is of this machine.
fn is_near(address: &Uri) -> bool {
    let host = address.host().unwrap_or_default().trim_matches(['[', ']']);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|own| own.is_loopback())
}

fn reach_of(kind: ErrorKind) -> Reach {
    use ErrorKind::{
        AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
        HostUnreachable, Interrupted, InvalidData, InvalidInput, NetworkDown, NetworkUnreachable,
        UnexpectedEof,
    };
    match kind {
        BrokenPipe | ConnectionAborted | ConnectionReset | Interrupted | UnexpectedEof => {
            Reach::Broken
        }
        AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkDown
        | NetworkUnreachable => Reach::Unreached,
        // A certificate that is not accepted is invalid data.
        InvalidData | InvalidInput => Reach::Lasting,
        _ => Reach::Unanswered,
    }
}

/// Scheme, host and port of an address.
pub(crate) fn origin(address: &str) -> &str {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#']).map_or(address.len(), |at| start + at);
    &address[..end]
}
