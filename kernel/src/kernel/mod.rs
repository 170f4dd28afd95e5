//! The Jupyter kernel: a thin layer between a front end and evcxr.
//!
//! `server` speaks the protocol; `evaluator` owns evcxr on a thread of its own; the evaluation
//! process talks to `sink`, through the relay of [`crate::eval`], and `sink` to the front end.

mod capture;
mod complete;
mod evaluator;
mod failure;
mod history;
mod interrupt;
mod server;
mod sink;
mod text;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use jupyter_protocol::ConnectionInfo;
use tokio::sync::mpsc::unbounded_channel;

use evaluator::{Evaluator, Place};
use interrupt::Interrupter;
use server::Server;
use sink::Sink;

/// Runs a kernel until its front end shuts it down.
///
/// # Errors
/// A connection file that is missing or not one, ports that are taken.
pub(crate) fn main(connection_file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(connection_file).with_context(|| {
        format!(
            "could not read the connection file {}; Jupyter writes it",
            connection_file.display()
        )
    })?;
    let connection: ConnectionInfo = serde_json::from_str(&text).with_context(|| {
        format!("{} is not a Jupyter connection file", connection_file.display())
    })?;
    let build = PathBuf::from(std::env::var("EVCXR_TMPDIR")?);
    // SAFETY: no thread has been started yet.
    unsafe { crate::eval::toolbox::install(&build.join("toolbox"))? };
    let place = Place { socket: build.join("socket"), build };
    let (iopub, outgoing) = unbounded_channel();
    let (ask, questions) = unbounded_channel();
    let sink = Arc::new(Sink::new(iopub.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let interrupter = Interrupter::new(Arc::clone(&sink), Arc::clone(&stop));
    let evaluator = Evaluator::start(move || Ok(place), Arc::clone(&sink), stop, ask);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(
        server::serve(&connection, Server { evaluator, interrupter, iopub, outgoing, questions }),
    )
}

/// The library's shared object in a build folder.
fn library(build: &Path) -> Option<PathBuf> {
    let targets = std::fs::read_dir(build.join("target")).ok()?;
    targets.flatten().find_map(|target| {
        let deps = std::fs::read_dir(target.path().join("debug/deps")).ok()?;
        deps.flatten().map(|entry| entry.path()).find(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("libeigenlens_notebook")
                && path.extension().is_some_and(|e| e == "so" || e == "dylib")
        })
    })
}
