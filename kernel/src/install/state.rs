//! Where things live: the state folder in the user's cache, and the checkout of the project.
//!
//! ```text
//! $EIGENLENS_HOME, or eigenlens/ in the user's cache folder
//!   bin/<stamp>/eigenlens     the program that kernels run: building anew does not disturb them
//!   python/<requirements>/    virtual environment with JupyterLab
//!   builds/<key>/             template: library and first cell, compiled (see `template`)
//!   kernels/<id>/             one copy of a template for each running kernel
//!   jupyter/<checkout>/       kernelspec and settings of this project only
//!   jupyter/registered.json   where `setup --user` put the kernelspec too
//!   data/                     downloaded data sets
//! ```

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use eigenlens_common::home::{self, HOME_VARIABLE};

use crate::install::files::{digest, lock};
use crate::install::paths::{self, Flaw};

/// Environment variable that names the checkout where it is not the one the program was built in.
pub(crate) const CHECKOUT_VARIABLE: &str = "EIGENLENS_CHECKOUT";

/// The state folder.
#[derive(Debug, Clone)]
pub(crate) struct State {
    home: PathBuf,
}

impl State {
    /// The state folder as the environment says, created and checked for writing.
    pub(crate) fn open() -> Result<State> {
        let state = State::locate()?;
        let hint = format!(
            "set {HOME_VARIABLE} to a folder that you can write to (about 4 GB are needed)"
        );
        fs::create_dir_all(&state.home)
            .and_then(|()| {
                let probe = state.home.join(format!(".probe-{}", std::process::id()));
                File::create(&probe)?.write_all(b"x")?;
                fs::remove_file(&probe)
            })
            .with_context(|| {
                format!("the state folder {} cannot be written; {hint}", state.home.display())
            })?;
        Ok(state)
    }

    /// Whether programs can be started in it: some disks are mounted for data alone.
    pub(crate) fn check_programs_run(&self) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let probe = self.home.join(format!(".probe-{}.sh", std::process::id()));
        let started = fs::write(&probe, "#!/bin/sh\n")
            .and_then(|()| fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)))
            .and_then(|()| std::process::Command::new(&probe).status());
        let _ = fs::remove_file(&probe);
        if started.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
            bail!(
                "programs in the state folder {} cannot be started (is its disk mounted with \
                 noexec?); set {HOME_VARIABLE} to a folder on another disk",
                self.home.display()
            );
        }
        Ok(())
    }

    /// The state folder as the environment says, whether or not it exists.
    pub(crate) fn locate() -> Result<State> {
        let home = home::home()?;
        let home = std::path::absolute(&home)
            .with_context(|| format!("{} is not a usable path", home.display()))?;
        let remedy = format!("set {HOME_VARIABLE} to a folder with another name");
        paths::check("the state folder", &home, &remedy)?;
        Ok(State { home })
    }

    /// A state folder for a test.
    #[cfg(test)]
    pub(crate) fn at(home: &Path) -> State {
        State { home: home.to_owned() }
    }

    /// The folder itself.
    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// Copies of the program that kernelspecs point at.
    pub(crate) fn programs(&self) -> PathBuf {
        self.home.join("bin")
    }

    /// Virtual environments.
    pub(crate) fn pythons(&self) -> PathBuf {
        self.home.join("python")
    }

    /// Templates of cell build folders.
    pub(crate) fn builds(&self) -> PathBuf {
        self.home.join("builds")
    }

    /// Build folders of running kernels.
    pub(crate) fn kernels(&self) -> PathBuf {
        self.home.join("kernels")
    }

    /// Downloaded data sets.
    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// Jupyter's folders for one checkout and set of features.
    pub(crate) fn jupyter(&self, checkout: &Checkout, features: &[String]) -> PathBuf {
        let key =
            digest([checkout.root().as_os_str().as_encoded_bytes(), features.join(",").as_bytes()]);
        self.home.join("jupyter").join(&key[..12])
    }

    /// One set-up at a time: waits for another one, after saying so.
    pub(crate) fn lock_setup(&self) -> Result<File> {
        lock(&self.home.join("setup.lock"), || {
            println!(
                "another eigenlens setup is at work in {}; waiting for it",
                self.home.display()
            );
        })
    }
}

/// The folder with the project's sources: its root has the library, `notebooks/`, `environment/` and
/// `tools/`.
#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    root: PathBuf,
}

impl Checkout {
    /// `EIGENLENS_CHECKOUT`, else the checkout that this program was built in.
    pub(crate) fn find() -> Result<Checkout> {
        let (root, named) = match std::env::var_os(CHECKOUT_VARIABLE).filter(|v| !v.is_empty()) {
            Some(root) => (PathBuf::from(root), true),
            None => (Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), false),
        };
        let whose = if named { CHECKOUT_VARIABLE } else { "the folder this program was built in" };
        let root = root.canonicalize().with_context(|| {
            format!("no checkout at {} ({whose}); set {CHECKOUT_VARIABLE} to it", root.display())
        })?;
        if !root.join("kernel/dylib/Cargo.toml").is_file() {
            bail!(
                "{} ({whose}) is no eigenlens checkout: it has no kernel/dylib/Cargo.toml; \
                 set {CHECKOUT_VARIABLE} to the folder with the project's Cargo.toml",
                root.display()
            );
        }
        // Nothing puts the checkout into a list of folders, so it may have a colon in its name.
        if paths::flaw(&root).is_some_and(|flaw| flaw != Flaw::Colon) {
            paths::check("the checkout", &root, "move it to a folder with another name")?;
        }
        Ok(Checkout { root })
    }

    /// The folder with the workspace's Cargo.toml.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A file of `environment/`, which must be there.
    pub(crate) fn environment(&self, name: &str) -> Result<PathBuf> {
        self.file("environment", name)
    }

    /// A script of `tools/`, which must be there.
    pub(crate) fn tool(&self, name: &str) -> Result<PathBuf> {
        self.file("tools", name)
    }

    fn file(&self, folder: &str, name: &str) -> Result<PathBuf> {
        let path = self.root.join(folder).join(name);
        if !path.is_file() {
            bail!("{} is missing; restore it with: git checkout {folder}/{name}", path.display());
        }
        Ok(path)
    }
}
