//! `eigenlens setup`: everything a notebook needs, made once and kept up to date.

use anyhow::{Context as _, Result, bail};

use crate::commands::cli::SetupArgs;
use crate::install::clone::sweep;
use crate::install::jupyter::Jupyter;
use crate::install::program;
use crate::install::python::{self, Python};
use crate::install::state::{Checkout, State};
use crate::install::steps::{Steps, bytes};
use crate::install::template::{Readiness, Template};
use crate::install::toolchain::{Toolchain, c_linker};

/// Room that Python, the build and a few kernels take, in bytes.
const ROOM: u64 = 4_000_000_000;

/// What set-up leaves behind for the commands that use it.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The sources that it was made from.
    pub(crate) checkout: Checkout,
    /// JupyterLab's environment.
    pub(crate) python: Python,
    /// Jupyter's folders.
    pub(crate) jupyter: Jupyter,
}

/// Does what is missing, shows each step and its time.
pub(crate) fn setup(args: &SetupArgs) -> Result<Setup> {
    let begin = std::time::Instant::now();
    let checkout = Checkout::find()?;
    let state = State::open()?;
    let features = features(&args.features)?;
    let _lock = state.lock_setup()?;
    let mut steps = Steps::new(5);

    let mut step = steps.begin("This machine");
    let toolchain = Toolchain::find()?;
    let python = Python::of(&state, &checkout, args.tests)?;
    let template = Template::of(&state, &checkout, &toolchain, &features);
    let found = check_machine(&state, &toolchain, &python, &template, &checkout, &mut step)?;
    step.done(&found);

    let mut step = steps.begin("Python environment");
    let outcome = python.ensure(&mut step)?;
    step.done(outcome);

    let step = steps.begin("This program");
    let program = program::install(&state)?;
    step.done("in place");

    let mut step = steps.begin("Library for notebooks");
    let outcome = template.ensure(&checkout, &toolchain, &features, &program, &mut step)?;
    step.done(outcome);

    let step = steps.begin("Jupyter kernel");
    let jupyter = Jupyter::of(&state, &checkout, &features);
    jupyter.install(&state, &checkout, &toolchain, &template, &program)?;
    program::prune(&state)?;
    let swept = sweep(&state)?;
    step.done(&match swept {
        0 => "installed for this project".to_owned(),
        n => format!("installed for this project, {n} folders of ended kernels removed"),
    });
    println!("ready in {}", crate::install::steps::seconds(begin.elapsed()));
    Ok(Setup { checkout, python, jupyter })
}

/// Features in one order, each once, so that the same set names the same build.
pub(crate) fn features(asked: &[String]) -> Result<Vec<String>> {
    let mut features: Vec<String> = asked.to_vec();
    features.sort();
    features.dedup();
    if let Some(unknown) = features.iter().find(|name| *name != "cuda") {
        bail!("the library has no feature `{unknown}`; there is one: cuda");
    }
    Ok(features)
}

fn check_machine(
    state: &State,
    toolchain: &Toolchain,
    python: &Python,
    template: &Template,
    checkout: &Checkout,
    step: &mut crate::install::steps::Step,
) -> Result<String> {
    c_linker()?;
    if !toolchain.has_rust_src() {
        step.note("getting the Rust component rust-src");
        toolchain.ensure_rust_src()?;
    }
    let mut found = format!("rustc {}", toolchain.version);
    if !python.is_ready() {
        let (program, version) = python::find()?;
        python::check_venv(&program)?;
        found += &format!(", Python {version}");
    }
    let free = free_bytes(state.home())?;
    found += &format!(", {} free", bytes(free));
    if template.readiness(checkout)? == Readiness::Missing && free < ROOM {
        bail!(
            "{} free for {}, about {} are needed; make room, or set EIGENLENS_HOME to a folder on \
             another disk",
            bytes(free),
            state.home().display(),
            bytes(ROOM)
        );
    }
    Ok(found)
}

/// Bytes free to this user on the disk that holds a folder.
pub(crate) fn free_bytes(folder: &std::path::Path) -> Result<u64> {
    use std::os::unix::ffi::OsStrExt as _;
    let name = std::ffi::CString::new(folder.as_os_str().as_bytes())
        .with_context(|| format!("{} is not a usable path", folder.display()))?;
    // SAFETY: `statvfs` is plain numbers, for which zero is a valid value.
    let mut disk: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends in NUL and the address is that of one `statvfs`.
    if unsafe { libc::statvfs(name.as_ptr(), &mut disk) } != 0 {
        return Err(std::io::Error::last_os_error())
            .with_context(|| format!("could not ask for the free space of {}", folder.display()));
    }
    #[allow(clippy::unnecessary_cast, reason = "the field types differ between systems")]
    Ok(disk.f_bavail as u64 * disk.f_frsize as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_a_known_set() {
        assert_eq!(features(&["cuda".into(), "cuda".into()]).ok(), Some(vec!["cuda".to_owned()]));
        let error = features(&["metal".into()]).expect_err("no such feature");
        assert!(error.to_string().contains("cuda"), "{error}");
    }

    #[test]
    fn disks_have_room() -> Result<()> {
        assert!(free_bytes(std::path::Path::new("/"))? > 0);
        assert!(free_bytes(std::path::Path::new("/no/such/folder")).is_err());
        Ok(())
    }
}
