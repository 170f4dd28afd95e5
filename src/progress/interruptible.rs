//! Stop for work that has no safe point of its own.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::interrupt::interrupted;
use crate::{Error, Result};

/// How often a waiting call looks whether Stop was pressed.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `work`, one call of another library that nothing can interrupt, on a thread and waits for it.
/// When Stop is pressed, the call returns [`Error::Interrupted`]; the thread ends with its work, whose
/// result nobody sees. So `work` may own or share memory, but change nothing.
pub(crate) fn interruptible<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    interruptible_by(interrupted, what, work)
}

/// [`interruptible`] with `is_stopped` called every now and then to see whether to go on.
pub(crate) fn interruptible_by<T: Send + 'static>(
    mut is_stopped: impl FnMut() -> bool,
    what: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (result, finished) = channel();
    let worker = std::thread::Builder::new()
        .name(what.to_owned())
        .spawn(move || drop(result.send(work())))
        .map_err(|reason| {
            Error::invalid("the number of threads", "one more", &reason).caused_by(reason)
        })?;
    loop {
        match finished.recv_timeout(POLL_INTERVAL) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Timeout) if is_stopped() => {
                return Err(Error::Interrupted { what: what.to_owned() });
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match worker.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Err(Error::Interrupted { what: what.to_owned() }),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_returns_its_result_or_its_error() {
        assert_eq!(interruptible_by(|| false, "adding", || Ok(1 + 1)).unwrap(), 2);
        let error =
            interruptible_by(|| false, "adding", || Err::<(), _>(Error::invalid("x", "1", 2)));
        assert!(matches!(error, Err(Error::Invalid { .. })));
    }

    #[test]
    fn stop_ends_the_wait_and_not_the_work() {
        let (go_on, wait) = channel::<()>();
        let (done, finished) = channel();
        let work = move || {
            let _ = wait.recv();
            let _ = done.send("done");
            Ok(())
        };
        let error = interruptible_by(|| true, "a long product", work).unwrap_err();
        assert_eq!(error.to_string(), "a long product was stopped before it had a result");
        go_on.send(()).unwrap();
        assert_eq!(finished.recv().unwrap(), "done");
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn a_panic_is_passed_on() {
        let _ = interruptible_by(|| false, "panicking", || -> Result<()> { panic!("inside") });
    }
}
