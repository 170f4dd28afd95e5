//! The same work here and in PyTorch on as many threads, by turns in one run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::report::Row;
use crate::{Result, median, root};

/// Turns that each side has; what is reported is the median.
const TURNS: usize = 5;

/// Between turns: the threads of the side that has worked keep spinning for a while.
const REST: Duration = Duration::from_millis(500);

/// Something that both sides can do.
pub(crate) struct Work<'a> {
    pub(crate) name: &'static str,
    /// What `benches/pytorch_baseline.py` calls it.
    pub(crate) request: &'static str,
    pub(crate) size: String,
    pub(crate) unit: &'static str,
    /// How many of the unit are done at a time.
    pub(crate) each: usize,
    /// How many times make a turn.
    pub(crate) times: usize,
    /// Does so many.
    pub(crate) run: &'a dyn Fn(usize) -> eigenlens::Result<()>,
}

/// Speeds of `works` here and in PyTorch, which gets `sizes` by name.
pub(crate) fn rows<'a>(
    works: impl IntoIterator<Item = Work<'a>>,
    sizes: &[(&str, usize)],
) -> Result<Vec<Row>> {
    let works = works.into_iter().map(|work| (work.each, work));
    measured(works, sizes)
}

/// The same where PyTorch does only `theirs` of the unit at a time, to end in time.
pub(crate) fn sampled_rows<'a>(
    works: impl IntoIterator<Item = Work<'a>>,
    theirs: usize,
    sizes: &[(&str, usize)],
) -> Result<Vec<Row>> {
    measured(works.into_iter().map(|work| (theirs, work)), sizes)
}

fn measured<'a>(
    works: impl Iterator<Item = (usize, Work<'a>)>,
    sizes: &[(&str, usize)],
) -> Result<Vec<Row>> {
    let mut pytorch = Baseline::start(sizes)?;
    let mut rows = Vec::new();
    for (theirs, work) in works {
        rows.extend(work.measure(theirs, pytorch.as_mut())?);
    }
    Ok(rows)
}

impl Work<'_> {
    /// Rows of our speed, PyTorch's, ours over PyTorch's, and how far that varies from turn to turn.
    fn measure(self, each_theirs: usize, mut pytorch: Option<&mut Baseline>) -> Result<Vec<Row>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        (self.run)(1)?;
        if let Some(pytorch) = &mut pytorch {
            pytorch.seconds(self.request, 1)?;
        }
        let count = (self.each * self.times) as f64;
        let count_theirs = (each_theirs * self.times) as f64;
        for _ in 0..TURNS {
            std::thread::sleep(REST);
            let start = Instant::now();
            (self.run)(self.times)?;
            ours.push(count / start.elapsed().as_secs_f64());
            if let Some(pytorch) = &mut pytorch {
                std::thread::sleep(REST);
                theirs.push(count_theirs / pytorch.seconds(self.request, self.times)?);
            }
        }
        let ratios: Vec<f64> =
            ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let threads = rayon::current_num_threads();
        let row = |name: String, values: Vec<f64>, unit: &str| Row {
            name,
            size: format!("{}, {threads} threads", self.size),
            value: median(values),
            unit: unit.to_owned(),
        };
        let mut rows = vec![row(self.name.to_owned(), ours, self.unit)];
        if !theirs.is_empty() {
            let extreme =
                |pick: fn(f64, f64) -> f64| vec![ratios.iter().copied().fold(f64::NAN, pick)];
            let (lowest, highest) = (extreme(f64::min), extreme(f64::max));
            rows.push(row(format!("{}: PyTorch", self.name), theirs, self.unit));
            rows.push(row(format!("{}: ratio to PyTorch", self.name), ratios, "×"));
            rows.push(row(format!("{}: lowest ratio", self.name), lowest, "×"));
            rows.push(row(format!("{}: highest ratio", self.name), highest, "×"));
        }
        Ok(rows)
    }
}

/// `benches/pytorch_baseline.py`, waiting for requests.
struct Baseline {
    program: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Baseline {
    /// None where no Python with PyTorch was named.
    fn start(sizes: &[(&str, usize)]) -> Result<Option<Baseline>> {
        let variable = "EIGENLENS_BENCH_PYTHON";
        let Some(python) = std::env::var_os(variable).filter(|python| !python.is_empty()) else {
            println!("without PyTorch: set {variable} to a Python that has it");
            return Ok(None);
        };
        let mut command = Command::new(&python);
        command.arg(root().join("benches/pytorch_baseline.py"));
        let threads = ("threads", rayon::current_num_threads());
        for (name, size) in sizes.iter().chain([&threads]) {
            command.arg(format!("{name}={size}"));
        }
        let mut program =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|reason| {
                format!("{variable}: could not run {}: {reason}", python.display())
            })?;
        let (Some(requests), Some(answers)) = (program.stdin.take(), program.stdout.take()) else {
            return Err("the PyTorch baseline has no pipes".into());
        };
        Ok(Some(Baseline { program, requests, answers: BufReader::new(answers) }))
    }

    /// How long PyTorch took.
    fn seconds(&mut self, request: &str, times: usize) -> Result<f64> {
        let mut answer = String::new();
        writeln!(self.requests, "{request} {times}")
            .and_then(|()| self.answers.read_line(&mut answer))
            .map_err(|reason| format!("the PyTorch baseline does not listen: {reason}"))?;
        if answer.is_empty() {
            let status = self.program.wait()?;
            return Err(format!("benches/pytorch_baseline.py ended with {status}").into());
        }
        answer.trim().parse().map_err(|_| {
            format!("benches/pytorch_baseline.py answered {answer:?}, not a number").into()
        })
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // It only waits for requests: nothing of it is lost.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
