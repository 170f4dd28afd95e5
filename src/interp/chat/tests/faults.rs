//! Every failure, and how many requests it costs.

use std::error::Error as _;
use std::net::TcpListener;

use super::*;

const AGAIN: [u16; 8] = [408, 425, 429, 500, 502, 503, 504, 529];

#[test]
fn statuses_that_may_pass_are_tried_again_after_the_pause_that_is_asked() {
    let world = ChatWorld::new();
    let chat = world.chat();
    /// Headers, and seconds between which the pause lies.
    type Paused = (&'static [(&'static str, &'static str)], [f64; 2]);
    let headers: [Paused; 6] = [
        (&[], [0.375, 0.625]),
        (&[("retry-after", "7")], [7.0, 7.0]),
        (&[("retry-after", "7"), ("retry-after-ms", "1500")], [1.5, 1.5]),
        (&[("retry-after", "3600")], [30.0, 30.0]),
        (&[("retry-after", "Sat, 01 Jan 2050 00:00:00 GMT")], [30.0, 30.0]),
        (&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], [0.0, 0.0]),
    ];
    let mut sent = 0;
    for code in AGAIN {
        for (headers, [least, most]) in headers {
            let (start, case) = (world.seconds(), format!("{code} {headers:?}"));
            world.server.script([status(code, headers, "busy")]);
            assert_eq!(chat.ask(&request(case.clone())).unwrap().text, "fine", "{case}");
            sent += 2;
            assert_eq!(world.requests(), sent, "{case}");
            let paused = world.seconds() - start;
            assert!(paused > least - 1e-6 && paused < most + 1e-6, "{case}: {paused}");
        }
    }
    assert_eq!(chat.spent().retries, 48);
}

#[test]
fn statuses_that_do_not_pass_are_told_at_once() {
    let world = ChatWorld::new();
    let chat = world.chat();
    for (sent, code) in
        [301, 302, 400, 401, 402, 403, 404, 405, 409, 413, 422, 501].into_iter().enumerate()
    {
        world.server.script([status(code, &[("retry-after", "1")], "{\"error\": \"no\"}")]);
        let error = chat.ask(&request("a")).unwrap_err();
        assert!(matches!(&error, Error::Io { action: "ask", .. }), "{error:?}");
        let error = error.to_string();
        let start = format!("could not ask {}/chat/completions: ", world.server.base_url());
        assert!(error.starts_with(&format!("{start}status {code}, after 1 attempt")), "{error}");
        assert!(error.ends_with("It says: {\"error\": \"no\"}"), "{error}");
        assert_eq!(world.requests(), sent + 1, "{code}");
    }
    assert_eq!(world.seconds(), 0.0);
    assert!(chat.cached(&request("a")).unwrap().is_none());
}

#[test]
fn a_quota_that_is_used_up_is_not_waited_for() {
    let world = ChatWorld::new();
    let bodies = [
        "{\"error\": {\"code\": \"insufficient_quota\", \"message\": \"none left\"}}",
        "You exceeded your current Quota",
        "Check your billing details",
    ];
    for (sent, body) in bodies.into_iter().enumerate() {
        world.server.script([status(429, &[("retry-after", "1")], body)]);
        let error = world.chat().ask(&request("a")).unwrap_err().to_string();
        assert!(error.contains("status 429") && error.contains("no waiting changes"), "{error}");
        assert_eq!(world.requests(), sent + 1);
    }
}

#[test]
fn attempts_end_with_the_last_failure_in_words() {
    let world = ChatWorld::new();
    let long = "x".repeat(1_000);
    world.server.script((0..5).map(|_| status(503, &[], "busy")));
    world.server.script([status(502, &[], &long)]);
    let error = world.chat().ask(&request("a")).unwrap_err().to_string();
    assert!(error.contains("status 502, after 6 attempts"), "{error}");
    assert!(error.contains(&"x".repeat(300)) && !error.contains(&"x".repeat(301)), "{error}");
    assert_eq!(world.requests(), 6);
    // Half a second, one, two, four and eight, each up to a quarter shorter or longer.
    let paused = world.seconds();
    assert!((11.6..=19.4).contains(&paused), "{paused}");

    world.server.script((0..3).map(|_| status(500, &[], "")));
    let twice = Retries { attempts: 2, ..Retries::default() };
    let error = world.chat().retries(twice).ask(&request("a")).unwrap_err().to_string();
    assert!(error.ends_with("status 500, after 2 attempts"), "{error}");
    assert_eq!(world.requests(), 8);
    assert_eq!(world.chat().ask(&request("a")).unwrap().text, "fine");
    assert_eq!(world.requests(), 10, "one fault was left");
}

#[test]
fn pauses_are_the_same_for_the_same_request_and_differ_between_requests() {
    let paused = |text: &str| {
        let world = ChatWorld::new();
        world.server.script([status(503, &[], "")]);
        world.chat().ask(&request(text)).unwrap();
        world.seconds()
    };
    assert_eq!(paused("a"), paused("a"));
    assert!(paused("a") != paused("b"));
}

#[test]
fn answers_that_do_not_come_whole_or_in_time_are_asked_again() {
    let minute = Duration::from_secs(60);
    let faults = [
        Fault::Drop,
        Fault::Truncated,
        Fault::WrongJson,
        Fault::Slow(minute),
        Fault::Silent,
        status(200, &[], "{\"choices\": [{\"message\": "),
        status(200, &[], "<html>a network's login page</html>"),
        status(200, &[], ""),
    ];
    thread::scope(|scope| {
        for fault in faults {
            scope.spawn(move || {
                let world = ChatWorld::new();
                let timeout = Duration::from_secs(2);
                let chat = world.chat().limits(Limits { timeout, ..Limits::default() });
                world.server.script([fault.clone()]);
                assert_eq!(chat.ask(&request("a")).unwrap().text, "fine", "{fault:?}");
                assert_eq!(world.requests(), 2, "{fault:?}");
                assert!((0.375..=0.626).contains(&world.seconds()), "{fault:?}");
            });
        }
    });
}

#[test]
fn a_server_that_stays_away_is_an_error_with_its_cause() {
    let world = ChatWorld::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{closed}/v1");
    let chat = ChatModel::new(&url, "m").unwrap().answers(world.folder.path());
    let chat = chat.with_clock(world.clock.clone());
    let error = chat.ask(&request("a")).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(&format!("could not ask {url}/chat/completions: ")), "{text}");
    assert!(text.contains("after 6 attempts"), "{text}");
    let cause = error.source().and_then(|words| words.source()).unwrap();
    assert!(cause.is::<ureq::Error>());
    assert_eq!((chat.spent().requests, chat.spent().retries), (6, 5));
    assert!((11.6..=19.4).contains(&world.seconds()));
}

#[test]
fn a_server_that_drops_every_request_costs_as_many_as_are_allowed() {
    for fault in [Fault::Drop, Fault::Truncated, Fault::WrongJson] {
        let world = ChatWorld::new();
        world.server.script((0..20).map(|_| fault.clone()));
        let error = world.chat().ask(&request("a")).unwrap_err().to_string();
        assert!(error.contains("after 6 attempts"), "{error}");
        assert_eq!(world.requests(), 6, "{fault:?}");
        assert!(world.chat().cached(&request("a")).unwrap().is_none(), "it is no answer");
    }
}

#[test]
fn a_good_status_with_an_error_in_it_is_that_error() {
    let world = ChatWorld::new();
    let chat = world.chat();
    let told = |code: u16| format!("{{\"error\": {{\"code\": {code}, \"message\": \"m\"}}}}");
    world.server.script([status(200, &[], &told(503))]);
    assert_eq!(chat.ask(&request("a")).unwrap().text, "fine");
    assert_eq!(world.requests(), 2);
    world.server.script([status(200, &[], &told(401))]);
    let error = chat.ask(&request("b")).unwrap_err().to_string();
    assert!(error.contains("status 200, but") && error.contains("of status 401"), "{error}");
    assert_eq!(world.requests(), 3);
}

#[test]
fn another_address_below_the_server_is_told() {
    let world = ChatWorld::new();
    let url = world.server.base_url().replace("/v1", "");
    let chat = ChatModel::new(&url, "m").unwrap().answers(world.folder.path());
    world.server.script([status(404, &[], "not here")]);
    let error = chat.ask(&request("a")).unwrap_err().to_string();
    assert!(error.contains("status 404") && error.contains("as in http://"), "{error}");
    assert_eq!(world.server.seen()[0].path, "/chat/completions");
}
