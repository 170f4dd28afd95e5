//! Where the code runs, and how it reaches the kernel.

use std::io::Write;

use eigenlens_common::message::{KERNEL_VARIABLE, Message, PREFIX};

/// Where the code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    /// Under the eigenlens kernel.
    Kernel,
    /// Under the stock `evcxr` tools.
    Evcxr,
    /// In an ordinary program.
    Program,
}

pub(crate) fn host() -> Host {
    if std::env::var_os(KERNEL_VARIABLE).is_some() {
        Host::Kernel
    } else if std::env::var_os("EVCXR_IS_RUNTIME").is_some() {
        Host::Evcxr
    } else {
        Host::Program
    }
}

/// Sends one message to the kernel. Errors are ignored: a kernel that is gone cannot be told.
pub fn send(message: &Message) {
    if let Ok(json) = serde_json::to_string(message) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{PREFIX}{json}");
        let _ = out.flush();
    }
}
