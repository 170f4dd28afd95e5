//! `eigenlens`: the Jupyter kernel and the commands around it. See `eigenlens --help`.
//!
//! - `commands` is what a person calls;
//! - `install` keeps what notebooks need on this machine;
//! - `site` makes pages of executed notebooks;
//! - `jupyter` speaks with Jupyter and owns evcxr;
//! - `eval` is the process that runs the cells, and what stands between it and the kernel.

mod commands;
mod eval;
mod install;
mod jupyter;
mod site;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // This binary is also its own evaluation process, the relay before it, evcxr's wrapper around
    // rustc, and the cargo that rust-analyzer sees. Those come first, before anything is set up.
    if let Ok(socket) = std::env::var(eval::relay::VARIABLE) {
        return eval::relay::run(&socket);
    }
    if let Ok(descriptor) = std::env::var(eval::runtime::VARIABLE) {
        return eval::runtime::run(&descriptor);
    }
    if let Some(tool) = eval::toolbox::called_as() {
        return eval::toolbox::run(tool);
    }
    evcxr::runtime_hook();
    match commands::cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
