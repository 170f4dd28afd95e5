//! What the notebook's shared library (`kernel/dylib`) needs to connect a process to the kernel. A
//! program that links this library has no use for it.

use super::input;
use crate::display::{Host, host};

pub use crate::display::send;
pub use crate::progress::{forget_stop, request_stop};

/// Whether this process was started by the kernel.
pub fn is_under_kernel() -> bool {
    host() == Host::Kernel
}

/// Keeps the programs that a cell starts from inheriting the descriptor of the answers.
pub fn prepare_input() {
    input::prepare();
}
