//! What rustc says about a cell, kept for the kernel.
//!
//! Evcxr counts every message of rustc as an error and loses some of their parts. So rustc's own
//! messages are written to a file in the build folder, with the source they speak of, and evcxr is
//! given the errors alone.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::install::layout::CELL_CRATE;

/// The file of what the current cell's compilations said, in the folder of the cells' manifest.
const FILE: &str = "target/cell-diagnostics.jsonl";

/// The field of a message that names the crate it is about, where that is not the cell's.
pub(crate) const OTHER_CRATE: &str = "crate";

/// One compilation of a cell. Evcxr may need several.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Compilation {
    /// The crate that was compiled.
    pub(crate) source: String,
    /// Whether it compiled.
    pub(crate) succeeded: bool,
    /// Rustc's messages, as it writes them.
    pub(crate) messages: Vec<Value>,
}

/// Keeps what a compiler said about `source`, the crate of a cell: `output` has its messages as lines
/// of JSON, as rustc and cargo write them. Returns the output without the warnings, which evcxr
/// would take for errors.
pub(crate) fn keep(source: String, succeeded: bool, output: &[u8]) -> Vec<u8> {
    let mut for_evcxr = Vec::with_capacity(output.len());
    let mut messages = Vec::new();
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        let message = message(line);
        if !message.as_ref().is_some_and(|message| message["level"] == "warning") {
            for_evcxr.extend_from_slice(line);
        }
        messages.extend(message);
    }
    // Without it the kernel shows what evcxr makes of the errors.
    let _ = Compilation { source, succeeded, messages }.append();
    for_evcxr
}

/// The compiler's message in one line of output.
fn message(line: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    if value["reason"] == "compiler-message" {
        let name = value["target"]["name"].take();
        value = value["message"].take();
        if name != CELL_CRATE && value.is_object() {
            value[OTHER_CRATE] = name;
        }
    }
    let diagnostic = value["level"].is_string() && value["message"].is_string();
    // These are long and never shown: text that names lines of the generated crate, and essays.
    if let Some(fields) = value.as_object_mut() {
        fields.remove("rendered");
    }
    if let Some(code) = value.get_mut("code").and_then(Value::as_object_mut) {
        code.remove("explanation");
    }
    diagnostic.then_some(value)
}

impl Compilation {
    fn append(&self) -> Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut file = File::options().create(true).append(true).open(FILE)?;
        file.write_all(&line)?;
        Ok(())
    }
}

/// Forgets what was said about earlier cells. `cells` is the folder of the cells' manifest.
pub(crate) fn forget(cells: &Path) {
    let _ = fs::remove_file(cells.join(FILE));
}

/// What the compilations since [`forget`] said, in their order.
pub(crate) fn read(cells: &Path) -> Vec<Compilation> {
    let text = fs::read_to_string(cells.join(FILE)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_of_rustc_and_of_cargo_are_found() {
        let diagnostic = json!({"level": "warning", "message": "unused", "rendered": "long"});
        let kept = json!({"level": "warning", "message": "unused"});
        let line = |value: &Value| message(value.to_string().as_bytes());
        assert_eq!(line(&diagnostic), Some(kept.clone()));
        let of = |name: &str| json!({"reason": "compiler-message", "target": {"name": name}, "message": diagnostic});
        assert_eq!(line(&of(CELL_CRATE)), Some(kept));
        assert_eq!(line(&of("own")).unwrap()[OTHER_CRATE], "own");
        assert_eq!(line(&json!({"$message_type": "artifact", "artifact": "x.so"})), None);
        assert_eq!(line(&json!({"reason": "build-finished", "success": true})), None);
        assert_eq!(message(b"   Compiling ctx"), None);
    }
}
