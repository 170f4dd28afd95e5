//! What the notebook shows while code runs: displays, progress bars, input, and the Stop button.
//!
//! Under the eigenlens kernel everything goes through one line protocol on standard output
//! ([`mod@message`]), so that prints and displays keep their order. Under the stock
//! `evcxr_jupyter` displays fall back to its protocol and progress to plain lines; in an ordinary
//! program they become text.

pub mod cell;
mod channel;
mod display;
mod input;
mod interrupt;
mod interruptible;
pub mod message;
mod progress;
mod safe_point;
mod session;
mod stopped;

pub use display::{DebugDisplay, DisplayHandle, MimeBundle, clear_output};
pub use input::{input, password};
pub use interrupt::interrupted;
pub(crate) use interruptible::{interruptible, interruptible_by};
pub use progress::Progress;
pub(crate) use safe_point::{SafePoint, StopShield, safe_point};
pub use stopped::{OnStop, stopped};
