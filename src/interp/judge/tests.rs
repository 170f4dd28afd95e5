use serde_json::json;

use super::server::tests::{exchanged, message_of, post, status_of};
use super::*;
use crate::interp::prompts::{self, ShownExcerpt};

fn judge() -> Judge {
    let words = ["the", "then", "cat", "sat", "on"];
    serve(&Tokenizer::of_words("<s>", words).unwrap()).unwrap()
}

fn excerpt(tokens: &[(&str, f32)]) -> ShownExcerpt {
    let (tokens, activations) =
        tokens.iter().map(|(token, activation)| ((*token).to_owned(), *activation)).unzip();
    ShownExcerpt { tokens, activations }
}

#[test]
fn a_feature_is_explained_detected_and_fuzzed_over_a_connection() {
    let server = judge();
    let folder = tempfile::tempdir().unwrap();
    let chat = server.chat().unwrap().answers(folder.path());
    // Marked are activations above 0.6 of the example's largest: the, sat; cat, the.
    let examples = [
        excerpt(&[(" the", 10.0), (" on", 6.0), (" sat", 7.0)]),
        excerpt(&[(" cat", 5.0), (" on", 0.0), (" the", 4.0)]),
    ];
    let answer = chat.ask(&prompts::explain(&examples)).unwrap();
    let explanation = prompts::read_explanation(&answer.text).unwrap();
    assert_eq!(explanation, "the tokens [\" the\", \" sat\", \" cat\"]");
    let texts = [
        excerpt(&[(" on", 0.0), (" then", 0.0)]),
        excerpt(&[(" on", 0.0), (" the", 0.0)]),
        excerpt(&[(" then", 0.0), (" then", 0.0)]),
        excerpt(&[(" cat", 0.0), (" on", 0.0)]),
    ];
    let mut request = prompts::detect(&explanation, &texts.each_ref());
    request.log_probabilities = true;
    let answer = chat.ask(&request).unwrap();
    assert_eq!(prompts::read_labels(&answer, 4), Some(vec![false, true, false, true]));
    let odds = prompts::read_probabilities(&answer, 4).unwrap();
    for (given, expected) in odds.iter().zip([0.1, 0.9, 0.1, 0.9]) {
        assert!((given - expected).abs() < 1e-9, "{odds:?}");
    }
    let marks: [&[bool]; 3] = [&[true, false, true], &[true, true, false], &[true, false]];
    let marked = [(&examples[0], marks[0]), (&examples[1], marks[1]), (&texts[1], marks[2])];
    let answer = chat.ask(&prompts::fuzz(&explanation, &marked)).unwrap();
    assert_eq!(prompts::read_labels(&answer, 3), Some(vec![true, true, false]));
    assert_eq!(server.requests(), 3);
    let shown = format!("{} at {}, 3 requests so far", chat.model(), server.base_url());
    assert_eq!(server.to_string(), shown);
}

#[test]
fn requests_that_are_not_for_it_are_refused_and_counted() {
    let server = judge();
    let address = server.server.address();
    assert_eq!(server.base_url(), format!("http://127.0.0.1:{}/v1", address.port()));
    let refused = |request: &str, status: u16, words: &str| {
        let answer = exchanged(address, request);
        assert_eq!(status_of(&answer), status, "{answer}");
        assert!(message_of(&answer).contains(words), "{answer}");
    };
    refused("GET /v1/chat/completions HTTP/1.1\r\n\r\n", 404, "found GET /v1/chat/completions");
    refused("POST /v1/models HTTP/1.1\r\n\r\n", 404, "found POST /v1/models");
    refused("POST /v1/chat/completions HTTP/1.1\r\n\r\n", 400, "JSON");
    let deep = "[".repeat(100_000);
    let not_json = ["[1", "{\"a\": \"\\ud800\"}", "[]", "7", deep.as_str()];
    for body in not_json {
        refused(&post(body), 400, "JSON");
    }
    let prompt = json!({"messages": [{"role": "user", "content": "Who are you?"}]});
    refused(&post(&prompt.to_string()), 422, "found \"Who are you?\"");
    assert_eq!(server.requests(), 4 + not_json.len());
}

#[test]
fn a_server_for_tests_tells_what_it_saw_and_keeps_faults_for_proper_requests() {
    let server = ChatServer::start(|_| completion("hello")).unwrap();
    let base = server.base_url();
    let address = base.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
    let address = address.parse().unwrap();
    server.script([Fault::Status(500, Vec::new(), "{}".to_owned())]);
    let other = exchanged(address, "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer key\r\n\r\n");
    assert_eq!(status_of(&other), 404);
    assert_eq!(status_of(&exchanged(address, post("{\"a\": 1}"))), 500);
    assert_eq!(status_of(&exchanged(address, post("{\"a\": 2}"))), 200);
    let told = |own: &SeenRequest| format!("{} {} {}", own.method, own.path, own.body);
    let seen = server.seen();
    assert_eq!(
        seen.iter().map(told).collect::<Vec<_>>(),
        [
            "GET /v1/models null",
            "POST /v1/chat/completions {\"a\":1}",
            "POST /v1/chat/completions {\"a\":2}",
        ]
    );
    assert_eq!(seen[0].header("authorization"), Some("Bearer key"));
    assert!(seen.is_sorted_by_key(|own| own.at));
}
