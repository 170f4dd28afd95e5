//! The `cargo` that evcxr and rust-analyzer see.
//!
//! Rust-analyzer, inside evcxr, infers the types of a cell's variables. It would read and resolve
//! every crate below the library, some two hundred, before the first cell; what it needs is the
//! library and the few crates whose types the library's functions name. So it is given a cargo
//! home whose `cargo` is this binary: it asks the real one, and leaves the rest of the graph out.
//! All other commands go to the real cargo as they are. Evcxr asks `rustup` for its tools, so that
//! is this binary too.

#![allow(unsafe_code, reason = "sets environment variables, before any thread runs")]

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::rewrite::rewrite_cell;
use super::{compile, store};
use crate::install::clone::wait_for_rest;
use crate::install::environment::{self, LIBRARY_PATH};
use crate::install::rebuild::{self, Built};
use crate::install::toolchain::{Compiler, cargo_home};

/// The names under which this binary stands in for a tool.
const TOOLS: [&str; 3] = ["cargo", "rustup", compile::RECORDER];

const REAL_TOOLS: &str = "EIGENLENS_REAL_TOOLS";
const REAL_HOME: &str = "EIGENLENS_REAL_CARGO_HOME";

/// The linker that the library was compiled under.
const LINKER: &str = "EIGENLENS_LINKER";
/// The flag by which evcxr chooses lld where it finds one.
const LLD: &str = " -Clink-arg=-fuse-ld=lld";

/// The library's own crates, whose dependencies are left out unless they are of [`NAMED`].
const LIBRARY: [&str; 4] = ["eigenlens", "eigenlens-app", "eigenlens-common", "eigenlens-notebook"];
/// Crates whose types stand in the library's public functions.
const NAMED: [&str; 3] = ["candle-core", "plotly", "serde_json"];

/// Makes the cargo home in `folder`, and the environment of this process point to it and to
/// `compiler`.
///
/// # Errors
/// The folder cannot be written; a folder that programs are looked for in has a colon in its name.
///
/// # Safety
/// Sets environment variables: no other thread may run yet.
pub(crate) unsafe fn install(folder: &Path, compiler: &Compiler) -> Result<()> {
    // A program that a cell starts has our cargo home already.
    let home = std::env::var_os(REAL_HOME)
        .map(PathBuf::from)
        .or_else(|| compiler.cargo_home().map(Path::to_owned))
        .unwrap_or_else(cargo_home);
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).with_context(|| format!("could not create {}", bin.display()))?;
    let this = std::env::current_exe()?;
    for tool in TOOLS {
        link(&this, &bin.join(tool))?;
    }
    let real = compiler.programs();
    let paths = list_of_folders(&[bin, real.clone()], "PATH", compiler.folders())?;
    let libraries = list_of_folders(&[compiler.libraries().to_owned()], LIBRARY_PATH, &[])?;
    // SAFETY: the caller vouches that this process has one thread.
    unsafe {
        environment::forget_build_settings();
        std::env::set_var(REAL_TOOLS, real);
        std::env::set_var(REAL_HOME, &home);
        std::env::set_var(LINKER, compiler.linker());
        std::env::set_var("CARGO_HOME", folder);
        std::env::set_var("PATH", paths);
        // Rustc writes a cell's path to the standard library relative to where it compiled the
        // cell; evcxr then moves the cell up one folder.
        std::env::set_var(LIBRARY_PATH, libraries);
    }
    Ok(())
}

/// `first`, the folders of a variable, and those of `last` that are not among them.
fn list_of_folders(first: &[PathBuf], variable: &str, last: &[PathBuf]) -> Result<OsString> {
    let mut folders = first.to_vec();
    folders.extend(std::env::split_paths(&std::env::var_os(variable).unwrap_or_default()));
    for folder in last {
        if !folders.contains(folder) {
            folders.push(folder.clone());
        }
    }
    std::env::join_paths(&folders)
        .with_context(|| format!("{variable} cannot hold one of {folders:?}"))
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
    // Options such as `--offline` may come first.
    let subcommand =
        arguments.iter().find(|argument| !argument.as_encoded_bytes().starts_with(b"-"));
    let is = |name: &str| subcommand.is_some_and(|subcommand| subcommand == name);
    let (build, check) = (is("build"), is("check"));
    if build && store::is_restoring() {
        return compile::nothing();
    }
    if build || check {
        let linker = std::env::var(LINKER).unwrap_or_default();
        let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("RUSTFLAGS", flags_for(&flags, &linker)) };
        rewrite_cell();
    }
    if build && let Some(code) = compile::without_cargo() {
        return code;
    }
    if check && let Some(code) = compile::check_without_cargo() {
        return code;
    }
    if (build || check)
        && let Err(error) = wait_for_rest(Path::new(".."))
    {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let built = Built::read(Path::new("."));
    let cargo = || {
        let mut command = Command::new(real.join("cargo"));
        environment::outweigh_files(&mut command).env("CARGO_HOME", &home);
        if std::env::var_os(compile::WRAPPER).is_none() {
            command.env(compile::WRAPPER, "");
        }
        if let Some(built) = &built {
            built.restore_variables(&mut command);
        }
        command
    };
    if build {
        let mut tree = cargo();
        tree.args(arguments.iter().filter(|argument| *argument == "--offline"));
        let host = arguments.iter().position(|argument| argument == "--target");
        rebuild::announce(&mut tree, host.and_then(|at| arguments.get(at + 1)?.to_str()));
    }
    let mut command = cargo();
    command.args(&arguments);
    if build {
        compile::record_in(&mut command);
    }
    if build || check {
        return compile::with_cargo(command);
    }
    if !is("metadata") {
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

/// The flags that evcxr passes, with the linker that the library was compiled under: evcxr chooses
/// by what its path finds, and with other flags cargo would compile everything again.
fn flags_for(flags: &str, linker: &str) -> String {
    let plain = flags.replace(LLD, "");
    if linker == "lld" { plain + LLD } else { plain }
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
    fn the_linker_is_the_one_of_the_library() {
        let (plain, lld) = ("-Cprefer-dynamic", "-Cprefer-dynamic -Clink-arg=-fuse-ld=lld");
        for flags in [plain, lld] {
            assert_eq!(flags_for(flags, "system"), plain);
            assert_eq!(flags_for(flags, "mold"), plain);
            assert_eq!(flags_for(flags, "lld"), lld);
        }
    }

    #[test]
    fn folders_that_the_path_lacks_come_last() -> Result<()> {
        let first = [PathBuf::from("/my lab/bin")];
        let last = [PathBuf::from("/opt/linker"), first[0].clone()];
        let list = list_of_folders(&first, "EIGENLENS_NO_SUCH_PATH", &last)?;
        let folders: Vec<_> = std::env::split_paths(&list).collect();
        assert_eq!(folders.first(), Some(&first[0]));
        assert_eq!(folders.last(), Some(&last[0]));
        assert_eq!(folders.iter().filter(|folder| **folder == first[0]).count(), 1);
        assert!(list_of_folders(&[PathBuf::from("/a:b")], "EIGENLENS_NO_SUCH_PATH", &[]).is_err());
        Ok(())
    }

    #[test]
    fn other_workspaces_are_left_alone() {
        let mut metadata = json!({"packages": [{"id": "a#1", "name": "a"}], "resolve": {"nodes": [{"id": "a#1"}]}});
        let before = metadata.clone();
        prune(&mut metadata);
        assert_eq!(metadata, before);
    }
}
