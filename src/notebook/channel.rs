//! The line protocol between library and kernel.
//!
//! A message is one line on standard output: [`PREFIX`], then a JSON object, then a newline. Going
//! through standard output keeps it in order with what the cell prints.

use std::io::Write;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a message's line begins with: the ASCII record separator, which text does not contain.
pub const PREFIX: &str = "\u{1e}EIGENLENS ";

/// The environment variable that the kernel sets for the evaluation process.
pub const KERNEL_VARIABLE: &str = "EIGENLENS_KERNEL";

/// What the library tells the kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// Show something, or change what is shown under `id`.
    Display {
        /// Content by MIME type.
        data: Map<String, Value>,
        /// Name by which a later message changes this output.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Whether this changes the output shown under `id`.
        #[serde(default)]
        update: bool,
        /// Whether this is the value of the cell.
        #[serde(default)]
        result: bool,
    },
    /// Remove the cell's outputs so far.
    Clear {
        /// Wait with it until the next output arrives.
        wait: bool,
    },
    /// A thread panicked.
    Panic {
        /// The panic's message.
        message: String,
        /// Source file, as the compiler names it.
        file: String,
        /// Line in that file, from 1.
        line: u32,
        /// Name of the thread, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        thread: Option<String>,
    },
    /// Running library code has seen the Stop button and is coming to an end.
    Stopping,
}

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
pub(crate) fn send(message: &Message) {
    if let Ok(json) = serde_json::to_string(message) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{PREFIX}{json}");
        let _ = out.flush();
    }
}
