//! What cargo says while it builds the crates of a `:dep` line, shown to the person who waits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::Arc;

use super::sink::Sink;

/// Evcxr copies cargo's "Compiling …" lines to this process's standard error. Reads them there,
/// shows them in the running cell, and passes everything on to where standard error went before.
pub(crate) fn cargo_progress(sink: Arc<Sink>) -> io::Result<()> {
    let mut before = File::from(rustix::io::dup(io::stderr())?);
    let (read, write) = io::pipe()?;
    rustix::stdio::dup2_stderr(&write)?;
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
