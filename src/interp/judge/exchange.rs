//! Requests and answers of HTTP/1.1, as little of it as a server of one kind of request needs.
//!
//! Nothing that a client sends is trusted: how long a request is and how long it takes to arrive
//! are bounded, and memory grows with what has arrived, not with what a header claims.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Bytes that are read at a time.
const CHUNK: usize = 8 * 1024;

/// What clients may use of a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerBounds {
    /// Connections at a time; one more waits.
    pub(super) connections: usize,
    /// Bytes of a request before its body.
    pub(super) head: usize,
    /// Bytes of a body.
    pub(super) body: usize,
    /// How long a request may take to arrive, and an answer to be taken.
    pub(super) patience: Duration,
}

impl Default for ServerBounds {
    fn default() -> Self {
        Self {
            connections: 64,
            head: 64 * 1024,
            body: 8 * 1024 * 1024,
            patience: Duration::from_secs(30),
        }
    }
}

/// A request as it arrived, whole.
#[derive(Debug)]
pub(super) struct ReceivedRequest {
    pub(super) method: String,
    /// With what follows a `?`.
    pub(super) path: String,
    /// By names in lower case; values of the same name with commas between them.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl ReceivedRequest {
    /// Waits for a request, as long and as large as `bounds` allow.
    pub(super) fn read(stream: &TcpStream, bounds: &ServerBounds) -> Result<Self, Unread> {
        let arriving = Arriving { stream, deadline: Instant::now() + bounds.patience };
        let mut bytes: Vec<u8> = Vec::new();
        let mut searched = 0;
        let end = loop {
            let found = bytes[searched..].windows(4).position(|own| own == b"\r\n\r\n");
            if let Some(found) = found {
                break searched + found;
            }
            searched = bytes.len().saturating_sub(3);
            if bytes.len() > bounds.head {
                let message = format!("expected at most {} bytes before the body", bounds.head);
                return Err(ServerReply::refusal(431, message).into());
            }
            if !arriving.more(&mut bytes)? {
                if bytes.is_empty() {
                    return Err(Unread::Gone);
                }
                return Err(ServerReply::refusal(400, "the request ends within its head").into());
            }
        };
        let mut request = Self::of_head(&bytes[..end])?;
        let length = request.body_len(bounds.body)?;
        let expects = request.headers.get("expect");
        if expects.is_some_and(|own| own.eq_ignore_ascii_case("100-continue")) {
            let mut stream = stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = bytes.split_off(end + 4);
        while body.len() < length {
            if !arriving.more(&mut body)? {
                let message = format!("expected a body of {length} bytes, found {}", body.len());
                return Err(ServerReply::refusal(400, message).into());
            }
        }
        body.truncate(length);
        request.body = body;
        Ok(request)
    }

    /// Reads the lines before a body.
    fn of_head(head: &[u8]) -> Result<Self, ServerReply> {
        let malformed = |what: &str| ServerReply::refusal(400, what);
        let head = std::str::from_utf8(head)
            .map_err(|_| malformed("expected a head in UTF-8, found other bytes"))?;
        let mut lines = head.split("\r\n");
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let [method, path, version] = first[..] else {
            return Err(malformed("expected a line `METHOD PATH HTTP/1.1` first"));
        };
        if method.is_empty() || !path.starts_with('/') || !version.starts_with("HTTP/1.") {
            return Err(malformed("expected a line `METHOD PATH HTTP/1.1` first"));
        }
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(malformed("expected headers as `name: value`, a line each"));
            }
            let known = headers.entry(name.to_ascii_lowercase()).or_default();
            if !known.is_empty() {
                known.push_str(", ");
            }
            known.push_str(value.trim());
        }
        let (method, path) = (method.to_owned(), path.to_owned());
        Ok(Self { method, path, headers, body: Vec::new() })
    }

    /// Bytes of the body that follows.
    fn body_len(&self, most: usize) -> Result<usize, ServerReply> {
        if self.headers.contains_key("transfer-encoding") {
            let message = "expected a body of `content-length` bytes, found one in chunks";
            return Err(ServerReply::refusal(411, message));
        }
        let Some(given) = self.headers.get("content-length") else { return Ok(0) };
        if given.is_empty() || !given.bytes().all(|digit| digit.is_ascii_digit()) {
            let message = format!("`content-length` must be a number, found {given:?}");
            return Err(ServerReply::refusal(400, message));
        }
        // What is no number of this machine is too large.
        given.parse::<usize>().ok().filter(|length| *length <= most).ok_or_else(|| {
            let message = format!("`content-length` must be at most {most}, found {given}");
            ServerReply::refusal(413, message)
        })
    }

    /// The JSON of a request for an answer of a chat.
    ///
    /// # Errors
    /// The refusal to send: 404 for another address or method, 400 for what is no JSON object.
    pub(super) fn chat_body(&self) -> Result<Value, ServerReply> {
        let path = self.path.split('?').next().unwrap_or_default();
        if self.method != "POST" || !path.ends_with("/chat/completions") {
            let found = format!("{} {path}", self.method);
            let message = format!("expected POST /v1/chat/completions, found {found}");
            return Err(ServerReply::refusal(404, message));
        }
        let body: Value = serde_json::from_slice(&self.body).map_err(|reason| {
            ServerReply::refusal(400, format!("expected a body of JSON: {reason}"))
        })?;
        if !body.is_object() {
            return Err(ServerReply::refusal(400, "expected a JSON object as the body"));
        }
        Ok(body)
    }
}

/// What goes back to a client.
#[derive(Debug, Clone)]
pub(super) struct ServerReply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

impl ServerReply {
    /// A value as JSON.
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self { status, headers: Vec::new(), body: value.to_string() }
    }

    /// An error in words, as servers of this API give it.
    pub(super) fn refusal(status: u16, message: impl Into<String>) -> Self {
        let (message, kind): (String, _) = (message.into(), "invalid_request_error");
        Self::json(status, &json!({"error": {"message": message, "type": kind, "code": status}}))
    }

    /// As it is sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "HTTP/1.1 {} \r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n",
            self.status,
            self.body.len()
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

/// Why there is no request.
#[derive(Debug)]
pub(super) enum Unread {
    /// The client went away, which is no news.
    Gone,
    Refused(ServerReply),
}

impl From<ServerReply> for Unread {
    fn from(reply: ServerReply) -> Self {
        Self::Refused(reply)
    }
}

impl From<io::Error> for Unread {
    fn from(reason: io::Error) -> Self {
        match reason.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let message = "the request took too long to arrive";
                Self::Refused(ServerReply::refusal(408, message))
            }
            _ => Self::Gone,
        }
    }
}

/// What a client sends up to a moment.
pub(super) struct Arriving<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) deadline: Instant,
}

impl Arriving<'_> {
    /// Appends what comes next; false at the end.
    pub(super) fn more(&self, bytes: &mut Vec<u8>) -> io::Result<bool> {
        let mut chunk = [0; CHUNK];
        let mut stream = self.stream;
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut chunk) {
                Ok(read) => {
                    bytes.extend_from_slice(&chunk[..read]);
                    return Ok(read > 0);
                }
                Err(reason) if reason.kind() == io::ErrorKind::Interrupted => {}
                Err(reason) => return Err(reason),
            }
        }
    }
}
