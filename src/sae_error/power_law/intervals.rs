//! Intervals of a power law's parameters, from the profile of its squared error.

use std::fmt;

use super::PowerLaw;
use super::profile::{Profile, brent};
use crate::display::show_as_text;
use crate::geometry::{Interval, two_sided_quantile};

const CONFIDENCE: f64 = 0.95;
/// Exponents of the region at which the ends of the other parameters are looked for.
const EXPONENTS: usize = 100;
const BISECTIONS: usize = 60;
/// What is known of a parameter that is not negative if nothing is.
const ANYTHING: [f64; 2] = [0.0, f64::INFINITY];

/// Intervals of confidence 0.95 around the parameters of a [`PowerLaw`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerLawIntervals {
    /// Around a.
    pub a: Interval,
    /// Around the exponent.
    pub exponent: Interval,
    /// Around c, if the law has one.
    pub c: Option<Interval>,
}

show_as_text!(PowerLawIntervals);

impl fmt::Display for PowerLawIntervals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %:", 100.0 * CONFIDENCE)?;
        let named = [("a", Some(self.a)), ("exponent", Some(self.exponent)), ("c", self.c)];
        for (name, interval) in named {
            if let Some(own) = interval {
                write!(f, "  {name} {:.4} to {:.4}", own.lower, own.upper)?;
            }
        }
        Ok(())
    }
}

impl PowerLaw {
    /// Intervals by profile likelihood: a parameter's value is inside if the best law with that value
    /// has
    ///
    /// ```text
    /// Σ residual² ≤ (1 + t²/ν) Σ residual² of the fit      ν = points − parameters
    /// ```
    ///
    /// with t the 95 % quantile of Student's t with ν degrees of freedom. They suppose residuals
    /// that are independent, normal and equally large; unlike ± standard errors they follow the
    /// curvature of the law. An upper end is infinite if the points do not bound it, and with as
    /// many parameters as points nothing is bounded. Of a law that does not fall, only the level has
    /// bounds, those of Student's t around a mean.
    pub fn intervals(&self) -> PowerLawIntervals {
        let freedom = self.widths.len().saturating_sub(self.parameters());
        let [a, exponent, c] = match freedom {
            0 => [ANYTHING; 3],
            _ if self.exponent == 0.0 => match self.c {
                Some(_) => [ANYTHING, ANYTHING, self.level()],
                None => [self.level(), ANYTHING, ANYTHING],
            },
            _ => self.region(freedom as f64).ends(self),
        };
        let around = |mean: f64, [lower, upper]: [f64; 2]| {
            let (lower, upper) = (lower.min(mean), upper.max(mean));
            Interval { mean, lower, upper, confidence: CONFIDENCE }
        };
        PowerLawIntervals {
            a: around(self.a, a),
            exponent: around(self.exponent, exponent),
            c: self.c.map(|own| around(own, c)),
        }
    }

    /// The interval around the mean of values that do not fall.
    fn level(&self) -> [f64; 2] {
        match Interval::of(&self.values, CONFIDENCE) {
            Ok(found) => [found.lower.max(0.0), found.upper],
            Err(_) => ANYTHING,
        }
    }

    fn region(&self, freedom: f64) -> Region {
        let t = two_sided_quantile(CONFIDENCE, freedom);
        let profile = Profile::new(&self.widths, &self.values, self.c.is_some());
        let bound = self.squared_error() * (1.0 + t * t / freedom) + profile.rounding();
        Region { profile, bound }
    }
}

/// All laws whose squared error is at most a bound. Those of one exponent are an ellipse of factors
/// and constants, cut off where one is negative, so that their ends have a closed form.
#[derive(Debug)]
struct Region {
    profile: Profile,
    bound: f64,
}

/// The ends of a and c among the laws of one exponent, each from low to high.
type Slice = [[f64; 2]; 2];

impl Region {
    /// The ends of a, exponent and c over the region, which holds `law`.
    fn ends(&self, law: &PowerLaw) -> [[f64; 2]; 3] {
        let (own, [from, to]) = (law.exponent.ln(), self.profile.range());
        let (low, high) = (self.end_of_exponents(own, from), self.end_of_exponents(own, to));
        let [a_low, a_high] = [self.end([low, high], own, 0, 0), self.end([low, high], own, 0, 1)];
        let [c_low, c_high] = [self.end([low, high], own, 1, 0), self.end([low, high], own, 1, 1)];
        let (is_bounded_below, is_bounded_above) = (low > from, high < to);
        [
            [a_low, if is_bounded_above { a_high } else { f64::INFINITY }],
            [
                if is_bounded_below { low.exp() } else { 0.0 },
                if is_bounded_above { high.exp() } else { f64::INFINITY },
            ],
            [c_low, c_high],
        ]
    }

    fn holds(&self, log_exponent: f64) -> bool {
        self.profile.at(log_exponent.exp()).squares <= self.bound
    }

    /// How far the region reaches from `inside` towards `limit`, in logarithms of exponents.
    fn end_of_exponents(&self, inside: f64, limit: f64) -> f64 {
        let (mut inside, mut step) = (inside, (limit - inside) * 1e-6);
        let mut outside = loop {
            let next = inside + step;
            if (limit - next) * step <= 0.0 {
                break limit;
            }
            if !self.holds(next) {
                break next;
            }
            (inside, step) = (next, 2.0 * step);
        };
        if self.holds(limit) && outside == limit {
            return limit;
        }
        for _ in 0..BISECTIONS {
            let middle = 0.5 * (inside + outside);
            if self.holds(middle) { inside = middle } else { outside = middle }
        }
        inside
    }

    /// The end of a parameter (a or c) on one side (low or high) among exponents between two.
    fn end(&self, [low, high]: [f64; 2], own: f64, parameter: usize, side: usize) -> f64 {
        // Smaller is further out.
        let sign = if side == 0 { 1.0 } else { -1.0 };
        let outwards = |log: f64| match self.slice(log.exp()) {
            Some(slice) => sign * slice[parameter][side],
            None => f64::INFINITY,
        };
        let step = (high - low) / (EXPONENTS - 1) as f64;
        let tried = (0..EXPONENTS).map(|i| low + step * i as f64).chain([own]);
        let Some((best, at)) = tried
            .map(|log| (outwards(log), log))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .filter(|(best, _)| best.is_finite())
        else {
            return ANYTHING[side];
        };
        let around = [(at - step).max(low), (at + step).min(high)];
        let found = brent(around, outwards);
        sign * best.min(outwards(found))
    }

    /// The ends of a and c for an exponent; `None` if no law of that exponent is inside.
    fn slice(&self, exponent: f64) -> Option<Slice> {
        let sums = self.profile.sums(exponent);
        let scale = self.profile.scale_of(exponent);
        // Half of the width of an ellipse around a point where the squares are least.
        let half = |squares: f64, curvature: f64| {
            let rest = self.bound - squares;
            (rest >= 0.0).then(|| (rest / curvature).sqrt())
        };
        let squares = |factor: f64, constant: f64| self.profile.squares(exponent, factor, constant);
        let middle = sums.xy / sums.xx;
        let without = half(squares(middle, 0.0), sums.xx)
            .map(|half| [middle - half, middle + half])
            .filter(|[_, high]| *high >= 0.0);
        if !self.profile.constant {
            return without.map(|factors| [factors.map(|own| own.max(0.0) * scale), [0.0; 2]]);
        }
        let flat = half(squares(0.0, sums.y), sums.n)
            .map(|half| [sums.y - half, sums.y + half])
            .filter(|[_, high]| *high >= 0.0);
        let slope = sums.centred_xy / sums.centred_xx;
        let (centre, level) = (slope, sums.y - slope * sums.x);
        let mut ends = FactorRange::default();
        if let Some(half_factor) = half(squares(centre, level), sums.centred_xx) {
            // The constant that goes with the extreme factor, and the other way round.
            for side in [-1.0, 1.0] {
                ends.add(centre + side * half_factor, level - side * half_factor * sums.x);
            }
            let own_xx = sums.centred_xx * sums.n / sums.xx;
            if let Some(half_constant) = half(squares(centre, level), own_xx) {
                for side in [-1.0, 1.0] {
                    let constant = level + side * half_constant;
                    ends.add(centre - side * half_constant * sums.n * sums.x / sums.xx, constant);
                }
            }
        }
        without.iter().flatten().for_each(|factor| ends.add(factor.max(0.0), 0.0));
        flat.iter().flatten().for_each(|constant| ends.add(0.0, constant.max(0.0)));
        ends.slice(scale)
    }
}

/// The smallest and largest factor and constant of points that are added.
#[derive(Debug, Default)]
struct FactorRange(Option<Slice>);

impl FactorRange {
    /// Adds a point if neither coordinate is negative.
    fn add(&mut self, factor: f64, constant: f64) {
        if factor >= 0.0 && constant >= 0.0 {
            let own = [factor, constant];
            let before = self.0.unwrap_or(own.map(|value| [value; 2]));
            let wider = |at: usize| [before[at][0].min(own[at]), before[at][1].max(own[at])];
            self.0 = Some([wider(0), wider(1)]);
        }
    }

    fn slice(self, scale: f64) -> Option<Slice> {
        self.0.map(|[factors, constants]| [factors.map(|factor| factor * scale), constants])
    }
}
