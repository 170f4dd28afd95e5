//! What a fit reports, summed up in f64 as activations stream by.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::setup::Outcome;
use super::source::Batch;
use crate::Result;

/// The least weight of a step in the running mean of the smallest entries kept.
const FRESH: f64 = 0.01;

/// Sums since the last row of the history, and what is known of the features.
#[derive(Debug)]
pub(super) struct Metrics {
    rows: usize,
    error: f64,
    active: usize,
    /// Sums over activations of each dimension, and of all squares, of what is predicted.
    sums: Vec<f64>,
    square: f64,
    /// The last step in which each feature was in a code.
    seen_at: Vec<f32>,
    /// The running mean of the smallest entries kept, and the steps that it is of.
    smallest: [f64; 2],
}

/// A row of the history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) nmse: f64,
    pub(super) l0: f64,
    pub(super) dead: f64,
}

impl Metrics {
    pub(super) fn new(m: usize, out: usize) -> Self {
        let (sums, seen_at) = (vec![0.0; out], vec![0.0; m]);
        Self { rows: 0, error: 0.0, active: 0, sums, square: 0.0, seen_at, smallest: [0.0; 2] }
    }

    /// Takes in step `step`, counted from 1.
    pub(super) fn add(&mut self, batch: Batch<'_>, outcome: &Outcome, step: usize) {
        self.rows += batch.rows;
        self.error += outcome.error;
        self.active += outcome.active;
        for row in batch.target.chunks(self.sums.len()) {
            for (sum, x) in self.sums.iter_mut().zip(row) {
                *sum += f64::from(*x);
                self.square += f64::from(*x) * f64::from(*x);
            }
        }
        for (seen, fired) in self.seen_at.iter_mut().zip(&outcome.fired) {
            *seen = if *fired { step as f32 } else { *seen };
        }
        if let Some(smallest) = outcome.smallest {
            let [mean, steps] = &mut self.smallest;
            *steps += 1.0;
            *mean += (f64::from(smallest) - *mean) * (1.0 / *steps).max(FRESH);
        }
    }

    /// The features that were in no code for `after` steps before `step`.
    pub(super) fn dead(&self, step: usize, after: usize) -> Vec<u32> {
        let features = (0..).zip(&self.seen_at);
        let dead = features.filter(|(_, seen)| (**seen as usize) + after < step);
        dead.map(|(feature, _)| feature).collect()
    }

    /// The threshold at which the code of one activation has as many entries as in a batch.
    pub(super) fn threshold(&self) -> f64 {
        self.smallest[0]
    }

    /// What there was since the last row.
    pub(super) fn row(&mut self, step: usize, dead_after: usize) -> Row {
        let rows = self.rows as f64;
        let mean = self.sums.iter().map(|sum| sum * sum).sum::<f64>() / rows;
        let row = Row {
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
        let smallest = Tensor::new(&self.smallest, &Device::Cpu)?;
        Ok([("seen_at".to_owned(), seen_at), ("smallest".to_owned(), smallest)].into())
    }

    /// Takes over what [`Metrics::state`] gave; `take` hands out a tensor of a name and shape.
    pub(super) fn restore(
        &mut self,
        take: &mut dyn FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        self.seen_at = take("seen_at", &[self.seen_at.len()])?.to_vec1()?;
        let smallest: Vec<f64> = take("smallest", &[2])?.to_vec1()?;
        self.smallest = [smallest[0], smallest[1]];
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
            active: 3,
            fired: fired.clone(),
            smallest: Some(smallest),
        };
        for (step, target) in (1..).zip(target.chunks(4)) {
            let batch = Batch { rows: 2, x: target, target };
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
