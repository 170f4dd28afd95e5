//! Long work: how far it is, and the Stop button that ends it.
//!
//! A call that a user waits for either has safe points, at which Stop ends it with
//! [`Error::Interrupted`](crate::Error::Interrupted), or looks at [`interrupted`] after each step and
//! ends by [`OnStop`] with what it has.

mod background;
mod bar;
mod interrupt;
mod interruptible;
mod safe_point;
mod stopped;

pub use background::in_background;
pub use bar::Progress;
pub use interrupt::{forget_stop, interrupted, request_stop};
pub(crate) use interruptible::{interruptible, interruptible_by};
pub(crate) use safe_point::{SafePoint, StopShield, safe_point};
pub use stopped::{OnStop, stopped};
