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

/// By this the generated code keeps a variable for later cells.
const KEEP: &str = "evcxr_variable_store.put_variable";

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
/// would take for errors, and with less about moved variables ([`only_where_it_is_kept`]).
pub(crate) fn keep(source: String, succeeded: bool, output: &[u8]) -> Vec<u8> {
    let mut for_evcxr = Vec::with_capacity(output.len());
    let mut messages = Vec::new();
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        let message = message(line);
        if !message.as_ref().is_some_and(|message| message["level"] == "warning") {
            match only_where_it_is_kept(line, &source) {
                Some(shorter) => for_evcxr.extend(shorter),
                None => for_evcxr.extend_from_slice(line),
            }
        }
        messages.extend(message);
    }
    // Without it the kernel shows what evcxr makes of the errors.
    let _ = Compilation { source, succeeded, messages }.append();
    for_evcxr
}

/// The line of output without the place where a variable is moved, if the error is that evcxr cannot
/// keep the variable after that. Evcxr tries again without the variable, and changes all else that
/// the message points at: where the last expression moves it, the value would be shown as text.
fn only_where_it_is_kept(line: &[u8], source: &str) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(line).ok()?;
    let message = if value["message"].is_object() { &mut value["message"] } else { &mut value };
    if message["code"]["code"] != "E0382" {
        return None;
    }
    let spans = message["spans"].as_array_mut()?;
    spans.retain(|span| span["is_primary"] == true);
    let at = usize::try_from(spans.first()?["line_start"].as_u64()?).ok()?;
    if !source.lines().nth(at.checked_sub(1)?)?.contains(KEEP) {
        return None;
    }
    message["children"] = Value::Array(Vec::new());
    let mut shorter = serde_json::to_vec(&value).ok()?;
    shorter.push(b'\n');
    Some(shorter)
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

    #[test]
    fn evcxr_is_not_told_where_a_variable_moves_that_it_cannot_keep() {
        let source =
            format!("let f = 1;\n(\nplot(f)\n).evcxr_display();\n{KEEP}::<F>(\"f\", f);\n");
        let span = |line: usize, primary: bool| json!({"line_start": line, "is_primary": primary});
        let error = |code: &str, primary: usize| {
            let spans = [span(3, primary == 3), span(1, false), span(5, primary == 5)];
            json!({"code": {"code": code}, "level": "error", "message": "moved", "spans": spans,
                   "children": [{"spans": [span(3, true)]}]})
        };
        let told = |error: &Value| only_where_it_is_kept(error.to_string().as_bytes(), &source);
        for wrapped in [false, true] {
            let error = error("E0382", 5);
            let line = if wrapped { json!({"message": error}) } else { error };
            let shorter = told(&line).unwrap();
            assert_eq!(shorter.last(), Some(&b'\n'));
            let value: Value = serde_json::from_slice(&shorter).unwrap();
            let value = if wrapped { &value["message"] } else { &value };
            assert_eq!(value["spans"], json!([span(5, true)]));
            assert_eq!(value["children"], json!([]));
        }
        // The user's own second use, and other errors, are told whole.
        assert_eq!(told(&error("E0382", 3)), None);
        assert_eq!(told(&error("E0505", 5)), None);
        assert_eq!(told(&json!({"code": null, "message": "aborting", "spans": []})), None);
    }
}
