//! How much of the variance between classes goes around a circle, and how often.

use std::f64::consts::TAU;
use std::fmt;

use candle_core::Tensor;

use super::order_null::{NullDistribution, OrderNull};
use super::probe_parts::checked;
use crate::display::show_as_text;
use crate::linalg::matmul_nt;
use crate::progress::safe_point;
use crate::{Error, Result};

/// The shares of frequencies in class means.
///
/// With the mean `M_v` of the activations of class v, for v from 0 to p − 1, less the mean of all
/// class means, the power at frequency f from 1 to p/2 is
///
/// ```text
/// P_f = w_f |Σ_v M_v exp(2πifv/p)|²      w_f = 2, or 1 at f = p/2
/// ```
///
/// and `Σ P_f = p Σ |M_v|²`. A perfect circle has all of it at frequency 1. Means that know nothing of
/// an order have on average 2/(p − 1) at each frequency, 1/(p − 1) at p/2.
///
/// ```
/// use eigenlens::geometry::{FourierPower, Targets};
/// # fn main() -> eigenlens::Result<()> {
/// let week = Targets::circle(0..7, 7, &[2])?; // twice around
/// let power = FourierPower::of(&week.columns()?, week.class_of(), 7)?;
/// assert!((power.share(2)? - 1.0).abs() < 1e-12);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct FourierPower {
    period: usize,
    /// Inner products of the class means, `[period · period]`.
    gram: Vec<f64>,
    shares: Vec<f64>,
}

impl FourierPower {
    /// Of activations `x`, `[n, d]`, whose rows have the classes `class_of`. Every class counts the
    /// same, however many rows it has.
    ///
    /// # Errors
    /// [`Error::Shape`] unless every row has a class, [`Error::NonFinite`] for NaN,
    /// [`Error::Invalid`] for a period below 3, for a class without rows or one that is not below
    /// the period, and for class means that are all the same.
    pub fn of(x: &Tensor, class_of: &[usize], period: usize) -> Result<Self> {
        if period < 3 {
            return Err(Error::invalid("the period of a circle", "at least 3", period));
        }
        let x = checked(x, class_of.len())?;
        let means = class_means(&x, class_of, period)?;
        let centred = means.broadcast_sub(&means.mean_keepdim(0)?)?;
        let gram: Vec<f64> = matmul_nt(&centred, &centred)?.flatten_all()?.to_vec1()?;
        let total: f64 = (0..period).map(|class| gram[class * period + class]).sum();
        let size = matmul_nt(&means, &means)?.flatten_all()?.abs()?.max(0)?.to_scalar::<f64>()?;
        if total <= 1e-24 * size || total == 0.0 {
            let expected = "different for some classes";
            return Err(Error::invalid("the means of the classes", expected, "equal means"));
        }
        let own: Vec<usize> = (0..period).collect();
        let mut power = Self { period, gram, shares: Vec::new() };
        power.shares = (1..=period / 2).map(|f| power.share_in(&own, f, total)).collect();
        Ok(power)
    }

    /// The share at `frequency` if class v lies at the place `order[v]`.
    fn share_in(&self, order: &[usize], frequency: usize, total: f64) -> f64 {
        let p = self.period;
        let cosines: Vec<f64> =
            (0..p).map(|n| (TAU * ((frequency * n) % p) as f64 / p as f64).cos()).collect();
        let mut power = 0.0;
        for (row, &first) in order.iter().enumerate() {
            for (column, &second) in order.iter().enumerate() {
                power += self.gram[row * p + column] * cosines[(first + p - second) % p];
            }
        }
        let weight = if 2 * frequency == p { 1.0 } else { 2.0 };
        weight * power / (p as f64 * total)
    }

    /// Shares of the frequencies from 1 to p/2; their sum is 1.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The share of one frequency.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless it is from 1 to p/2.
    pub fn share(&self, frequency: usize) -> Result<f64> {
        self.check(frequency)?;
        Ok(self.shares[frequency - 1])
    }

    /// The mean share of a frequency over all orders of the classes: 2/(p − 1), or 1/(p − 1) at p/2.
    ///
    /// # Errors
    /// As [`FourierPower::share`].
    pub fn flat(&self, frequency: usize) -> Result<f64> {
        self.check(frequency)?;
        let weight = if 2 * frequency == self.period { 1.0 } else { 2.0 };
        Ok(weight / (self.period - 1) as f64)
    }

    /// The share of a frequency for other orders of the classes.
    ///
    /// # Errors
    /// As [`FourierPower::share`]; [`Error::Invalid`] for too many orders; [`Error::Interrupted`]
    /// when Stop is pressed.
    pub fn orders(&self, frequency: usize, null: OrderNull) -> Result<NullDistribution> {
        self.check(frequency)?;
        let total: f64 = (0..self.period).map(|v| self.gram[v * self.period + v]).sum();
        let mut values = Vec::new();
        for (i, order) in null.orders(self.period, true)?.iter().enumerate() {
            if i % 1_024 == 0 {
                safe_point("the null of orders")?;
            }
            values.push(self.share_in(order, frequency, total));
        }
        Ok(NullDistribution::new(self.shares[frequency - 1], values, null))
    }

    fn check(&self, frequency: usize) -> Result<()> {
        let half = self.period / 2;
        match (1..=half).contains(&frequency) {
            true => Ok(()),
            false => Err(Error::invalid("the frequency", format!("from 1 to {half}"), frequency)),
        }
    }
}

/// The mean row of each class, `[classes, d]`.
fn class_means(x: &Tensor, class_of: &[usize], classes: usize) -> Result<Tensor> {
    if let Some(class) = class_of.iter().find(|class| **class >= classes) {
        let expected = format!("below {classes}, the period");
        return Err(Error::invalid("the class of a row", expected, class));
    }
    let mut counts = vec![0.0; classes];
    class_of.iter().for_each(|&class| counts[class] += 1.0);
    if let Some(empty) = counts.iter().position(|count| *count == 0.0) {
        let what = format!("the rows of class {empty}");
        return Err(Error::invalid(what, "at least one", "none"));
    }
    let mut weights = vec![0.0; classes * class_of.len()];
    for (row, &class) in class_of.iter().enumerate() {
        weights[class * class_of.len() + row] = 1.0 / counts[class];
    }
    let weights = Tensor::from_vec(weights, (classes, class_of.len()), x.device())?;
    crate::linalg::matmul(&weights, x)
}

show_as_text!(FourierPower);

impl fmt::Display for FourierPower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Power of {} classes around the circle:", self.period)?;
        for (i, share) in self.shares.iter().enumerate() {
            let flat = self.flat(i + 1).unwrap_or(0.0);
            write!(f, " f {} {share:.3} (flat {flat:.3})", i + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::geometry::Targets;
    use crate::random::Rng;

    #[test]
    fn shares_are_those_of_the_circles_that_were_added() {
        let targets = Targets::circle(0..12, 12, &[1, 5, 6]).unwrap();
        // Amplitudes 3, 2 and 1: a cosine and sine of amplitude a have a², a cosine at p/2 too.
        let scales = Tensor::new(&[[3f64, 3.0, 2.0, 2.0, 1.0]], &Device::Cpu).unwrap();
        let x = targets.columns().unwrap().broadcast_mul(&scales).unwrap();
        let found = FourierPower::of(&(x + 7.0).unwrap(), targets.class_of(), 12).unwrap();
        for (frequency, expected) in [(1, 9.0), (2, 0.0), (5, 4.0), (6, 1.0)] {
            assert!((found.share(frequency).unwrap() - expected / 14.0).abs() < 1e-12);
        }
        assert!((found.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert!(found.to_string().contains("f 1 0.643 (flat 0.182)"), "{found}");
    }

    #[test]
    fn the_mean_share_over_all_orders_is_flat() {
        for period in [7, 8] {
            let x = Rng::seed(1).normal((2 * period, 5), &Device::Cpu).unwrap();
            let class_of: Vec<usize> = (0..2 * period).map(|row| row % period).collect();
            let power = FourierPower::of(&x, &class_of, period).unwrap();
            for frequency in 1..=period / 2 {
                let null = power.orders(frequency, OrderNull::All).unwrap();
                let flat = power.flat(frequency).unwrap();
                assert!((null.mean() - flat).abs() < 1e-12, "{period} {frequency}: {null}");
                assert!((null.own - power.share(frequency).unwrap()).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_has_no_power_is_named() {
        let x = Rng::seed(1).normal((6, 5), &Device::Cpu).unwrap();
        let text = |x: &Tensor, class_of: &[usize], period| {
            FourierPower::of(x, class_of, period).unwrap_err().to_string()
        };
        assert!(text(&x, &[0, 1, 2, 3, 4, 5], 7).contains("the rows of class 6"));
        assert!(text(&x, &[0, 1, 2, 3, 4, 7], 6).contains("below 6"));
        assert!(text(&x, &[0, 1, 2], 3).contains("[3, d]"));
        assert!(text(&x, &[0, 1, 0, 1, 0, 1], 2).contains("at least 3"));
        let same = Tensor::ones((6, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(text(&same, &[0, 1, 2, 3, 4, 5], 6).contains("equal means"));
        let power = FourierPower::of(&x, &[0, 1, 2, 3, 4, 5], 6).unwrap();
        assert!(power.share(4).is_err() && power.flat(0).is_err());
        assert!(power.orders(4, OrderNull::All).is_err());
    }
}
