use std::io::Read;

use serde_json::{Value, json};

use super::*;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);

/// Sends a request and returns what comes back until the connection is closed.
pub(in crate::interp::judge) fn exchanged(
    address: SocketAddr,
    request: impl AsRef<[u8]>,
) -> String {
    let mut stream = connected(address);
    stream.write_all(request.as_ref()).unwrap();
    rest(&stream)
}

pub(in crate::interp::judge) fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

fn rest(mut stream: &TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A request for an answer of a chat.
pub(in crate::interp::judge) fn post(body: &str) -> String {
    let length = body.len();
    format!("POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub(in crate::interp::judge) fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(in crate::interp::judge) fn body_of(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{head}");
    serde_json::from_str(body).unwrap()
}

/// The message of a refusal.
pub(in crate::interp::judge) fn message_of(answer: &str) -> String {
    body_of(answer)["error"]["message"].as_str().unwrap().to_owned()
}

/// Waits until something is so.
pub(in crate::interp::judge) fn wait_until(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

/// A server that tells what it was asked.
fn echo(bounds: ServerBounds) -> LoopbackServer {
    let server = LoopbackServer::start("echo", bounds, |request, connection| {
        let body = String::from_utf8_lossy(&request.body);
        let told = json!([request.method, request.path, request.headers, body]);
        connection.send(&ServerReply::json(200, &told)).unwrap();
    });
    server.unwrap()
}

#[test]
fn a_request_is_given_whole_however_it_arrives() {
    let server = echo(ServerBounds::default());
    let request = "PUT /a?b=c HTTP/1.1\r\nX-One: 1 \r\nx-one:2\r\nCONTENT-LENGTH: 5\r\n\r\nhéllo";
    let told = json!(["PUT", "/a?b=c", {"x-one": "1, 2", "content-length": "5"}, "héll"]);
    assert_eq!(body_of(&exchanged(server.address(), request)), told);
    let mut stream = connected(server.address());
    stream.set_nodelay(true).unwrap();
    // Without the last letter, which is no part of the body.
    for byte in &request.as_bytes()[..request.len() - 1] {
        stream.write_all(&[*byte]).unwrap();
    }
    assert_eq!(body_of(&rest(&stream)), told);
    let plain = exchanged(server.address(), "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(body_of(&plain), json!(["GET", "/", {}, ""]));
    assert!(plain.starts_with("HTTP/1.1 200 \r\n") && plain.contains("\r\nconnection: close\r\n"));
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let server = echo(ServerBounds::default());
    let mut stream = connected(server.address());
    let head = "POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").unwrap();
    assert_eq!(body_of(&rest(&stream))[3], "abc");
}

#[test]
fn malformed_requests_get_an_error_that_says_what_was_expected() {
    let server = echo(ServerBounds::default());
    let refused = |request: &[u8], status: u16, words: &str| {
        let answer = exchanged(server.address(), request);
        assert_eq!(status_of(&answer), status, "{answer}");
        assert!(message_of(&answer).contains(words), "{answer}");
        assert_eq!(body_of(&answer)["error"]["code"], status);
    };
    for first in ["GARBAGE", "GET / HTTP/2.0", "GET  HTTP/1.1", "GET / x HTTP/1.1", " / HTTP/1.1"] {
        refused(format!("{first}\r\n\r\n").as_bytes(), 400, "METHOD PATH HTTP/1.1");
    }
    for (headers, status, words) in [
        ("no colon", 400, "name: value"),
        ("a b: c", 400, "name: value"),
        (": c", 400, "name: value"),
        ("a: b\r\n continued", 400, "name: value"),
        ("content-length: +5", 400, "\"+5\""),
        ("content-length:", 400, "\"\""),
        ("content-length: 5\r\ncontent-length: 6", 400, "\"5, 6\""),
        ("content-length: 8388609", 413, "at most 8388608"),
        ("content-length: 99999999999999999999999", 413, "at most 8388608"),
        ("transfer-encoding: chunked", 411, "chunks"),
    ] {
        let request = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\nhello");
        refused(request.as_bytes(), status, words);
    }
    refused(b"GET /\xff HTTP/1.1\r\n\r\n", 400, "UTF-8");
    refused(&b"x".repeat(200_000), 431, "65536 bytes");
}

#[test]
fn a_request_that_ends_early_is_refused_and_an_empty_one_is_not_answered() {
    let server = echo(ServerBounds::default());
    let ended = |request: &str| {
        let mut stream = connected(server.address());
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        rest(&stream)
    };
    assert!(message_of(&ended("POST / HTTP/1.1\r\n")).contains("within its head"));
    let short = ended("POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nfour");
    assert_eq!(message_of(&short), "expected a body of 5 bytes, found 4");
    assert_eq!(ended(""), "");
}

#[test]
fn a_body_may_be_as_large_as_the_bound_and_no_larger() {
    let server = echo(ServerBounds { body: 100_000, ..ServerBounds::default() });
    let largest = "x".repeat(100_000);
    assert_eq!(body_of(&exchanged(server.address(), post(&largest)))[3], largest);
    let larger = exchanged(server.address(), post(&format!("{largest}x")));
    assert_eq!(
        (status_of(&larger), &*message_of(&larger)),
        (413, "`content-length` must be at most 100000, found 100001")
    );
}

#[test]
fn a_request_that_trickles_in_is_given_up() {
    let patience = Duration::from_millis(200);
    let server = echo(ServerBounds { patience, ..ServerBounds::default() });
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n").unwrap();
    let (begin, mut chunk) = (Instant::now(), [0; 4096]);
    let read = loop {
        assert!(begin.elapsed() < LONG, "it is waited for without end");
        stream.write_all(b"x").unwrap();
        if let Ok(read) = stream.read(&mut chunk) {
            break read;
        }
    };
    let answer = String::from_utf8(chunk[..read].to_vec()).unwrap();
    assert_eq!((status_of(&answer), message_of(&answer).contains("too long")), (408, true));
}

#[test]
fn one_connection_more_than_the_bound_waits_for_room() {
    let server = echo(ServerBounds { connections: 2, ..ServerBounds::default() });
    let held = [connected(server.address()), connected(server.address())];
    let mut third = connected(server.address());
    third.write_all(post("{}").as_bytes()).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(third.read(&mut [0]).is_err(), "it was answered though there was no room");
    drop(held);
    third.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(status_of(&rest(&third)), 200);
}

#[test]
fn a_dropped_server_refuses_connections_and_ends_those_that_are_open() {
    let kept = Arc::new(());
    let own = kept.clone();
    let server = LoopbackServer::start("held", ServerBounds::default(), move |_, connection| {
        drop(own.clone());
        connection.hold();
    });
    let server = server.unwrap();
    let address = server.address();
    let (idle, mut asked) = (connected(address), connected(address));
    asked.write_all(post("{}").as_bytes()).unwrap();
    wait_until(|| server.shared.state().open.len() == 2);
    let begin = Instant::now();
    drop(server);
    assert!(begin.elapsed() < GRACE, "it waited for clients");
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(rest(&idle), "");
    drop(asked);
    // No thread is left that holds on to what the server had.
    wait_until(|| Arc::strong_count(&kept) == 1);
}

#[test]
fn a_server_without_room_ends_too() {
    let server = echo(ServerBounds { connections: 1, ..ServerBounds::default() });
    let address = server.address();
    let held = connected(address);
    wait_until(|| server.shared.state().open.len() == 1);
    let begin = Instant::now();
    drop(server);
    assert!(begin.elapsed() < GRACE, "it waited for room");
    assert_eq!(rest(&held), "");
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}
