//! Starts evcxr in a build folder, with the library there from the first evaluation.

#![allow(unsafe_code, reason = "calls what sets environment variables, before any thread runs")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use evcxr::{CommandContext, EvalContext, EvalContextOutputs};

use super::toolbox;
use crate::install::clone::clone_for_kernel;
use crate::install::layout::TOOLBOX;
use crate::install::state::State;
use crate::install::template::Template;
use crate::install::toolchain::Compiler;

/// What every notebook begins with.
pub(crate) const PRELUDE: &str = "use eigenlens::prelude::*;";

/// A context that evaluates cells in a build folder (a kernel's own, or a template).
///
/// `child` starts the evaluation process: this binary, with any environment that cells shall see.
/// It runs in the folder the caller is in. The caller's folder changes for the duration of the
/// call, because evcxr reads its settings from there before it looks anywhere else; a user's own
/// `evcxr.toml` is not read.
pub(crate) fn start(
    folder: &Path,
    mut child: Command,
) -> Result<(CommandContext, EvalContextOutputs)> {
    let home = std::env::current_dir().context("the current folder does not exist any more")?;
    child.current_dir(&home);
    let settings = folder.join("start");
    std::env::set_current_dir(&settings)
        .with_context(|| format!("{} is not a build folder", folder.display()))?;
    let context = EvalContext::with_subprocess_command(child);
    std::env::set_current_dir(&home).context("could not return to the notebook's folder")?;
    let (context, outputs) =
        context.map_err(|error| anyhow!("cells cannot be compiled: {error}"))?;
    Ok((CommandContext::with_eval_context(context), outputs))
}

/// Cells that bring all that a notebook's first ones need.
const FIRST: [&str; 5] = [
    PRELUDE,
    "let warm: f64 = 1.0;",
    "let tensor = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;",
    "tensor",
    "warm + 1.0",
];

/// Evaluates cells in a template, the first ones of any notebook unless told others, and says how
/// long each took. `copy` does it in a copy, as a kernel does: then these are a user's waits.
///
/// To be called while there is one thread.
pub(crate) fn warm(folder: &Path, copy: bool, cells: &[String]) -> Result<()> {
    // SAFETY: the caller vouches that there is one thread.
    unsafe { toolbox::install(&folder.join(TOOLBOX), &Compiler::on_path()?)? };
    if !copy {
        return evaluate(folder, cells);
    }
    let begin = Instant::now();
    let copy = clone_for_kernel(&State::open()?, &Template::at(folder)?)?;
    println!("copy {:.2} s", begin.elapsed().as_secs_f64());
    evaluate(copy.folder(), cells)
}

fn evaluate(folder: &Path, cells: &[String]) -> Result<()> {
    let begin = Instant::now();
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let (mut context, outputs) = start(folder, Command::new(program))?;
    println!("start {:.2} s", begin.elapsed().as_secs_f64());
    // Unread output would fill the pipe.
    std::thread::spawn(move || for _ in &outputs.stdout {});
    let errors = std::thread::spawn(move || outputs.stderr.iter().collect::<Vec<String>>());
    let cells: Vec<&str> =
        if cells.is_empty() { FIRST.to_vec() } else { cells.iter().map(String::as_str).collect() };
    let mut failed = None;
    for cell in cells {
        let begin = Instant::now();
        match context.execute(cell) {
            Ok(_) => println!("{:.2} s  {cell}", begin.elapsed().as_secs_f64()),
            Err(error) => {
                failed = Some(format!("`{cell}`: {error}"));
                break;
            }
        }
    }
    drop(context);
    let said = errors.join().unwrap_or_default().join("\n");
    match failed {
        Some(error) => Err(anyhow!("{error}\n{said}")),
        None => Ok(()),
    }
}
