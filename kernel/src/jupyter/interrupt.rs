//! The Stop button, from the kernel's side.
//!
//! One Stop waits until the cell's code comes to a safe point, however long that takes. Only a
//! second one ends the evaluation process, and with it all variables.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::sink::{Phase, Sink};
use crate::eval::processes;

/// Two Stops within this time are one: a double click, or a front end that sends a signal and a
/// message.
const DOUBLE_CLICK: Duration = Duration::from_millis(250);
/// How long a run may go on after a Stop before a note says what it waits for.
const UNSEEN: Duration = Duration::from_secs(1);
/// The same where the library has seen it: what is left is most often short.
const SEEN: Duration = Duration::from_secs(5);

const WAITING: &str = "Stop: waiting for a safe point, where all variables are kept. To end the \
                       evaluation process now and lose them, press Stop again.\n";
const WINDING_UP: &str = "Stop: what was running has stopped, and the cell is still finishing. To \
                          end the evaluation process now and lose all variables, press Stop again.\n";

/// Carries out Stop requests.
#[derive(Debug, Clone)]
pub(crate) struct Interrupter {
    sink: Arc<Sink>,
    stop: Arc<AtomicBool>,
    /// The cell that was stopped last, by serial number, and when.
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
            (Phase::Running, Some(process)) => match self.since_first() {
                None => self.stop_run(process),
                Some(since) if since < DOUBLE_CLICK => {}
                Some(_) => processes::signal(process, Signal::KILL),
            },
            (Phase::Running, None) => {}
        }
    }

    /// Evcxr may start the compiler more than once for a cell, so it is ended as often.
    fn end_compilation(&self) {
        let cell = self.sink.serial();
        let began = Instant::now();
        while self.sink.serial() == cell && began.elapsed() < Duration::from_secs(30) {
            match self.sink.phase() {
                (Phase::Compiling, _) => processes::end_compilers(),
                // Each press while compiling gets here; none of them may end the process.
                (Phase::Running, Some(process)) if self.since_first().is_none() => {
                    return self.stop_run(process);
                }
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How long ago the run of the current cell was stopped for the first time.
    fn since_first(&self) -> Option<Duration> {
        let last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        last.filter(|(cell, _)| *cell == self.sink.serial()).map(|(_, when)| when.elapsed())
    }

    fn stop_run(&self, process: u32) {
        self.stop.store(true, Ordering::SeqCst);
        let cell = self.sink.serial();
        *self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some((cell, Instant::now()));
        processes::signal(process, Signal::INT);
        let this = self.clone();
        std::thread::spawn(move || this.say_what_is_waited_for(cell, process));
    }

    /// Writes a note below the cell once, if its code is still running after some time.
    fn say_what_is_waited_for(&self, cell: usize, process: u32) {
        let began = Instant::now();
        while self.sink.serial() == cell && self.sink.phase() == (Phase::Running, Some(process)) {
            let seen = self.sink.stop_seen();
            if began.elapsed() > if seen { SEEN } else { UNSEEN } {
                return self.sink.note(if seen { WINDING_UP } else { WAITING });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
