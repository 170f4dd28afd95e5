//! What the notebook shows while code runs: displays, progress bars, input, and the Stop button.
//!
//! Under the eigenlens kernel everything goes through one line protocol on standard output
//! ([`mod@message`]), so that prints and displays keep their order. Under the stock
//! `evcxr_jupyter` displays fall back to its protocol and progress to plain lines; in an ordinary
//! program they become text.

#[doc(hidden)]
pub mod attach;
pub mod cell;
mod input;
mod tensors;

pub use crate::display::{DebugDisplay, DisplayHandle, MimeBundle, clear_output, message};
pub use crate::progress::{OnStop, Progress, in_background, interrupted, stopped};
pub use input::{input, password};
