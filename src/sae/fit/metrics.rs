//! What a fit reports, summed up in f64 as activations stream by.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::step::{Batch, Outcome};
use crate::Result;
use crate::train::TakeTensor;

/// Name of a [`RunningThreshold`] in a checkpoint.
pub(super) const SMALLEST: &str = "smallest";
/// The least weight of a step in a [`RunningThreshold`].
const MIN_NEWEST_WEIGHT: f64 = 0.01;

/// The running mean of the smallest entries that batches kept: the threshold at which the code of one
/// activation has as many entries as in a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct RunningThreshold {
    mean: f64,
    num_steps: f64,
}

impl RunningThreshold {
    /// Takes in a step.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        if let Some(smallest) = outcome.smallest {
            self.num_steps += 1.0;
            let weight = (1.0 / self.num_steps).max(MIN_NEWEST_WEIGHT);
            self.mean += (f64::from(smallest) - self.mean) * weight;
        }
    }

    /// The mean; 0 before any step.
    pub(super) fn get(self) -> f64 {
        self.mean
    }

    /// Mean and number of steps, for a checkpoint.
    pub(super) fn state(self) -> Result<Tensor> {
        Ok(Tensor::new(&[self.mean, self.num_steps], &Device::Cpu)?)
    }

    /// Takes over what [`RunningThreshold::state`] returned; `take` hands out the tensor of that shape.
    pub(super) fn restored(take: impl FnOnce(&[usize]) -> Result<Tensor>) -> Result<Self> {
        let state: Vec<f64> = take(&[2])?.to_vec1()?;
        Ok(Self { mean: state[0], num_steps: state[1] })
    }
}

/// BatchSums since the last row of the history, and what is known of the features.
#[derive(Debug)]
pub(super) struct Metrics {
    rows: usize,
    error: f64,
    active: usize,
    /// BatchSums over activations of each dimension, and of all squares, of what is predicted.
    sums: Vec<f64>,
    square: f64,
    /// The last step in which each feature was in a code.
    seen_at: Vec<f32>,
    threshold: RunningThreshold,
}

/// A row of the history.
#[derive(Debug, Clone, Copy)]
pub(super) struct HistoryRow {
    pub(super) nmse: f64,
    pub(super) l0: f64,
    pub(super) dead: f64,
}

impl Metrics {
    pub(super) fn new(m: usize, out: usize) -> Self {
        let (sums, seen_at) = (vec![0.0; out], vec![0.0; m]);
        let threshold = RunningThreshold::default();
        Self { rows: 0, error: 0.0, active: 0, sums, square: 0.0, seen_at, threshold }
    }

    /// Takes in step `step`, counted from 1.
    pub(super) fn add(&mut self, batch: Batch<'_>, outcome: &Outcome, step: usize) {
        self.rows += batch.rows;
        self.error += outcome.error;
        self.active += outcome.num_active;
        for row in batch.target.chunks(self.sums.len()) {
            for (sum, x) in self.sums.iter_mut().zip(row) {
                *sum += f64::from(*x);
                self.square += f64::from(*x) * f64::from(*x);
            }
        }
        for (seen, fired) in self.seen_at.iter_mut().zip(&outcome.fired) {
            *seen = if *fired { step as f32 } else { *seen };
        }
        self.threshold.add(outcome);
    }

    /// The features that were in no code for `after` steps before `step`.
    pub(super) fn dead(&self, step: usize, after: usize) -> Vec<u32> {
        let features = (0..).zip(&self.seen_at);
        let dead = features.filter(|(_, seen)| (**seen as usize) + after < step);
        dead.map(|(feature, _)| feature).collect()
    }

    /// The threshold of codes that were chosen from batches together.
    pub(super) fn threshold(&self) -> f64 {
        self.threshold.get()
    }

    /// What there was since the last row.
    pub(super) fn row(&mut self, step: usize, dead_after: usize) -> HistoryRow {
        let rows = self.rows as f64;
        let mean = self.sums.iter().map(|sum| sum * sum).sum::<f64>() / rows;
        let row = HistoryRow {
            nmse: self.error / (self.square - mean),
            l0: self.active as f64 / rows,
            dead: self.dead(step, dead_after).len() as f64 / self.seen_at.len() as f64,
        };
        (self.rows, self.error, self.active, self.square) = (0, 0.0, 0, 0.0);
        self.sums.fill(0.0);
        row
    }

    /// What a fit that goes on has to know, right after a row.
    pub(super) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let seen_at = Tensor::new(&*self.seen_at, &Device::Cpu)?;
        let threshold = self.threshold.state()?;
        Ok([("seen_at".to_owned(), seen_at), (SMALLEST.to_owned(), threshold)].into())
    }

    /// Takes over what [`Metrics::state`] gave; `take` hands out a tensor of a name and shape.
    pub(super) fn restore(&mut self, take: &mut TakeTensor<'_>) -> Result<()> {
        self.seen_at = take("seen_at", &[self.seen_at.len()])?.to_vec1()?;
        self.threshold = RunningThreshold::restored(|shape| take(SMALLEST, shape))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_their_formulas() {
        let mut metrics = Metrics::new(3, 2);
        let target = [1.0, 2.0, 3.0, 6.0, 5.0, 1.0, -1.0, 3.0];
        let fired = vec![true, false, true];
        let outcome = |smallest| Outcome {
            loss: 0.0,
            error: 2.5,
            num_active: 3,
            fired: fired.clone(),
            smallest: Some(smallest),
        };
        for (step, target) in (1..).zip(target.chunks(4)) {
            let batch = Batch { rows: 2, x: target, target, weights: None };
            metrics.add(batch, &outcome(step as f32), step);
        }
        // About the means 2 and 3: 1 + 1 + 9 + 9 and 1 + 9 + 4 + 0.
        let row = metrics.row(2, 1);
        assert!((row.nmse - 5.0 / 34.0).abs() < 1e-12 && row.l0 == 1.5);
        assert_eq!(
            (row.dead, metrics.dead(2, 1), metrics.dead(2, 2)),
            (1.0 / 3.0, vec![1], vec![])
        );
        assert_eq!(metrics.threshold(), 1.5);
        assert_eq!(metrics.row(2, 1).dead, 1.0 / 3.0);
    }
}
