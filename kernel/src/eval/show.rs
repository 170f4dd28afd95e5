//! One cell that runs until it is ended, with what it prints on the terminal.

#![allow(unsafe_code, reason = "calls what sets environment variables, before any thread runs")]

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow};
use eigenlens_common::message::PAGE_LINK;

use super::context::start;
use super::toolbox;
use crate::install::clone::clone_for_kernel;
use crate::install::layout::TOOLBOX;
use crate::install::state::State;
use crate::install::template::Template;
use crate::install::toolchain::Compiler;

/// Evaluates `cell` in a copy of a template, prints what it prints, and has `browser`, a Python, open
/// the link that it prints.
///
/// To be called while there is one thread.
pub(crate) fn show(folder: &Path, cell: &str, browser: Option<&Path>) -> Result<()> {
    // SAFETY: the caller vouches that there is one thread.
    unsafe { toolbox::install(&folder.join(TOOLBOX), &Compiler::on_path()?)? };
    let copy = clone_for_kernel(&State::open()?, &Template::at(folder)?)?;
    let program = std::env::current_exe().context("this program does not know its own path")?;
    let mut child = Command::new(program);
    // SAFETY: the call is async-signal-safe. The cell would go on without us otherwise.
    #[cfg(target_os = "linux")]
    unsafe {
        child.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let (mut context, outputs) = start(copy.folder(), child)?;
    let browser = browser.map(Path::to_owned);
    std::thread::spawn(move || {
        for line in &outputs.stdout {
            println!("{line}");
            let _ = std::io::stdout().flush();
            if let (Some(link), Some(python)) = (line.strip_prefix(PAGE_LINK), &browser) {
                open(python, link);
            }
        }
    });
    let errors = std::thread::spawn(move || {
        for line in &outputs.stderr {
            eprintln!("{line}");
        }
    });
    let ended = context.execute(cell);
    drop(context);
    let _ = errors.join();
    ended.map(drop).map_err(|error| anyhow!("{error}"))
}

/// Opens a link in the user's browser. It goes through standard input, because every user of a
/// machine can read the arguments of a process.
fn open(python: &Path, link: &str) {
    let script = "import sys, webbrowser; webbrowser.open(sys.stdin.read())";
    let child = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = child {
        if let Some(mut input) = child.stdin.take() {
            let _ = input.write_all(link.as_bytes());
        }
        let _ = child.wait();
    }
}
