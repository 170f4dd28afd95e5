//! The Python environment: JupyterLab and what draws figures in it, at pinned versions.
//!
//! An environment is named by its requirements, is made where it stays (its scripts contain their
//! own path), and is marked complete last: one that a cut-off set-up left behind is made again.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::install::command::{on_path, output};
use crate::install::environment::for_python;
use crate::install::files::{digest, write_file};
use crate::install::pip::PipSettings;
use crate::install::state::{Checkout, State};
use crate::install::steps::Step;
use crate::install::toolchain::numbers;

/// Oldest Python that the pinned packages run on.
const MINIMUM: &str = "3.10";

/// An environment, whether or not it has been made.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    folder: PathBuf,
    requirements: Vec<PathBuf>,
    count: usize,
}

impl Python {
    /// The environment for this checkout's requirements; `tests` adds what the tests drive.
    pub(crate) fn of(state: &State, checkout: &Checkout, tests: bool) -> Result<Python> {
        let mut requirements = vec![checkout.environment("requirements.txt")?];
        if tests {
            requirements.push(checkout.environment("requirements-test.txt")?);
        }
        let mut text = String::new();
        for file in &requirements {
            text += &fs::read_to_string(file)
                .with_context(|| format!("could not read {}", file.display()))?;
        }
        let count = text.lines().filter(|line| line.contains("==")).count();
        let folder = state.pythons().join(&digest([text.as_bytes()])[..12]);
        Ok(Python { folder, requirements, count })
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its interpreter.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("bin/python")
    }

    /// Whether it is complete. Its interpreter is a link to the system's, which may have gone, or
    /// have become a newer one that does not look for packages where they are.
    pub(crate) fn is_ready(&self) -> bool {
        let Ok(made_with) = fs::read_to_string(self.marker()) else { return false };
        let minor = |version: &str| numbers(version).into_iter().take(2).collect::<Vec<u32>>();
        version(&self.program()).is_ok_and(|now| minor(&now) == minor(&made_with))
    }

    /// Makes it where it is not complete.
    pub(crate) fn ensure(&self, step: &mut Step) -> Result<&'static str> {
        if self.is_ready() {
            return Ok("up to date");
        }
        let (python, version) = find()?;
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("could not remove {}", self.folder.display()))?;
        }
        step.note(&format!("creating it with Python {version}"));
        fs::create_dir_all(&self.folder)
            .with_context(|| format!("could not create {}", self.folder.display()))?;
        output(for_python(Command::new(&python).args(["-m", "venv"]).arg(&self.folder)))
            .with_context(|| {
                format!(
                    "{} cannot make virtual environments; on Debian get it with: \
                     apt install python3-venv",
                    python.display()
                )
            })?;
        let settings = PipSettings::of(&self.program());
        if !settings.folders_only() || self.install(&settings, true, step).is_err() {
            self.install(&settings, false, step)?;
        }
        write_file(&self.marker(), version.as_bytes())?;
        Ok("installed")
    }

    fn marker(&self) -> PathBuf {
        self.folder.join("complete")
    }

    fn install(&self, settings: &PipSettings, no_index: bool, step: &mut Step) -> Result<()> {
        let mut pip = Command::new(self.program());
        pip.args(["-m", "pip", "install", "--no-input", "--disable-pip-version-check"]).args([
            "--progress-bar",
            "off",
            "--prefer-binary",
        ]);
        for file in &self.requirements {
            pip.arg("--requirement").arg(file);
        }
        let mut child = settings
            .apply(&mut pip, no_index)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not start pip")?;
        let complaints = child.stderr.take().map(|mut stderr| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).into_owned()
            })
        });
        let mut collected = 0;
        if let Some(stdout) = child.stdout.take() {
            for line in BufReader::new(stdout).lines() {
                let line = line.context("could not read what pip says")?;
                if let Some(name) = line.strip_prefix("Collecting ") {
                    collected += 1;
                    let name = name.split(" (").next().unwrap_or(name);
                    step.note(&format!("fetching {collected}/{} {name}", self.count));
                } else if line.starts_with("Installing") {
                    step.note("unpacking");
                }
            }
        }
        let status = child.wait().context("could not wait for pip")?;
        let complaints = complaints.and_then(|thread| thread.join().ok()).unwrap_or_default();
        if !status.success() {
            bail!(
                "pip could not install the packages of environment/requirements.txt (is there a \
                 network?):\n{}",
                complaints.trim()
            );
        }
        Ok(())
    }
}

/// The system's Python and its version, new enough.
pub(crate) fn find() -> Result<(PathBuf, String)> {
    let get = "get it with: apt install python3 python3-venv";
    let names = ["python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10"];
    let mut old = None;
    for python in names.into_iter().filter_map(on_path) {
        let ask = "import platform; print(platform.python_version())";
        let Ok(version) = output(for_python(Command::new(&python).args(["-c", ask]))) else {
            continue;
        };
        let version = version.trim().to_owned();
        if numbers(&version) >= numbers(MINIMUM) {
            return Ok((python, version));
        }
        old.get_or_insert((python, version));
    }
    match old {
        Some((python, version)) => bail!(
            "{} is Python {version}, {MINIMUM} or newer is needed for JupyterLab; {get}",
            python.display()
        ),
        None => bail!(
            "no Python on this machine (no working python3 on the path), which JupyterLab needs; {get}"
        ),
    }
}

/// The version of an interpreter, as `3.11.7`.
fn version(python: &Path) -> Result<String> {
    let ask = "import platform; print(platform.python_version())";
    let printed = output(for_python(Command::new(python).args(["-c", ask])))?;
    Ok(printed.trim().to_owned())
}

/// Whether the system's Python can make environments with pip in them.
pub(crate) fn check_venv(python: &Path) -> Result<()> {
    output(for_python(Command::new(python).args(["-c", "import venv, ensurepip"])))
        .map(drop)
        .with_context(|| {
            format!(
                "{} lacks the modules venv and ensurepip; on Debian get them with: apt install \
                 python3-venv",
                python.display()
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_differ_by_requirements() -> Result<()> {
        let state = State::locate()?;
        let checkout = Checkout::find()?;
        let plain = Python::of(&state, &checkout, false)?;
        let tests = Python::of(&state, &checkout, true)?;
        assert_ne!(plain.folder(), tests.folder());
        assert!(plain.count > 50, "every package is pinned");
        Ok(())
    }

    #[test]
    fn an_environment_of_another_python_is_made_again() -> Result<()> {
        let home = std::env::temp_dir().join(format!("eigenlens-python-{}", std::process::id()));
        let python = Python::of(&State::at(&home), &Checkout::find()?, false)?;
        assert!(!python.is_ready());
        let (system, version) = find()?;
        fs::create_dir_all(python.folder().join("bin"))?;
        std::os::unix::fs::symlink(&system, python.program())?;
        fs::write(python.marker(), &version)?;
        assert!(python.is_ready());
        fs::write(python.marker(), "3.9.2")?;
        assert!(!python.is_ready());
        fs::remove_dir_all(&home)?;
        Ok(())
    }

    #[test]
    fn every_requirement_is_pinned() -> Result<()> {
        let checkout = Checkout::find()?;
        for name in ["requirements.txt", "requirements-test.txt"] {
            for line in fs::read_to_string(checkout.environment(name)?)?.lines() {
                assert!(line.starts_with('#') || line.is_empty() || line.contains("=="), "{line}");
            }
        }
        Ok(())
    }
}
