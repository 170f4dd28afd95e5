//! The best ε-band of all directions and offsets, with a proof.
//!
//! For one direction the problem is exact. Let `p` be the points' projections, with mean 0 (the
//! points are centred) and variance `V`. A band with its middle at `t` holds `p` if
//! `(p − t)² ≤ ε² (V + t²)`, which is an interval of `t`:
//!
//! ```text
//! (p − ε √(p² + (1 − ε²) V)) / (1 − ε²) ≤ t ≤ (p + ε √(p² + (1 − ε²) V)) / (1 − ε²)
//! ```
//!
//! so the best offset is where most intervals overlap: sort their ends and count.
//!
//! Over directions, halves of an interval of angles are searched only where they could hold a
//! better band (branch and bound). Turning by at most δ moves a projection by at most
//! `|q| sin δ + |p| (1 − cos δ)`, with `q` the projection across, and `V` has a closed maximum; with
//! every interval widened so far, the overlap bounds the share of all bands in the interval.

use std::f64::consts::{FRAC_PI_2, PI};
use std::fmt;

use candle_core::Tensor;
use rayon::prelude::*;

use super::band::Band;
use super::points::Points;
use crate::display::show_as_text;
use crate::progress::interrupted;
use crate::{Error, Result};

/// Intervals of angles at the start.
const START: usize = 256;

/// The best band that was found, and the proof of how good it is.
#[derive(Debug, Clone, Copy)]
pub struct BestBand {
    /// The band; its `fraction` of the points is attained.
    pub band: Band,
    /// No ε-band holds a larger share of the points than this.
    pub bound: f64,
    /// Directions that were looked at.
    pub directions: usize,
}

/// An interval of angles.
#[derive(Debug, Clone, Copy)]
struct AngleInterval {
    middle: f64,
    half: f64,
}

/// What an interval holds.
#[derive(Debug, Clone, Copy)]
struct Verdict {
    interval: AngleInterval,
    band: Band,
    bound: f64,
}

impl BestBand {
    /// Searches all bands of half-width `epsilon` times the points' root mean square distance from
    /// the band's middle, looking at `directions` directions at most (256 at least). Given enough
    /// of them, `bound` equals the share of the band that was found.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Invalid`] or [`Error::NonFinite`] for bad points or an `epsilon`
    /// outside (0, 1). When Stop is pressed, what was found until then is returned, with its bound.
    pub fn of(points: &Tensor, epsilon: f64, directions: usize) -> Result<Self> {
        check_epsilon(epsilon)?;
        Self::search(&Points::of(points)?, epsilon, directions, &[])
    }

    /// As [`of`](Self::of), and not worse than any of `known`.
    pub(super) fn search(
        points: &Points,
        epsilon: f64,
        directions: usize,
        known: &[Band],
    ) -> Result<Self> {
        let mean = points.mean();
        let centred = Centred::new(points.moved(mean, 1.0), epsilon);
        let half = FRAC_PI_2 / START as f64;
        let mut open: Vec<AngleInterval> =
            (0..START).map(|i| AngleInterval { middle: (2 * i + 1) as f64 * half, half }).collect();
        let mut best = known.iter().copied().max_by(|a, b| a.fraction.total_cmp(&b.fraction));
        let mut looked = 0;
        loop {
            let verdicts: Vec<Verdict> =
                open.par_iter().map(|&interval| centred.judge(interval)).collect();
            looked += open.len();
            for verdict in &verdicts {
                let band = verdict.band.moved_back(mean, 1.0);
                if best.is_none_or(|best| band.fraction > best.fraction) {
                    best = Some(band);
                }
            }
            let Some(band) = best else {
                return Err(Error::Interrupted { what: "the search for the best band".into() });
            };
            let hopeful: Vec<&Verdict> =
                verdicts.iter().filter(|verdict| verdict.bound > band.fraction).collect();
            let bound = hopeful.iter().map(|v| v.bound).fold(band.fraction, f64::max);
            if hopeful.is_empty() || interrupted() || looked + 2 * hopeful.len() > directions {
                return Ok(Self { band, bound, directions: looked });
            }
            open = hopeful.iter().flat_map(|verdict| verdict.interval.halves()).collect();
        }
    }

    /// Whether the search has proved that there is no better band.
    pub fn is_proved(&self) -> bool {
        self.bound <= self.band.fraction
    }
}

show_as_text!(BestBand);

impl fmt::Display for BestBand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { band, bound, directions } = self;
        write!(f, "best band: {:.4} of the points", band.fraction)?;
        match self.is_proved() {
            true => write!(f, ", proved to be the most"),
            false => write!(f, ", none holds more than {bound:.4}"),
        }?;
        write!(f, " (ε = {}, {directions} directions)", band.epsilon)
    }
}

pub(super) fn check_epsilon(epsilon: f64) -> Result<()> {
    if epsilon > 0.0 && epsilon < 1.0 {
        return Ok(());
    }
    Err(Error::invalid("epsilon", "above 0 and below 1", epsilon))
}

impl AngleInterval {
    fn halves(self) -> [Self; 2] {
        let half = self.half / 2.0;
        [self.middle - half, self.middle + half].map(|middle| Self { middle, half })
    }
}

/// Points with mean 0, and their covariance.
#[derive(Debug)]
struct Centred {
    points: Points,
    /// The variance along angle θ is `level + swing · cos(2θ − phase)`.
    level: f64,
    swing: f64,
    phase: f64,
    epsilon: f64,
}

impl Centred {
    fn new(points: Points, epsilon: f64) -> Self {
        let n = points.len() as f64;
        let sum = |f: fn(f64, f64) -> f64| {
            points.x.iter().zip(&points.y).map(|(&x, &y)| f(x, y)).sum::<f64>() / n
        };
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        let (even, odd) = ((xx - yy) / 2.0, xy);
        let (level, swing, phase) = ((xx + yy) / 2.0, even.hypot(odd), odd.atan2(even));
        Self { points, level, swing, phase, epsilon }
    }

    /// The largest variance in an interval of angles.
    fn variance(&self, interval: AngleInterval) -> f64 {
        let from_peak = (2.0 * interval.middle - self.phase + PI).rem_euclid(2.0 * PI) - PI;
        let nearest = (from_peak.abs() - 2.0 * interval.half).max(0.0);
        (self.level + self.swing * nearest.cos()).max(0.0)
    }

    fn judge(&self, interval: AngleInterval) -> Verdict {
        let (sin, cos) = interval.middle.sin_cos();
        let (turn_sin, turn_cos) = interval.half.sin_cos();
        let here = self.variance(AngleInterval { half: 0.0, ..interval });
        let most = self.variance(interval);
        let n = self.points.len();
        let (mut exact, mut wide) = (IntervalEnds::of(n), IntervalEnds::of(n));
        for (x, y) in self.points.x.iter().zip(&self.points.y) {
            let (p, q) = (cos * x + sin * y, cos * y - sin * x);
            let moved = q.abs() * turn_sin + p.abs() * (1.0 - turn_cos);
            exact.push(self.end(p, -1.0, here), self.end(p, 1.0, here));
            wide.push(self.end(p - moved, -1.0, most), self.end(p + moved, 1.0, most));
        }
        let (_, middle) = exact.overlap();
        let band = Band::of(&self.points, [cos, sin], -middle, self.epsilon);
        let (count, _) = wide.overlap();
        Verdict { interval, band, bound: count as f64 / n as f64 }
    }

    /// The lower (`side` −1) or upper (1) end of the middles of bands that hold `p`.
    fn end(&self, p: f64, side: f64, variance: f64) -> f64 {
        let rest = 1.0 - self.epsilon * self.epsilon;
        (p + side * self.epsilon * (p * p + rest * variance).sqrt()) / rest
    }
}

/// Intervals by their ends.
#[derive(Debug)]
struct IntervalEnds {
    low: Vec<f64>,
    high: Vec<f64>,
}

impl IntervalEnds {
    fn of(count: usize) -> Self {
        Self { low: Vec::with_capacity(count), high: Vec::with_capacity(count) }
    }

    fn push(&mut self, low: f64, high: f64) {
        self.low.push(low);
        self.high.push(high);
    }

    /// How many intervals overlap where most do, and the middle of that place.
    fn overlap(mut self) -> (usize, f64) {
        for ends in [&mut self.low, &mut self.high] {
            ends.sort_unstable_by(f64::total_cmp);
        }
        let (mut closed, mut most, mut place) = (0, 0, 0.0);
        for (opened, &low) in self.low.iter().enumerate() {
            while self.high[closed] < low {
                closed += 1;
            }
            if opened + 1 - closed > most {
                most = opened + 1 - closed;
                place = (low + self.high[closed]) / 2.0;
            }
        }
        (most, place)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::Ascent;
    use super::super::datasets::Cloud;
    use super::super::mixture_options::MixtureOptions;
    use super::*;
    use crate::random::Rng;

    fn tensor(points: &[[f32; 2]]) -> Tensor {
        Tensor::from_slice(points.as_flattened(), (points.len(), 2), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_line_gives_its_weight() {
        // 60 % on the line x = 5, the rest 10 to the left or right of it: σ = √0.4 · 10, and the
        // band of half-width 0.63 holds the line and nothing else.
        let mut rng = Rng::seed(0);
        let points: Vec<[f32; 2]> = (0..1_000)
            .map(|i| {
                let x = match i % 10 {
                    0..6 => 5.0,
                    6..8 => -5.0,
                    _ => 15.0,
                };
                [x, 40.0 * rng.unit() - 20.0]
            })
            .collect();
        let best = BestBand::of(&tensor(&points), 0.1, 20_000).unwrap();
        assert!(best.is_proved(), "{best}");
        assert!((best.band.fraction - 0.6).abs() < 1e-12, "{best}");
        assert!((best.band.scale - 0.4f64.sqrt() * 10.0).abs() < 0.2);
        assert!((best.band.normal[0].abs() - 1.0).abs() < 0.01, "{:?}", best.band);
    }

    #[test]
    fn no_band_of_a_fine_grid_is_better_than_the_bound() {
        for (seed, cloud) in Cloud::ALL.into_iter().enumerate() {
            let tensor = cloud.points(150, seed as u64).unwrap();
            let points = Points::of(&tensor).unwrap();
            let mean = points.mean();
            for epsilon in [0.1, 0.4] {
                let best = BestBand::of(&tensor, epsilon, 100_000).unwrap();
                let mut most = 0f64;
                for i in 0..720 {
                    let (sin, cos) = (PI * f64::from(i) / 720.0).sin_cos();
                    for j in -200..=200 {
                        let middle = cos * mean[0] + sin * mean[1] + f64::from(j) * 0.02;
                        let band = Band::of(&points, [cos, sin], -middle, epsilon);
                        most = most.max(band.fraction);
                    }
                }
                assert!(best.bound >= most, "{cloud} {epsilon}: {best} but {most}");
                assert!(best.is_proved(), "{cloud} {epsilon}: {best}");
            }
        }
    }

    #[test]
    fn an_ascent_never_beats_the_bound() {
        let options = MixtureOptions { steps: 300, ..MixtureOptions::default() };
        for (seed, cloud) in Cloud::ALL.into_iter().enumerate() {
            let points = cloud.points(600, 10 + seed as u64).unwrap();
            let best = BestBand::of(&points, options.epsilon, 600).unwrap();
            for start in [[1.0, 0.0], [0.3, -2.0], [-1.0, 1.5]] {
                let ascent = Ascent::from(&points, start, &options).unwrap();
                let hard = ascent.band.fraction;
                assert!(hard <= best.bound + 1e-12, "{cloud}: {hard}, {best}");
            }
        }
    }

    #[test]
    fn the_search_follows_the_points() {
        // Moved and enlarged, the best band moves with them.
        let points = Cloud::Lines.points(300, 2).unwrap();
        let moved = ((&points * 7.0).unwrap() + 100.0).unwrap();
        let (one, two) =
            (BestBand::of(&points, 0.1, 4_000).unwrap(), BestBand::of(&moved, 0.1, 4_000).unwrap());
        assert!((one.band.fraction - two.band.fraction).abs() < 0.01, "{one} {two}");
        let inside = Band::of(&Points::of(&moved).unwrap(), two.band.normal, two.band.offset, 0.1);
        assert!((inside.fraction - two.band.fraction).abs() < 0.005);
    }

    #[test]
    fn an_epsilon_is_a_share() {
        let points = Cloud::Circle.points(10, 0).unwrap();
        for epsilon in [0.0, 1.0, -0.1, f64::NAN] {
            let error = BestBand::of(&points, epsilon, 100).unwrap_err().to_string();
            assert!(error.contains("epsilon"), "{error}");
        }
    }
}
