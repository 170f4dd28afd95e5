//! What cargo says while it builds the crates of a `:dep` line, shown to the person who waits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;

use super::sink::Sink;

/// Evcxr copies cargo's "Compiling …" lines to this process's standard error. Reads them there,
/// shows them in the running cell, and passes everything on to where standard error went before.
pub(crate) fn cargo_progress(sink: Arc<Sink>) -> io::Result<()> {
    // SAFETY: dup returns a descriptor of our own, or -1.
    let before = unsafe { libc::dup(libc::STDERR_FILENO) };
    if before < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open and ours.
    let mut before = unsafe { File::from_raw_fd(before) };
    let (read, write) = io::pipe()?;
    // SAFETY: both descriptors are open; standard error is replaced in one step.
    if unsafe { libc::dup2(write.as_raw_fd(), libc::STDERR_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    std::thread::spawn(move || {
        for line in BufReader::new(read).split(b'\n') {
            let Ok(line) = line else { break };
            let text = String::from_utf8_lossy(&line);
            if text.trim_start().starts_with("Compiling ") {
                sink.note(&format!("{text}\n"));
            }
            let _ = writeln!(before, "{text}");
        }
    });
    Ok(())
}
