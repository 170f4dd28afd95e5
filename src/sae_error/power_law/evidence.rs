//! What points say for or against the constant of a power law.

use std::fmt;

use super::{PowerLaw, distinct};
use crate::display::show_as_text;
use crate::geometry::two_sided_tail;
use crate::{Error, Result};

/// Evidence for the constant of a power law, from the same points fitted with and without it.
///
/// There is no corrected AIC among it, because that is not defined at five points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLawEvidence {
    /// Number of points n.
    pub points: usize,
    /// `F = (S₀ − S₁)/(S₁/(n − 3))` with S₀ and S₁ the squared errors without and with the constant;
    /// `None` for three points, which leave nothing to compare with.
    pub f_statistic: Option<f64>,
    /// The probability of so large an F if the constant is zero. It is half of the tail of the F
    /// distribution of 1 and n − 3 degrees of freedom, because a constant cannot be negative.
    pub p_value: Option<f64>,
    /// `BIC₀ − BIC₁ = n ln(S₀/S₁) − ln n`: above zero for the constant, and strong from 6 on.
    pub delta_bic: f64,
    /// The root mean square of the errors at widths that the fit has not seen, one width left out at
    /// a time, with the constant; `None` for fewer than four different widths.
    pub left_out_with: Option<f64>,
    /// The same without the constant.
    pub left_out_without: Option<f64>,
}

impl PowerLaw {
    /// Compares the law with constant and the one without, of which `self` is one and `other` is the
    /// other.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless one has a constant and one has none, and both are of the same points.
    pub fn evidence(&self, other: &Self) -> Result<PowerLawEvidence> {
        let (with, without) = match (self.c, other.c) {
            (Some(_), None) => (self, other),
            (None, Some(_)) => (other, self),
            (own, _) => {
                let expected = "one with and one without a constant";
                let found = if own.is_some() { "two with one" } else { "two without one" };
                return Err(Error::invalid("the laws", expected, found));
            }
        };
        if with.widths != without.widths || with.values != without.values {
            let expected = "fitted to the same points";
            return Err(Error::invalid("the laws", expected, "laws of different points"));
        }
        let n = with.widths.len();
        // Below this, squares are rounding.
        let least = 1e-30 * with.values.iter().map(|y| y * y).sum::<f64>();
        let [smaller, larger] = [with, without].map(|law| law.squared_error().max(least));
        let freedom = n.saturating_sub(with.parameters()) as f64;
        let f_statistic = (freedom > 0.0 && smaller > 0.0)
            .then(|| ((larger - smaller) / (smaller / freedom)).max(0.0));
        let tail = |f: f64| match f {
            0.0 => 1.0,
            f => 0.5 * two_sided_tail(f.sqrt(), freedom),
        };
        let ratio = if smaller > 0.0 { larger / smaller } else { 1.0 };
        Ok(PowerLawEvidence {
            points: n,
            f_statistic,
            p_value: f_statistic.map(tail),
            delta_bic: n as f64 * ratio.ln() - (n as f64).ln(),
            left_out_with: with.left_out_error()?,
            left_out_without: without.left_out_error()?,
        })
    }

    /// The root mean square of the errors at each width by the law of all others.
    fn left_out_error(&self) -> Result<Option<f64>> {
        let left_out = distinct(&self.widths);
        if left_out.len() < 4 {
            return Ok(None);
        }
        let points = || self.widths.iter().copied().zip(self.values.iter().copied());
        let mut squares = 0.0;
        for out in left_out {
            let (widths, values): (Vec<f64>, Vec<f64>) =
                points().filter(|(w, _)| *w != out).unzip();
            let law = Self::of(&widths, &values, self.c.is_some())?;
            let errors = points().filter(|(w, _)| *w == out).map(|(w, y)| y - law.predict(w));
            squares += errors.map(|error| error * error).sum::<f64>();
        }
        Ok(Some((squares / self.widths.len() as f64).sqrt()))
    }
}

show_as_text!(PowerLawEvidence);

impl fmt::Display for PowerLawEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the constant of a power law, {} points: ", self.points)?;
        match (self.f_statistic, self.p_value) {
            (Some(statistic), Some(p)) => write!(f, "F {statistic:.2}, p {p:.2e}")?,
            _ => f.write_str("no F, for as many parameters as points")?,
        }
        write!(f, "; ΔBIC {:.1} (above 0 is for it)", self.delta_bic)?;
        if let (Some(with), Some(without)) = (self.left_out_with, self.left_out_without) {
            write!(f, "; error at a width left out {with:.2e} with, {without:.2e} without")?;
        }
        Ok(())
    }
}
