//! Probes tested on rows that they were not fitted to.

use std::collections::BTreeSet;
use std::fmt;

use candle_core::Tensor;

use super::probe::{Probe, ProbeOptions};
use super::probe_parts::{ProbeQuality, checked};
use super::targets::{Targets, rows};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::progress::safe_point;
use crate::random::Rng;
use crate::{Error, Result};

/// How rows are shared out for a test of a probe: each part is predicted by a probe of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folds {
    /// Random rows in so many parts of equal size.
    Rows {
        /// Number of parts.
        folds: usize,
        /// Seed of the draw.
        seed: u64,
    },
    /// A part a class. The harder test: the probe has never seen the word, so that it cannot know
    /// it by heart.
    Classes,
    /// The part of each row.
    Groups(Vec<usize>),
}

/// How well probes predict rows that they were not fitted to.
#[derive(Debug, Clone)]
pub struct HeldOut {
    /// `1 − Σ(t − prediction)² / Σ(t − t̄)²` of each target; below 0 where the mean of all rows would
    /// predict better.
    pub r_squared: Vec<f64>,
    /// The same with the sums over all targets.
    pub pooled_r_squared: f64,
    /// The mean of `|prediction − t|` over rows and targets.
    pub mean_absolute_error: f64,
    /// [`Targets::angle_error`] of the predictions.
    pub angle_error: Option<f64>,
    /// Predictions of each row, `[n, q]`, f64.
    pub predictions: Tensor,
}

impl Probe {
    /// Predicts each part of the rows by a probe of the others, principal components included.
    ///
    /// # Errors
    /// As [`Probe::fit`] of the rows outside each part; [`Error::Invalid`] for fewer than two parts,
    /// or more parts than rows; [`Error::Shape`] unless every row has a group;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn held_out(
        x: &Tensor,
        targets: &Targets,
        options: &ProbeOptions,
        folds: &Folds,
    ) -> Result<HeldOut> {
        let class_of = targets.class_of();
        let x = checked(x, class_of.len())?;
        let part_of = parts(folds, class_of)?;
        let all: BTreeSet<usize> = part_of.iter().copied().collect();
        if all.len() < 2 {
            return Err(Error::invalid("the number of folds", "at least 2", all.len()));
        }
        let mut predictions: Vec<Option<Tensor>> = vec![None; class_of.len()];
        for part in all {
            safe_point("the test of probes")?;
            let of = |own: bool| -> Vec<usize> {
                (0..class_of.len()).filter(|row| (part_of[*row] == part) == own).collect()
            };
            let (inside, outside) = (of(true), of(false));
            let probe = Self::fit(&rows(&x, &outside)?, &targets.of_rows(&outside), options)?;
            let found = probe.predict(&rows(&x, &inside)?)?;
            for (i, row) in inside.into_iter().enumerate() {
                predictions[row] = Some(found.get(i)?);
            }
        }
        // Every row is in one part.
        let predictions: Vec<Tensor> = predictions.into_iter().flatten().collect();
        let predictions = Tensor::stack(&predictions, 0)?;
        let quality = ProbeQuality::of(&predictions, targets)?;
        Ok(HeldOut {
            r_squared: quality.r_squared,
            pooled_r_squared: quality.pooled,
            mean_absolute_error: quality.mean_absolute_error,
            angle_error: targets.angle_error(&predictions)?,
            predictions,
        })
    }
}

/// The part of each row.
fn parts(folds: &Folds, class_of: &[usize]) -> Result<Vec<usize>> {
    let rows = class_of.len();
    match folds {
        Folds::Classes => Ok(class_of.to_vec()),
        Folds::Groups(groups) if groups.len() == rows => Ok(groups.clone()),
        Folds::Groups(groups) => {
            Err(Error::shape("the groups", format!("{rows}, one a row"), groups.len()))
        }
        Folds::Rows { folds, seed } => {
            check_sizes(&[("`folds`", *folds)])?;
            if *folds > rows {
                let expected = format!("at most {rows}, the number of rows");
                return Err(Error::invalid("`folds`", expected, folds));
            }
            let mut part_of = vec![0; rows];
            for (i, row) in Rng::seed(*seed).permutation(rows).into_iter().enumerate() {
                part_of[row as usize] = i % folds;
            }
            Ok(part_of)
        }
    }
}

show_as_text!(HeldOut);

impl fmt::Display for HeldOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Held out: R² {:.3}, mean absolute error {:.3}",
            self.pooled_r_squared, self.mean_absolute_error
        )?;
        match self.angle_error {
            Some(error) => write!(f, ", {error:.2} classes off around the circle"),
            None => Ok(()),
        }
    }
}
