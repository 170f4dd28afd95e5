//! The study's fit of a power law, and its count of active features.

use crate::check::{check_all_finite, check_positive, check_sizes};
use crate::{Error, Result};

/// Positions of a context over which the study divides, whatever their number.
const POSITIONS: f64 = 1_023.0;
/// Adam's decay rates and the number in its denominator.
const DECAY: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// The study's way to a power law `|c| + |a| W^−|m|`: Adam on the mean squared error, from a start
/// that the study draws at random, 50,000 steps at a rate of 1e-4. It is needed for the snapshots of
/// its reference case and for nothing else: [`PowerLaw`](crate::sae_error::PowerLaw) is where it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLawAdam {
    /// a, m and c at the start, of any sign.
    pub start: [f64; 3],
    /// The learning rate.
    pub rate: f64,
    /// Whether c takes part; it stays where it is otherwise.
    pub with_constant: bool,
}

impl PowerLawAdam {
    /// a, m and c after some steps.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there are as many losses as widths, and some; [`Error::Invalid`] for a
    /// width that is not above zero; [`Error::NonFinite`] for NaN.
    pub fn run(&self, widths: &[f64], losses: &[f64], steps: usize) -> Result<[f64; 3]> {
        check_sizes(&[("the number of widths", widths.len())])?;
        if widths.len() != losses.len() {
            let expected = format!("{} losses, one a width", widths.len());
            return Err(Error::shape("`losses`", expected, losses.len()));
        }
        widths.iter().try_for_each(|width| check_positive("a width", *width))?;
        check_all_finite("`losses`", losses)?;
        let mut parameters = self.start;
        let (mut means, mut squares) = ([0.0; 3], [0.0; 3]);
        let free = if self.with_constant { 3 } else { 2 };
        let mut powers = [1.0; 2];
        for _ in 0..steps {
            let gradient = self.gradient(parameters, widths, losses);
            powers = [powers[0] * DECAY[0], powers[1] * DECAY[1]];
            for i in 0..free {
                means[i] = DECAY[0] * means[i] + (1.0 - DECAY[0]) * gradient[i];
                squares[i] = DECAY[1] * squares[i] + (1.0 - DECAY[1]) * gradient[i].powi(2);
                let mean = means[i] / (1.0 - powers[0]);
                let square: f64 = squares[i] / (1.0 - powers[1]);
                parameters[i] -= self.rate * mean / (square.sqrt() + EPSILON);
            }
        }
        Ok(parameters)
    }

    /// The law with some parameters at a width.
    pub fn predict(&self, [a, m, c]: [f64; 3], width: f64) -> f64 {
        let constant = if self.with_constant { c.abs() } else { 0.0 };
        constant + a.abs() * width.powf(-m.abs())
    }

    /// The gradient of the mean squared error with respect to a, m and c.
    fn gradient(&self, parameters: [f64; 3], widths: &[f64], losses: &[f64]) -> [f64; 3] {
        let [a, m, c] = parameters;
        // |x| has the slope 0 at 0.
        let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
        let mut gradient = [0.0; 3];
        for (width, loss) in widths.iter().zip(losses) {
            let outer = 2.0 * (self.predict(parameters, *width) - loss) / widths.len() as f64;
            let power = width.powf(-m.abs());
            gradient[0] += outer * sign(a) * power;
            gradient[1] -= outer * sign(m) * a.abs() * width.ln() * power;
            gradient[2] += outer * sign(c);
        }
        gradient
    }
}

/// The study's mean number of active features: entries whose position is not the first, over 1,023
/// positions a context, however long the contexts are. `positions` holds that of each entry of the
/// codes.
///
/// # Errors
/// [`Error::Invalid`] for no contexts.
pub fn empirical_l0(positions: &[u32], contexts: usize) -> Result<f64> {
    check_sizes(&[("the number of contexts", contexts)])?;
    let active = positions.iter().filter(|position| **position != 0).count();
    Ok(active as f64 / (contexts as f64 * POSITIONS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adam(with_constant: bool) -> PowerLawAdam {
        PowerLawAdam { start: [-0.4, -0.6, 0.3], rate: 1e-3, with_constant }
    }

    const WIDTHS: [f64; 4] = [2.0, 4.0, 8.0, 16.0];
    const LOSSES: [f64; 4] = [0.9, 0.7, 0.62, 0.55];

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let own = adam(true);
        let loss = |parameters: [f64; 3]| -> f64 {
            let square = |(w, y): (&f64, &f64)| (own.predict(parameters, *w) - y).powi(2);
            WIDTHS.iter().zip(&LOSSES).map(square).sum::<f64>() / 4.0
        };
        let found = own.gradient(own.start, &WIDTHS, &LOSSES);
        for (i, found) in found.into_iter().enumerate() {
            let at = |change: f64| {
                let mut parameters = own.start;
                parameters[i] += change;
                loss(parameters)
            };
            let expected = (at(1e-6) - at(-1e-6)) / 2e-6;
            assert!((found - expected).abs() < 1e-8, "{i}: {found} {expected}");
        }
    }

    #[test]
    fn steps_are_those_of_adam() {
        // The first step has the length of the rate, against the sign of the gradient.
        let [a, m, c] = adam(true).run(&WIDTHS, &LOSSES, 1).unwrap();
        let first = adam(true).gradient(adam(true).start, &WIDTHS, &LOSSES);
        for (found, (start, slope)) in [a, m, c].into_iter().zip(adam(true).start.iter().zip(first))
        {
            assert!((found - (start - 1e-3 * slope.signum())).abs() < 1e-8);
        }
        let [_, _, c] = adam(false).run(&WIDTHS, &LOSSES, 50).unwrap();
        assert_eq!(c, 0.3);
        // Many steps end at the fit of the library.
        let [a, m, c] = adam(true).run(&WIDTHS, &LOSSES, 40_000).unwrap();
        let fit = crate::sae_error::PowerLaw::fit(&WIDTHS, &LOSSES).unwrap();
        let pairs = [(a, fit.a), (m, fit.exponent), (c, fit.c.unwrap())];
        assert!(pairs.iter().all(|(own, fit)| (own.abs() - fit).abs() < 1e-3), "{pairs:?}");
    }

    #[test]
    fn active_entries_are_counted_past_the_first_position() {
        let found = empirical_l0(&[0, 1, 1, 5, 0, 1_022], 2).unwrap();
        assert!((found - 4.0 / 2_046.0).abs() < 1e-15);
        assert!(empirical_l0(&[], 0).unwrap_err().to_string().contains("contexts"));
        let error = adam(true).run(&WIDTHS, &LOSSES[..3], 1).unwrap_err().to_string();
        assert!(error.contains("one a width"), "{error}");
    }
}
