//! The line protocol between library and kernel. The kernel compiles this file too, so that both
//! sides speak the same one without the kernel linking the library.
//!
//! A message is one line on standard output: [`PREFIX`], then a JSON object, then a newline. Going
//! through standard output keeps it in order with what the cell prints.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a message's line begins with: the ASCII record separator, which text does not contain.
pub const PREFIX: &str = "\u{1e}EIGENLENS ";

/// The environment variable that the kernel sets for the evaluation process.
pub const KERNEL_VARIABLE: &str = "EIGENLENS_KERNEL";

/// Stands for a colon in the prompt of a question.
pub const COLON: &str = "\u{1f}";

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
