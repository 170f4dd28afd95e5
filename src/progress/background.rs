//! Work for somebody else than the user of the running cell.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

thread_local! {
    /// What calls of this thread listen to in place of the Stop button.
    static STOP: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Does `work` for somebody who is not the user of the running cell, such as a reader of a page that
/// a thread of the notebook serves. Calls of this thread show no progress, and what ends them is
/// `stop` and not the Stop button: once it is true they return
/// [`Error::Interrupted`](crate::Error::Interrupted) at their next safe point, for example before the
/// next layer of a model.
///
/// ```
/// use std::sync::{Arc, atomic::AtomicBool};
/// use eigenlens::notebook::{in_background, interrupted};
/// let gone = Arc::new(AtomicBool::new(true));
/// assert!(in_background(&gone, interrupted));
/// assert!(!interrupted());
/// ```
pub fn in_background<T>(stop: &Arc<AtomicBool>, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, also after a panic.
    struct Restore(Option<Arc<AtomicBool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            STOP.set(self.0.take());
        }
    }
    let _restore = Restore(STOP.replace(Some(Arc::clone(stop))));
    work()
}

/// What calls of this thread listen to, if it is not the Stop button.
pub(super) fn own_stop() -> Option<Arc<AtomicBool>> {
    STOP.with_borrow(Clone::clone)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::progress::{interrupted, safe_point};

    #[test]
    fn calls_listen_to_the_given_flag_while_the_work_lasts() {
        let stop = Arc::new(AtomicBool::new(false));
        in_background(&stop, || {
            assert!(!interrupted() && safe_point("a call").is_ok());
            stop.store(true, Ordering::Relaxed);
            assert!(interrupted() && safe_point("a call").is_err());
            let other = Arc::new(AtomicBool::new(false));
            assert!(!in_background(&other, interrupted));
            assert!(interrupted());
        });
        assert!(own_stop().is_none());
        let panicked = std::panic::catch_unwind(|| in_background(&stop, || panic!("inside")));
        assert!(panicked.is_err() && own_stop().is_none());
    }
}
