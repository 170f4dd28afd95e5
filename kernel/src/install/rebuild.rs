//! Keeps a `:dep` line from compiling the library again, and says so where it has to.
//!
//! Cargo compiles a crate once for all that depend on it, with every feature that one of them asks
//! for. A dependency that wants more of a crate below the library than the library did has that
//! crate compiled again, and all that is above it. The same happens if a variable that a build
//! script reads has another value than when the template was built. So set-up writes down what it
//! built, with which features and variables; the variables are set again for every build, and a
//! build that needs other features is announced, with its time, before it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::install::command::output;
use crate::install::environment;
use crate::install::files::{digest, write_file};

/// Where it is written down, in the folder of the cells' manifest.
const FILE: &str = "target/library.json";
/// A digest of the manifest that was looked at last.
const SEEN: &str = "target/looked-at";

/// What the library was built from.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Built {
    /// `name version features`, for each crate and set of features.
    crates: BTreeSet<String>,
    /// How long a whole build took.
    seconds: u64,
    /// The variables that build scripts read, with their values.
    variables: BTreeMap<String, Option<String>>,
}

impl Built {
    /// Looks at a build that has just ended in `cells`. `tree` is cargo, told where to work.
    pub(crate) fn of(
        cells: &Path,
        tree: &mut Command,
        host: &str,
        took: Duration,
    ) -> Result<Built> {
        let earlier = Built::read(cells).unwrap_or_default();
        let names = build_outputs(&cells.join("target"))
            .iter()
            .filter_map(|path| std::fs::read_to_string(path).ok())
            .flat_map(|text| watched(&text))
            .collect::<BTreeSet<String>>();
        let value = |name: &str| environment::value_for_cargo(name)?.into_string().ok();
        Ok(Built {
            crates: crates(tree, host)?,
            // A later build may have had little to do.
            seconds: took.as_secs().max(earlier.seconds),
            variables: names.into_iter().map(|name| (name.clone(), value(&name))).collect(),
        })
    }

    /// What is written down in `cells`.
    pub(crate) fn read(cells: &Path) -> Option<Built> {
        serde_json::from_slice(&std::fs::read(cells.join(FILE)).ok()?).ok()
    }

    /// Writes it down.
    pub(crate) fn write(&self, cells: &Path) -> Result<()> {
        write_file(&cells.join(FILE), &serde_json::to_vec(self)?)
    }

    /// Gives a command that builds the variables that the library was built with.
    pub(crate) fn restore_variables(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// A line for the person who waits, if the next build compiles the library again.
    fn notice(&self, now: &BTreeSet<String>) -> Option<String> {
        let missing: Vec<&String> = self.crates.difference(now).collect();
        let changed: BTreeSet<&str> =
            missing.iter().filter_map(|line| line.split(' ').next()).collect();
        if changed.is_empty() {
            return None;
        }
        let versions = |lines: &BTreeSet<String>, name: &str| {
            lines
                .iter()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split(' ').next())
                .map(str::to_owned)
                .collect::<BTreeSet<String>>()
        };
        let replaced = changed
            .iter()
            .any(|name| !versions(&self.crates, name).is_subset(&versions(now, name)));
        let what = if replaced { "other versions" } else { "more features" };
        let mut names: Vec<&str> = changed.iter().copied().take(4).collect();
        if changed.len() > names.len() {
            names.push("…");
        }
        Some(format!(
            "Compiling the library again, which takes up to {}: a dependency wants {what} of {}, \
             which eigenlens is built on. Variables of the library's types are lost then; Stop keeps \
             all.",
            minutes(self.seconds),
            names.join(", "),
        ))
    }
}

/// Says, on standard error, if building the crate in the current folder compiles the library again.
/// Says it once for a manifest. The line begins as evcxr expects of those that it shows.
pub(crate) fn announce(tree: &mut Command, host: Option<&str>) {
    let (Some(built), Some(host)) = (Built::read(Path::new(".")), host) else { return };
    let manifest = std::fs::read("Cargo.toml").unwrap_or_default();
    let key = digest([manifest.as_slice()]);
    if built.crates.is_empty() || std::fs::read_to_string(SEEN).is_ok_and(|seen| seen == key) {
        return;
    }
    let Ok(now) = crates(tree, host) else { return };
    if let Some(notice) = built.notice(&now) {
        eprintln!("{notice}");
    }
    let _ = std::fs::write(SEEN, key);
}

/// Every crate that a build compiles for the library and what else there is, with its features.
fn crates(tree: &mut Command, host: &str) -> Result<BTreeSet<String>> {
    tree.args([
        "tree",
        "--prefix=none",
        "--edges=normal,build",
        "--format={p}|{f}",
        "--target",
        host,
    ]);
    let lines = output(tree).context("cargo does not say which features it built")?;
    Ok(lines.lines().filter_map(crate_of).collect())
}

/// `name version features` of a line `name vVERSION (…)|features`; paths are left out, because a
/// build folder moves. The cells' own crate changes with every dependency.
fn crate_of(line: &str) -> Option<String> {
    let (package, features) = line.rsplit_once('|')?;
    let mut words = package.split(' ');
    let (name, version) = (words.next()?, words.next()?);
    let features = features.trim_end_matches(" (*)");
    (name != "ctx").then(|| format!("{name} {version} {features}"))
}

/// What build scripts have printed, below a target folder.
fn build_outputs(target: &Path) -> Vec<PathBuf> {
    let folders = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<PathBuf>>()
    };
    // `target/debug/build` for what runs on this machine, `target/TRIPLE/debug/build` for the rest.
    let profiles = folders(target).into_iter().chain([target.to_owned()]);
    profiles
        .flat_map(|folder| folders(&folder.join("debug/build")))
        .map(|build| build.join("output"))
        .filter(|path| path.is_file())
        .collect()
}

/// The variables that a build script asked cargo to watch, without those that cargo sets itself.
fn watched(printed: &str) -> Vec<String> {
    let set_by_caller =
        ["HOST", "NUM_JOBS", "OPT_LEVEL", "PROFILE", "RUSTC", "RUSTFLAGS", "TARGET"];
    printed
        .lines()
        .filter_map(|line| line.strip_prefix("cargo:").or_else(|| line.strip_prefix("cargo::")))
        .filter_map(|line| line.trim_start_matches(':').strip_prefix("rerun-if-env-changed="))
        .filter(|name| !name.starts_with("CARGO") && !set_by_caller.contains(name))
        .map(str::to_owned)
        .collect()
}

fn minutes(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        0 | 1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(crates: &[&str]) -> Built {
        Built {
            crates: crates.iter().map(|line| (*line).to_owned()).collect(),
            seconds: 700,
            variables: BTreeMap::new(),
        }
    }

    #[test]
    fn new_crates_are_no_reason_and_new_features_are() {
        let library = built(&["serde v1.0.229 std", "eigenlens v0.1.0 "]);
        let more = |lines: &[&str]| library.notice(&built(lines).crates);
        assert_eq!(more(&["serde v1.0.229 std", "eigenlens v0.1.0 ", "csv v1.4.0 "]), None);
        let notice = more(&["serde v1.0.229 default,std", "eigenlens v0.1.0 "]).expect("a feature");
        assert!(notice.starts_with("Compiling "), "{notice}");
        assert!(notice.contains("12 minutes") && notice.contains("features of serde,"), "{notice}");
        let notice = more(&["serde v1.0.230 std", "eigenlens v0.1.0 "]).expect("a version");
        assert!(notice.contains("other versions of serde"), "{notice}");
    }

    #[test]
    fn a_line_of_the_tree_is_a_crate_with_its_features() {
        let line = "serde_derive v1.0.229 (proc-macro)|default (*)";
        assert_eq!(crate_of(line).as_deref(), Some("serde_derive v1.0.229 default"));
        let line = "eigenlens v0.1.0 (/my |lab/cells/library)|";
        assert_eq!(crate_of(line).as_deref(), Some("eigenlens v0.1.0 "));
        assert_eq!(crate_of("ctx v1.0.0 (/my lab/cells)|"), None);
        assert_eq!(crate_of(""), None);
    }

    #[test]
    fn variables_that_build_scripts_watch_are_set_as_they_were() {
        let printed = "cargo:rerun-if-env-changed=CC\ncargo::rerun-if-env-changed=CFLAGS\n\
                       cargo:rerun-if-env-changed=TARGET\ncargo:rustc-link-lib=c\n";
        assert_eq!(watched(printed), ["CC", "CFLAGS"]);
        let mut built = built(&[]);
        built.variables.insert("EIGENLENS_TEST_CC".to_owned(), Some("gcc".to_owned()));
        built.variables.insert("PATH_OF_NOTHING".to_owned(), None);
        let mut command = Command::new("env");
        command.env("EIGENLENS_TEST_CC", "clang").env("PATH_OF_NOTHING", "1");
        built.restore_variables(&mut command);
        let printed = output(&mut command).expect("env runs");
        assert!(printed.contains("EIGENLENS_TEST_CC=gcc\n"), "{printed}");
        assert!(!printed.contains("PATH_OF_NOTHING"), "{printed}");
    }
}
