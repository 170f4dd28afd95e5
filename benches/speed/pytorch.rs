//! The same work here and in PyTorch on as many threads, by turns in one run.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::report::{Row, Spread};
use crate::{Result, median, once, peak, root};

/// Turns that each side has; what is reported is the median.
pub(crate) const TURNS: usize = 5;

/// Between turns: the threads of the side that has worked keep spinning for a while.
pub(crate) const REST: Duration = Duration::from_millis(500);

/// Something that both sides can do.
pub(crate) struct Work<'a> {
    name: String,
    request: String,
    size: String,
    unit: &'static str,
    each: usize,
    /// How many PyTorch does at a time.
    each_theirs: Option<usize>,
    times: usize,
    flops: Option<f64>,
    error: Option<f64>,
    run: Box<dyn Fn(usize) -> eigenlens::Result<()> + 'a>,
    /// What `run` does besides.
    set_up: Option<Box<dyn Fn() -> eigenlens::Result<()> + 'a>>,
}

impl<'a> Work<'a> {
    /// What `benches/pytorch_baseline.py` calls `request`; `run` does ours so many times.
    pub(crate) fn new(
        name: impl Into<String>,
        request: impl Into<String>,
        run: impl Fn(usize) -> eigenlens::Result<()> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            request: request.into(),
            size: String::new(),
            unit: "times/s",
            each: 1,
            each_theirs: None,
            times: 1,
            flops: None,
            error: None,
            run: Box::new(run),
            set_up: None,
        }
    }

    pub(crate) fn size(self, size: impl Into<String>) -> Self {
        Self { size: size.into(), ..self }
    }

    /// `each` of what `unit` counts a second are done at a time, `times` times a turn.
    pub(crate) fn turn(self, times: usize, each: usize, unit: &'static str) -> Self {
        Self { times, each, unit, ..self }
    }

    /// PyTorch does only so many of the unit at a time, to end in time.
    pub(crate) fn sampled(self, theirs: usize) -> Self {
        Self { each_theirs: Some(theirs), ..self }
    }

    /// What every run does once besides, such as making the first weights. It is timed by itself, and
    /// what a run takes is counted without it.
    pub(crate) fn set_up(self, set_up: impl Fn() -> eigenlens::Result<()> + 'a) -> Self {
        Self { set_up: Some(Box::new(set_up)), ..self }
    }

    /// Operations on floating-point numbers that one of the unit takes done the plain way.
    pub(crate) fn flops(self, flops: impl Into<Option<f64>>) -> Self {
        Self { flops: flops.into(), ..self }
    }

    /// The largest relative error of our result.
    pub(crate) fn error(self, error: f64) -> Self {
        Self { error: Some(error), ..self }
    }
}

/// Speeds of `works` here and in PyTorch, which gets `sizes` by name.
pub(crate) fn rows<'a>(
    works: impl IntoIterator<Item = Work<'a>>,
    sizes: &[(&str, usize)],
) -> Result<Vec<Row>> {
    let mut pytorch = Baseline::start(sizes, &[])?;
    works.into_iter().map(|work| work.measure(pytorch.as_mut())).collect()
}

impl Work<'_> {
    /// Our speed, PyTorch's, and how ours over PyTorch's varies from turn to turn.
    fn measure(self, mut pytorch: Option<&mut Baseline>) -> Result<Row> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        (self.run)(1)?;
        if let Some(pytorch) = &mut pytorch {
            pytorch.ask(&self.request, 1)?;
        }
        let count = (self.each * self.times) as f64;
        let count_theirs = (self.each_theirs.unwrap_or(self.each) * self.times) as f64;
        for _ in 0..TURNS {
            std::thread::sleep(REST);
            let set_up = self.set_up.as_ref().map_or(Ok(0.0), once)?;
            ours.push(count / (once(|| (self.run)(self.times))? - set_up));
            if let Some(pytorch) = &mut pytorch {
                std::thread::sleep(REST);
                theirs.push(count_theirs / pytorch.ask(&self.request, self.times)?.seconds);
            }
        }
        let ratios: Vec<f64> =
            ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let size = format!("{}, {} threads", self.size, rayon::current_num_threads());
        let mut row = Row::new(self.name, size, median(ours), self.unit);
        if !theirs.is_empty() {
            row.pytorch = Some(median(theirs));
            row.ratio = Some(Spread::of(ratios));
        }
        if let Some(flops) = self.flops {
            row.peak_share = Some(row.value * flops / peak::operations()?);
        }
        row.error = self.error;
        Ok(row)
    }
}

/// What PyTorch's side says of some work.
pub(crate) struct Answer {
    pub(crate) seconds: f64,
    /// What it found, where the work has a result.
    pub(crate) found: Vec<f64>,
}

/// `benches/pytorch_baseline.py`, waiting for requests.
pub(crate) struct Baseline {
    program: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Baseline {
    /// With more environment variables; none where no Python with PyTorch was named.
    pub(crate) fn start(
        sizes: &[(&str, usize)],
        variables: &[(&str, &OsStr)],
    ) -> Result<Option<Baseline>> {
        let variable = "EIGENLENS_BENCH_PYTHON";
        let Some(python) = std::env::var_os(variable).filter(|python| !python.is_empty()) else {
            println!("without PyTorch: set {variable} to a Python that has it");
            return Ok(None);
        };
        let mut command = Command::new(&python);
        command.envs(variables.iter().copied());
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

    /// Has PyTorch do some work so many times.
    pub(crate) fn ask(&mut self, request: &str, times: usize) -> Result<Answer> {
        let mut answer = String::new();
        writeln!(self.requests, "{request} {times}")
            .and_then(|()| self.answers.read_line(&mut answer))
            .map_err(|reason| format!("the PyTorch baseline does not listen: {reason}"))?;
        if answer.is_empty() {
            let status = self.program.wait()?;
            return Err(format!("benches/pytorch_baseline.py ended with {status}").into());
        }
        let numbers: Option<Vec<f64>> =
            answer.split_whitespace().map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some([seconds, found @ ..]) => Ok(Answer { seconds: *seconds, found: found.to_vec() }),
            _ => {
                let program = "benches/pytorch_baseline.py";
                Err(format!("{program} answered {answer:?}, not numbers").into())
            }
        }
    }
}

impl Drop for Baseline {
    fn drop(&mut self) {
        // It only waits for requests: nothing of it is lost.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
