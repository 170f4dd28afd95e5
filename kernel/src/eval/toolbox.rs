//! The `cargo` that evcxr and rust-analyzer see.
//!
//! Rust-analyzer, inside evcxr, infers the types of a cell's variables. It would read and resolve
//! every crate below the library, some two hundred, before the first cell; what it needs is the
//! library and the few crates whose types the library's functions name. So it is given a cargo
//! home whose `cargo` is this binary: it asks the real one, and leaves the rest of the graph out.
//! All other commands go to the real cargo as they are. Evcxr asks `rustup` for its tools, so that
//! is this binary too.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::rewrite::rewrite_cell;
use super::{compile, store};
use crate::install::clone::wait_for_rest;

/// The names under which this binary stands in for a tool.
const TOOLS: [&str; 3] = ["cargo", "rustup", compile::RECORDER];

const REAL_TOOLS: &str = "EIGENLENS_REAL_TOOLS";
const REAL_HOME: &str = "EIGENLENS_REAL_CARGO_HOME";

/// Where the system's loader looks for shared libraries first.
pub(crate) const LIBRARY_PATH: &str =
    if cfg!(target_os = "macos") { "DYLD_FALLBACK_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// The library's own crates, whose dependencies are left out unless they are of [`NAMED`].
const LIBRARY: [&str; 2] = ["eigenlens", "eigenlens-notebook"];
/// Crates whose types stand in the library's public functions.
const NAMED: [&str; 3] = ["candle-core", "plotly", "serde_json"];

/// Makes the cargo home in `folder`, and the environment of this process point to it.
///
/// # Errors
/// The folder cannot be written; no cargo or rustc is found.
///
/// # Safety
/// Sets environment variables: no other thread may run yet.
pub(crate) unsafe fn install(folder: &Path) -> Result<()> {
    // A program that a cell starts has our cargo home already.
    let home = std::env::var_os(REAL_HOME).or_else(|| std::env::var_os("CARGO_HOME"));
    let home = home.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo"),
        PathBuf::from,
    );
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("could not create {}", bin.display()))?;
    let this = std::env::current_exe()?;
    for tool in TOOLS {
        link(&this, &bin.join(tool))?;
    }
    let asked = Command::new("rustc")
        .args(["--print", "sysroot", "--print", "target-libdir"])
        .output()
        .context("rustc was not found; install Rust with rustup and restart the kernel")?;
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    let (Some(sysroot), Some(libraries)) = (text.lines().next(), text.lines().nth(1)) else {
        bail!("rustc does not say where it is installed: {text}");
    };
    let real = Path::new(sysroot).join("bin");
    let mut paths = vec![bin, real.clone()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let paths = std::env::join_paths(paths)?;
    let mut libraries = vec![PathBuf::from(libraries)];
    libraries.extend(std::env::split_paths(&std::env::var_os(LIBRARY_PATH).unwrap_or_default()));
    let libraries = std::env::join_paths(libraries)?;
    // SAFETY: the caller vouches that this process has one thread.
    unsafe {
        std::env::set_var(REAL_TOOLS, real);
        std::env::set_var(REAL_HOME, &home);
        std::env::set_var("CARGO_HOME", folder);
        std::env::set_var("PATH", paths);
        // Rustc writes a cell's path to the standard library relative to where it compiled the
        // cell; evcxr then moves the cell up one folder.
        std::env::set_var(LIBRARY_PATH, libraries);
    }
    Ok(())
}

/// Links `at` to `to`, also where it led somewhere else before.
fn link(to: &Path, at: &Path) -> Result<()> {
    if std::fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    let _ = std::fs::remove_file(at);
    symlink(to, at).with_context(|| format!("could not write {}", at.display()))
}

/// The tool as which this process was started, if it is one that this module stands in for.
pub(crate) fn called_as() -> Option<&'static str> {
    std::env::var_os(REAL_TOOLS)?;
    let name = std::env::args_os().next().map(PathBuf::from)?;
    TOOLS.into_iter().find(|tool| name.file_name() == Some(OsStr::new(tool)))
}

/// Runs as `tool`.
pub(crate) fn run(tool: &str) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let real = PathBuf::from(std::env::var_os(REAL_TOOLS).unwrap_or_default());
    let home = std::env::var_os(REAL_HOME).unwrap_or_default();
    match tool {
        "rustup" => return rustup(&arguments, &real),
        compile::RECORDER => return compile::record(&arguments),
        _ => {}
    }
    let subcommand =
        arguments.iter().find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    let build = subcommand.is_some_and(|name| name == "build");
    let check = subcommand.is_some_and(|name| name == "check");
    if build && store::is_restoring() {
        return compile::nothing();
    }
    if build || check {
        rewrite_cell();
    }
    if build && let Some(code) = compile::without_cargo() {
        return code;
    }
    if check && let Some(code) = compile::check_without_cargo() {
        return code;
    }
    let compiles = build || check;
    if compiles && let Err(error) = wait_for_rest(Path::new("..")) {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(real.join("cargo"));
    command.args(&arguments).env("CARGO_HOME", home);
    if build {
        compile::record_in(&mut command);
    }
    if compiles {
        return compile::with_cargo(command);
    }
    if subcommand.is_none_or(|name| name != "metadata") {
        eprintln!("cargo could not be started: {}", command.exec());
        return ExitCode::FAILURE;
    }
    // Of the standard library rust-analyzer then takes the crates it knows by heart.
    if arguments.iter().any(|argument| argument.to_string_lossy().contains("/rustlib/src/")) {
        return ExitCode::FAILURE;
    }
    let kept = lock_file_to_keep();
    let output = command.stderr(std::process::Stdio::inherit()).output();
    if let Some(kept) = kept {
        let _ = std::fs::write("Cargo.lock", kept);
    }
    let Ok(output) = output else { return ExitCode::FAILURE };
    let text = String::from_utf8_lossy(&output.stdout);
    match serde_json::from_str::<Value>(&text) {
        Ok(mut metadata) if output.status.success() => {
            prune(&mut metadata);
            println!("{metadata}");
            ExitCode::SUCCESS
        }
        _ => {
            print!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Cargo.lock, when evcxr asks about a new dependency in a manifest that has no other. Cargo would
/// drop all other packages from it, the next build would take the newest version of each, and the
/// library would be compiled anew, unlike the one that is loaded.
fn lock_file_to_keep() -> Option<Vec<u8>> {
    let manifest = std::fs::read_to_string("Cargo.toml").ok()?;
    manifest.contains("evcxr_dummy_validate_dep").then(|| std::fs::read("Cargo.lock").ok())?
}

/// Answers `rustup which TOOL`: cargo is this binary, all else the real thing.
fn rustup(arguments: &[OsString], real: &Path) -> ExitCode {
    let [which, tool] = arguments else { return ExitCode::FAILURE };
    if which != "which" {
        return ExitCode::FAILURE;
    }
    let folder = std::env::var_os("CARGO_HOME").filter(|_| tool == "cargo");
    let folder = folder.map_or_else(|| real.to_owned(), |home| PathBuf::from(home).join("bin"));
    println!("{}", folder.join(tool).display());
    ExitCode::SUCCESS
}

/// Leaves out of `cargo metadata`'s answer what stands below the library.
fn prune(metadata: &mut Value) {
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let names: HashMap<String, String> = list(metadata, "packages")
        .iter()
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let name = |id: &str| names.get(id).map(String::as_str).unwrap_or_default();
    let nodes = list(&metadata["resolve"], "nodes");
    if !names.values().any(|name| LIBRARY.contains(&name.as_str())) || nodes.is_empty() {
        return;
    }
    let follows = |from: &str, to: &str| {
        if LIBRARY.contains(&name(from)) {
            LIBRARY.contains(&name(to)) || NAMED.contains(&name(to))
        } else {
            !NAMED.contains(&name(from))
        }
    };
    let deps: HashMap<String, Vec<String>> = nodes
        .iter()
        .map(|node| {
            let id = text(node, "id");
            let to = list(node, "deps").iter().map(|dep| text(dep, "pkg")).collect();
            (id, to)
        })
        .collect();
    let mut kept = BTreeSet::new();
    let mut open: Vec<String> = metadata["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    while let Some(id) = open.pop() {
        if kept.insert(id.clone()) {
            let next = deps.get(&id).into_iter().flatten();
            open.extend(next.filter(|to| follows(&id, to)).cloned());
        }
    }
    let keep = |value: &Value, key: &str| value[key].as_str().is_some_and(|id| kept.contains(id));
    if let Some(packages) = metadata["packages"].as_array_mut() {
        packages.retain(|package| keep(package, "id"));
    }
    if let Some(nodes) = metadata["resolve"]["nodes"].as_array_mut() {
        nodes.retain(|node| keep(node, "id"));
        for node in nodes {
            let from = text(node, "id");
            let stays = |id: &str| kept.contains(id) && follows(&from, id);
            if let Some(deps) = node["deps"].as_array_mut() {
                deps.retain(|dep| dep["pkg"].as_str().is_some_and(stays));
            }
            if let Some(ids) = node["dependencies"].as_array_mut() {
                ids.retain(|id| id.as_str().is_some_and(stays));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_stands_below_the_library_is_left_out() {
        let graph = [
            ("ctx", vec!["eigenlens-notebook", "own"]),
            ("eigenlens-notebook", vec!["eigenlens"]),
            ("eigenlens", vec!["candle-core", "faer"]),
            ("candle-core", vec!["gemm"]),
            ("faer", vec![]),
            ("gemm", vec![]),
            ("own", vec!["faer"]),
        ];
        let mut metadata = json!({
            "packages": graph.iter().map(|(n, _)| json!({"id": format!("{n}#1"), "name": n})).collect::<Vec<_>>(),
            "workspace_members": ["ctx#1"],
            "resolve": {"nodes": graph.iter().map(|(n, deps)| json!({
                "id": format!("{n}#1"),
                "dependencies": deps.iter().map(|d| format!("{d}#1")).collect::<Vec<_>>(),
                "deps": deps.iter().map(|d| json!({"name": d, "pkg": format!("{d}#1")})).collect::<Vec<_>>(),
            })).collect::<Vec<_>>()},
        });
        prune(&mut metadata);
        let names: Vec<_> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        // `faer` stays because the user's own crate needs it, but not as the library's.
        assert_eq!(names, ["ctx", "eigenlens-notebook", "eigenlens", "candle-core", "faer", "own"]);
        let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
        assert_eq!(nodes[2]["dependencies"], json!(["candle-core#1"]));
        assert_eq!(nodes[3]["deps"], json!([]));
        assert_eq!(nodes[5]["dependencies"], json!(["faer#1"]));
    }

    #[test]
    fn other_workspaces_are_left_alone() {
        let mut metadata = json!({"packages": [{"id": "a#1", "name": "a"}], "resolve": {"nodes": [{"id": "a#1"}]}});
        let before = metadata.clone();
        prune(&mut metadata);
        assert_eq!(metadata, before);
    }
}
