//! The loop that every fit runs in: progress, learning rate, divergence, history, checkpoints, Stop.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::checkpoint::{Checkpoint, TakeTensor};
use super::{History, cosine, warmup};
use crate::progress::{OnStop, Progress, StopShield};
use crate::{Error, Result};

/// Steps from one save to the next of a fit with a row for each step.
pub(crate) const STEPS_PER_CHECKPOINT: usize = 50;

/// What differs from fit to fit.
pub(crate) trait Fit {
    /// Makes step `step`, counted from 0, at `learning_rate`. Returns the loss before it.
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64>;

    /// What there is to say of the steps since the last row, after `done` steps.
    fn row(&mut self, done: usize) -> Result<FitRow>;

    /// All that further steps depend on and that changes from step to step. It is asked for just after
    /// a row.
    fn state(&self) -> Result<HashMap<String, Tensor>>;

    /// Takes over all that [`Fit::state`] returned after `done` steps.
    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()>;

    /// Which of several models has a loss that is not finite.
    fn diverged_part(&self) -> Option<String> {
        None
    }
}

/// A row of the history.
#[derive(Debug)]
pub(crate) struct FitRow {
    pub(crate) metrics: Vec<f64>,
    /// The same for the progress bar, in words.
    pub(crate) note: String,
}

/// How long a fit runs and how often it reports. Made by [`FitLoop::new`]; the fields that a fit
/// changes are set afterwards.
#[derive(Debug)]
pub(crate) struct FitLoop {
    /// What the progress bar is called.
    pub(crate) label: &'static str,
    pub(crate) steps: usize,
    /// Highest learning rate; it falls to zero along a cosine.
    pub(crate) learning_rate: f64,
    /// Steps in which the learning rate rises to its highest.
    pub(crate) warmup: usize,
    /// Steps per epoch, if the learning rate falls from epoch to epoch, else from step to step.
    pub(crate) epoch: Option<usize>,
    /// Steps from one row of the history to the next; the last step always ends one.
    pub(crate) report: usize,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Rows of the history from one save to the next; the last row is always saved.
    pub(crate) rows_per_save: usize,
    /// Where tensors of a checkpoint go.
    pub(crate) device: Device,
}

impl FitLoop {
    /// `steps` steps, each with a row in the history, without warm-up and checkpoint.
    pub(crate) fn new(label: &'static str, steps: usize, learning_rate: f64) -> Self {
        Self {
            label,
            steps,
            learning_rate,
            warmup: 0,
            epoch: None,
            report: 1,
            checkpoint: None,
            rows_per_save: 1,
            device: Device::Cpu,
        }
    }

    /// Trains a model that is a handle: [`FitLoop::run`], and `on_stop` says what Stop returns.
    pub(crate) fn train(
        &self,
        fit: &mut impl Fit,
        mut history: History,
        on_stop: OnStop,
    ) -> Result<History> {
        let done = self.run(fit, &mut history)?;
        if !history.interrupted {
            return Ok(history);
        }
        let (unit, length) = match self.epoch {
            Some(epoch) => ("epoch", epoch),
            None => ("step", 1),
        };
        on_stop.end_fit(done.div_ceil(length), self.steps.div_ceil(length), unit, history)
    }

    /// Makes the steps that are not in the checkpoint yet, until the last or until Stop, which
    /// `history.interrupted` tells apart. Returns the number of steps that are done.
    ///
    /// # Errors
    /// As [`Fit`]; a loss that is not finite; a checkpoint of other options, or that cannot be written.
    pub(crate) fn run(&self, fit: &mut impl Fit, history: &mut History) -> Result<usize> {
        let first = match &self.checkpoint {
            Some(checkpoint) => checkpoint
                .restore_with(history, &self.device, |done, take| fit.restore(done, take))?,
            None => 0,
        };
        let left = self.steps.saturating_sub(first) as u64;
        let mut progress = Progress::new(self.label, left, "step");
        let _shield = StopShield::new();
        for step in first..self.steps {
            let loss = fit.step(step, self.learning_rate_at(step))?;
            let done = step + 1;
            if !loss.is_finite() {
                return Err(self.diverged(loss, done, fit.diverged_part()));
            }
            let is_last = done == self.steps;
            if done.is_multiple_of(self.report) || is_last {
                let FitRow { metrics, note } = fit.row(done)?;
                history.push(&metrics)?;
                progress.note(note);
                if let Some(checkpoint) = &self.checkpoint
                    && (history.len().is_multiple_of(self.rows_per_save) || is_last)
                {
                    checkpoint.save_all(done, fit.state()?, history)?;
                }
            }
            let is_stopped = progress.advance(1);
            #[cfg(test)]
            let is_stopped = is_stopped || super::tests::is_stopped_after(done);
            if is_stopped && !is_last {
                history.interrupted = true;
                return Ok(done);
            }
        }
        Ok(self.steps)
    }

    fn learning_rate_at(&self, step: usize) -> f64 {
        let length = self.epoch.unwrap_or(1);
        let fall = cosine(step / length, self.steps / length);
        self.learning_rate * (warmup(step, self.warmup) * fall)
    }

    fn diverged(&self, loss: f64, done: usize, part: Option<String>) -> Error {
        let of_part = part.map_or(String::new(), |part| format!(" of {part}"));
        let expected = format!(
            "small enough for the loss{of_part} to stay finite (it is {loss} at step {done} of {}; \
             try a tenth of that rate)",
            self.steps
        );
        Error::invalid("the learning rate (`learning_rate`)", expected, self.learning_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{assert_resumes, stop_after};

    /// A fit whose only weight is the sum of its learning rates.
    struct Sum {
        weight: f64,
        rates: Vec<f64>,
        /// The step whose loss is infinite.
        bad: Option<usize>,
    }

    impl Sum {
        fn new() -> Self {
            Self { weight: 0.0, rates: Vec::new(), bad: None }
        }
    }

    impl Fit for Sum {
        fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
            self.weight += learning_rate;
            self.rates.push(learning_rate);
            Ok(if self.bad == Some(step) { f64::INFINITY } else { 0.0 })
        }

        fn row(&mut self, done: usize) -> Result<FitRow> {
            Ok(FitRow { metrics: vec![done as f64, self.weight], note: String::new() })
        }

        fn state(&self) -> Result<HashMap<String, Tensor>> {
            let weight = Tensor::new(&[self.weight], &Device::Cpu)?;
            Ok(HashMap::from([("weight".to_owned(), weight)]))
        }

        fn restore(&mut self, _: usize, take: &mut TakeTensor<'_>) -> Result<()> {
            self.weight = take("weight", &[1])?.to_vec1::<f64>()?[0];
            Ok(())
        }
    }

    fn history() -> History {
        History::new("row", &["step", "weight"])
    }

    #[test]
    fn rows_come_at_their_steps_and_at_the_last() {
        let mut history = history();
        let run = FitLoop { report: 4, ..FitLoop::new("adding", 10, 1.0) };
        assert_eq!(run.run(&mut Sum::new(), &mut history).unwrap(), 10);
        assert_eq!(history.column("step").unwrap(), [4., 8., 10.]);
        assert!(!history.interrupted);
    }

    #[test]
    fn the_learning_rate_falls_by_step_or_by_epoch() {
        let rates = |run: FitLoop| {
            let mut sum = Sum::new();
            run.run(&mut sum, &mut history()).unwrap();
            sum.rates
        };
        let by_step = rates(FitLoop { warmup: 2, ..FitLoop::new("adding", 4, 0.5) });
        let expected = [0, 1, 2, 3].map(|step| 0.5 * (warmup(step, 2) * cosine(step, 4)));
        assert_eq!(by_step, expected);
        let by_epoch = rates(FitLoop { epoch: Some(3), ..FitLoop::new("adding", 6, 0.5) });
        let late = 0.5 * cosine(1, 2);
        assert_eq!(by_epoch, [0.5, 0.5, 0.5, late, late, late]);
    }

    #[test]
    fn stop_returns_what_there_is_and_the_last_step_is_no_stop() {
        let stopped = |run: &FitLoop, after| {
            stop_after(after, || run.train(&mut Sum::new(), history(), OnStop::ReturnPartial))
        };
        let run = FitLoop::new("adding", 6, 1.0);
        let history = stopped(&run, 4).unwrap();
        assert_eq!((history.len(), history.interrupted), (4, true));
        assert!(!stopped(&run, 6).unwrap().interrupted);
    }

    #[test]
    fn a_run_that_stop_ended_goes_on_from_its_last_save() {
        assert_resumes(&[(5, 0), (6, 6), (7, 6), (13, 12)], 14, |folder| {
            let mut history = history();
            let checkpoint = folder.map(|folder| Checkpoint::new(folder, "sums".to_owned()));
            let run = FitLoop {
                report: 2,
                rows_per_save: 3,
                checkpoint,
                ..FitLoop::new("adding", 14, 0.1)
            };
            let mut sum = Sum::new();
            run.run(&mut sum, &mut history).unwrap();
            (history, sum.weight)
        });
    }

    #[test]
    fn divergence_names_the_step_and_what_to_try() {
        let mut sum = Sum { bad: Some(2), ..Sum::new() };
        let run = FitLoop::new("adding", 9, 3.0);
        let error = run.run(&mut sum, &mut history()).unwrap_err().to_string();
        let expected = "the learning rate (`learning_rate`) must be small enough for the loss to stay \
                        finite (it is inf at step 3 of 9; try a tenth of that rate), found 3";
        assert_eq!(error, expected);
    }
}
