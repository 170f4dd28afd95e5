//! How an error falls with the number of features: a power law, with and without a constant.

mod evidence;
mod intervals;
mod profile;
mod resampled;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::check::{check_all_finite, check_positive};
use crate::display::show_as_text;
use crate::{Error, Result};
use profile::{Profile, ProfilePoint};

pub use evidence::PowerLawEvidence;
pub use intervals::PowerLawIntervals;
pub use resampled::ResampledPowerLaw;

/// An error y as a function of the number of features W:
///
/// ```text
/// y ≈ a W^−exponent + c      a ≥ 0, exponent ≥ 0, c ≥ 0
/// ```
///
/// by least squares. For a given exponent, a and c have a closed form, so the fit is a search over
/// one number: 400 exponents in equal ratios, Brent's method around the best, then Gauss–Newton
/// steps on all parameters. It is deterministic and starts from nothing, unlike the study's, which
/// is [`original::PowerLawAdam`](crate::sae_error::original::PowerLawAdam).
///
/// The constant is what no number of features would explain. A few widths say little about it:
/// [`PowerLaw::intervals`] and [`PowerLaw::evidence`] tell how little, and [`PowerLaw::resampled`] what
/// other text would change.
///
/// ```
/// use eigenlens::sae_error::PowerLaw;
/// # fn main() -> eigenlens::Result<()> {
/// let widths = [384.0, 768.0, 1536.0, 3072.0, 6144.0];
/// let errors = widths.map(|w: f64| 3.0 * w.powf(-0.5) + 0.1);
/// let law = PowerLaw::fit(&widths, &errors)?;
/// assert!((law.exponent - 0.5).abs() < 1e-9 && (law.c.unwrap() - 0.1).abs() < 1e-9);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PowerLaw {
    /// a, 0 if the values do not fall.
    pub a: f64,
    /// The exponent, 0 if the values do not fall.
    pub exponent: f64,
    /// c; `None` for a law without a constant.
    pub c: Option<f64>,
    widths: Vec<f64>,
    values: Vec<f64>,
    residuals: Vec<f64>,
}

impl PowerLaw {
    /// The law with a constant through `values` at `widths`, which come in any order and may repeat.
    /// Values that do not fall with the width have a constant and nothing else.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many values as widths, [`Error::Invalid`] for fewer than
    /// three different widths or one that is not above zero, [`Error::NonFinite`] for NaN.
    pub fn fit(widths: &[f64], values: &[f64]) -> Result<Self> {
        Self::of(widths, values, true)
    }

    /// The law without a constant, of two parameters.
    ///
    /// # Errors
    /// As [`PowerLaw::fit`], but two different widths are enough.
    pub fn without_constant(widths: &[f64], values: &[f64]) -> Result<Self> {
        Self::of(widths, values, false)
    }

    fn of(widths: &[f64], values: &[f64], constant: bool) -> Result<Self> {
        if widths.len() != values.len() {
            let expected = format!("{} values, one a width", widths.len());
            return Err(Error::shape("`values`", expected, values.len()));
        }
        check_all_finite("`values`", values)?;
        widths.iter().try_for_each(|width| check_positive("a width", *width))?;
        let (different, least) = (distinct(widths).len(), if constant { 3 } else { 2 });
        if different < least {
            let expected = match constant {
                true => "at least three, for the law has three parameters",
                false => "at least two, for the law has two parameters",
            };
            return Err(Error::invalid("the number of different widths", expected, different));
        }
        let profile = Profile::new(widths, values, constant);
        Ok(Self::at(&profile, profile.best(), widths, values))
    }

    fn at(profile: &Profile, point: ProfilePoint, widths: &[f64], values: &[f64]) -> Self {
        let mut law = Self {
            a: profile.scale_of(point.exponent) * point.factor,
            exponent: point.exponent,
            c: profile.constant.then_some(point.constant),
            widths: widths.to_vec(),
            values: values.to_vec(),
            residuals: Vec::new(),
        };
        law.residuals = widths.iter().zip(values).map(|(w, y)| y - law.predict(*w)).collect();
        law
    }

    /// `a width^−exponent + c`.
    pub fn predict(&self, width: f64) -> f64 {
        self.a * width.powf(-self.exponent) + self.c.unwrap_or(0.0)
    }

    /// The widths that it was fitted to.
    pub fn widths(&self) -> &[f64] {
        &self.widths
    }

    /// The values that it was fitted to.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Value less prediction at each width.
    pub fn residuals(&self) -> &[f64] {
        &self.residuals
    }

    /// Number of parameters: 3, or 2 without a constant.
    pub(super) fn parameters(&self) -> usize {
        if self.c.is_some() { 3 } else { 2 }
    }

    /// `Σ residual²`.
    pub fn squared_error(&self) -> f64 {
        self.residuals.iter().map(|residual| residual * residual).sum()
    }
}

/// The different numbers among `widths`, ascending.
fn distinct(widths: &[f64]) -> Vec<f64> {
    let mut sorted = widths.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.dedup();
    sorted
}

show_as_text!(PowerLaw);

impl fmt::Display for PowerLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} W^-{:.4}", self.a, self.exponent)?;
        if let Some(c) = self.c {
            write!(f, " + {c:.4}")?;
        }
        let n = self.widths.len();
        write!(f, ", {n} points, Σ residual² {:.2e}", self.squared_error())?;
        write!(f, "\n  {}", self.intervals())
    }
}
