//! The Stop button.
//!
//! The kernel sends SIGINT to the evaluation process; the handler, which the notebook's shared library
//! installs, raises a flag that library loops poll at points where they can stop with everything they
//! hold intact. The flag stays up until the cell ends, so that later loops of the same cell stop at
//! once as well.

use std::sync::atomic::{AtomicBool, Ordering};

use super::background::own_stop;
use crate::display::message::Message;
use crate::display::{Host, host, send};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static ACKNOWLEDGED: AtomicBool = AtomicBool::new(false);

/// Whether Stop was pressed during this cell. Loops of your own can poll it too:
///
/// ```
/// for step in 0..1_000 {
///     if eigenlens::notebook::interrupted() {
///         break;
///     }
///     # let _ = step;
/// }
/// ```
pub fn interrupted() -> bool {
    if let Some(stop) = own_stop() {
        return stop.load(Ordering::Relaxed);
    }
    let requested = REQUESTED.load(Ordering::Relaxed);
    if requested && !ACKNOWLEDGED.swap(true, Ordering::Relaxed) && host() == Host::Kernel {
        send(&Message::Stopping);
    }
    requested
}

/// Raises the flag. It stores to an atomic and does nothing else, so a signal handler may call it.
pub fn request_stop() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Takes the flag down: a new cell begins.
pub fn forget_stop() {
    REQUESTED.store(false, Ordering::Relaxed);
    ACKNOWLEDGED.store(false, Ordering::Relaxed);
}
