//! The template of cell build folders: dependencies, library and a first cell, compiled once.
//!
//! ```text
//! builds/<key>/
//!   .cargo/config.toml   how everything is compiled; overrides the manifest that evcxr writes
//!   start/evcxr.toml     what evcxr reads when it starts: the build folder, and the library as
//!                        dependency from the first cell on
//!   cells/               the build folder itself: Cargo.toml, Cargo.lock, src/, target/
//!   cells/library/       the library's sources (see `library`)
//!   ready.json           written last; without it nothing here is used
//! ```
//!
//! The key names all that makes compiled crates incompatible: compiler, features, compile options,
//! linker, and the checkout. A new checkout starts from another one's template where all else
//! agrees, so its dependencies are not compiled again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::install::command::output;
use crate::install::environment::for_cargo;
use crate::install::files::{digest, lock, lock_shared, write_file};
use crate::install::layout::RECORD;
use crate::install::library;
use crate::install::rebuild::Built;
use crate::install::state::{Checkout, State};
use crate::install::steps::Step;
use crate::install::toolchain::{Compiler, Toolchain};
use crate::install::tree::copy_parts;

/// Environment variable of the kernelspec that names the template to use.
pub(crate) const TEMPLATE_VARIABLE: &str = "EIGENLENS_TEMPLATE";

/// How cells and what they link are compiled. Cells' own code is compiled while the user waits.
/// Everything else runs at full optimisation without overflow checks; the library without
/// incremental compilation, which would cut it into pieces too small to optimise across. Cargo
/// merges this with the user's own configuration and prefers what is said here, so all that may be
/// said there has to be said here.
const PROFILE: &str = r#"[profile.dev]
opt-level = 3
debug = false
strip = "debuginfo"
rpath = true
lto = false
debug-assertions = false
overflow-checks = false
codegen-units = 16
panic = "unwind"
incremental = true

[profile.dev.build-override]
opt-level = 0

[profile.dev.package."*"]
opt-level = 3
debug = false
strip = "debuginfo"
debug-assertions = false
overflow-checks = false
codegen-units = 16

[profile.dev.package.eigenlens]
incremental = false

[profile.dev.package.eigenlens-app]
incremental = false

[profile.dev.package.eigenlens-common]
incremental = false

[profile.dev.package.eigenlens-notebook]
incremental = false

[profile.dev.package.ctx]
opt-level = 2
"#;

/// Content of the build folder's `.cargo/config.toml`. The linker is the one that set-up checks for,
/// whatever the user's configuration says of their own projects.
fn config(toolchain: &Toolchain) -> String {
    format!("{PROFILE}\n[target.{}]\nlinker = \"cc\"\n", toolchain.host)
}

/// What stands for the optimisation level in the manifest that evcxr writes.
///
/// evcxr 0.22 has no setting for dependencies that are there before the first evaluation, and one
/// added later costs a second load of the whole crate graph (5 s) and lets Cargo.lock float. Its
/// optimisation level is copied into the manifest as it stands, so the dependency goes in there;
/// the keys that follow it in evcxr's text land in a profile that nobody uses, and `PROFILE`
/// supplies those of the one in use. The same trick forbids `:opt` in a cell.
fn opt_level(features: &[String]) -> String {
    let features = serde_json::Value::from(features.to_vec());
    format!(
        "2\n\n[dependencies.eigenlens]\npackage = \"eigenlens-notebook\"\n\
         path = \"library/kernel/dylib\"\nfeatures = {features}\n\n\
         [profile.unused]\ninherits = \"dev\"\nopt-level = 2"
    )
}

/// One template, whether or not it has been built.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    folder: PathBuf,
}

/// Content of `ready.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Ready {
    library: String,
    features: Vec<String>,
    rustc: String,
    /// Templates of earlier versions do not have it.
    #[serde(default)]
    compiler: Option<Compiler>,
}

/// What a template is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Never built, or a build was cut off.
    Missing,
    /// Built from other sources than the checkout has now.
    Stale,
    /// Built from the checkout's sources.
    Ready,
}

impl Template {
    /// The template for this compiler, checkout and set of features.
    pub(crate) fn of(
        state: &State,
        checkout: &Checkout,
        toolchain: &Toolchain,
        features: &[String],
    ) -> Template {
        let shared = digest([
            toolchain.verbose_version.as_bytes(),
            features.join(",").as_bytes(),
            config(toolchain).as_bytes(),
            opt_level(features).as_bytes(),
            toolchain.linker().as_bytes(),
        ]);
        let own = digest([checkout.root().as_os_str().as_encoded_bytes()]);
        Template { folder: state.builds().join(format!("{}-{}", &shared[..12], &own[..12])) }
    }

    /// The template that a kernelspec names; an error where it was never built.
    pub(crate) fn at(folder: &Path) -> Result<Template> {
        let template = Template { folder: folder.to_owned() };
        if template.ready().is_none() {
            bail!(
                "the notebook's library has not been built in {}; build it with: cargo lab",
                folder.display()
            );
        }
        Ok(template)
    }

    /// Its folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The build folder that evcxr works in.
    pub(crate) fn cells(&self) -> PathBuf {
        self.folder.join("cells")
    }

    /// Whether it can be used, and whether it is up to date.
    pub(crate) fn readiness(&self, checkout: &Checkout) -> Result<Readiness> {
        let Some(ready) = self.ready() else { return Ok(Readiness::Missing) };
        let fresh = ready.library == library::fingerprint(checkout)?;
        Ok(if fresh { Readiness::Ready } else { Readiness::Stale })
    }

    /// The compiler that it was built with, where it is known.
    pub(crate) fn compiler(&self) -> Option<Compiler> {
        self.ready()?.compiler
    }

    /// Holds off set-up while the template is being copied.
    pub(crate) fn lock_shared(&self) -> Result<fs::File> {
        lock_shared(&self.lock_path())
    }

    /// Builds what is missing or stale and says what it is doing. `program` is this binary, which
    /// evaluates the first cell in a process of its own.
    pub(crate) fn ensure(
        &self,
        checkout: &Checkout,
        toolchain: &Toolchain,
        features: &[String],
        program: &Path,
        step: &mut Step,
    ) -> Result<&'static str> {
        let ready = Ready {
            library: library::fingerprint(checkout)?,
            features: features.to_vec(),
            rustc: toolchain.version.clone(),
            compiler: Some(toolchain.compiler()),
        };
        if self.ready().is_some_and(|old| old.library == ready.library) {
            self.write_settings(toolchain, features)?;
            // The linker may have moved.
            write_file(&self.marker(), &serde_json::to_vec_pretty(&ready)?)?;
            return Ok("up to date");
        }
        let _lock = lock(&self.lock_path(), || println!("waiting for kernels that are starting"))?;
        let new = !self.cells().join("target").exists();
        if new {
            self.seed(step)?;
        }
        for old in [self.marker(), self.cells().join(RECORD)] {
            if old.exists() {
                fs::remove_file(&old)
                    .with_context(|| format!("could not remove {}", old.display()))?;
            }
        }
        self.write_settings(toolchain, features)?;
        library::snapshot(checkout, &self.cells().join("library"))?;
        self.write_manifest(checkout)?;
        self.compile(toolchain, step)?;
        step.note("running a first cell");
        output(for_cargo(Command::new(program).arg("warm").arg(&self.folder)))
            .context("the library was built, but a first cell that uses it did not run")?;
        write_file(&self.marker(), &serde_json::to_vec_pretty(&ready)?)?;
        Ok(if new { "built" } else { "rebuilt from changed sources" })
    }

    fn ready(&self) -> Option<Ready> {
        serde_json::from_slice(&fs::read(self.marker()).ok()?).ok()
    }

    fn marker(&self) -> PathBuf {
        self.folder.join("ready.json")
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.with_extension("lock")
    }

    /// Starts from a template that differs only in its checkout, if there is one.
    fn seed(&self, step: &mut Step) -> Result<()> {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shared = name.split('-').next().unwrap_or_default().to_owned();
        let Some(builds) = self.folder.parent().filter(|builds| builds.is_dir()) else {
            return Ok(());
        };
        for entry in fs::read_dir(builds).context("could not read the builds folder")? {
            let other = Template { folder: entry?.path() };
            let fits = other.folder != self.folder
                && other
                    .folder
                    .file_name()
                    .is_some_and(|n| n.to_string_lossy().starts_with(&shared));
            if fits && other.ready().is_some() {
                step.note("starting from another checkout's build");
                let _lock = other.lock_shared()?;
                return clone_tree(&other.folder, &self.folder);
            }
        }
        Ok(())
    }

    fn write_settings(&self, toolchain: &Toolchain, features: &[String]) -> Result<()> {
        write_file(&self.folder.join(".cargo/config.toml"), config(toolchain).as_bytes())?;
        write_start(&self.folder, &opt_level(features))
    }

    /// What evcxr is going to write too, so that the build before it finds the same crate. The
    /// workspace's Cargo.lock pins every version.
    fn write_manifest(&self, checkout: &Checkout) -> Result<()> {
        let cells = self.cells();
        let text = fs::read_to_string(self.folder.join("start/evcxr.toml"))?;
        let manifest = manifest(&toml_string(&text, "opt_level").unwrap_or_default());
        write_file(&cells.join("Cargo.toml"), manifest.as_bytes())?;
        // The last cell that was compiled here may use what the library no longer has.
        write_file(&cells.join("src/lib.rs"), b"")?;
        let lock = checkout.root().join("Cargo.lock");
        let pinned =
            fs::read(&lock).with_context(|| format!("could not read {}", lock.display()))?;
        write_file(&cells.join("Cargo.lock"), &pinned)
    }

    /// `cargo build` as evcxr calls it, with its progress shown.
    fn compile(&self, toolchain: &Toolchain, step: &mut Step) -> Result<()> {
        let total = self.crates(toolchain)?;
        let mut flags = String::from("-Cprefer-dynamic");
        let mut command = Command::new(toolchain.cargo());
        match toolchain.linker() {
            "mold" => {
                command = Command::new("mold");
                command.arg("-run").arg(toolchain.cargo());
            }
            "lld" => flags.push_str(" -Clink-arg=-fuse-ld=lld"),
            _ => {}
        }
        // As in a kernel: build scripts that look at the environment would have cargo compile half of
        // the library again at the first `:dep` otherwise.
        for_cargo(&mut command)
            .args(["build", "--locked", "--color=never", "--target", &toolchain.host])
            .current_dir(self.cells())
            .env("CARGO_TARGET_DIR", "target")
            .env("CARGO_BUILD_BUILD_DIR", "target")
            .env("RUSTC", toolchain.rustc())
            .env("RUSTFLAGS", flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let begin = Instant::now();
        let mut child = command.spawn().context("could not start cargo")?;
        let mut said = Vec::new();
        let mut compiled = 0;
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).lines() {
                let line = line.context("could not read what cargo says")?;
                if let Some(name) = line.trim_start().strip_prefix("Compiling ") {
                    compiled += 1;
                    let name = name.split(" (").next().unwrap_or(name);
                    step.note(&format!("compiling {compiled}/{total} {name}"));
                } else if let Some(name) = line.trim_start().strip_prefix("Downloading ") {
                    step.note(&format!("downloading {name}"));
                }
                said.push(line);
            }
        }
        if child.wait().context("could not wait for cargo")?.success() {
            let mut tree = Command::new(toolchain.cargo());
            for_cargo(&mut tree).current_dir(self.cells());
            return Built::of(&self.cells(), &mut tree, &toolchain.host, begin.elapsed())?
                .write(&self.cells());
        }
        let first = said.iter().position(|line| line.starts_with("error")).unwrap_or(0);
        let tail: Vec<_> = said[first..].iter().take(40).map(String::as_str).collect();
        bail!("the library does not compile:\n{}", tail.join("\n"))
    }

    /// Number of crates that a full build compiles, for the progress line; settles Cargo.lock.
    fn crates(&self, toolchain: &Toolchain) -> Result<usize> {
        let mut tree = Command::new(toolchain.cargo());
        for_cargo(&mut tree)
            .args(["tree", "--prefix=none", "--edges=normal,build", "--format={p}", "--target"])
            .arg(&toolchain.host)
            .current_dir(self.cells());
        let lines = output(&mut tree).context(
            "cargo could not work out the library's dependencies (the first build downloads them; \
             is there a network?)",
        )?;
        let crates: std::collections::BTreeSet<_> = lines
            .lines()
            .map(|line| line.trim_end_matches(" (*)"))
            .filter(|l| !l.is_empty())
            .collect();
        Ok(crates.len())
    }
}

/// Writes `start/evcxr.toml` of a build folder: its path is absolute, so each copy has its own.
pub(crate) fn write_start(folder: &Path, opt_level: &str) -> Result<()> {
    let cells = folder.join("cells");
    let cells = cells.to_str().with_context(|| format!("{} is not UTF-8", cells.display()))?;
    // JSON's string escapes are TOML's.
    let text = format!(
        "[evcxr]\ntmpdir = {}\nopt_level = {}\n",
        serde_json::to_string(cells)?,
        serde_json::to_string(opt_level)?
    );
    write_file(&folder.join("start/evcxr.toml"), text.as_bytes())
}

/// Makes `to` a copy of a build folder that works on its own.
pub(crate) fn clone_tree(from: &Path, to: &Path) -> Result<()> {
    copy_parts(from, to, &|_| true)?;
    relocate_start(to)
}

/// Gives a copied build folder its own `start/evcxr.toml`.
pub(crate) fn relocate_start(folder: &Path) -> Result<()> {
    let path = folder.join("start/evcxr.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let opt_level = toml_string(&text, "opt_level")
        .with_context(|| format!("{} has no opt_level; run `cargo lab` again", path.display()))?;
    write_start(folder, &opt_level)
}

fn toml_string(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
    serde_json::from_str(value).ok()
}

/// The manifest of the cells' crate as evcxr 0.22 writes it: byte for byte, or the first cell
/// would find a changed manifest.
fn manifest(opt_level: &str) -> String {
    format!(
        "\n[package]\nname = \"ctx\"\nversion = \"1.0.0\"\nedition = \"2024\"\n\n\
         [lib]\ncrate-type = [\"cdylib\"]\npath = \"src/lib.rs\"\n\n\
         [profile.dev]\nopt-level = {opt_level}\ndebug = false\nstrip = \"debuginfo\"\n\
         rpath = true\nlto = false\ndebug-assertions = true\ncodegen-units = 16\n\
         panic = 'unwind'\nincremental = true\noverflow-checks = true\n\n\
         [dependencies]\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_file_round_trips() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens-start-{}", std::process::id()));
        let level = opt_level(&["cuda".to_owned()]);
        write_start(&folder, &level)?;
        let moved = folder.with_extension("moved");
        fs::rename(&folder, &moved)?;
        relocate_start(&moved)?;
        let text = fs::read_to_string(moved.join("start/evcxr.toml"))?;
        assert_eq!(toml_string(&text, "opt_level"), Some(level));
        let cells = moved.join("cells").to_string_lossy().into_owned();
        assert_eq!(toml_string(&text, "tmpdir"), Some(cells));
        fs::remove_dir_all(&moved)?;
        Ok(())
    }

    #[test]
    fn an_unbuilt_template_says_what_to_do() {
        let error = Template::at(Path::new("nowhere")).expect_err("nothing is built there");
        assert!(error.to_string().contains("cargo lab"), "{error}");
    }
}
