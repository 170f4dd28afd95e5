//! What set-up and kernels keep of the user's environment, and what they take out of it.
//!
//! A Python path, an active conda environment, `RUSTFLAGS` or a compiler wrapper are meant for the
//! user's own projects. Here they would put other packages into JupyterLab, or have cargo compile
//! the library again with other options than those it was built with. So every program that set-up
//! starts gets an environment without them. What is needed to reach the network stays: proxies,
//! certificates, registry mirrors, tokens.
//!
//! Configuration files act like variables. Python and Jupyter are told not to read them; cargo has
//! no such switch, so the variables and options that go before its files are set instead.

#![allow(unsafe_code, reason = "removes environment variables, before any thread runs")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the system's loader looks for shared libraries first.
pub(crate) const LIBRARY_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_FALLBACK_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// Variables that change what Python or Jupyter do. Buffering and bytecode files are harmless.
fn bends_python(name: &str) -> bool {
    let kept =
        ["PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "JUPYTER_TOKEN", "JUPYTER_TOKEN_FILE"];
    let prefixes = ["PYTHON", "JUPYTER", "IPYTHON"];
    let others = ["VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "__PYVENV_LAUNCHER__"];
    others.contains(&name)
        || (prefixes.iter().any(|prefix| name.starts_with(prefix)) && !kept.contains(&name))
}

/// Variables that change how cargo and rustc compile. The number of jobs stays the user's choice,
/// and so does all that says where crates come from.
fn bends_cargo(name: &str) -> bool {
    let exact = [
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_LOG",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTC_LOG",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
    ];
    let prefixes = [
        "CARGO_ALIAS_",
        "CARGO_BUILD_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_TERM_",
        "CARGO_UNSTABLE_",
    ];
    exact.contains(&name)
        || (prefixes.iter().any(|prefix| name.starts_with(prefix)) && name != "CARGO_BUILD_JOBS")
}

/// Variables that cargo sets for the programs and build scripts that it runs.
fn set_by_cargo(name: &str) -> bool {
    let exact = [
        "CARGO",
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_MAKEFLAGS",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_RUSTC_CURRENT_DIR",
        "OUT_DIR",
    ];
    let prefixes = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_MANIFEST_", "CARGO_PKG_"];
    exact.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

/// Gives a command an environment in which Python, and what it starts, is not bent by the user's.
pub(crate) fn for_python(command: &mut Command) -> &mut Command {
    remove(command, |name| bends_python(name) || set_by_cargo(name));
    command.env("PYTHONNOUSERSITE", "1")
}

/// The same for cargo and rustc. It also outweighs the wrappers that a configuration file names;
/// flags, target and target folder have to be set by the caller.
pub(crate) fn for_cargo(command: &mut Command) -> &mut Command {
    remove(command, |name| bends_python(name) || bends_cargo(name) || set_by_cargo(name));
    outweigh_files(command).env("RUSTC_WRAPPER", "")
}

/// A variable as [`for_cargo`] leaves it.
pub(crate) fn value_for_cargo(name: &str) -> Option<std::ffi::OsString> {
    let unwanted = bends_python(name) || bends_cargo(name) || set_by_cargo(name);
    (!unwanted).then(|| std::env::var_os(name))?
}

/// Outweighs settings of cargo's configuration files that change what it prints or runs.
pub(crate) fn outweigh_files(command: &mut Command) -> &mut Command {
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "")
        .env("CARGO_TERM_QUIET", "false")
        .env("CARGO_TERM_VERBOSE", "false")
        .env("CARGO_TERM_PROGRESS_WHEN", "never")
}

/// Takes the settings of cargo and rustc out of this process's own environment: evcxr passes it on
/// to the compiler.
///
/// # Safety
/// Changes environment variables: no other thread may run yet.
pub(crate) unsafe fn forget_build_settings() {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| bends_cargo(name) || set_by_cargo(name)) {
            // SAFETY: the caller vouches that this process has one thread.
            unsafe { std::env::remove_var(name) };
        }
    }
}

fn remove(command: &mut Command, unwanted: impl Fn(&str) -> bool) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(&unwanted) {
            command.env_remove(&name);
        }
    }
    // `cargo run` puts its target folder first in the library path, where a library may lie that
    // has the name of the one a cell was linked with.
    if let (Some(value), Some(built)) = (std::env::var_os(LIBRARY_PATH), built_in()) {
        let kept = std::env::split_paths(&value).filter(|path| !path.starts_with(&built));
        match std::env::join_paths(kept) {
            Ok(kept) if !kept.is_empty() => command.env(LIBRARY_PATH, kept),
            _ => command.env_remove(LIBRARY_PATH),
        };
    }
}

/// The folder of a target folder in which this program was built, as `target/debug`; none for the
/// copy that kernels run.
fn built_in() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    // Tests are one folder deeper.
    let folder = if folder.ends_with("deps") { folder.parent()? } else { folder };
    folder.join(".fingerprint").is_dir().then(|| folder.to_owned())
}

/// Whether the folder for temporary files can be written: the compiler and the kernel need it.
pub(crate) fn check_temporary_folder() -> anyhow::Result<()> {
    check_temporary(&std::env::temp_dir())
}

fn check_temporary(folder: &Path) -> anyhow::Result<()> {
    use anyhow::Context as _;
    let probe = folder.join(format!("eigenlens-probe-{}", std::process::id()));
    std::fs::write(&probe, "").and_then(|()| std::fs::remove_file(&probe)).with_context(|| {
        format!(
            "the folder for temporary files, {}, cannot be written; set TMPDIR to a folder that \
             you can write to",
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bends_python_goes_and_what_does_not_stays() {
        for name in [
            "PYTHONPATH",
            "PYTHONHOME",
            "PYTHONSTARTUP",
            "PYTHONUSERBASE",
            "PYTHONWARNINGS",
            "PYTHONINSPECT",
            "PYTHONOPTIMIZE",
            "VIRTUAL_ENV",
            "JUPYTER_PATH",
            "JUPYTER_CONFIG_DIR",
            "JUPYTER_PREFER_ENV_PATH",
            "JUPYTERLAB_SETTINGS_DIR",
            "IPYTHONDIR",
        ] {
            assert!(bends_python(name), "{name}");
        }
        for name in ["PYTHONUNBUFFERED", "JUPYTER_TOKEN", "PATH", "HTTPS_PROXY", "LD_PRELOAD"] {
            assert!(!bends_python(name), "{name}");
        }
    }

    #[test]
    fn what_bends_cargo_goes_and_the_way_to_a_registry_stays() {
        for name in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_BUILD_RUSTC_WRAPPER",
            "CARGO_TARGET_DIR",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "CARGO_PROFILE_DEV_OPT_LEVEL",
            "CARGO_INCREMENTAL",
            "CARGO_TERM_QUIET",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_BOOTSTRAP",
        ] {
            assert!(bends_cargo(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_BUILD_JOBS",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_MIRROR_INDEX",
            "CARGO_SOURCE_CRATES_IO_REPLACE_WITH",
            "HTTPS_PROXY",
            "SSL_CERT_FILE",
            "RUST_BACKTRACE",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(!bends_cargo(name) && !set_by_cargo(name), "{name}");
        }
    }

    #[test]
    fn a_command_goes_without_what_cargo_set_for_the_tests() {
        // Cargo runs this test, so these are set.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let mut command = Command::new("env");
        let printed = crate::install::command::output(for_cargo(&mut command)).expect("env runs");
        assert!(!printed.contains("CARGO_MANIFEST_DIR="), "{printed}");
        assert!(!printed.contains("CARGO_TARGET_DIR="), "{printed}");
        assert!(printed.contains("\nRUSTC_WRAPPER=\n") || printed.starts_with("RUSTC_WRAPPER=\n"));
        let built = built_in().expect("tests run in a target folder");
        assert!(!printed.contains(&format!("{LIBRARY_PATH}={}", built.display())), "{printed}");
    }

    #[test]
    fn a_folder_for_temporary_files_that_is_not_there_is_named() {
        check_temporary_folder().expect("tests have one");
        let error = check_temporary(Path::new("/no/such/folder")).expect_err("it is not there");
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
        assert!(error.to_string().contains("TMPDIR"), "{error}");
    }
}
