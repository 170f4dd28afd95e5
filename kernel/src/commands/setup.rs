//! `eigenlens setup`: everything a notebook needs, made once and kept up to date.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::commands::args::{SetupArgs, SetupCommand};
use crate::install::clone::sweep;
use crate::install::environment::check_temporary_folder;
use crate::install::files::free_bytes;
use crate::install::jupyter::Jupyter;
use crate::install::kernelspec::Kernelspec;
use crate::install::python::{self, Python};
use crate::install::state::{Checkout, State};
use crate::install::steps::{Steps, bytes};
use crate::install::template::{Readiness, Template};
use crate::install::toolchain::{Toolchain, c_linker};
use crate::install::{program, user};

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
    /// The library as cells link it.
    pub(crate) template: Template,
    /// This program, where set-up put it.
    pub(crate) program: PathBuf,
    /// How the kernel is started.
    pub(crate) kernelspec: Kernelspec,
}

/// Sets up, and puts the kernel into the user's own Jupyter folder or takes it out.
pub(crate) fn setup_command(args: &SetupCommand) -> Result<()> {
    if args.remove {
        let state = State::locate()?;
        let place = user::place(&state)?;
        if user::remove(&state, &place)? {
            println!("removed {}", place.display());
        } else {
            println!("no kernel of eigenlens is in {}; nothing was removed", place.display());
        }
        for other in user::places(&state)? {
            if other != place && matches!(user::found(&other), user::Found::Ours(_)) {
                println!("it is still registered in {}", other.display());
            }
        }
        return Ok(());
    }
    let setup = setup(&args.setup)?;
    if args.user {
        let place = user::register(&State::open()?, &setup.kernelspec)?;
        println!(
            "registered for every Jupyter of this user, in {}; --remove takes it out again",
            place.display()
        );
    }
    Ok(())
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
    let kernelspec =
        Kernelspec::new(&state, &checkout, &features, &toolchain, &template, &program)?;
    jupyter.install(&kernelspec)?;
    let registered = user::refresh(&state, &kernelspec)?;
    program::prune(&state)?;
    let swept = sweep(&state)?;
    let mut outcome = "installed for this project".to_owned();
    if registered > 0 {
        outcome += " and where it was registered";
    }
    if swept > 0 {
        outcome += &format!(", {swept} folders of ended kernels removed");
    }
    step.done(&outcome);
    println!("ready in {}", crate::install::steps::seconds(begin.elapsed()));
    Ok(Setup { checkout, python, jupyter, template, program, kernelspec })
}

/// What a build of the library can have.
pub(crate) const FEATURES: [&str; 2] = ["cuda", "s3"];

/// Features in one order, each once, so that the same set names the same build.
pub(crate) fn features(asked: &[String]) -> Result<Vec<String>> {
    let mut features: Vec<String> = asked.to_vec();
    features.sort();
    features.dedup();
    if let Some(unknown) = features.iter().find(|name| !FEATURES.contains(&name.as_str())) {
        bail!("the library has no feature `{unknown}`; there are: {}", FEATURES.join(", "));
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
    check_temporary_folder()?;
    let mut found = format!("rustc {}", toolchain.version);
    if !toolchain.has_rust_src() {
        step.note("adding the Rust component rust-src (rustup component add rust-src)");
        toolchain.ensure_rust_src()?;
        found += ", to which rustup added the component rust-src";
    }
    if !python.is_ready() {
        let (program, version) = python::find()?;
        python::check_venv(&program)?;
        found += &format!(", Python {version}");
    }
    let missing = template.readiness(checkout)? == Readiness::Missing;
    if missing {
        state.check_programs_run()?;
    }
    let free = free_bytes(state.home())?;
    found += &format!(", {} free", bytes(free));
    if missing && free < ROOM {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_a_known_set() {
        assert_eq!(features(&["cuda".into(), "cuda".into()]).ok(), Some(vec!["cuda".to_owned()]));
        let error = features(&["metal".into()]).expect_err("no such feature");
        assert!(error.to_string().contains("there are: cuda, s3"), "{error}");
    }
}
