//! The line protocol between library and kernel.
//!
//! A message is one line on standard output: [`PREFIX`], then a JSON object, then a newline. Going
//! through standard output keeps it in order with what the cell prints.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a message's line begins with: the ASCII record separator, which text does not contain.
pub const PREFIX: &str = "\u{1e}EIGENLENS ";

/// What a line begins with by which a cell's generated code, or the library, talks to evcxr. A line
/// of the user's that only looks like one lacks it.
pub const EVCXR_MARK: &str = "\u{1e}EVCXR_";

/// The environment variable that the kernel sets for the evaluation process.
pub const KERNEL_VARIABLE: &str = "EIGENLENS_KERNEL";

/// The environment variable with the number of the descriptor on which answers to questions arrive.
/// Standard input is at its end from the start: nothing that a cell calls can wait for it.
pub const ANSWERS_VARIABLE: &str = "EIGENLENS_ANSWERS";

/// What a line begins with that the page of an autoencoder prints, before the page's link: the command
/// that opens it in a browser looks for that.
pub const PAGE_LINK: &str = "the page is on ";

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
    /// The cell failed by an error value: one that `?` returned, or the cell's last value.
    Failed {
        /// The error's text.
        message: String,
        /// What caused the error, the nearest cause first.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        causes: Vec<String>,
        /// The line, from 1, of the `?` in the crate that was compiled for the cell; without it the
        /// error is the value of the cell's last expression.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<u32>,
    },
    /// Running library code has seen the Stop button and is coming to an end.
    Stopping,
}
