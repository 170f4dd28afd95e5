//! The Rust compiler and the C linker that cells need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

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
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))
            .context("rustc does not say where it is installed")?;
        let toolchain =
            Toolchain { version, host, sysroot: PathBuf::from(sysroot.trim()), verbose_version };
        output(Command::new(toolchain.cargo()).arg("--version"))
            .with_context(|| format!("no working cargo beside rustc; {get_rust}"))?;
        Ok(toolchain)
    }

    /// Folder of the compiler's programs: calling them here skips the rustup shim's start.
    pub(crate) fn programs(&self) -> PathBuf {
        self.sysroot.join("bin")
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
        if self.has_rust_src() {
            return Ok(());
        }
        let get = "the Rust component rust-src is missing; get it with: rustup component add rust-src \
                   (Debian's own compiler: apt install rust-src)";
        output(Command::new("rustup").args(["component", "add", "rust-src"])).context(get)?;
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

/// Where the path finds a program.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Runs a command to its end and returns what it printed; an error carries what it complained of.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("could not start {name}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no UTF-8"))
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
    fn this_machine_has_a_toolchain() -> Result<()> {
        let toolchain = Toolchain::find()?;
        assert!(toolchain.verbose_version.contains(&toolchain.host));
        assert!(c_linker().is_ok());
        Ok(())
    }
}
