//! How the ε-mixture index is looked for.

use super::best_band::check_epsilon;
use crate::Result;
use crate::check::{check_positive, check_sizes};

/// How the mixture index is looked for. The defaults of ε, steps and rate are those of the study.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixtureOptions {
    /// Half the width of the band in units of the points' root mean square distance from its
    /// middle, above 0 and below 1.
    pub epsilon: f64,
    /// Steps of an ascent.
    pub steps: usize,
    /// Learning rate of an ascent.
    pub rate: f64,
    /// Ascents, each from a random direction.
    pub restarts: usize,
    /// Names the random directions.
    pub seed: u64,
    /// Directions that the search for the best band may look at; 0 to leave it out.
    pub directions: usize,
}

impl Default for MixtureOptions {
    fn default() -> Self {
        Self { epsilon: 0.1, steps: 10_000, rate: 0.1, restarts: 4, seed: 0, directions: 4_000 }
    }
}

impl MixtureOptions {
    pub(super) fn check(&self) -> Result<()> {
        check_epsilon(self.epsilon)?;
        check_sizes(&[("steps", self.steps), ("restarts", self.restarts)])?;
        check_positive("the learning rate (`rate`)", self.rate)
    }
}
