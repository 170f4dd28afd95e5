//! The Rust compiler and the C linker that cells need.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::install::command::{on_path, output};

/// Oldest compiler that evcxr and the library accept.
pub(crate) const MINIMUM_RUST: &str = env!("CARGO_PKG_RUST_VERSION");

/// What is known of the compiler in use.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// `rustc -vV`, whole: it changes whenever the compiler does.
    pub(crate) verbose_version: String,
    /// The version, as `1.95.0`.
    pub(crate) version: String,
    /// Target triple of this machine.
    pub(crate) host: String,
    sysroot: PathBuf,
    /// Folder of the standard library's shared object.
    libraries: PathBuf,
}

impl Toolchain {
    /// Asks the `rustc` on the path; an error says how to get a new enough one.
    pub(crate) fn find() -> Result<Toolchain> {
        let get_rust =
            "get Rust from rustup.rs, or with: apt install rustup && rustup default stable";
        let verbose_version = output(Command::new("rustc").arg("-vV"))
            .with_context(|| format!("no working rustc on the path; {get_rust}"))?;
        let field = |name: &str| {
            verbose_version
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` does not say `{name}`; {get_rust}"))
        };
        let version = field("release: ")?;
        let host = field("host: ")?;
        if numbers(&version) < numbers(MINIMUM_RUST) {
            bail!(
                "rustc {version} is too old, {MINIMUM_RUST} or newer is needed; update it with: \
                 rustup update stable"
            );
        }
        let ask = ["--print", "sysroot", "--print", "target-libdir"];
        let printed = output(Command::new("rustc").args(ask))
            .context("rustc does not say where it is installed")?;
        let (Some(sysroot), Some(libraries)) = (printed.lines().next(), printed.lines().nth(1))
        else {
            bail!("rustc does not say where it is installed: {printed}; {get_rust}");
        };
        let (sysroot, libraries) = (PathBuf::from(sysroot), PathBuf::from(libraries));
        let toolchain = Toolchain { version, host, sysroot, libraries, verbose_version };
        output(Command::new(toolchain.cargo()).arg("--version"))
            .with_context(|| format!("no working cargo beside rustc; {get_rust}"))?;
        Ok(toolchain)
    }

    /// Folder of the compiler's programs: calling them here skips the rustup shim's start.
    pub(crate) fn programs(&self) -> PathBuf {
        self.sysroot.join("bin")
    }

    /// What a kernel has to know of this compiler.
    pub(crate) fn compiler(&self) -> Compiler {
        let mut folders: Vec<PathBuf> = ["cc", "mold", "lld", "ld"]
            .into_iter()
            .filter_map(|name| on_path(name)?.parent().map(Path::to_owned))
            .collect();
        folders.dedup();
        Compiler {
            verbose_version: self.verbose_version.clone(),
            sysroot: self.sysroot.clone(),
            libraries: self.libraries.clone(),
            cargo_home: cargo_home(),
            linker: self.linker().to_owned(),
            folders,
        }
    }

    /// The compiler itself.
    pub(crate) fn rustc(&self) -> PathBuf {
        program(&self.programs(), "rustc")
    }

    /// Cargo beside the compiler.
    pub(crate) fn cargo(&self) -> PathBuf {
        program(&self.programs(), "cargo")
    }

    /// Name by which rustup knows this compiler, where rustup manages it.
    pub(crate) fn rustup_name(&self) -> Option<String> {
        let toolchains = self.sysroot.parent()?;
        (toolchains.file_name()? == "toolchains")
            .then(|| self.sysroot.file_name().map(|name| name.to_string_lossy().into_owned()))?
    }

    /// Whether the standard library's sources are there: type inference between cells reads them.
    pub(crate) fn has_rust_src(&self) -> bool {
        self.sysroot.join("lib/rustlib/src/rust/library/std/src/lib.rs").is_file()
    }

    /// Gets the standard library's sources through rustup where they are missing.
    pub(crate) fn ensure_rust_src(&self) -> Result<()> {
        self.ensure_rust_src_with("rustup".as_ref())
    }

    fn ensure_rust_src_with(&self, rustup: &Path) -> Result<()> {
        if self.has_rust_src() {
            return Ok(());
        }
        // Two rustups that add one component meet each other's files and both fail. Where a folder
        // cannot be locked (some network drives), rustup's own message has to do.
        let folder = File::open(&self.sysroot).ok();
        let _alone = folder.as_ref().map(File::lock);
        if self.has_rust_src() {
            return Ok(());
        }
        let get = "the Rust component rust-src is missing; get it with: rustup component add rust-src \
                   (Debian's own compiler: apt install rust-src)";
        let mut add = Command::new(rustup);
        add.args(["component", "add", "rust-src"]);
        if let Some(name) = self.rustup_name() {
            // The default toolchain may be another one.
            add.args(["--toolchain", &name]);
        }
        output(&mut add).context(get)?;
        if !self.has_rust_src() {
            bail!("{get}");
        }
        Ok(())
    }

    /// The linker option that evcxr passes when one of these linkers is installed. All crates are
    /// compiled under it, so it belongs to a template's identity.
    pub(crate) fn linker(&self) -> &'static str {
        if cfg!(target_os = "macos") {
            "system"
        } else if on_path("mold").is_some() {
            "mold"
        } else if on_path("lld").is_some() {
            "lld"
        } else {
            "system"
        }
    }
}

/// The compiler that a template was built with. A kernel uses it whatever its own path finds: VS
/// Code, systemd and desktops start programs with other paths than a shell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compiler {
    /// `rustc -vV`, whole.
    verbose_version: String,
    /// Folder of the compiler, with `bin/` and `lib/`.
    sysroot: PathBuf,
    libraries: PathBuf,
    /// Where the crates' sources are.
    cargo_home: PathBuf,
    /// See [`Toolchain::linker`].
    linker: String,
    /// Folders in which set-up found what the compiler calls.
    folders: Vec<PathBuf>,
}

impl Compiler {
    /// The one on the path.
    pub(crate) fn on_path() -> Result<Compiler> {
        Toolchain::find().map(|toolchain| toolchain.compiler())
    }

    /// Whether it is still there and the same: cells fit only the compiler that compiled the
    /// library.
    pub(crate) fn check(&self) -> Result<()> {
        let rustc = self.programs().join("rustc");
        let version = output(Command::new(&rustc).arg("-vV")).with_context(|| {
            format!(
                "the Rust compiler that the notebook's library was built with, {}, does not work any \
                 more; build the library with the one you have now: cargo lab",
                rustc.display()
            )
        })?;
        if version != self.verbose_version {
            bail!(
                "the notebook's library was built with {}, and {} is {} now; build the library \
                 again: cargo lab",
                first_line(&self.verbose_version),
                rustc.display(),
                first_line(&version)
            );
        }
        Ok(())
    }

    /// Folder of the compiler's programs.
    pub(crate) fn programs(&self) -> PathBuf {
        self.sysroot.join("bin")
    }

    /// Folder of the standard library's shared object.
    pub(crate) fn libraries(&self) -> &Path {
        &self.libraries
    }

    /// Where the crates' sources are; none if that folder is gone.
    pub(crate) fn cargo_home(&self) -> Option<&Path> {
        Some(&*self.cargo_home).filter(|home| home.is_dir())
    }

    /// The linker option that the library was compiled under.
    pub(crate) fn linker(&self) -> &str {
        &self.linker
    }

    /// Folders to look in for programs that the path does not find.
    pub(crate) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }
}

/// Cargo's home: `CARGO_HOME`, else `.cargo` in the user's home.
pub(crate) fn cargo_home() -> PathBuf {
    let named = std::env::var_os("CARGO_HOME").filter(|value| !value.is_empty());
    // Cargo is going to be started in other folders than this one.
    named.and_then(|home| std::path::absolute(home).ok()).unwrap_or_else(|| {
        // Services may have no HOME; the system knows it all the same.
        std::env::home_dir().unwrap_or_default().join(".cargo")
    })
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn program(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    if path.is_file() { path } else { PathBuf::from(name) }
}

/// A C compiler drives the linker; an error says how to get one.
pub(crate) fn c_linker() -> Result<PathBuf> {
    on_path("cc").context(
        "no C linker (cc) on the path, which rustc needs; get it with: apt install build-essential",
    )
}

/// The numbers at the head of a version, for comparing: `1.95.0-nightly` is `[1, 95, 0]`.
pub(crate) fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse().ok())
        .take(3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("1.100.0") > numbers("1.95"));
        assert!(numbers("1.95.0-nightly") >= numbers("1.95"));
        assert!(numbers("3.9.2") < numbers("3.10"));
    }

    #[test]
    fn a_compiler_that_is_gone_or_another_one_is_named() -> Result<()> {
        let compiler = Toolchain::find()?.compiler();
        compiler.check()?;
        assert!(compiler.libraries().is_dir(), "{:?}", compiler.libraries());
        let gone = Compiler { sysroot: PathBuf::from("/no/such/rust"), ..compiler.clone() };
        let error = gone.check().expect_err("it is not there").to_string();
        assert!(error.contains("/no/such/rust") && error.contains("cargo lab"), "{error}");
        let old = Compiler { verbose_version: "rustc 1.0.0 (old)\n".to_owned(), ..compiler };
        let error = old.check().expect_err("it is another one").to_string();
        assert!(error.contains("rustc 1.0.0 (old)") && error.contains("cargo lab"), "{error}");
        Ok(())
    }

    /// Six set-ups on a new machine, as tests start them, with a rustup that cannot bear a second.
    #[test]
    fn set_ups_at_one_time_add_a_component_once() -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let name = format!("eigenlens-rust-src-{}", std::process::id());
        let sysroot = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&sysroot)?;
        let rustup = sysroot.join("rustup");
        let script = format!(
            "#!/bin/sh\ncd '{}'\nmkdir busy || exit 1\nsleep 0.2\n\
             mkdir -p lib/rustlib/src/rust/library/std/src\n\
             : > lib/rustlib/src/rust/library/std/src/lib.rs\n",
            sysroot.display()
        );
        std::fs::write(&rustup, script)?;
        std::fs::set_permissions(&rustup, std::fs::Permissions::from_mode(0o755))?;
        let toolchain = Toolchain { sysroot: sysroot.clone(), ..Toolchain::find()? };
        std::thread::scope(|scope| -> Result<()> {
            let set_ups: Vec<_> =
                (0..6).map(|_| scope.spawn(|| toolchain.ensure_rust_src_with(&rustup))).collect();
            set_ups.into_iter().try_for_each(|one| one.join().expect("no panic"))
        })?;
        std::fs::remove_dir_all(sysroot)?;
        Ok(())
    }

    #[test]
    fn this_machine_has_a_toolchain() -> Result<()> {
        let toolchain = Toolchain::find()?;
        assert!(toolchain.verbose_version.contains(&toolchain.host));
        assert!(c_linker().is_ok());
        Ok(())
    }
}
