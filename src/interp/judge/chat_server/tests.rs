use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::thread;

use super::super::server::tests::{body_of, connected, exchanged, post, status_of, wait_until};
use super::*;

/// A server that says what it is told to say.
fn parrot() -> ChatServer {
    ChatServer::start(|body| completion(body["say"].as_str().unwrap_or_default())).unwrap()
}

fn asked(server: &ChatServer) -> String {
    exchanged(server.server.address(), post("{\"say\": \"hi\"}"))
}

#[test]
fn faults_come_in_their_order_and_then_proper_answers() {
    let server = parrot();
    let whole = ServerReply::json(200, &completion("hi")).to_bytes();
    let whole = String::from_utf8(whole).unwrap();
    assert_eq!(asked(&server), whole);
    server.script([
        Fault::Status(429, vec![("Retry-After", "2".to_owned())], "{\"wait\": 2}".to_owned()),
        Fault::Drop,
        Fault::Truncated,
    ]);
    server.script([Fault::WrongJson, Fault::Slow(Duration::from_millis(5))]);
    let limited = asked(&server);
    assert_eq!((status_of(&limited), body_of(&limited)["wait"].as_u64()), (429, Some(2)));
    assert!(limited.contains("\r\nRetry-After: 2\r\n"), "{limited}");
    assert_eq!(asked(&server), "");
    let cut = asked(&server);
    assert!(whole.starts_with(&cut) && cut.len() < whole.len(), "{cut}");
    assert!(cut.contains("\r\n\r\n{"), "it ends before its body: {cut}");
    let wrong = asked(&server);
    assert_eq!((status_of(&wrong), body_of(&wrong)["choices"].is_array()), (200, false));
    assert_eq!(asked(&server), whole);
    assert_eq!(asked(&server), whole);
    assert_eq!(server.seen().len(), 7);
}

#[test]
fn answers_have_the_form_of_the_interface() {
    let answer = body_of(&asked(&parrot()));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"], serde_json::json!({"role": "assistant", "content": "hi"}));
    assert_eq!(choice["finish_reason"], "stop");
    assert_eq!(choice["logprobs"], Value::Null);
    let usage = &answer["usage"];
    let counts = ["prompt_tokens", "completion_tokens", "total_tokens"].map(|name| &usage[name]);
    assert_eq!(counts, [10, 5, 15]);
}

#[test]
fn requests_at_once_are_counted_until_their_answers_begin() {
    let together = Barrier::new(3);
    let server = ChatServer::start(move |_| {
        together.wait();
        completion("now")
    });
    let server = server.unwrap();
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| asked(&server));
        }
    });
    assert_eq!((server.most_at_once(), server.seen().len()), (3, 3));
    let server = parrot();
    server.script([Fault::Drop, Fault::Truncated]);
    for _ in 0..20 {
        asked(&server);
    }
    assert_eq!((server.most_at_once(), server.seen().len()), (1, 20));
}

#[test]
fn what_is_never_answered_ends_with_the_server() {
    for fault in [Fault::Silent, Fault::Slow(Duration::from_secs(3600))] {
        let server = parrot();
        server.script([fault]);
        let mut stream: TcpStream = connected(server.server.address());
        stream.write_all(post("{}").as_bytes()).unwrap();
        wait_until(|| server.seen().len() == 1);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(stream.read(&mut [0]).is_err(), "it was answered");
        drop(server);
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}
