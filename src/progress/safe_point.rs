//! Places inside a long call where Stop can end it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::background::own_stop;
use super::interrupt::interrupted;
use crate::{Error, Result};

thread_local! {
    /// How many [`StopShield`]s this thread holds.
    static SHIELDS: Cell<usize> = const { Cell::new(0) };
}

/// The place in a call where Stop can end it: nothing that the user has is half changed there.
#[derive(Debug, Clone)]
pub(crate) struct SafePoint {
    what: &'static str,
    listens: bool,
    /// What it listens to, if it is not the Stop button; worker threads would not know.
    own_stop: Option<Arc<AtomicBool>>,
}

impl SafePoint {
    /// A safe point of the call `what`, made on the thread that the user waits for.
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, listens: SHIELDS.get() == 0, own_stop: own_stop() }
    }

    /// Whether the call should end; for its worker threads, whose results are thrown away then.
    pub(crate) fn is_stopped(&self) -> bool {
        self.listens
            && match &self.own_stop {
                Some(stop) => stop.load(Ordering::Relaxed),
                None => interrupted(),
            }
    }

    /// Returns [`Error::Interrupted`] when Stop is pressed.
    pub(crate) fn check(&self) -> Result<()> {
        match self.is_stopped() {
            true => Err(Error::Interrupted { what: self.what.to_owned() }),
            false => Ok(()),
        }
    }
}

/// Returns [`Error::Interrupted`] when Stop is pressed during the call `what`.
pub(crate) fn safe_point(what: &'static str) -> Result<()> {
    SafePoint::new(what).check()
}

/// Keeps Stop away from the safe points of this thread's calls while it lives: for loops that look at
/// [`interrupted`] themselves, after each step, and keep what they have.
#[derive(Debug)]
pub(crate) struct StopShield(());

impl StopShield {
    pub(crate) fn new() -> Self {
        SHIELDS.set(SHIELDS.get() + 1);
        Self(())
    }
}

impl Drop for StopShield {
    fn drop(&mut self) {
        SHIELDS.set(SHIELDS.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shield_covers_what_is_called_under_it_and_nothing_else() {
        let listens = || SafePoint::new("a call").listens;
        assert!(listens());
        let outer = StopShield::new();
        {
            let _inner = StopShield::new();
            assert!(!listens());
        }
        assert!(!listens());
        assert!(std::thread::spawn(listens).join().unwrap(), "another thread's calls");
        drop(outer);
        assert!(listens());
    }
}
