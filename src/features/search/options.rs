//! How clouds are ranked.

use std::time::Duration;

use crate::check::check_sizes;
use crate::progress::OnStop;
use crate::{Error, Result};

/// How [`Search::over`](super::Search::over) ranks clouds.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How long it may take; 10 minutes. Whatever was found by then is a ranking, with a bound on
    /// what it leaves out.
    pub budget: Duration,
    /// Clouds with the most irreducible planes that are refined until no other can be among them; 20.
    pub keep: usize,
    /// Random orders of one coordinate against the other for each refined cloud; 20, 0 for none.
    pub nulls: usize,
    /// Clouds of fewer points are left out; 200.
    pub least: usize,
    /// Half the width of the band of the mixture index, in units of its points' spread; 0.1.
    pub epsilon: f64,
    /// Directions that the search for the best band may look at; 4,000.
    pub directions: usize,
    /// Components whose planes are looked at, from 2; 5.
    pub components: usize,
    /// Decides on the random orders; 0.
    pub seed: u64,
    /// What Stop does; ends the cell.
    pub on_stop: OnStop,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(600),
            keep: 20,
            nulls: 20,
            least: 200,
            epsilon: 0.1,
            directions: 4_000,
            components: 5,
            seed: 0,
            on_stop: OnStop::EndCell,
        }
    }
}

impl SearchOptions {
    /// Fails for options that no search can have.
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[("`keep`", self.keep), ("`directions`", self.directions)])?;
        if self.components < 2 {
            return Err(Error::invalid("`components`", "at least 2, a plane", self.components));
        }
        if !(self.epsilon > 0.0 && self.epsilon < 1.0) {
            return Err(Error::invalid("`epsilon`", "above 0 and below 1", self.epsilon));
        }
        Ok(())
    }
}
