//! `eigenlens site`: README, executed notebooks and API documentation as pages of one folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::commands::args::SiteArgs;
use crate::install::python::Python;
use crate::install::state::{Checkout, State};
use crate::install::steps::{Steps, bytes};
use crate::site::{ApiDocumentation, Site};

/// Makes the site and says where it is.
pub(crate) fn site(args: &SiteArgs) -> Result<()> {
    let checkout = Checkout::find()?;
    let notebooks = match &args.notebooks {
        Some(folder) => folder
            .canonicalize()
            .with_context(|| format!("no folder of notebooks at {}", folder.display()))?,
        None => checkout.root().join("notebooks"),
    };
    let api = match &args.api {
        _ if args.no_api => ApiDocumentation::None,
        Some(folder) => ApiDocumentation::Folder(folder.clone()),
        None => ApiDocumentation::Build,
    };
    let plotly = plotly(&State::open()?, &checkout)?;
    let site = Site { checkout: &checkout, notebooks: &notebooks, plotly: &plotly, api };
    let built = site.build(&args.out)?;
    println!(
        "{} notebooks, {}: open {}",
        built.num_notebooks,
        bytes(built.size),
        built.start.display()
    );
    Ok(())
}

/// The script with which JupyterLab draws figures, in the Python environment; that is made if
/// there is none.
fn plotly(state: &State, checkout: &Checkout) -> Result<PathBuf> {
    let python = Python::of(state, checkout, false)?;
    // What the tests drive is beside the same packages.
    let tests = Python::of(state, checkout, true)?;
    let python = if !python.is_ready() && tests.is_ready() { tests } else { python };
    if !python.is_ready() {
        let _lock = state.lock_setup()?;
        let mut step = Steps::new(1).begin("Python environment");
        let outcome = python.ensure(&mut step)?;
        step.done(outcome);
    }
    script_in(python.folder())
}

fn script_in(environment: &Path) -> Result<PathBuf> {
    let libraries = environment.join("lib");
    let entries = fs::read_dir(&libraries)
        .with_context(|| format!("could not read {}", libraries.display()))?;
    let script = "site-packages/plotly/package_data/plotly.min.js";
    let found =
        entries.flatten().map(|entry| entry.path().join(script)).find(|path| path.is_file());
    let Some(found) = found else {
        bail!(
            "the Python environment lacks plotly's script (lib/python*/{script}); remove {} and run: \
             cargo lab",
            environment.display()
        );
    };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plotly_is_found_whatever_the_version_of_python() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(script_in(folder.path()).is_err());
        let package = folder.path().join("lib/python3.14/site-packages/plotly/package_data");
        fs::create_dir_all(&package)?;
        let error = script_in(folder.path()).expect_err("it is not there").to_string();
        assert!(error.contains("plotly") && error.contains("cargo lab"), "{error}");
        fs::write(package.join("plotly.min.js"), "")?;
        assert_eq!(script_in(folder.path())?, package.join("plotly.min.js"));
        Ok(())
    }
}
