//! A client of a few lines: it can send what no decent client sends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

use eigenlens::prelude::*;
use eigenlens_app::{App, AppServer};
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, without regard to the case of its name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (own, value) = line.split_once(": ")?;
            own.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The JSON of an answer that must be a success.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The words of an answer that must be an error of `status`.
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let error = &self.json()["error"];
        assert!(error["what"].is_string() && error["expected"].is_string(), "{error}");
        error.to_string()
    }
}

/// Who asks: a port and a token.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Client {
    pub(crate) fn of(app: &App) -> Self {
        let link = app.link();
        let token = link.rsplit_once('=').unwrap().1.to_owned();
        Self { port: app.port(), token }
    }

    /// Sends bytes as they are and reads to the end, which the server makes after `Connection: close`.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(90))).unwrap();
        // A server that has heard enough may close early.
        let _ = stream.write_all(bytes);
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read);
        parsed(&read)
    }

    /// A request with our token and host, more headers (a later one of the same name wins), and a body.
    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let host = format!("127.0.0.1:{}", self.port);
        let bearer = format!("Bearer {}", self.token);
        let mut all = vec![("Host", host.as_str()), ("Authorization", &bearer)];
        if !body.is_empty() {
            all.push(("Content-Type", "application/json"));
        }
        for (name, value) in headers {
            all.retain(|own| own.0 != *name);
            all.push((name, value));
        }
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        for (name, value) in all.iter().filter(|own| !own.1.is_empty()) {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", &format!("/api/v1{path}"), &[], b"")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", &format!("/api/v1{path}"), &[], body.to_string().as_bytes())
    }

    /// A prompt's answer.
    pub(crate) fn prompt(&self, text: &str) -> Value {
        self.post("/prompt", &json!({"prompt": text})).ok()
    }
}

fn parsed(read: &[u8]) -> Answer {
    let end = read.windows(4).position(|own| own == b"\r\n\r\n");
    let Some(end) = end else { return Answer { status: 0, head: String::new(), body: Vec::new() } };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|own| own.parse().ok()).unwrap_or(0);
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = &read[end + 4..];
    let body = if is_chunked { unchunked(body) } else { body.to_vec() };
    Answer { status, head, body }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    while let Some(end) = body.windows(2).position(|own| own == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        found.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    found
}

/// The shipped autoencoder.
pub(crate) fn mlsae() -> &'static Mlsae {
    static MLSAE: OnceLock<Mlsae> = OnceLock::new();
    MLSAE.get_or_init(|| Mlsae::from_pretrained("eigenlens/classics-mlsae", &Device::Cpu).unwrap())
}

/// Its page with everything that a page can have: distributions, examples and their text ship with it.
pub(crate) fn server() -> AppServer {
    AppServer::beside(mlsae()).unwrap()
}

/// One server for tests that change nothing.
pub(crate) fn shared() -> &'static Client {
    static APP: OnceLock<(App, Client)> = OnceLock::new();
    let (_, client) = APP.get_or_init(|| {
        let app = server().serve().unwrap();
        let client = Client::of(&app);
        (app, client)
    });
    client
}
