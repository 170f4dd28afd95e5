//! The Stop button, from the kernel's side.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::sink::{Phase, Sink};
use crate::eval::processes;

/// A second Stop within this time ends the evaluation process, and so does a run that has not seen
/// the first one by then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Carries out Stop requests.
#[derive(Debug, Clone)]
pub(crate) struct Interrupter {
    sink: Arc<Sink>,
    stop: Arc<AtomicBool>,
    last: Arc<Mutex<Option<(usize, Instant)>>>,
}

impl Interrupter {
    pub(crate) fn new(sink: Arc<Sink>, stop: Arc<AtomicBool>) -> Self {
        Self { sink, stop, last: Arc::default() }
    }

    /// Stop was pressed.
    pub(crate) fn interrupt(&self) {
        match self.sink.phase() {
            (Phase::Idle, _) => {}
            (Phase::Compiling, _) => {
                self.stop.store(true, Ordering::SeqCst);
                let this = self.clone();
                std::thread::spawn(move || this.end_compilation());
            }
            (Phase::Running, Some(process)) => self.stop_run(process),
            (Phase::Running, None) => {}
        }
    }

    /// Evcxr may start the compiler more than once for a cell, so it is ended as often.
    fn end_compilation(&self) {
        let count = self.sink.count();
        let began = Instant::now();
        while self.sink.count() == count && began.elapsed() < Duration::from_secs(30) {
            match self.sink.phase() {
                (Phase::Compiling, _) => processes::end_compilers(),
                (Phase::Running, Some(process)) => return self.stop_run(process),
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn stop_run(&self, process: u32) {
        self.stop.store(true, Ordering::SeqCst);
        let count = self.sink.count();
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let again = last.is_some_and(|(cell, when)| cell == count && when.elapsed() < PATIENCE);
        *last = Some((count, Instant::now()));
        drop(last);
        if again {
            processes::signal(process, libc::SIGKILL);
            return;
        }
        processes::signal(process, libc::SIGINT);
        let this = self.clone();
        std::thread::spawn(move || this.wait_for(count, process));
    }

    /// Ends the evaluation process if the run has not seen the Stop.
    fn wait_for(&self, count: usize, process: u32) {
        let began = Instant::now();
        let running =
            || self.sink.count() == count && self.sink.phase() == (Phase::Running, Some(process));
        let mut told = false;
        while running() && !self.sink.stop_seen() {
            if began.elapsed() >= PATIENCE {
                processes::signal(process, libc::SIGKILL);
                return;
            }
            if !told && began.elapsed() > Duration::from_secs(1) {
                told = true;
                self.sink.note(
                    "Stop: waiting for a safe point. If none comes, the evaluation process is \
                     ended and its variables are lost; Stop again ends it now.\n",
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
