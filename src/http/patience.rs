//! How long a request may take, and how Stop is noticed.

use std::thread;
use std::time::{Duration, Instant};

use super::failure::HttpFailure;
use crate::progress::interrupted;

/// How often Stop is looked for.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How long a server may take, and how Stop is noticed.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    /// For the name of the host, and for a connection to it.
    pub(crate) connect: Duration,
    /// From the request to the first byte of the answer.
    pub(crate) answer: Duration,
    /// Without any byte in the middle of an answer.
    pub(crate) stall: Duration,
    /// For all of it, from the name of the host to the last byte; a download has no such limit.
    pub(crate) whole: Option<Duration>,
    /// Before a first further try; later ones wait longer.
    pub(crate) pause: Duration,
    pub(crate) is_stopped: fn() -> bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            answer: Duration::from_secs(15),
            stall: Duration::from_secs(30),
            whole: None,
            pause: Duration::from_millis(500),
            is_stopped: interrupted,
        }
    }
}

impl Patience {
    /// Waits, or fails when Stop is pressed.
    pub(crate) fn sleep(&self, duration: Duration) -> Result<(), HttpFailure> {
        let end = Instant::now() + duration;
        loop {
            if (self.is_stopped)() {
                return Err(HttpFailure::Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(POLL));
        }
    }
}
