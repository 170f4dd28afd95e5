//! The Jupyter kernel: a thin layer between a front end and evcxr.
//!
//! `server` speaks the protocol; `evaluator` owns evcxr on a thread of its own; the evaluation
//! process talks to `sink`, through the relay of [`crate::eval`], and `sink` to the front end.

#![allow(unsafe_code, reason = "calls what sets environment variables, before any thread runs")]

mod alignment;
mod bindings;
mod capture;
mod client;
mod complete;
mod completion;
mod diagnostic;
mod drawing;
mod evaluator;
mod failure;
mod hint;
mod history;
mod impls;
mod interrupt;
mod palette;
mod place;
mod references;
mod server;
mod sink;
mod socket;
mod text;
mod timing;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use jupyter_protocol::ConnectionInfo;
use rustix::process::Signal;
use tokio::sync::mpsc::unbounded_channel;

use crate::eval::processes;
use evaluator::Evaluator;
use interrupt::Interrupter;
use place::Place;
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
    // SAFETY: no thread has been started yet.
    let reserved = unsafe { Place::reserve() };
    // Kept until the end; the evaluator shows what went wrong, if anything did.
    let _directory = reserved.as_ref().ok().map(Place::directory);
    let fill = move || reserved.and_then(Place::fill);
    let (iopub, outgoing) = unbounded_channel();
    let (ask, questions) = unbounded_channel();
    let sink = Arc::new(Sink::new(iopub.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let interrupter = Interrupter::new(Arc::clone(&sink), Arc::clone(&stop));
    let evaluator = Evaluator::start(fill, Arc::clone(&sink), stop, ask);
    let server = Server { evaluator, interrupter, iopub, outgoing, questions };
    let served = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(server::serve(&connection, server));
    if let (_, Some(process)) = sink.phase() {
        processes::signal(process, Signal::KILL);
    }
    processes::end_compilers();
    served
}
