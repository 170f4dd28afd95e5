//! The constant of a power law in values that were resampled.

use std::fmt;

use super::PowerLaw;
use crate::check::check_all_finite;
use crate::display::show_as_text;
use crate::geometry::Interval;
use crate::{Error, Result};

/// Confidence of the intervals.
const CONFIDENCE: f64 = 0.95;

/// Laws with a constant of the draws of a bootstrap, such as one over contexts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResampledPowerLaw {
    /// Number of draws.
    pub draws: usize,
    /// Share of the draws whose constant is above zero.
    pub share_above_zero: f64,
    /// c, between percentiles of the draws.
    pub c: Interval,
    /// The exponent, between percentiles of the draws.
    pub exponent: Interval,
}

impl PowerLaw {
    /// The law of each draw of a bootstrap. `draws` has the values of each width in all draws, widths
    /// in the order of [`PowerLaw::widths`] and draws in the same order for all: those of
    /// [`SaeInfo::fvu_draws_of`](crate::sae_error::SaeInfo::fvu_draws_of) are over contexts.
    ///
    /// It says what other text would change. That few widths say little about a constant, whatever the
    /// text, is in [`PowerLaw::evidence`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for a law without a constant and for no draws, [`Error::Shape`] unless there
    /// are values for every width and as many for each, [`Error::NonFinite`] for NaN, with its width
    /// and the number of its draw.
    pub fn resampled(&self, draws: &[Vec<f64>]) -> Result<ResampledPowerLaw> {
        let Some(c) = self.c else {
            return Err(Error::invalid("the law", "one with a constant", "one without"));
        };
        if draws.len() != self.widths.len() {
            let expected = format!("values of {} widths", self.widths.len());
            return Err(Error::shape("`draws`", expected, draws.len()));
        }
        let count = draws[0].len();
        if count == 0 {
            return Err(Error::invalid("the number of draws", "at least 1", 0));
        }
        if let Some(other) = draws.iter().find(|own| own.len() != count) {
            let expected = format!("{count} values of each width");
            return Err(Error::shape("`draws`", expected, other.len()));
        }
        for (width, own) in self.widths.iter().zip(draws) {
            check_all_finite(&format!("`draws` of width {width}"), own)?;
        }
        let law = |draw: usize| {
            let values: Vec<f64> = draws.iter().map(|own| own[draw]).collect();
            Self::fit(&self.widths, &values)
        };
        let laws = (0..count).map(law).collect::<Result<Vec<Self>>>()?;
        let constants: Vec<f64> = laws.iter().filter_map(|law| law.c).collect();
        let above = constants.iter().filter(|constant| **constant > 0.0).count();
        let exponents = laws.iter().map(|law| law.exponent).collect();
        Ok(ResampledPowerLaw {
            draws: count,
            share_above_zero: above as f64 / count as f64,
            c: Interval::of_draws(c, constants, CONFIDENCE)?,
            exponent: Interval::of_draws(self.exponent, exponents, CONFIDENCE)?,
        })
    }
}

show_as_text!(ResampledPowerLaw);

impl fmt::Display for ResampledPowerLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { draws, share_above_zero, c, exponent } = self;
        let share = 100.0 * share_above_zero;
        write!(f, "{draws} draws, c above 0 in {share:.1} %; c {c}; exponent {exponent}")
    }
}
