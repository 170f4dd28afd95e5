//! Training, beside the same computation in PyTorch on as many threads, by turns in one run.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use eigenlens::prelude::*;
use eigenlens::train::{MuonOptions, OptimizerKind};

use crate::report::Row;
use crate::{Result, median, root};

/// Rank of the tensor decomposition.
const RANK: usize = 64;
/// Turns that each side has; what is reported is the median.
const TURNS: usize = 5;

/// Between turns: the threads of the side that has worked keep spinning for a while.
const REST: Duration = Duration::from_millis(500);

/// Something that both sides can do.
struct Work<'a> {
    name: &'static str,
    /// What `benches/pytorch_baseline.py` calls it.
    request: &'static str,
    size: String,
    unit: &'static str,
    /// How many epochs or steps make a turn.
    times: usize,
    /// Does so many.
    run: &'a dyn Fn(usize) -> eigenlens::Result<()>,
}

/// Speeds of training an image model and of decomposing it, and how they compare with PyTorch's.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let threads = rayon::current_num_threads();
    let digits = Mnist::embedded(&Device::Cpu)?;
    let (config, fit) = (ImageConfig::default(), FitOptions::default());
    let mut pytorch = Baseline::start(threads, &config, &fit)?;

    let model = ImageModel::new(config, 0, &Device::Cpu)?;
    let train = |epochs: usize, options: &FitOptions| {
        let options = FitOptions { epochs, ..options.clone() };
        model.fit(digits.train(), digits.test(), options).map(drop)
    };
    let noisy = fit.clone().augment(Augmentation::noise(0.4));
    let target = ImageModel::new(config, 1, &Device::Cpu)?;
    let factors = CpdModel::new(&target, RANK, 0)?;
    let decompose = |steps: usize, bfloat16: bool| {
        let muon = MuonOptions { bfloat16, ..MuonOptions::default() };
        let options = CpdFit { steps, optimizer: OptimizerKind::Muon(muon) };
        factors.fit(&target, options).map(drop)
    };

    let images = format!(
        "{} images, batch {}, hidden {}, {threads} threads",
        digits.train().len(),
        fit.batch,
        config.d_hidden
    );
    let tensor =
        format!("rank {RANK} of 10×784×784, hidden {}, {threads} threads", config.d_hidden);
    let works = [
        Work {
            name: "image training",
            request: "image",
            size: images.clone(),
            unit: "epochs/s",
            times: 3,
            run: &|epochs| train(epochs, &fit),
        },
        Work {
            name: "image training, noise 0.4",
            request: "image-noise",
            size: images,
            unit: "epochs/s",
            times: 3,
            run: &|epochs| train(epochs, &noisy),
        },
        Work {
            name: "CPD",
            request: "cpd",
            size: tensor.clone(),
            unit: "steps/s",
            times: 100,
            run: &|steps| decompose(steps, true),
        },
        Work {
            name: "CPD, Muon in f32",
            request: "cpd-f32",
            size: tensor,
            unit: "steps/s",
            times: 100,
            run: &|steps| decompose(steps, false),
        },
    ];
    let mut rows = Vec::new();
    for work in works {
        rows.extend(work.measure(pytorch.as_mut())?);
    }
    Ok(rows)
}

impl Work<'_> {
    /// Rows of our speed, PyTorch's, and ours over PyTorch's.
    fn measure(self, mut pytorch: Option<&mut Baseline>) -> Result<Vec<Row>> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        (self.run)(1)?;
        if let Some(pytorch) = &mut pytorch {
            pytorch.seconds(self.request, 1)?;
        }
        for _ in 0..TURNS {
            std::thread::sleep(REST);
            let start = Instant::now();
            (self.run)(self.times)?;
            ours.push(self.times as f64 / start.elapsed().as_secs_f64());
            if let Some(pytorch) = &mut pytorch {
                std::thread::sleep(REST);
                theirs.push(self.times as f64 / pytorch.seconds(self.request, self.times)?);
            }
        }
        let ratios: Vec<f64> =
            ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        let row = |name: String, values: Vec<f64>, unit: &str| Row {
            name,
            size: self.size.clone(),
            value: median(values),
            unit: unit.to_owned(),
        };
        let mut rows = vec![row(self.name.to_owned(), ours, self.unit)];
        if !theirs.is_empty() {
            rows.push(row(format!("{}: PyTorch", self.name), theirs, self.unit));
            rows.push(row(format!("{}: ratio to PyTorch", self.name), ratios, "×"));
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
    fn start(threads: usize, config: &ImageConfig, fit: &FitOptions) -> Result<Option<Baseline>> {
        let variable = "EIGENLENS_BENCH_PYTHON";
        let Some(python) = std::env::var_os(variable).filter(|python| !python.is_empty()) else {
            println!("without PyTorch: set {variable} to a Python that has it");
            return Ok(None);
        };
        let mut command = Command::new(&python);
        command.arg(root().join("benches/pytorch_baseline.py"));
        command.arg("--data").arg(root().join("assets/mnist"));
        let sizes = [config.d_hidden, fit.batch, RANK, threads];
        for (name, size) in ["--hidden", "--batch", "--rank", "--threads"].into_iter().zip(sizes) {
            command.arg(name).arg(size.to_string());
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
