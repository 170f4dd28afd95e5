//! Many requests at once, which end together.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;

use super::ChatModel;
use super::throttle::{POLL, stopped};
use crate::progress::{Progress, in_background};
use crate::{Error, Result};

/// What the threads share.
struct SharedJobs<'a, J, W> {
    jobs: &'a [J],
    work: W,
    next: AtomicUsize,
    /// What calls on the threads listen to: Stop on the caller's thread, or that another job failed.
    stop: Arc<AtomicBool>,
}

impl<J, W> SharedJobs<'_, J, W> {
    /// Does jobs until none is left or one fails.
    fn work<T>(&self, results: &Sender<(usize, Result<T>)>)
    where
        W: Fn(&J) -> Result<T>,
    {
        in_background(&self.stop, || {
            while !self.stop.load(Ordering::Relaxed) {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = self.jobs.get(number) else { return };
                let result = (self.work)(job);
                let has_failed = result.is_err();
                if results.send((number, result)).is_err() || has_failed {
                    return;
                }
            }
        });
    }
}

impl ChatModel {
    /// Does `work` for each of `jobs`, as many at once as requests may be under way, and returns what
    /// it returned in the order of the jobs. `progress` counts the jobs that are done. Requests of the
    /// work show no progress of their own.
    ///
    /// # Errors
    /// The first error of a job, and [`Error::Interrupted`] when Stop is pressed. Requests that are
    /// under way end at once then.
    pub(crate) fn all<J: Sync, T: Send>(
        &self,
        jobs: &[J],
        progress: &mut Progress,
        work: impl Fn(&J) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let stop = Arc::new(AtomicBool::new(false));
        let shared = SharedJobs { jobs, work, next: AtomicUsize::new(0), stop };
        let mut done: Vec<Option<T>> = jobs.iter().map(|_| None).collect();
        let (send, results) = channel();
        let outcome = thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut outcome = Ok(());
            for _ in 0..self.limits.at_once.clamp(1, jobs.len().max(1)) {
                let (send, shared) = (send.clone(), &shared);
                let thread = thread::Builder::new().name("chat".to_owned());
                match thread.spawn_scoped(scope, move || shared.work(&send)) {
                    Ok(thread) => threads.push(thread),
                    // Fewer do as well.
                    Err(_) if !threads.is_empty() => break,
                    Err(reason) => {
                        let error = Error::invalid("the number of threads", "one more", &reason);
                        outcome = Err(error.caused_by(reason));
                        break;
                    }
                }
            }
            drop(send);
            while outcome.is_ok() {
                let steps = match results.recv_timeout(POLL) {
                    Ok((number, Ok(result))) => {
                        done[number] = Some(result);
                        1
                    }
                    Ok((_, Err(error))) => {
                        outcome = Err(error);
                        break;
                    }
                    Err(RecvTimeoutError::Timeout) => 0,
                    Err(RecvTimeoutError::Disconnected) => break,
                };
                if progress.advance(steps) {
                    outcome = Err(stopped());
                }
            }
            shared.stop.store(true, Ordering::Relaxed);
            for thread in threads {
                if let Err(panic) = thread.join() {
                    resume_unwind(panic);
                }
            }
            outcome
        });
        outcome?;
        // A job is left only if its thread panicked, which has been passed on.
        done.into_iter().collect::<Option<Vec<T>>>().ok_or_else(stopped)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::interp::chat::Limits;
    use crate::progress::{interrupted, safe_point};

    fn chat(at_once: usize) -> ChatModel {
        let limits = Limits { at_once, ..Limits::default() };
        ChatModel::new("http://127.0.0.1:1/v1", "m").unwrap().limits(limits)
    }

    fn all<T: Send>(
        chat: &ChatModel,
        jobs: usize,
        work: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let jobs: Vec<usize> = (0..jobs).collect();
        chat.all(&jobs, &mut Progress::silent(), |job| work(*job))
    }

    #[test]
    fn results_have_the_order_of_the_jobs() {
        let threads = Mutex::new(HashSet::new());
        let results = all(&chat(4), 40, |job| {
            threads.lock().unwrap().insert(thread::current().id());
            thread::sleep(Duration::from_millis(((job * 7) % 5) as u64));
            Ok(job * job)
        });
        assert_eq!(results.unwrap(), (0..40).map(|job| job * job).collect::<Vec<_>>());
        assert!(threads.lock().unwrap().len() <= 4);
        assert!(all(&chat(4), 0, Ok).unwrap().is_empty());
    }

    #[test]
    fn the_first_error_ends_all_and_is_what_is_told() {
        let begun = AtomicUsize::new(0);
        let result = all(&chat(3), 1_000, |job| {
            begun.fetch_add(1, Ordering::Relaxed);
            if job == 5 {
                return Err(Error::invalid("the fifth", "right", "wrong"));
            }
            // As a request that waits does.
            loop {
                match job > 5 {
                    true => thread::sleep(Duration::from_millis(5)),
                    false => return Ok(()),
                }
                safe_point("waiting")?;
            }
        });
        assert_eq!(result.unwrap_err().to_string(), "the fifth must be right, found wrong");
        assert!(begun.into_inner() < 20);
    }

    #[test]
    fn threads_listen_to_what_the_caller_listens_to() {
        let stop = Arc::new(AtomicBool::new(false));
        let waiting = AtomicUsize::new(0);
        let result = in_background(&stop, || {
            all(&chat(3), 3, |_| -> Result<()> {
                if waiting.fetch_add(1, Ordering::Relaxed) == 2 {
                    stop.store(true, Ordering::Relaxed);
                }
                while !interrupted() {
                    thread::sleep(Duration::from_millis(5));
                }
                Err(Error::invalid("this", "not told", "told"))
            })
        });
        assert!(matches!(result, Err(Error::Interrupted { .. })));
        assert_eq!(waiting.into_inner(), 3);
    }

    #[test]
    #[should_panic(expected = "inside")]
    fn a_panic_is_passed_on() {
        let _ = all(&chat(2), 4, |job| if job == 1 { panic!("inside") } else { Ok(()) });
    }
}
