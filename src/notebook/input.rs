//! Asking the person at the notebook for a line of text.

#![allow(unsafe_code, reason = "takes over a file descriptor that the kernel passed on")]

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::sync::{Mutex, OnceLock};

use crate::display::message::{ANSWERS_VARIABLE, COLON, EVCXR_MARK};
use crate::display::{Host, host};
use crate::{Error, Result};

/// Shows `prompt` and returns the line that is typed, without its line end.
///
/// In a notebook the question appears below the cell; in a program it is asked on the terminal.
///
/// # Errors
/// [`Error::Invalid`] where nobody can answer: a front end without input, a closed terminal.
pub fn input(prompt: impl AsRef<str>) -> Result<String> {
    ask(prompt.as_ref(), "INPUT_REQUEST")
}

/// Like [`input`], for secrets: what is typed is not shown.
pub fn password(prompt: impl AsRef<str>) -> Result<String> {
    ask(prompt.as_ref(), "INPUT_REQUEST_PASSWORD")
}

fn ask(prompt: &str, request: &str) -> Result<String> {
    let mut out = std::io::stdout().lock();
    // The request is one line, and evcxr cuts the prompt at a colon.
    let line = prompt.replace(['\n', '\r'], " ");
    let _ = match host() {
        Host::Program => write!(out, "{line}"),
        Host::Kernel => writeln!(out, "{EVCXR_MARK}{request}:{}", line.replace(':', COLON)),
        Host::Evcxr => writeln!(out, "EVCXR_{request}:{}", line.replace(':', "\u{a789}")),
    };
    let _ = out.flush();
    drop(out);
    let mut answer = String::new();
    let read = match (host(), answers()) {
        (Host::Kernel, Some(answers)) => {
            answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner).read_line(&mut answer)
        }
        _ => std::io::stdin().read_line(&mut answer),
    };
    match read {
        // The kernel answers with "end of transmission" where the front end cannot ask.
        Ok(count) if count > 0 && !answer.starts_with('\u{4}') => {
            Ok(answer.trim_end_matches(['\n', '\r']).to_owned())
        }
        _ => Err(Error::invalid("input", "answered by a person", "no one to answer")),
    }
}

/// Where the kernel writes answers; `None` in a process that it did not start.
fn answers() -> Option<&'static Mutex<BufReader<File>>> {
    static ANSWERS: OnceLock<Option<Mutex<BufReader<File>>>> = OnceLock::new();
    ANSWERS.get_or_init(|| take_answers().map(|file| Mutex::new(BufReader::new(file)))).as_ref()
}

fn take_answers() -> Option<File> {
    let descriptor: RawFd = std::env::var(ANSWERS_VARIABLE).ok()?.parse().ok()?;
    // SAFETY: fcntl fails without an effect where the descriptor is not open.
    if unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return None;
    }
    // SAFETY: the kernel opened this descriptor for this use alone, and it is taken once.
    Some(unsafe { File::from_raw_fd(descriptor) })
}

/// Keeps the programs that a cell starts from inheriting the descriptor of the answers.
pub(super) fn prepare() {
    let _ = answers();
}
