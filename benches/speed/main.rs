//! How long a person waits for a notebook, how fast the library is beside PyTorch, and how much
//! memory it takes.
//!
//! ```text
//! cargo bench                  all parts
//! cargo bench -- training      one of them: notebook, language, autoencoders, curve, tracer,
//!                              fetched, training, geometry, dictionaries, store, clusters,
//!                              circles, multilayer, sae_error, peers
//! ```
//!
//! Prints a table, a row a computation. Environment variables:
//! - `EIGENLENS_BENCH_JSON`: a file that gets the same rows, an array of `{name, size, value, unit}`,
//!   with `pytorch`, `ratio`, `peak_share` and `error` where there are such;
//! - `EIGENLENS_BENCH_PYTHON`: a Python that has PyTorch, for its half of all but notebook, store and
//!   peers; fetched needs transformers, gguf and accelerate there, and what `eigenlens fetch smollm2`
//!   and `eigenlens fetch gemma3-270m` bring; store needs DuckDB and
//!   Polars there, clusters scikit-learn;
//! - `EIGENLENS_ENGINE`: the query engine, for its rows of store.
//!
//! The rows of tracer on trained weights need `eigenlens fetch corpus`: the first time, a model is
//! trained on it for four minutes.

mod autoencoders;
mod circles;
mod clusters;
mod coding;
mod curve;
mod dictionaries;
mod fetched;
mod geometry;
mod growth;
mod language;
mod look_up;
mod memory;
mod multilayer;
mod notebook;
mod peak;
mod peers;
mod pytorch;
mod report;
mod sae_error;
mod store;
mod tracer;
mod trained;
mod training;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use report::Row;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A part's name, and what measures it.
type Part = (&'static str, fn() -> Result<Vec<Row>>);

const PARTS: [Part; 15] = [
    ("notebook", notebook::rows),
    ("language", language::rows),
    ("autoencoders", autoencoders::rows),
    ("curve", curve::rows),
    ("tracer", tracer::rows),
    ("fetched", fetched::rows),
    ("training", training::rows),
    ("geometry", geometry::rows),
    ("dictionaries", dictionaries::rows),
    ("store", store::rows),
    ("clusters", clusters::rows),
    ("circles", circles::rows),
    ("multilayer", multilayer::rows),
    ("sae_error", sae_error::rows),
    ("peers", peers::rows),
];

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The middle value, or the mean of the middle two; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}

/// Turns of a quick measurement.
const TURNS: usize = 3;

/// Seconds that `work` takes.
fn once(work: impl FnOnce() -> eigenlens::Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds of `work`: the median of a few turns.
fn timed(work: impl Fn() -> eigenlens::Result<()>) -> Result<f64> {
    let turns = (0..TURNS).map(|_| once(&work));
    Ok(median(turns.collect::<Result<Vec<f64>>>()?))
}

/// The largest value, 0 of none; NaN if one is.
fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a })
}

fn main() -> ExitCode {
    // As in a notebook.
    eigenlens::linalg::keep_freed_memory();
    if let Some(code) = memory::measured() {
        return code;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        // `cargo test --all-targets` runs benches too, without this argument.
        println!("nothing is measured outside `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let asked: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    if let Some(unknown) = asked.iter().find(|word| PARTS.iter().all(|(name, _)| word != &name)) {
        let names = PARTS.map(|(name, _)| name).join(", ");
        eprintln!("error: there is no part `{unknown}`; there are: {names}");
        return ExitCode::FAILURE;
    }
    let (mut rows, mut failed) = (Vec::new(), false);
    for (name, measure) in PARTS {
        if !asked.is_empty() && !asked.iter().any(|word| *word == name) {
            continue;
        }
        match measure() {
            Ok(more) => rows.extend(more),
            Err(error) => {
                eprintln!("error: {name}: {error}");
                failed = true;
            }
        }
    }
    rows.extend(peak::row());
    print!("\n{}", report::table(&rows));
    if let Some(path) = std::env::var_os("EIGENLENS_BENCH_JSON").filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        if let Err(error) = report::write_json(&path, &rows) {
            eprintln!("error: could not write {}: {error}", path.display());
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
