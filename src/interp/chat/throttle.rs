//! Who may send a request, and when: so many at once, so many a minute.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::limits::Limits;
use crate::http::{HttpAnswer, HttpFailure, HttpRequest, HttpSender, Patience};
use crate::progress::{Progress, interrupted};
use crate::{Error, Result};

/// How often Stop is looked for.
pub(super) const POLL: Duration = Duration::from_millis(50);
/// A pause of this length is shown.
const QUIET: Duration = Duration::from_secs(2);
/// For the name of a host, and for a connection to it.
const CONNECT: Duration = Duration::from_secs(10);
/// Seconds by which a request may be late and the next keep its time, so that delays do not add up.
const LATE: f64 = 0.1;
/// Seconds that are no wait.
const MOMENT: f64 = 1e-6;

/// What Stop makes of a request.
pub(super) fn stopped() -> Error {
    Error::Interrupted { what: "asking a chat model".to_owned() }
}

/// Returns an error when Stop is pressed.
pub(super) fn check_stop() -> Result<()> {
    if interrupted() { Err(stopped()) } else { Ok(()) }
}

/// What tells the time.
pub(super) trait Clock: fmt::Debug + Send + Sync {
    /// The time since some moment.
    fn now(&self) -> Duration;
    fn sleep(&self, duration: Duration);
}

/// The time of this machine.
#[derive(Debug)]
pub(super) struct WallClock(Instant);

impl WallClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for WallClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        thread::sleep(duration);
    }
}

/// Lets requests through as limits allow.
#[derive(Debug)]
pub(super) struct Throttle {
    clock: Arc<dyn Clock>,
    at_once: usize,
    /// Seconds that a request and a token take up.
    request_seconds: Option<f64>,
    token_seconds: Option<f64>,
    patience: Patience,
    state: Mutex<ThrottleState>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct ThrottleState {
    under_way: usize,
    /// With connections of requests that have ended.
    idle: Vec<HttpSender>,
    /// When the next request may go: by requests a minute, by tokens a minute, and because the server
    /// asked for a pause; in seconds of the clock.
    by_requests: f64,
    by_tokens: f64,
    by_server: f64,
}

/// The right to send a request, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    throttle: &'a Throttle,
    sender: HttpSender,
    is_spent: bool,
}

impl Throttle {
    pub(super) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Self {
        let seconds = |a_minute: Option<u32>| a_minute.map(|count| 60.0 / f64::from(count));
        Self {
            clock,
            at_once: limits.at_once,
            request_seconds: seconds(limits.requests_a_minute),
            token_seconds: seconds(limits.tokens_a_minute),
            // An answer begins when the model has written all of it.
            patience: Patience {
                connect: CONNECT.min(limits.timeout),
                answer: limits.timeout,
                stall: limits.timeout,
                whole: Some(limits.timeout),
                ..Patience::default()
            },
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of about `tokens` tokens may be sent.
    pub(super) fn enter(&self, tokens: u64) -> Result<Permit<'_>> {
        let permit = self.permit()?;
        self.keep_rate(tokens)?;
        Ok(permit)
    }

    fn permit(&self) -> Result<Permit<'_>> {
        let mut state = self.state();
        loop {
            check_stop()?;
            if state.under_way < self.at_once {
                state.under_way += 1;
                let sender = state.idle.pop().unwrap_or_else(|| HttpSender::new(&self.patience));
                return Ok(Permit { throttle: self, sender, is_spent: false });
            }
            let waited = self.freed.wait_timeout(state, POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn keep_rate(&self, tokens: u64) -> Result<()> {
        loop {
            let left = {
                let mut state = self.state();
                let now = self.clock.now().as_secs_f64();
                let start = state.by_requests.max(state.by_tokens).max(state.by_server);
                if start - now < MOMENT {
                    let from = |due: f64| if now - due <= LATE { due } else { now };
                    if let Some(seconds) = self.request_seconds {
                        state.by_requests = from(state.by_requests) + seconds;
                    }
                    if let Some(seconds) = self.token_seconds {
                        state.by_tokens = from(state.by_tokens) + seconds * tokens as f64;
                    }
                    return Ok(());
                }
                start - now
            };
            // Others may count their tokens meanwhile.
            self.pause(Duration::from_secs_f64(left.min(POLL.as_secs_f64())))?;
        }
    }

    /// Counts `counted` tokens in place of the `expected` ones of a request.
    pub(super) fn count(&self, expected: u64, counted: u64) {
        if let Some(seconds) = self.token_seconds {
            self.state().by_tokens += seconds * (counted as f64 - expected as f64);
        }
    }

    /// Sends nothing for this time, because the server asked for it.
    pub(super) fn rest(&self, duration: Duration) {
        let end = (self.clock.now() + duration).as_secs_f64();
        let mut state = self.state();
        state.by_server = state.by_server.max(end);
    }

    /// Waits, or fails when Stop is pressed; shown if it takes long.
    pub(super) fn pause(&self, duration: Duration) -> Result<()> {
        let start = self.clock.now();
        let mut shown = 0;
        let mut bar = (duration >= QUIET)
            .then(|| Progress::new("waiting to ask again", duration.as_secs(), "second"));
        loop {
            check_stop()?;
            let waited = self.clock.now().saturating_sub(start);
            if waited >= duration {
                return Ok(());
            }
            if let Some(bar) = &mut bar {
                // Stop was looked for above.
                let _ = bar.advance(waited.as_secs() - shown);
                shown = waited.as_secs();
            }
            self.clock.sleep((duration - waited).min(POLL));
        }
    }
}

impl Permit<'_> {
    pub(super) fn send(&self, request: HttpRequest) -> Result<HttpAnswer, HttpFailure> {
        self.sender.send(request)
    }

    /// Closes the connection of a request that nobody waits for, so that the server can stop too.
    pub(super) fn hang_up(&mut self) {
        self.sender.clone().shut_down();
        self.is_spent = true;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.throttle.state();
        state.under_way -= 1;
        if !self.is_spent {
            state.idle.push(self.sender.clone());
        }
        drop(state);
        self.throttle.freed.notify_one();
    }
}

/// A clock that stands still unless somebody sleeps.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct FakeClock(Mutex<Duration>);

#[cfg(test)]
impl Clock for FakeClock {
    fn now(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: fn() -> Limits = Limits::default;

    /// Seconds of a clock that passes as long as somebody sleeps.
    fn world(limits: Limits) -> (Throttle, impl Fn() -> f64) {
        let clock = Arc::new(FakeClock::default());
        let throttle = Throttle::new(&limits, clock.clone());
        (throttle, move || clock.now().as_secs_f64())
    }

    #[test]
    fn requests_go_at_even_distances() {
        let (throttle, now) = world(Limits { requests_a_minute: Some(90), ..USUAL() });
        let times: Vec<f64> = (0..300)
            .map(|_| {
                drop(throttle.enter(1_000).unwrap());
                now()
            })
            .collect();
        assert_eq!(times[0], 0.0);
        let rate = 299.0 * 60.0 / times[299];
        assert!((rate / 90.0 - 1.0).abs() < 0.05, "{rate}");
        let mut distances = times.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(distances.all(|distance| (distance * 1.5 - 1.0).abs() < 0.05));
    }

    /// A clock of a busy machine, on which every sleep is too long.
    #[derive(Debug, Default)]
    struct LateClock(FakeClock);

    impl Clock for LateClock {
        fn now(&self) -> Duration {
            self.0.now()
        }

        fn sleep(&self, duration: Duration) {
            self.0.sleep(duration + Duration::from_millis(5));
        }
    }

    #[test]
    fn sleeps_that_are_too_long_do_not_lower_the_rate() {
        let limits = Limits { requests_a_minute: Some(600), ..USUAL() };
        let clock = Arc::new(LateClock::default());
        let throttle = Throttle::new(&limits, clock.clone());
        for _ in 0..301 {
            drop(throttle.enter(0).unwrap());
        }
        let rate = 300.0 * 60.0 / clock.now().as_secs_f64();
        assert!((rate / 600.0 - 1.0).abs() < 0.05, "{rate}");
    }

    #[test]
    fn time_in_which_nothing_was_asked_is_not_made_up_for() {
        let (throttle, now) = world(Limits { requests_a_minute: Some(60), ..USUAL() });
        drop(throttle.enter(0).unwrap());
        throttle.clock.sleep(Duration::from_secs(100));
        for _ in 0..11 {
            drop(throttle.enter(0).unwrap());
        }
        assert!((now() - 110.0).abs() < 0.01, "{}", now());
    }

    #[test]
    fn tokens_count_as_the_server_counts_them() {
        let (throttle, now) = world(Limits { tokens_a_minute: Some(6_000), ..USUAL() });
        for _ in 0..200 {
            drop(throttle.enter(500).unwrap());
            throttle.count(500, 100);
        }
        // 100 tokens a second.
        let rate = 199.0 * 100.0 * 60.0 / now();
        assert!((rate / 6_000.0 - 1.0).abs() < 0.05, "{rate}");
        let before = now();
        throttle.count(0, 1_000);
        drop(throttle.enter(0).unwrap());
        assert!((now() - before - 11.0).abs() < 0.1, "more than was expected counts too");
    }

    #[test]
    fn a_pause_that_the_server_asks_for_holds_for_everybody() {
        let (throttle, now) = world(USUAL());
        drop(throttle.enter(1).unwrap());
        assert_eq!(now(), 0.0, "no limit, no wait");
        throttle.rest(Duration::from_secs(5));
        throttle.rest(Duration::from_secs(2));
        drop(throttle.enter(1).unwrap());
        assert!((now() - 5.0).abs() < 0.01, "{}", now());
    }

    #[test]
    fn permits_come_back_however_a_request_ends() {
        let (throttle, _) = world(Limits { at_once: 2, ..USUAL() });
        let first = throttle.enter(0).unwrap();
        let mut second = throttle.enter(0).unwrap();
        second.hang_up();
        assert_eq!(throttle.state().under_way, 2);
        drop((first, second));
        let state = throttle.state();
        assert_eq!((state.under_way, state.idle.len()), (0, 1), "what hung up is not used again");
    }
}
