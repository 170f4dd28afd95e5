//! What requests may cost.

use super::*;

/// Tokens of a request of five bytes at most: 21, and 10 of the answer.
const HIGHEST: f64 = 31.0;
/// What `completion` tells: 10 tokens asked and 5 answered.
const TOLD: f64 = 15.0;

/// Texts of five bytes.
fn texts() -> Vec<String> {
    (0..40).map(|number| format!("{number:05}")).collect()
}

/// A client that pays one for a token.
fn paying(world: &ChatWorld, most_cost: f64) -> ChatModel {
    let limits = Limits { most_cost: Some(most_cost), ..Limits::default() };
    world.chat().prices(1e6, 1e6).limits(limits)
}

fn without_usage() -> ChatWorld {
    ChatWorld::answering(|_| {
        let mut body = completion("fine");
        body["usage"] = Value::Null;
        body
    })
}

/// Asks until an error comes, and returns it and how many answers came before.
fn ask_all(chat: &ChatModel) -> (usize, String) {
    for (answers, text) in texts().into_iter().enumerate() {
        if let Err(error) = chat.ask(&request(text)) {
            return (answers, error.to_string());
        }
    }
    panic!("no limit was reached")
}

#[test]
fn costs_stop_before_they_are_exceeded() {
    let world = ChatWorld::new();
    let chat = paying(&world, 100.0);
    let (answers, error) = ask_all(&chat);
    // With 5 answers 75 are spent, and 31 more could be above 100.
    assert_eq!((answers, world.requests()), (5, 5));
    assert_eq!(chat.spent().cost, Some(5.0 * TOLD));
    assert!(error.contains("`most_cost`") && error.contains("75"), "{error}");
    assert!(chat.ask(&request("00000")).is_ok(), "kept answers cost nothing");
    assert!(chat.clone().ask(&request("x")).is_err(), "clones share what was spent");
    let more = Limits { most_cost: Some(75.0 + 27.0), ..Limits::default() };
    let more = chat.limits(more);
    more.ask(&request("y")).unwrap();
    assert_eq!(more.spent().cost, Some(6.0 * TOLD), "what was spent counts on");
}

#[test]
fn an_answer_that_tells_no_tokens_costs_the_most_it_can() {
    let world = without_usage();
    let chat = paying(&world, 100.0);
    assert_eq!(ask_all(&chat).0, 3);
    assert_eq!(chat.spent().cost, Some(3.0 * HIGHEST));
}

#[test]
fn requests_at_once_do_not_exceed_the_limit_together() {
    for _ in 0..3 {
        let world = ChatWorld::answering(|_| {
            thread::sleep(Duration::from_millis(5));
            completion("fine")
        });
        let chat = paying(&world, 100.0);
        let ask = |text: &String| chat.ask(&request(text.as_str()));
        let result = chat.all(&texts(), &mut Progress::silent(), ask);
        assert!(result.unwrap_err().to_string().contains("`most_cost`"));
        assert_eq!((world.requests(), chat.spent().cost), (5, Some(5.0 * TOLD)));
    }
}

#[test]
fn failures_cost_the_most_where_the_server_may_have_worked() {
    let failing = |fault: Fault| {
        let world = ChatWorld::new();
        let chat = paying(&world, 1_000.0);
        world.server.script([fault]);
        chat.ask(&request("00000")).unwrap();
        chat.spent().cost.unwrap() - TOLD
    };
    assert_eq!(failing(status(503, &[], "busy")), 0.0);
    assert_eq!(failing(status(429, &[], "slow down")), 0.0);
    assert_eq!(failing(status(200, &[], "{\"error\": {\"code\": 502}}")), 0.0);
    assert_eq!(failing(Fault::Drop), HIGHEST);
    assert_eq!(failing(Fault::Truncated), HIGHEST);
    assert_eq!(failing(Fault::WrongJson), HIGHEST);
}

#[test]
fn settings_that_make_no_sense_send_nothing() {
    let world = ChatWorld::new();
    let usual = Limits::default();
    let most_cost = Some(1.0);
    let wrong = [
        (world.chat().limits(Limits { most_cost, ..usual }), "`most_cost`"),
        (world.chat().limits(Limits { at_once: 0, ..usual }), "`at_once`"),
        (world.chat().limits(Limits { timeout: Duration::MAX, ..usual }), "`timeout`"),
        (world.chat().prices(-1.0, 0.0), "`input_per_million`"),
        (world.chat().prices(0.0, f64::NAN), "`output_per_million`"),
        (world.chat().retries(Retries { attempts: 0, ..Retries::default() }), "`attempts`"),
    ];
    for (chat, name) in wrong {
        let error = chat.ask(&request("a")).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    assert_eq!(world.requests(), 0);
    assert_eq!(world.chat().price_of(1, 1), None);
    assert_eq!(world.chat().prices(2.0, 8.0).price_of(1_000_000, 500_000), Some(6.0));
}
