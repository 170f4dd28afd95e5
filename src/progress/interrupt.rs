//! The Stop button.
//!
//! The kernel sends SIGINT to the evaluation process; the handler raises a flag that library loops
//! poll at points where they can stop with everything they hold intact. The flag stays up until the
//! cell ends, so that later loops of the same cell stop at once as well.

use std::sync::atomic::{AtomicBool, Ordering};

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
    let requested = REQUESTED.load(Ordering::Relaxed);
    if requested && !ACKNOWLEDGED.swap(true, Ordering::Relaxed) && host() == Host::Kernel {
        send(&Message::Stopping);
    }
    requested
}

/// Takes the flag down: a new cell begins.
pub(crate) fn reset() {
    REQUESTED.store(false, Ordering::Relaxed);
    ACKNOWLEDGED.store(false, Ordering::Relaxed);
}

pub(crate) fn install_handler() {
    extern "C" fn on_interrupt(_signal: libc::c_int) {
        REQUESTED.store(true, Ordering::Relaxed);
    }
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
    unsafe {
        let handler: extern "C" fn(libc::c_int) = on_interrupt;
        libc::signal(libc::SIGINT, handler as libc::sighandler_t);
    }
}
