//! Asking the person at the notebook for a line of text.

use std::io::Write;

use super::channel::{Host, host};
use crate::{Error, Result};

/// Shows `prompt` and returns the line that is typed, without its line end.
///
/// In a notebook the question appears below the cell; in a program it is asked on the terminal.
///
/// # Errors
/// [`Error::Invalid`] where nobody can answer: a front end without input, a closed terminal.
pub fn input(prompt: impl AsRef<str>) -> Result<String> {
    ask(prompt.as_ref(), "EVCXR_INPUT_REQUEST")
}

/// Like [`input`], for secrets: what is typed is not shown.
pub fn password(prompt: impl AsRef<str>) -> Result<String> {
    ask(prompt.as_ref(), "EVCXR_INPUT_REQUEST_PASSWORD")
}

fn ask(prompt: &str, request: &str) -> Result<String> {
    let mut out = std::io::stdout().lock();
    // The request is one line, and evcxr cuts the prompt at a colon.
    let line = prompt.replace(['\n', '\r'], " ");
    let _ = match host() {
        Host::Program => write!(out, "{line}"),
        Host::Kernel => writeln!(out, "{request}:{}", line.replace(':', super::message::COLON)),
        Host::Evcxr => writeln!(out, "{request}:{}", line.replace(':', "\u{a789}")),
    };
    let _ = out.flush();
    drop(out);
    let mut answer = String::new();
    match std::io::stdin().read_line(&mut answer) {
        // The kernel answers with "end of transmission" where the front end cannot ask.
        Ok(count) if count > 0 && !answer.starts_with('\u{4}') => {
            Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
        }
        _ => Err(Error::invalid("input", "answered by a person", "no one to answer")),
    }
}
