//! `eigenlens doctor`: what is installed, what is wrong, how to mend it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::install::clone::kernels;
use crate::install::command::{on_path, output};
use crate::install::environment::{check_temporary_folder, for_python};
use crate::install::files::free_bytes;
use crate::install::jupyter::Jupyter;
use crate::install::kernelspec::Kernelspec;
use crate::install::python::{self, Python};
use crate::install::state::{Checkout, State};
use crate::install::steps::bytes;
use crate::install::template::{Readiness, Template};
use crate::install::toolchain::{Toolchain, c_linker};
use crate::install::user::{self, Found};

/// How many published autoencoders belong to which family of models, and whether it is read. The
/// library computes it, and a test of its `sae::coverage` holds the file against that.
const COVERAGE: &str = include_str!("../../../assets/sae/coverage.txt");

/// The command that fetches what is named behind it.
const FETCH: &str = "cargo run --bin eigenlens -- fetch";

/// Lines of the report, and what was found wrong.
#[derive(Debug, Default)]
struct Report {
    wrong: Vec<String>,
}

impl Report {
    fn line(&self, name: &str, value: impl std::fmt::Display) {
        println!("  {name:<20} {value}");
    }

    /// Prints a finding, or what is wrong, and goes on.
    fn check<T>(&mut self, name: &str, found: Result<T>, show: impl Fn(&T) -> String) -> Option<T> {
        match found {
            Ok(value) => {
                self.line(name, show(&value));
                Some(value)
            }
            Err(error) => {
                self.line(name, "WRONG, see below");
                self.wrong.push(format!("{error:#}"));
                None
            }
        }
    }
}

/// Prints the report; an error where something does not work.
pub(crate) fn doctor() -> Result<()> {
    let mut report = Report::default();
    println!("versions");
    report.line("eigenlens", env!("CARGO_PKG_VERSION"));
    report.line("evcxr", locked_version("evcxr").unwrap_or("unknown".to_owned()));
    report.line("candle", locked_version("candle-core").unwrap_or("unknown".to_owned()));
    let toolchain = report.check("rustc", Toolchain::find(), |t| t.version.clone());
    if let Some(toolchain) = &toolchain {
        let sources = if toolchain.has_rust_src() {
            Ok("installed")
        } else {
            Err(anyhow::anyhow!("rust-src is missing; get it with: rustup component add rust-src"))
        };
        report.check("rust-src", sources, |text| (*text).to_owned());
    }
    report.check("C linker", c_linker(), |path| path.display().to_string());
    report.line("fast linker", fast_linker());
    report.check("temporary files", check_temporary_folder(), |()| {
        std::env::temp_dir().display().to_string()
    });
    let system = report.check("python", python::find(), |(path, version)| {
        format!("{version} ({})", path.display())
    });

    println!("devices");
    report.line("CPU", cpu());
    report.line("CUDA", cuda());

    println!("published autoencoders, by the family of their models");
    COVERAGE.lines().for_each(|line| println!("  {line}"));

    println!("this project");
    let checkout = report.check("checkout", Checkout::find(), |c| c.root().display().to_string());
    let state = report.check("state folder", State::open(), |s| {
        let free = free_bytes(s.home()).map(bytes).unwrap_or_default();
        format!("{}, {free} free", s.home().display())
    });
    if let (Some(checkout), Some(state)) = (&checkout, &state) {
        if let Some(python) =
            report.check("environment", Python::of(state, checkout, false), environment)
            && !python.is_ready()
            && let Some((program, _)) = &system
        {
            report.check("venv and pip", python::check_venv(program), |()| "there".to_owned());
        }
        if let Some(toolchain) = &toolchain {
            build(&mut report, state, checkout, toolchain);
        }
        registered(&mut report, state, checkout);
        report.check("kernels", kernels(state), |kernels| {
            format!(
                "{} running, {} left by ended ones (removed when the next starts)",
                kernels.running.len(),
                kernels.left.len()
            )
        });
        println!("data sets and models");
        for (name, ending) in super::fetch::names() {
            let found = fetched(&state.data().join(name), ending);
            report.line(name, found.map_or_else(|| format!("not fetched ({FETCH} {name})"), bytes));
        }
        println!("sizes");
        for name in ["bin", "python", "builds", "kernels", "data"] {
            let mut seen = std::collections::BTreeSet::new();
            report.line(name, bytes(size(&state.home().join(name), &mut seen)));
        }
        println!("  (kernels share most of theirs with builds)");
    }
    if report.wrong.is_empty() {
        println!("nothing is wrong");
        return Ok(());
    }
    println!("wrong");
    for wrong in &report.wrong {
        println!("  {}", wrong.replace('\n', "\n  "));
    }
    bail!("{} found wrong; the lines above say how to mend it", report.wrong.len())
}

fn build(report: &mut Report, state: &State, checkout: &Checkout, toolchain: &Toolchain) {
    let single = super::setup::FEATURES.map(|feature| vec![feature.to_owned()]);
    for features in std::iter::once(Vec::new()).chain(single) {
        let name = features.first().map_or("library".to_owned(), |f| format!("library ({f})"));
        let template = Template::of(state, checkout, toolchain, &features);
        let readiness = template.readiness(checkout);
        if !features.is_empty() && matches!(readiness, Ok(Readiness::Missing)) {
            report.line(&name, format!("not built (cargo lab --features {})", features[0]));
            continue;
        }
        report.check(&name, readiness, |readiness| match readiness {
            Readiness::Missing => "not built yet (cargo lab)".to_owned(),
            Readiness::Stale => "older than its sources (cargo lab builds it anew)".to_owned(),
            Readiness::Ready => "built".to_owned(),
        });
        let jupyter = Jupyter::of(state, checkout, &features);
        report.check("kernelspec", kernelspec(&jupyter), Clone::clone);
    }
}

fn kernelspec(jupyter: &Jupyter) -> Result<String> {
    let folder = jupyter.kernelspec();
    if !folder.exists() {
        return Ok("not installed yet (cargo lab)".to_owned());
    }
    let spec = Kernelspec::read(&folder)
        .with_context(|| format!("{} is damaged; mend it with: cargo lab", folder.display()))?;
    check_kernelspec(&spec).context("the kernelspec is stale; mend it with: cargo lab")?;
    Ok(folder.display().to_string())
}

/// Whether what a kernelspec names is there.
fn check_kernelspec(spec: &Kernelspec) -> Result<()> {
    let program = spec.program().context("it names no program")?;
    if !program.is_file() {
        bail!("it starts {}, which is gone", program.display());
    }
    let template = spec.template().context("it names no library")?;
    if let Some(compiler) = Template::at(&template)?.compiler() {
        compiler.check()?;
    }
    Ok(())
}

/// Whether VS Code and other Jupyters find the kernel.
fn registered(report: &mut Report, state: &State, checkout: &Checkout) {
    const NAME: &str = "for every Jupyter";
    let places = match user::places(state) {
        Ok(places) => places,
        Err(error) => return report.line(NAME, format!("no: {error:#}")),
    };
    let mut none = true;
    for place in places {
        let at = place.display();
        match user::found(&place) {
            Found::Nothing => continue,
            Found::Foreign => report.line(NAME, format!("no; {at} is another kernel")),
            Found::Ours(spec) => {
                let of = spec.checkout().filter(|of| of != checkout.root());
                let of = of.map_or(String::new(), |of| format!(" (of {})", of.display()));
                let checked = check_kernelspec(&spec).with_context(|| {
                    format!(
                        "the kernel registered in {at} is stale; mend it with: cargo run --bin \
                         eigenlens -- setup --user, or take it out with: setup --remove"
                    )
                });
                report.check(NAME, checked, |()| format!("{at}{of}"));
            }
        }
        none = false;
    }
    if none {
        report.line(NAME, "no (cargo run --bin eigenlens -- setup --user)");
    }
}

fn environment(python: &Python) -> String {
    if !python.is_ready() {
        return "not installed yet (cargo lab)".to_owned();
    }
    let ask = "from importlib.metadata import version as v\n\
               print(', '.join(f'{n} {v(n)}' for n in ('jupyterlab', 'plotly', 'nbclient')))";
    match output(for_python(Command::new(python.program()).args(["-c", ask]))) {
        Ok(versions) => versions.trim().to_owned(),
        Err(_) => format!("damaged; remove {} and run: cargo lab", python.folder().display()),
    }
}

/// A version from the lock file that this program was built with.
fn locked_version(name: &str) -> Option<String> {
    let head = format!("name = \"{name}\"");
    let mut lines = include_str!("../../../Cargo.lock").lines();
    lines.find(|line| *line == head)?;
    Some(lines.next()?.strip_prefix("version = ")?.trim_matches('"').to_owned())
}

fn fast_linker() -> String {
    match ["mold", "lld"].into_iter().find_map(on_path) {
        Some(path) => path.display().to_string(),
        None => "none; cells compile a little faster with one: apt install mold".to_owned(),
    }
}

fn cpu() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{cores} cores, {}", simd())
}

#[cfg(target_arch = "x86_64")]
fn simd() -> String {
    let flags = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
    ];
    let found: Vec<_> = flags.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    if found.is_empty() { "no vector extensions".to_owned() } else { found.join(" ") }
}

#[cfg(not(target_arch = "x86_64"))]
fn simd() -> String {
    std::env::consts::ARCH.to_owned()
}

fn cuda() -> String {
    let ask = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
    if let Ok(found) = output(Command::new("nvidia-smi").args(ask)) {
        return found.trim().replace('\n', "; ");
    }
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib", "/usr/lib"];
    if folders.iter().any(|folder| Path::new(folder).join("libcuda.so.1").exists()) {
        "a driver, but nvidia-smi does not answer".to_owned()
    } else {
        "none".to_owned()
    }
}

/// Bytes of what was fetched into a folder, once it has a file whose name ends so. Files that are still
/// being written have hidden names.
fn fetched(folder: &Path, ending: &str) -> Option<u64> {
    let mut names = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let is_there = names.any(|name| {
        let name = name.as_encoded_bytes();
        !name.starts_with(b".") && name.ends_with(ending.as_bytes())
    });
    is_there.then(|| size(folder, &mut std::collections::BTreeSet::new()))
}

/// Bytes that a folder takes on disk; a file with several names counts once.
fn size(path: &Path, seen: &mut std::collections::BTreeSet<u64>) -> u64 {
    let Ok(meta) = fs::symlink_metadata(path) else { return 0 };
    if !meta.is_dir() {
        return if meta.nlink() > 1 && !seen.insert(meta.ino()) { 0 } else { meta.blocks() * 512 };
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size(&entry.path(), seen)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_versions() {
        assert!(locked_version("evcxr").is_some_and(|version| version.starts_with("0.")));
        assert_eq!(locked_version("no-such-crate"), None);
    }

    #[test]
    fn the_coverage_is_a_line_per_family_and_one_of_all() {
        let counts = COVERAGE.lines().map(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().and_then(|word| word.parse::<usize>().ok())
        });
        let counts: Vec<usize> = counts.map(|count| count.expect("a count")).collect();
        let (all, families) = counts.split_last().expect("lines");
        assert!(families.len() > 5 && families.iter().sum::<usize>() == *all, "{COVERAGE}");
    }

    #[test]
    fn a_folder_counts_as_fetched_once_it_has_a_file_that_is_done() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens-fetched-{}", std::process::id()));
        assert_eq!(fetched(&folder, ""), None);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(".model.gguf.7.part"), vec![1; 10_000])?;
        assert_eq!(fetched(&folder, ""), None);
        fs::write(folder.join("TERMS.html"), vec![1; 10_000])?;
        assert_eq!(fetched(&folder, ".gguf"), None);
        fs::write(folder.join("model.gguf"), vec![1; 10_000])?;
        assert!(fetched(&folder, ".gguf") >= Some(30_000));
        assert_eq!(fetched(&folder, ""), fetched(&folder, ".gguf"));
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn linked_files_count_once() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens-size-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("a"), vec![1; 100_000])?;
        let once = size(&folder, &mut std::collections::BTreeSet::new());
        fs::hard_link(folder.join("a"), folder.join("b"))?;
        assert_eq!(size(&folder, &mut std::collections::BTreeSet::new()), once);
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
