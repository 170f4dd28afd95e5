//! Stop ends every wait.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::*;
use crate::progress::in_background;

/// A second, and what a busy machine adds to it.
const SOON: Duration = Duration::from_secs(5);

/// Does `work` for somebody who stops it after `is_waiting`, and checks that it ends soon.
fn assert_stops<T: Send + fmt::Debug>(
    is_waiting: impl Fn() -> bool,
    work: impl FnOnce() -> Result<T> + Send,
) {
    let stop = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let working = scope.spawn(|| in_background(&stop, work));
        while !is_waiting() && !working.is_finished() {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(150));
        assert!(!working.is_finished(), "there was nothing to wait for");
        let pressed = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let error = working.join().unwrap().unwrap_err();
        assert!(matches!(&error, Error::Interrupted { .. }), "{error:?}");
        assert!(pressed.elapsed() < SOON);
    });
}

#[test]
fn a_server_that_is_silent_is_left_and_may_be_asked_again() {
    let world = ChatWorld::new();
    let chat = world.real_chat().limits(Limits { at_once: 1, ..Limits::default() });
    world.server.script([Fault::Silent]);
    assert_stops(|| world.requests() == 1, || chat.ask(&request("a")));
    assert_eq!(chat.ask(&request("a")).unwrap().text, "fine", "its permit has come back");
    assert_eq!(chat.spent().requests, 2);
}

#[test]
fn a_pause_that_the_server_asked_for_ends() {
    let world = ChatWorld::new();
    let chat = world.real_chat();
    world.server.script([status(429, &[("retry-after", "25")], "slow down")]);
    assert_stops(|| world.requests() == 1, || chat.ask(&request("a")));
    // Others of the account wait as well.
    assert_stops(|| true, || chat.ask(&request("b")));
    assert_eq!(world.requests(), 1);
}

#[test]
fn waits_for_a_permit_a_rate_and_money_end() {
    let world = ChatWorld::new();
    let usual = Limits::default();
    let limits = [
        Limits { at_once: 1, ..usual },
        Limits { requests_a_minute: Some(1), ..usual },
        Limits { most_cost: Some(40.0), ..usual },
    ];
    for (number, limits) in limits.into_iter().enumerate() {
        let chat = world.real_chat().prices(1e6, 1e6).limits(limits);
        let clone = chat.clone();
        world.server.script([Fault::Silent]);
        let first = || chat.ask(&request(format!("first {number}")));
        let second = || clone.ask(&request(format!("second {number}")));
        let stop = Arc::new(AtomicBool::new(false));
        thread::scope(|scope| {
            let working = scope.spawn(|| in_background(&stop, first));
            while world.requests() == number {
                thread::sleep(Duration::from_millis(5));
            }
            assert_stops(|| true, second);
            stop.store(true, Ordering::Relaxed);
            assert!(working.join().unwrap().is_err());
        });
        assert_eq!(world.requests(), number + 1, "the second was not sent");
    }
}

#[test]
fn jobs_end_together() {
    let world = ChatWorld::new();
    let chat = world.real_chat().limits(Limits { at_once: 3, ..Limits::default() });
    world.server.script((0..10).map(|_| Fault::Silent));
    let jobs = ["a", "b", "c", "d", "e"];
    assert_stops(
        || world.requests() == 3,
        || chat.all(&jobs, &mut Progress::silent(), |job| chat.ask(&request(*job))),
    );
    assert_eq!(world.requests(), 3, "nothing was sent afterwards");
}

#[test]
fn an_error_ends_requests_of_other_jobs() {
    let world = ChatWorld::new();
    let chat = world.real_chat();
    let begun = Instant::now();
    world.server.script([Fault::Silent, Fault::Silent, status(401, &[], "who are you?")]);
    let jobs = ["a", "b", "c"];
    let result = chat.all(&jobs, &mut Progress::silent(), |job| chat.ask(&request(*job)));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("status 401"), "{error}");
    // A silent server is given up after 120 seconds.
    assert!(begun.elapsed() < Duration::from_secs(30));
}
