//! Peaks of memory, each in a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use eigenlens::prelude::*;
use eigenlens::sae_error::Moments;

use crate::Result;
use crate::language::{config, random_sae, random_tokens};
use crate::report::Row;

/// Names its work to a process that measures its own memory.
const VARIABLE: &str = "EIGENLENS_BENCH_MEMORY";
/// When it stops: a whole scan can take hours, and only repeats what it does first.
const LIMIT: Duration = Duration::from_secs(60);
/// Where the kernel says how much memory a process has.
const STATUS: &str = "/proc/self/status";

/// Width and features of the tracer's autoencoders.
const TRACER: [usize; 2] = [1_024, 8_192];
/// Contexts that examples are looked for in, tokens each, and features of both autoencoders.
const EXAMPLES: [usize; 3] = [16_384, 128, 1_536];
/// Width of activations and errors that are regressed, blocks of rows, and rows of each.
const MOMENTS: [usize; 3] = [2_304, 4, 4_096];

/// Work that is ready to begin.
type Run = Box<dyn FnOnce() -> eigenlens::Result<()>>;

/// Whether memory can be measured here.
fn is_told() -> bool {
    let found = Path::new(STATUS).exists();
    if !found {
        println!("without peaks of memory: they need {STATUS}");
    }
    found
}

/// The same of least squares, whose rows come in blocks.
pub(crate) fn moments() -> Result<Vec<Row>> {
    if !is_told() {
        return Ok(Vec::new());
    }
    let [width, blocks, rows] = MOMENTS;
    let size = format!("{blocks} blocks of {rows} rows, d {width}, as many targets");
    Ok(vec![row("least squares, peak memory".to_owned(), size, "moments", Path::new("."))?])
}

/// By how much the memory of some work grows beyond what it is given.
pub(crate) fn rows() -> Result<Vec<Row>> {
    if !is_told() {
        return Ok(Vec::new());
    }
    let [width, features] = TRACER;
    let tracer = format!("d_model {width}, d_hidden {}, 2×{features} features", 4 * width);
    let [contexts, length, features] = EXAMPLES;
    let examples =
        format!("{contexts}×{length} tokens, d_model {}, 2×{features} features", config().d_model);
    let folder = tempfile::tempdir()?;
    let model = Decoder::random(large(), 0, &Device::Cpu)?;
    let parameters: usize = model.variables().iter().map(|var| var.elem_count()).sum();
    model.save_as(folder.path(), DType::BF16)?;
    drop(model);
    let file = fs::metadata(folder.path().join("model.safetensors"))?.len();
    let loading = format!("{parameters} parameters, a file of {:.0} MB", file as f64 / 1e6);

    let minute = "peak memory in the first minute";
    Ok(vec![
        row(format!("tracer scan, {minute}"), tracer, "tracer", folder.path())?,
        row(format!("max_activations, {minute}"), examples, "examples", folder.path())?,
        row("loading bf16, peak memory".to_owned(), loading, "loading", folder.path())?,
    ])
}

/// The memory in which the model `name` with so many parameters is loaded, over that of its weights
/// in f32.
pub(crate) fn of_loading(title: &str, name: &str, parameters: usize) -> Result<Option<Row>> {
    if !is_told() {
        return Ok(None);
    }
    let weights = 4.0 * parameters as f64 / 1e6;
    let size = format!("{parameters} parameters, {weights:.0} MB in f32");
    let title = format!("{title}, loading, peak memory");
    let row = row(title, size, "loading", Path::new(name))?;
    Ok(Some(Row { value: row.value / weights, unit: "of the weights".to_owned(), ..row }))
}

/// A hundred million parameters.
fn large() -> Config {
    Config::bilinear(10, 12, 768, 3_072)
}

/// Has another process do the work.
fn row(name: String, size: String, work: &str, folder: &Path) -> Result<Row> {
    let output = Command::new(std::env::current_exe()?)
        .arg(folder)
        .env(VARIABLE, work)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = text.split_whitespace().flat_map(str::parse).collect();
    let &[before, peak, ..] = &*numbers else {
        return Err(format!("{name}: the process ended with {}", output.status).into());
    };
    let size = format!("{size}, over {before:.0} MB before");
    Ok(Row::new(name, size, peak - before, "MB"))
}

/// In a process that [`VARIABLE`] names work to: does it, and prints the memory before it and the
/// peak.
pub(crate) fn measured() -> Option<ExitCode> {
    let work = std::env::var(VARIABLE).ok()?;
    Some(match measure(&work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {work}: {error}");
            ExitCode::FAILURE
        }
    })
}

fn measure(work: &str) -> Result<()> {
    let run = match work {
        "tracer" => tracer()?,
        "examples" => examples()?,
        "loading" => loading()?,
        "moments" => of_moments(),
        _ => return Err(format!("{VARIABLE} names no work").into()),
    };
    // The peak so far is forgotten: preparing can take more than there is now.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = peak()?;
    let print = move || -> Result<()> {
        println!("{before} {}", peak()?);
        Ok(())
    };
    thread::spawn(move || {
        thread::sleep(LIMIT);
        std::process::exit(i32::from(print().is_err()));
    });
    run()?;
    print()
}

/// The most memory that this process has had, in MB.
fn peak() -> Result<f64> {
    let status = fs::read_to_string(STATUS)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: f64 = kilobytes.ok_or("no VmHWM in kB")?.trim().parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

fn tracer() -> Result<Run> {
    let [width, features] = TRACER;
    let config = Config { vocab: 64, ..Config::bilinear(1, 16, width, 4 * width) };
    let model = Decoder::random(config, 0, &Device::Cpu)?;
    let sae = |point| random_sae(point, [features, width], 32);
    let tracer = Tracer::new(&model, 0, &sae(HookPoint::MlpIn(0))?, &sae(HookPoint::MlpOut(0))?)?;
    let statistic = Statistic::TruncatedEigenvalues { k: 2 };
    Ok(Box::new(move || tracer.compute(statistic).map(drop)))
}

fn examples() -> Result<Run> {
    let [contexts, length, features] = EXAMPLES;
    let config = config();
    let saes = [HookPoint::MlpIn(2), HookPoint::MlpOut(2)]
        .map(|point| random_sae(point, [features, config.d_model], 16));
    let [input, output] = saes;
    let saes = [input?, output?];
    let contexts = Contexts::new(length, random_tokens(contexts * length, config.vocab)?)?;
    let model = Decoder::random(config, 0, &Device::Cpu)?;
    let options = MaxOptions::default();
    Ok(Box::new(move || max_activations(&model, &saes, &contexts, &options).map(drop)))
}

fn loading() -> Result<Run> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from).ok_or("no folder")?;
    let name = folder.to_str().ok_or("a folder that is not text")?.to_owned();
    Ok(Box::new(move || Decoder::from_pretrained(&name, &Device::Cpu).map(drop)))
}

fn of_moments() -> Run {
    let [width, blocks, rows] = MOMENTS;
    Box::new(move || {
        let mut moments = Moments::new(width, width, 1)?;
        let mut rng = Rng::seed(0);
        for _ in 0..blocks {
            let draw = |rng: &mut Rng| rng.normal((rows, width), &Device::Cpu);
            moments.add(0, &draw(&mut rng)?, &draw(&mut rng)?)?;
        }
        moments.fit(&[0], true).map(drop)
    })
}
