//! Against servers of one connection on this machine.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

/// The address of a server that lets `serve` have one connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/there", listener.local_addr().unwrap());
    thread::spawn(move || serve(listener.accept().unwrap().0));
    address
}

/// Reads a request to its end and returns its lines, the body being the last.
fn asked(stream: &TcpStream) -> Vec<String> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(count) = line.strip_prefix("content-length:") {
            length = count.trim().parse().unwrap();
        }
        lines.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    lines.push(String::from_utf8(body).unwrap());
    lines
}

fn reach(result: Result<impl fmt::Debug, HttpFailure>) -> (String, Reach) {
    match result.unwrap_err() {
        HttpFailure::NoAnswer { reason, cause, reach } => {
            assert!(cause.is_some_and(|cause| cause.is::<ureq::Error>()));
            (reason, reach)
        }
        HttpFailure::Stopped => panic!("nobody stopped it"),
    }
}

#[test]
fn a_request_with_a_body_arrives_whole_and_so_does_its_answer() {
    let (tell, told) = sync_channel(1);
    let address = server(move |mut stream| {
        tell.send(asked(&stream)).unwrap();
        let answer = "HTTP/1.1 503 Oops\r\nContent-Length: 5\r\nRetry-After:  7 \r\n\r\nhello";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let sender = HttpSender::new(&Patience::default());
    let request = HttpRequest::post(address.as_str(), b"{\"a\": 1}".to_vec());
    let request = request.header("Content-Type", "application/json");
    let mut answer = sender.send(request).unwrap();
    assert_eq!((answer.status, answer.headers.get("retry-after")), (503, Some("7")));
    assert_eq!(answer.body.read(5).unwrap().unwrap(), b"hello");
    let asked = told.recv().unwrap();
    assert_eq!(asked[0], "post /there http/1.1");
    assert!(asked.iter().any(|line| line == "content-type: application/json"), "{asked:?}");
    assert_eq!(asked[asked.len() - 1], "{\"a\": 1}");
}

#[test]
fn a_request_without_a_body_says_nothing_of_one() {
    let (tell, told) = sync_channel(1);
    let address = server(move |mut stream| {
        tell.send(asked(&stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").unwrap();
    });
    let mut answer = HttpSender::new(&Patience::default()).send(HttpRequest::get(address)).unwrap();
    assert!(answer.body.read(2).unwrap().is_none(), "three bytes are more than two");
    let asked = told.recv().unwrap();
    assert!(asked[0].starts_with("get "), "{asked:?}");
    assert!(!asked.iter().any(|line| line.starts_with("content-length")), "{asked:?}");
}

#[test]
fn what_goes_wrong_tells_how_far_the_request_got() {
    let sender = |patience: &Patience| HttpSender::new(patience);
    let usual = Patience::default();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let get = |address: &str| sender(&usual).send(HttpRequest::get(address));
    assert_eq!(reach(get(&format!("http://{closed}/"))).1, Reach::Unreached);
    assert_eq!(reach(get("no address at all")).1, Reach::Lasting);
    let newline = HttpRequest::get("http://127.0.0.1:1/").header("A", "b\nc");
    assert_eq!(reach(sender(&usual).send(newline)).1, Reach::Lasting);
    let dropped = server(|stream| drop(asked(&stream)));
    assert_eq!(reach(get(&dropped)).1, Reach::Broken);
    let halved = server(|mut stream| {
        asked(&stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    });
    assert_eq!(reach(get(&halved).unwrap().body.read(9)).1, Reach::Broken);
}

#[test]
fn the_limit_of_the_whole_holds_for_a_server_that_drips() {
    let address = server(|mut stream| {
        asked(&stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while stream.write_all(b".").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    let whole = Some(Duration::from_millis(400));
    let sender = HttpSender::new(&Patience { whole, ..Patience::default() });
    let start = Instant::now();
    let answer = sender.send(HttpRequest::get(address));
    let (reason, reach) = reach(answer.and_then(|mut answer| answer.body.read(1_000)));
    assert!(reason.starts_with("no whole answer for 400ms"), "{reason}");
    assert_eq!(reach, Reach::Unanswered);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_sender_that_is_shut_down_leaves_the_server_alone() {
    let (tell, told) = sync_channel(2);
    let address = server(move |mut stream| {
        tell.send(!asked(&stream).is_empty()).unwrap();
        // Until the other side closes.
        tell.send(matches!(stream.read(&mut [0; 8]), Ok(0) | Err(_))).unwrap();
    });
    let is_stopped = || true;
    let sender = HttpSender::new(&Patience::default());
    let waits = sender.clone();
    let request = thread::spawn(move || waits.send(HttpRequest::get(address)).map(drop));
    let soon = Duration::from_secs(10);
    assert!(told.recv_timeout(soon).unwrap(), "the request has arrived");
    sender.shut_down();
    assert!(told.recv_timeout(soon).unwrap(), "and its connection is closed");
    assert!(request.join().unwrap().is_err());
    let stopped = HttpSender::new(&Patience { is_stopped, ..Patience::default() });
    let result = stopped.send(HttpRequest::get("http://127.0.0.1:1/"));
    assert!(matches!(result, Err(HttpFailure::Stopped)));
}

#[test]
fn a_request_shows_no_secret() {
    let request = HttpRequest::get("http://a/").header("Authorization", "Bearer sk-secret");
    let text = format!("{request:?}");
    assert!(text.contains("Authorization") && !text.contains("sk-secret"), "{text}");
}

#[test]
fn an_origin_ends_where_the_path_begins() {
    assert_eq!(origin("http://hub?x"), "http://hub");
    assert_eq!(origin("https://hub.org:8080/a/b?c=d/e"), "https://hub.org:8080");
}
