//! `eigenlens`: the Jupyter kernel and the commands around it.

mod eval;
mod kernel;

use std::process::ExitCode;

fn main() -> ExitCode {
    // This binary is also its own evaluation process, the relay before it, and evcxr's wrapper
    // around rustc; those come first, before anything else is set up.
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
    let file = std::env::args().nth(1).unwrap_or_default();
    match kernel::main(std::path::Path::new(&file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
