//! `eigenlens run`: notebooks through the kernel, as Jupyter would run them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::commands::args::RunArgs;
use crate::commands::setup::setup;
use crate::install::jupyter::KERNEL;

/// Executes the notebooks in order and stops at the first that fails.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    for notebook in &args.notebooks {
        check(notebook)?;
    }
    if let Some(out) = &args.out {
        fs::create_dir_all(out)
            .with_context(|| format!("the folder {} cannot be made", out.display()))?;
        let mut names = std::collections::BTreeSet::new();
        for notebook in &args.notebooks {
            if !names.insert(notebook.file_name()) {
                bail!(
                    "two notebooks are called {}; run them with different --out",
                    notebook.display()
                );
            }
        }
    }
    let setup = setup(&args.setup)?;
    let script = setup.checkout.tool("run_notebook.py")?;
    for notebook in &args.notebooks {
        let target = match &args.out {
            Some(out) => out.join(notebook.file_name().unwrap_or_default()),
            None => notebook.clone(),
        };
        let mut command = Command::new(setup.python.program());
        command.arg(&script).arg("--kernel").arg(KERNEL).arg("--save").arg(&target);
        if let Some(timeout) = args.timeout {
            command.arg("--timeout").arg(timeout.to_string());
        }
        let status = setup
            .jupyter
            .environment(command.arg(notebook))
            .status()
            .context("could not start Python")?;
        if !status.success() {
            bail!("{} did not run to its end", notebook.display());
        }
    }
    Ok(())
}

/// What is wrong with a notebook, before minutes are spent on set-up.
fn check(path: &Path) -> Result<()> {
    let text = fs::read(path).with_context(|| format!("no notebook {}", path.display()))?;
    let invalid = || {
        format!(
            "{} is no notebook; expected a file of nbformat 4, as JupyterLab saves",
            path.display()
        )
    };
    let notebook: Value = serde_json::from_slice(&text).with_context(invalid)?;
    let Some(cells) = notebook["cells"].as_array().filter(|_| notebook["nbformat"] == 4) else {
        bail!(invalid());
    };
    if !cells.iter().any(|cell| cell["cell_type"] == "code") {
        bail!("{} has no code cells, so there is nothing to run", path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_notebook_is_named() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens-run-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let path = folder.join("a.ipynb");
        let error = |text: &str| -> Result<String> {
            fs::write(&path, text)?;
            Ok(check(&path).expect_err("it is not valid").to_string())
        };
        assert!(check(&folder.join("none.ipynb")).is_err());
        assert!(error("{")?.contains("nbformat 4"));
        assert!(error(r#"{"nbformat": 3, "worksheets": []}"#)?.contains("nbformat 4"));
        assert!(error(r#"{"nbformat": 4, "cells": []}"#)?.contains("no code cells"));
        fs::write(&path, r#"{"nbformat": 4, "cells": [{"cell_type": "code", "source": "1"}]}"#)?;
        check(&path)?;
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
