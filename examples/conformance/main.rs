//! Holds this library's numbers against reference cases.
//!
//! `cargo run --release --example conformance -- DIR` walks DIR, runs every case that a suite
//! knows, prints a line a tensor (case, tensor, max |error|, max |error| / max |reference|) and
//! closes with `N passed, N failed, N skipped`. It exits with 1 if anything failed, and with 2 if
//! DIR cannot be read or holds no case.
//!
//! A case is a folder that holds data files; one with a `case.json` is a
//! case with all that is in it, and so is one with a list `cases.json`. To support more of them, add a suite to [`SUITES`].

mod autoencoders;
mod bilinear;
mod circles;
mod dark_matter_downstream;
mod dark_matter_info;
mod dark_matter_pursuit;
mod dark_matter_regression;
mod explanations;
mod features;
mod fetched;
mod geometry;
mod json;
mod language;
mod lenses;
mod mlsae_model;
mod mlsae_training;
mod models;
mod multilayer;
mod multilayer_batches;
mod report;
mod smollm2_circles;
mod week;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use report::Report;

/// What compares the cases of some folders: every tensor of the case, through `report`.
struct Suite {
    /// Folder relative to DIR; a `*` ends a path component and stands for the rest of it.
    pattern: &'static str,
    run: fn(folder: &Path, report: &mut Report) -> eigenlens::Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { pattern: "bilinear/toy", run: bilinear::toy },
    Suite { pattern: "bilinear/image", run: bilinear::image },
    Suite { pattern: "bilinear/transformer*", run: language::transformer },
    Suite { pattern: "bilinear/scope", run: language::tracer },
    Suite { pattern: "bilinear/scope/*", run: language::autoencoder },
    Suite { pattern: "sae/bad", run: autoencoders::refused },
    Suite { pattern: "sae/*/*", run: autoencoders::family },
    Suite { pattern: "models/*", run: models::model },
    Suite { pattern: "models/*/*", run: models::sharded },
    Suite { pattern: "models2/*", run: models::model },
    Suite { pattern: "smollm2", run: fetched::smollm2 },
    Suite { pattern: "gemma3-270m", run: fetched::gemma3 },
    Suite { pattern: "multidim/clustering", run: features::clustering },
    Suite { pattern: "multidim/cluster_activations", run: features::activations },
    Suite { pattern: "multidim/simple_example", run: geometry::regression },
    Suite { pattern: "multidim/confidence_interval", run: circles::intervals },
    Suite { pattern: "multidim/problems", run: circles::problems },
    Suite { pattern: "multidim/circle_probe", run: circles::probe },
    Suite { pattern: "multidim/interventions", run: circles::interventions },
    Suite { pattern: "multidim/deconstruction_*", run: explanations::deconstruction },
    Suite { pattern: "mlsae/autoencoder", run: mlsae_training::autoencoder },
    Suite { pattern: "mlsae/training", run: mlsae_training::training },
    Suite { pattern: "mlsae/lens", run: lenses::lens },
    Suite { pattern: "mlsae/lens-tfm", run: mlsae_model::behind_a_lens },
    Suite { pattern: "mlsae/api", run: mlsae_model::api },
    Suite { pattern: "reducibility", run: geometry::reducibility },
    Suite { pattern: "mlsae/dists", run: multilayer::distributions },
    Suite { pattern: "mlsae/variances_right", run: multilayer::variances },
    Suite { pattern: "mlsae/persistence", run: multilayer::persistence },
    Suite { pattern: "mlsae/mmcs", run: multilayer::maxima },
    Suite { pattern: "mlsae/resid_cos_sim", run: multilayer::residual },
    Suite { pattern: "mlsae/metrics", run: multilayer_batches::metrics },
    Suite { pattern: "mlsae/prompt_heatmap", run: multilayer_batches::prompt },
    Suite { pattern: "mlsae/examples", run: multilayer_batches::examples },
    Suite { pattern: "dark_matter/basics", run: dark_matter_regression::basics },
    Suite { pattern: "dark_matter/decomposition", run: dark_matter_regression::decomposition },
    Suite { pattern: "dark_matter/per_token", run: dark_matter_regression::per_token },
    Suite { pattern: "dark_matter/norm_prediction", run: dark_matter_regression::norm_prediction },
    Suite { pattern: "dark_matter/sae_info", run: dark_matter_info::sae_info },
    Suite { pattern: "dark_matter/grad_pursuit", run: dark_matter_pursuit::grad_pursuit },
    Suite { pattern: "dark_matter/power_laws", run: dark_matter_pursuit::power_laws },
    Suite { pattern: "dark_matter/detection", run: dark_matter_pursuit::detection },
    Suite { pattern: "dark_matter/downstream", run: dark_matter_downstream::downstream },
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(root), None) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: conformance DIR\nDIR is the folder of reference cases.");
        return ExitCode::from(2);
    };
    match run(Path::new(&root)) {
        Ok(report) => {
            println!("{}", report.closing_line());
            if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(message) => {
            eprintln!("conformance: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(root: &Path) -> Result<Report, String> {
    let mut folders = Vec::new();
    cases(root, &mut folders)?;
    folders.sort();
    if folders.is_empty() {
        return Err(format!("{} holds no reference case", root.display()));
    }
    // The root may be the folder of one work.
    let above = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let above = above.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut report = Report::default();
    for folder in folders {
        let name = folder.strip_prefix(root).unwrap_or(&folder).to_string_lossy().into_owned();
        let name = if name.is_empty() { ".".to_owned() } else { name.replace('\\', "/") };
        match suite_of(&name).or_else(|| suite_of(&format!("{above}/{name}"))) {
            None => report.skip(&name, "not supported yet"),
            Some(suite) => {
                report.begin(&name);
                if let Err(error) = (suite.run)(&folder, &mut report) {
                    report.fail("case", &error.to_string());
                }
                report.end();
            }
        }
    }
    Ok(report)
}

fn suite_of(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| matches(suite.pattern, name))
}

/// Adds to `found` every folder at or below `folder` that holds files other than its description.
fn cases(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    if ["case.json", "cases.json"].iter().any(|list| folder.join(list).is_file()) {
        found.push(folder.to_owned());
        return Ok(());
    }
    let unreadable = |error| format!("could not read the folder {}: {error}", folder.display());
    let mut holds_data = false;
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            cases(&path, found)?;
        } else if !described(&path) {
            holds_data = true;
        }
    }
    if holds_data {
        found.push(folder.to_owned());
    }
    Ok(())
}

/// Whether a file tells of the cases below it, and is none.
fn described(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
        || path.file_name().is_some_and(|name| name == "manifest.json")
}

fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.split('/'), name.split('/'));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some(expected), Some(found))
                if expected == found
                    || expected.strip_suffix('*').is_some_and(|start| found.starts_with(start)) => {
            }
            _ => return false,
        }
    }
}
