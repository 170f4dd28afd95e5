//! One thread that does what needs the model, and the short queue before it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use eigenlens::notebook::in_background;
use tokio::sync::oneshot;

use crate::fault::Fault;

/// Requests that wait; one more is told to come again.
pub(crate) const QUEUE: usize = 8;
/// How long a request may wait and work.
const DEADLINE: Duration = Duration::from_secs(60);

/// Which view of which page asks: a newer request of the same takes the place of one that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) client: String,
    pub(crate) name: String,
}

/// Whether a piece of work goes on after others had their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Over,
    Again,
}

/// Ends the work of a request that nobody waits for any more: when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<AtomicBool>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

type Work = Box<dyn FnMut() -> Turn + Send>;
/// Told why a piece of work ended before its end.
type Failed = Box<dyn FnOnce(Fault) + Send>;

struct Job {
    view: Option<View>,
    stop: Arc<AtomicBool>,
    work: Work,
    failed: Failed,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

/// The queue's entrance. The thread ends when [`Worker::close`] is called.
#[derive(Clone, Default)]
pub(crate) struct Worker(Arc<Shared>);

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Worker({} waiting)", self.lock().jobs.len())
    }
}

impl Worker {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let worker = Self::default();
        let shared = worker.clone();
        std::thread::Builder::new().name("eigenlens app: model".to_owned()).spawn(move || {
            while let Some(job) = shared.next() {
                shared.turn(job);
            }
        })?;
        Ok(worker)
    }

    /// Ends the thread after the piece of work it is at, and everything that waits.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.jobs.clear();
        self.0.more.notify_all();
    }

    /// The result of `work`. Nothing is done any more once the returned future is dropped.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        view: Option<View>,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let answer = Arc::new(Mutex::new(Some(answer)));
        let tell = {
            let answer = Arc::clone(&answer);
            move |result: Result<T, Fault>| {
                let own = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(own) = own {
                    // Nobody may be there any more.
                    let _ = own.send(result);
                }
            }
        };
        let failed = tell.clone();
        let mut work = Some(work);
        let once = move || {
            if let Some(work) = work.take() {
                tell(work());
            }
            Turn::Over
        };
        let _waiting = self.push(view, once, move |fault| failed(Err(fault)))?;
        match tokio::time::timeout(DEADLINE, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ended()),
            Err(_) => {
                let expected = format!("done within {} s", DEADLINE.as_secs());
                Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the work", expected)
                    .hint("Ask for less at a time: a shorter prompt, fewer tokens."))
            }
        }
    }

    /// Puts work at the queue's end; `failed` is told if it does not come to its own end.
    pub(crate) fn push(
        &self,
        view: Option<View>,
        work: impl FnMut() -> Turn + Send + 'static,
        failed: impl FnOnce(Fault) + Send + 'static,
    ) -> Result<Waiting, Fault> {
        let stop = Arc::new(AtomicBool::new(false));
        let (work, failed): (Work, Failed) = (Box::new(work), Box::new(failed));
        let job = Job { view, stop: Arc::clone(&stop), work, failed };
        let mut queue = self.lock();
        if queue.closed {
            return Err(ended());
        }
        let older = queue.jobs.iter().position(|own| own.view.is_some() && own.view == job.view);
        let older = older.and_then(|at| queue.jobs.remove(at));
        queue.jobs.retain(|own| !own.stop.load(Ordering::Relaxed));
        if queue.jobs.len() >= QUEUE {
            let fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, "the app", "less busy");
            return Err(fault.hint("Others are being served; try again in a second."));
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.0.more.notify_one();
        if let Some(older) = older {
            let what = "a newer request";
            let fault = Fault::new(StatusCode::TOO_MANY_REQUESTS, what, "alone in its view");
            (older.failed)(fault.hint("It took this one's place."));
        }
        Ok(Waiting(stop))
    }

    /// The next job, once there is one; none once the queue is closed.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = self.0.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a job its turn, and puts it at the end of the queue if it wants another.
    fn turn(&self, mut job: Job) {
        if job.stop.load(Ordering::Relaxed) {
            return;
        }
        let own = AssertUnwindSafe(|| in_background(&job.stop, || (job.work)()));
        match catch_unwind(own) {
            Ok(Turn::Over) => {}
            Ok(Turn::Again) => {
                let mut queue = self.lock();
                if !queue.closed {
                    queue.jobs.push_back(job);
                }
            }
            Err(_) => {
                let what = "the work";
                let fault = Fault::new(StatusCode::INTERNAL_SERVER_ERROR, what, "without a fault");
                (job.failed)(fault.hint("This is an error of the app; others are still served."));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended() -> Fault {
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, "the app", "running")
        .hint("Start it again, and open its new link.")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// A worker that is busy until something is sent.
    fn busy() -> (Worker, Sender<()>) {
        let worker = Worker::start().unwrap();
        let (go_on, wait): (Sender<()>, Receiver<()>) = channel();
        let (begun, has_begun) = channel();
        let work = move || {
            begun.send(()).unwrap();
            let _ = wait.recv();
            Turn::Over
        };
        std::mem::forget(worker.push(None, work, drop).unwrap());
        has_begun.recv().unwrap();
        (worker, go_on)
    }

    fn view(name: &str) -> Option<View> {
        Some(View { client: "one".to_owned(), name: name.to_owned() })
    }

    #[test]
    fn a_panic_is_an_answer_and_the_thread_lives() {
        let worker = Worker::start().unwrap();
        let broken = run(worker.ask::<()>(None, || panic!("on purpose"))).unwrap_err();
        assert_eq!(broken.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(run(worker.ask(None, || Ok(2))).unwrap(), 2);
        worker.close();
        let fault = run(worker.ask(None, || Ok(2))).unwrap_err();
        assert_eq!(fault.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn the_queue_is_short_and_newer_requests_of_a_view_take_the_place_of_older_ones() {
        let (worker, go_on) = busy();
        let (told, faults) = channel();
        let mut waiting = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let told = told.clone();
            waiting.push(worker.push(
                view(name),
                || Turn::Over,
                move |own| told.send(own).unwrap(),
            ));
        }
        let full = worker.push(view("i"), || Turn::Over, drop).unwrap_err();
        assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
        let newer = worker.push(view("c"), || Turn::Over, drop).unwrap();
        let fault = faults.recv().unwrap().json().to_string();
        assert!(fault.contains("a newer request"), "{fault}");
        // A page that was closed makes room.
        waiting.remove(0).unwrap();
        let more = worker.push(view("i"), || Turn::Over, drop);
        assert!(more.is_ok());
        drop((go_on, newer));
        assert_eq!(run(worker.ask(None, || Ok(1))).unwrap_or(1), 1);
    }

    #[test]
    fn long_work_takes_turns() {
        let (worker, go_on) = busy();
        let (told, turns) = channel();
        let mut waiting = Vec::new();
        for name in ["a", "b"] {
            let (told, mut left) = (told.clone(), 3);
            let work = move || {
                told.send(name).unwrap();
                left -= 1;
                if left == 0 { Turn::Over } else { Turn::Again }
            };
            waiting.push(worker.push(view(name), work, drop).unwrap());
        }
        drop((go_on, told));
        assert_eq!(turns.iter().collect::<Vec<_>>(), ["a", "b", "a", "b", "a", "b"]);
    }

    #[test]
    fn work_that_nobody_waits_for_is_not_done() {
        let (worker, go_on) = busy();
        let (told, done) = channel::<()>();
        let work = move || {
            told.send(()).unwrap();
            Turn::Over
        };
        drop(worker.push(None, work, drop).unwrap());
        drop(go_on);
        assert!(done.recv().is_err());
        let (worker, (told, seen)) = (Worker::start().unwrap(), channel());
        let (go_on, wait): (Sender<()>, Receiver<()>) = channel();
        let work = move || {
            let _ = wait.recv();
            told.send(eigenlens::notebook::interrupted()).unwrap();
            Turn::Over
        };
        drop(worker.push(None, work, drop));
        drop(go_on);
        // Either it was not begun, or it was told to end.
        assert!(seen.recv().unwrap_or(true));
    }
}
