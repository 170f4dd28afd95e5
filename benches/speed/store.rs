//! Harvests beside what they cannot do without, and questions to a store.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use eigenlens::prelude::*;

use crate::language::{config, random_sae, random_tokens};
use crate::report::{Row, Spread};
use crate::{Result, median, root};

/// Turns of each measurement.
const TURNS: usize = 5;
/// Contexts of a harvest that is timed, and tokens in each.
const CONTEXTS: usize = 128;
const LENGTH: usize = 128;
/// Rows that are read in random order, and their width.
const READ_ROWS: usize = 131_072;
const READ_WIDTH: usize = 768;
/// The store that is asked: tokens, features and features per token, 32 million entries in all.
const ASKED_CONTEXTS: usize = 3_907;
const ASKED_FEATURES: usize = 32_768;
const ASKED_K: usize = 64;

pub(crate) fn rows() -> Result<Vec<Row>> {
    let mut rows = vec![overhead()?];
    rows.extend(reading()?);
    rows.extend(asking()?);
    Ok(rows)
}

/// A harvest with losses, one hook point and one autoencoder, over the forward pass with losses and
/// the encoding that it needs.
fn overhead() -> Result<Row> {
    let model = Decoder::random(config(), 0, &Device::Cpu)?;
    let width = model.config().d_model;
    let point = HookPoint::ResidPost(model.config().layers / 2);
    let sae = random_sae(point, [8 * width, width], 16)?;
    let text = contexts(CONTEXTS, model.config().vocab)?;
    let options = HarvestOptions { points: vec![point], ..HarvestOptions::default() };
    let (mut ratios, mut times) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let start = Instant::now();
        for first in (0..CONTEXTS).step_by(options.batch) {
            let tokens = text.batch(first, options.batch, &Device::Cpu)?;
            let (cache, _) = model.activations_with_loss(&tokens, &[point])?;
            sae.encode(cache.get(point)?)?;
        }
        let bare = start.elapsed().as_secs_f64();
        let folder = tempfile::tempdir()?;
        let start = Instant::now();
        let saes = std::slice::from_ref(&sae);
        Store::harvest(folder.path(), &model, saes, &text, &options)?;
        let whole = start.elapsed().as_secs_f64();
        ratios.push(whole / bare);
        times.push(whole);
    }
    let spread = Spread::of(ratios);
    let size = format!(
        "{} tokens, d_model {width}, {:.1} s; over forward, losses and encoding, {:.2} to {:.2}",
        CONTEXTS * LENGTH,
        median(times),
        spread.lowest,
        spread.highest
    );
    Ok(Row::new("harvest", size, spread.median, "× bare"))
}

/// Activations in random order, in bf16 and from files that are in the machine's memory, and rows that
/// are copied in random order within it.
fn reading() -> Result<Vec<Row>> {
    let config = Config { vocab: 512, context: LENGTH, ..Config::bilinear(1, 12, READ_WIDTH, 8) };
    let model = Decoder::random(config, 0, &Device::Cpu)?.to_dtype(DType::BF16)?;
    let text = contexts(READ_ROWS / LENGTH, model.config().vocab)?;
    let folder = tempfile::tempdir()?;
    let options = HarvestOptions {
        points: vec![HookPoint::Embed],
        loss: false,
        pile: 16 << 20,
        ..HarvestOptions::default()
    };
    let store = Store::harvest(folder.path(), &model, &[], &text, &options)?;
    let memory = 1 << 30;
    let (mut read, mut copied) = (Vec::new(), Vec::new());
    let source = vec![1u16; READ_ROWS * READ_WIDTH];
    for seed in 0..TURNS as u64 {
        let start = Instant::now();
        let options = ShuffleOptions { seed, memory: memory / 16, ..ShuffleOptions::default() };
        for batch in store.shuffled(HookPoint::Embed, &options)? {
            std::hint::black_box(batch?);
        }
        read.push(READ_ROWS as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        let order = Rng::seed(seed).permutation(READ_ROWS);
        for rows in order.chunks(options.batch) {
            let mut batch = vec![0u16; rows.len() * READ_WIDTH];
            for (to, row) in batch.chunks_exact_mut(READ_WIDTH).zip(rows) {
                to.copy_from_slice(&source[*row as usize * READ_WIDTH..][..READ_WIDTH]);
            }
            std::hint::black_box(batch);
        }
        copied.push(READ_ROWS as f64 / start.elapsed().as_secs_f64());
    }
    let size = format!("{READ_ROWS} rows, d {READ_WIDTH}, bf16, 64 MiB of memory");
    Ok(vec![
        Row::new("shuffled rows of a store", &size, median(read), "rows/s"),
        Row::new("rows copied in random order", size, median(copied), "rows/s"),
    ])
}

/// Questions to a store of 32 million entries, without an engine.
fn asking() -> Result<Vec<Row>> {
    let config = Config { vocab: 4_096, context: LENGTH, ..Config::bilinear(1, 2, 64, 8) };
    let model = Decoder::random(config, 0, &Device::Cpu)?;
    // Embeddings larger than the autoencoder's bias: every token has features of its own.
    for var in model.variables() {
        var.set(&(var.as_tensor() * 200.0)?)?;
    }
    let text = contexts(ASKED_CONTEXTS, model.config().vocab)?;
    let sae = random_sae(HookPoint::Embed, [ASKED_FEATURES, 64], ASKED_K)?;
    let folder = tempfile::tempdir()?;
    let options =
        HarvestOptions { keys: vec!["sae".to_owned()], loss: false, ..HarvestOptions::default() };
    let store = Store::harvest(folder.path(), &model, &[sae], &text, &options)?;
    let codes =
        store.units().iter().flat_map(|unit| &unit.files).filter(|own| own.table == "codes");
    let (entries, bytes) =
        codes.fold((0, 0), |(rows, bytes), own| (rows + own.rows, bytes + own.bytes));
    let size = format!("{entries} entries of {ASKED_FEATURES} features");
    let time = |ask: &dyn Fn() -> eigenlens::Result<()>| -> Result<f64> {
        let mut times = Vec::new();
        for _ in 0..TURNS {
            let start = Instant::now();
            ask()?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(median(times))
    };
    let table = time(&|| store.table("sae").map(drop))?;
    let examples = time(&|| store.examples("sae", 17, 20).map(drop))?;
    let occurrences = time(&|| store.occurrences("sae", &[17]).map(drop))?;
    let mut rows = vec![
        Row::new("codes of a store", &size, bytes as f64 / entries as f64, "bytes/entry"),
        Row::new("table of all features", &size, table, "s"),
        Row::new("20 examples of a feature", &size, examples, "s"),
        Row::new("all occurrences of a feature", size, occurrences, "s"),
    ];
    rows.extend(engines(store.path())?);
    Ok(rows)
}

/// Queries to the store by its engine, DuckDB and Polars, if there are such.
fn engines(store: &Path) -> Result<Vec<Row>> {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let (Some(python), Some(engine)) = (named("EIGENLENS_BENCH_PYTHON"), named("EIGENLENS_ENGINE"))
    else {
        println!(
            "without query engines: set EIGENLENS_ENGINE to eigenlens-engine and \
             EIGENLENS_BENCH_PYTHON to a Python that has environment/requirements-engine.txt"
        );
        return Ok(Vec::new());
    };
    let script = root().join("benches/query_engines.py");
    let mut command = Command::new(python);
    command.arg(script).args([engine.as_os_str(), store.as_os_str()]).stderr(Stdio::inherit());
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("benches/query_engines.py ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn contexts(count: usize, vocab: usize) -> Result<Contexts> {
    Ok(Contexts::new(LENGTH, random_tokens(count * LENGTH, vocab)?)?)
}
