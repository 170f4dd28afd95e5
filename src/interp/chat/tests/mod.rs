//! Against a server on this machine that can be told to fail.

mod costs;
mod faults;
mod secrets;
mod stop;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::throttle::FakeClock;
use super::*;
use crate::interp::judge::{ChatServer, Fault, completion};
use crate::progress::Progress;

/// A server, a folder for its answers, and a clock that passes as long as somebody sleeps.
struct ChatWorld {
    server: ChatServer,
    folder: TempDir,
    clock: Arc<FakeClock>,
}

impl ChatWorld {
    /// With a server that finds everything fine.
    fn new() -> Self {
        Self::answering(|_| completion("fine"))
    }

    fn answering(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self {
            server: ChatServer::start(answer).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::default(),
        }
    }

    /// A client whose pauses take no time.
    fn chat(&self) -> ChatModel {
        self.real_chat().with_clock(self.clock.clone())
    }

    /// A client with the clock of this machine.
    fn real_chat(&self) -> ChatModel {
        let chat = ChatModel::new(&self.server.base_url(), "tester").unwrap();
        chat.answers(self.folder.path())
    }

    fn requests(&self) -> usize {
        self.server.seen().len()
    }

    fn seconds(&self) -> f64 {
        self.clock.now().as_secs_f64()
    }
}

fn request(text: impl Into<String>) -> ChatRequest {
    let messages = vec![ChatMessage::user(text)];
    ChatRequest { messages, max_tokens: 10, log_probabilities: false, version: "1" }
}

fn status(status: u16, headers: &[(&'static str, &str)], body: &str) -> Fault {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault::Status(status, headers, body.to_owned())
}

#[test]
fn the_same_request_is_sent_once() {
    let world = ChatWorld::new();
    let chat = world.chat();
    assert!(chat.cached(&request("a")).unwrap().is_none());
    let answer = chat.ask(&request("a")).unwrap();
    assert_eq!((&*answer.text, answer.prompt_tokens, answer.answer_tokens), ("fine", 10, 5));
    assert_eq!(chat.ask(&request("a")).unwrap(), answer);
    assert_eq!(chat.clone().cached(&request("a")).unwrap().unwrap(), answer);
    // Another server with the same model, and no server.
    let elsewhere = ChatModel::new("http://127.0.0.1:1/v1", "tester").unwrap();
    let elsewhere = elsewhere.answers(world.folder.path()).only_cached();
    assert_eq!(elsewhere.ask(&request("a")).unwrap(), answer);
    assert_eq!(world.requests(), 1);
    let usage = chat.spent();
    assert_eq!((usage.requests, usage.cached, usage.retries, usage.cost), (1, 1, 0, None));
    assert_eq!((usage.prompt_tokens, usage.answer_tokens), (10, 5));

    chat.ask(&request("b")).unwrap();
    chat.ask(&ChatRequest { version: "2", ..request("a") }).unwrap();
    chat.ask(&ChatRequest { max_tokens: 11, ..request("a") }).unwrap();
    assert_eq!(world.requests(), 4, "other requests are sent");
    let other = ChatModel::new(&world.server.base_url(), "other").unwrap();
    other.answers(world.folder.path()).ask(&request("a")).unwrap();
    assert_eq!(world.requests(), 5, "other models are asked");
}

#[test]
fn what_is_sent_is_a_chat() {
    let world = ChatWorld::new();
    let chat = world.chat();
    chat.ask(&ChatRequest { log_probabilities: true, ..request("ä") }).unwrap();
    let seen = world.server.seen().remove(0);
    assert_eq!((&*seen.method, &*seen.path), ("POST", "/v1/chat/completions"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("authorization"), None);
    let body = json!({
        "model": "tester", "messages": [{"role": "user", "content": "ä"}], "temperature": 0,
        "max_tokens": 10, "logprobs": true, "top_logprobs": 5,
    });
    assert_eq!(seen.body, body);
}

#[test]
fn a_damaged_file_is_asked_anew_and_mended() {
    let world = ChatWorld::new();
    let chat = world.chat();
    chat.ask(&request("a")).unwrap();
    for file in files_below(world.folder.path()) {
        std::fs::write(file, "{\"request\": ").unwrap();
    }
    assert_eq!(chat.ask(&request("a")).unwrap().text, "fine");
    assert_eq!(chat.ask(&request("a")).unwrap().text, "fine");
    assert_eq!(world.requests(), 2);
}

#[test]
fn only_cached_opens_no_socket() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let chat = ChatModel::new(&url, "m").unwrap().answers(folder.path()).only_cached();
    // Not even for a key that is missing or limits that make no sense.
    let chat = chat.key_from("A_KEY").limits(Limits { at_once: 0, ..Limits::default() });
    let error = chat.ask(&request("a")).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }));
    assert!(error.to_string().contains("`only_cached` asks no server"), "{error}");
    let accepted = listener.accept().unwrap_err();
    assert_eq!(accepted.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(chat.spent(), ChatUsage::default());
}

#[test]
fn no_more_requests_are_under_way_than_allowed_over_all_clones() {
    let world = ChatWorld::answering(|_| {
        thread::sleep(Duration::from_millis(20));
        completion("fine")
    });
    let chat = world.real_chat().limits(Limits { at_once: 3, ..Limits::default() });
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            let (chat, next) = (chat.clone(), &next);
            scope.spawn(move || {
                for _ in 0..4 {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    chat.ask(&request(number.to_string())).unwrap();
                }
            });
        }
    });
    assert_eq!(world.requests(), 32);
    assert!((2..=3).contains(&world.server.most_at_once()), "{}", world.server.most_at_once());
    assert_eq!(chat.spent().requests, 32);
}

#[test]
fn jobs_ask_at_once_and_keep_their_order() {
    let world = ChatWorld::answering(|body| {
        thread::sleep(Duration::from_millis(10));
        completion(body["messages"][0]["content"].as_str().unwrap())
    });
    let chat = world.real_chat().limits(Limits { at_once: 4, ..Limits::default() });
    let jobs: Vec<String> = (0..30).map(|job| format!("job {job}")).collect();
    let ask = |progress: &mut Progress| {
        chat.all(&jobs, progress, |job| Ok(chat.ask(&request(job.clone()))?.text)).unwrap()
    };
    assert_eq!(ask(&mut Progress::silent()), jobs);
    assert!((2..=4).contains(&world.server.most_at_once()), "{}", world.server.most_at_once());
    assert_eq!(ask(&mut Progress::silent()), jobs);
    assert_eq!(world.requests(), 30, "a second run sends nothing");
    assert_eq!(chat.spent().cached, 30);
}

#[test]
fn requests_keep_the_rate_of_a_minute() {
    let world = ChatWorld::new();
    let limits = Limits { requests_a_minute: Some(90), ..Limits::default() };
    let chat = world.chat().limits(limits);
    for number in 0..31 {
        chat.ask(&request(number.to_string())).unwrap();
    }
    let rate = 30.0 * 60.0 / world.seconds();
    assert!((rate / 90.0 - 1.0).abs() < 0.05, "{rate}");
    // 15 tokens a request, as the server counts them.
    let limits = Limits { tokens_a_minute: Some(600), ..Limits::default() };
    let (chat, start) = (chat.limits(limits), world.seconds());
    for number in 31..62 {
        chat.ask(&request(number.to_string())).unwrap();
    }
    let rate = 30.0 * 15.0 * 60.0 / (world.seconds() - start);
    assert!((rate / 600.0 - 1.0).abs() < 0.05, "{rate}");
}

#[test]
fn addresses_and_names_are_checked() {
    let url = |text: &str| ChatModel::new(text, "m").map(|chat| chat.base_url().to_owned());
    assert_eq!(url(" http://a:1/v1/ ").unwrap(), "http://a:1/v1");
    assert_eq!(url("HTTPS://a.org").unwrap(), "HTTPS://a.org");
    let wrong = [
        ("", "an address"),
        ("a.org/v1", "http://"),
        ("ftp://a.org", "http://"),
        ("http://", "an address"),
        ("http:///v1", "an address"),
        ("http://a b/v1", "an address"),
        ("http://me:secret@a.org/v1", "without a user name"),
        ("http://a.org/v1?key=secret", "without a user name"),
        ("http://a.org/v1/chat/completions", "which is added"),
    ];
    for (text, expected) in wrong {
        let error = url(text).unwrap_err().to_string();
        assert!(error.starts_with("`base_url` must be") && error.contains(expected), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(ChatModel::new("http://a", " ").unwrap_err().to_string().starts_with("`model`"));
}

#[test]
fn variables_describe_a_model_and_missing_ones_are_named() {
    let all = |name: &str| match name {
        "OPENAI_BASE_URL" => Some("http://127.0.0.1:8000/v1/".to_owned()),
        "EIGENLENS_CHAT_MODEL" => Some("a-model".to_owned()),
        _ => None,
    };
    let chat = ChatModel::from_variables(all).unwrap();
    assert_eq!((chat.base_url(), chat.model()), ("http://127.0.0.1:8000/v1", "a-model"));
    assert!(
        chat.to_string().starts_with("a-model at http://127.0.0.1:8000/v1, no key; "),
        "{chat}"
    );
    let without_model = |name: &str| (name == "OPENAI_BASE_URL").then(|| "http://a".to_owned());
    let error = ChatModel::from_variables(without_model).unwrap_err();
    assert!(matches!(&error, Error::NotFound { .. }));
    assert!(error.to_string().contains("`EIGENLENS_CHAT_MODEL` was not found"), "{error}");
    let error = ChatModel::from_variables(|_| None).unwrap_err().to_string();
    assert!(error.contains("`OPENAI_BASE_URL` was not found"), "{error}");
    let wrong = |_: &str| Some("nonsense".to_owned());
    let error = ChatModel::from_variables(wrong).unwrap_err().to_string();
    assert!(error.starts_with("`OPENAI_BASE_URL` must be"), "{error}");
}

/// All files in a folder and those in it.
fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    assert!(!files.is_empty());
    files
}
