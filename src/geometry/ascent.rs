//! The ε-mixture index by gradient ascent on a soft band.
//!
//! ```text
//! P(a, b) = 1/n Σᵢ s((ε − |zᵢ|) / T)      zᵢ = (a·xᵢ + b) / m      m² = ⟨(a·x + b)²⟩
//! ```
//!
//! with the logistic function `s` and a temperature `T` that falls from 1 towards 0: at first every
//! point pulls at the band, in the end only those at its edges.

use candle_core::Tensor;

use super::band::Band;
use super::mixture_options::MixtureOptions;
use super::points::Points;
use crate::linalg::Real;
use crate::progress::interrupted;
use crate::{Error, Result};

/// Points whose exponentials are taken together.
const BLOCK: usize = 256;

/// How one ascent ended.
#[derive(Debug, Clone)]
pub struct Ascent {
    /// The normal of the band, of any length.
    pub a: [f32; 2],
    /// The offset, in the length of `a`.
    pub b: f32,
    /// The soft share `P` of the last step, at temperature 1/steps and before its update.
    pub soft: f32,
    /// The band of `a` and `b`, with the share of points that are really in it.
    pub band: Band,
}

impl Ascent {
    /// Ascends from `a = start`, `b = 0`: `steps` steps `(a, b) += rate · ∇P`, with temperature
    /// `1 − i / steps` in step i. Neither centres nor scales the points. `restarts` and `seed` of
    /// the options play no part.
    ///
    /// Arithmetic on points is f32, sums are f64. Near the end the temperature is so low that a
    /// single point can move the band far: after thousands of steps the last digits of the inputs
    /// decide where it stops. [`BestBand`](super::BestBand) has no such trouble.
    ///
    /// # Errors
    /// [`Error::Shape`], [`Error::Invalid`] or [`Error::NonFinite`] for bad points, options or
    /// start; [`Error::Interrupted`] when Stop is pressed.
    pub fn from(points: &Tensor, start: [f32; 2], options: &MixtureOptions) -> Result<Self> {
        options.check()?;
        if !(start[0].hypot(start[1]) > 0.0 && start.iter().all(|v| v.is_finite())) {
            let found = format!("{start:?}");
            return Err(Error::invalid("the start of an ascent", "finite and not zero", found));
        }
        let points = Points::of(points)?;
        Climber::new(&points, start).run(&points, options)
    }
}

/// Sums over the points that do not change during an ascent.
#[derive(Debug, Clone)]
struct PointMoments {
    n: f64,
    sum: [f64; 2],
    /// xx, xy, yy
    square: [f64; 3],
}

/// An ascent under way.
#[derive(Debug, Clone)]
pub(super) struct Climber {
    x: Vec<f32>,
    y: Vec<f32>,
    moments: PointMoments,
    a: [f32; 2],
    b: f32,
    soft: f32,
}

/// `P` and its gradient.
#[derive(Debug, Clone, Copy, Default)]
struct Slope {
    value: f64,
    a: [f64; 2],
    b: f64,
}

impl Climber {
    pub(super) fn new(points: &Points, start: [f32; 2]) -> Self {
        let narrow = |values: &[f64]| -> Vec<f32> { values.iter().map(|&v| v as f32).collect() };
        let (x, y) = (narrow(&points.x), narrow(&points.y));
        let (mut sum, mut square) = ([0.0; 2], [0.0; 3]);
        for (x, y) in x.iter().zip(&y).map(|(&x, &y)| (f64::from(x), f64::from(y))) {
            sum = [sum[0] + x, sum[1] + y];
            square = [square[0] + x * x, square[1] + x * y, square[2] + y * y];
        }
        let moments = PointMoments { n: x.len() as f64, sum, square };
        Self { x, y, moments, a: start, b: 0.0, soft: 0.0 }
    }

    pub(super) fn run(mut self, points: &Points, options: &MixtureOptions) -> Result<Ascent> {
        let (rate, epsilon) = (options.rate as f32, options.epsilon as f32);
        for step in 0..options.steps {
            if step % 64 == 0 && interrupted() {
                return Err(Error::Interrupted { what: "the ε-mixture ascent".into() });
            }
            let temperature = 1.0 - step as f64 / options.steps as f64;
            let slope = self.slope(epsilon, temperature as f32);
            self.a[0] += rate * slope.a[0] as f32;
            self.a[1] += rate * slope.a[1] as f32;
            self.b += rate * slope.b as f32;
            self.soft = slope.value as f32;
        }
        let (a, b) = (self.a.map(f64::from), f64::from(self.b));
        let band = Band::of(points, a, b, options.epsilon);
        Ok(Ascent { a: self.a, b: self.b, soft: self.soft, band })
    }

    /// With `G_i = ∂P/∂z_i`, `∂P/∂a = (Σ G x − (Σ G z / m) ⟨y x⟩) / m` for `y = a·x + b`, and so
    /// for `b` with x = 1: `m` and `⟨y x⟩` follow from the moments, so one pass is enough.
    fn slope(&self, epsilon: f32, temperature: f32) -> Slope {
        let PointMoments { n, sum, square } = &self.moments;
        let (a, b) = (self.a.map(f64::from), f64::from(self.b));
        let yx = [
            a[0] * square[0] + a[1] * square[1] + b * sum[0],
            a[0] * square[1] + a[1] * square[2] + b * sum[1],
            a[0] * sum[0] + a[1] * sum[1] + b * n,
        ];
        let mean_square = (a[0] * yx[0] + a[1] * yx[1] + b * yx[2]) / n;
        let m = mean_square.max(0.0).sqrt() as f32;
        if m == 0.0 {
            return Slope::default();
        }
        let (mut soft, mut pull) = (0f64, [0f64; 3]);
        let (mut z, mut e) = ([0f32; BLOCK], [0f32; BLOCK]);
        for (x, y) in self.x.chunks(BLOCK).zip(self.y.chunks(BLOCK)) {
            let (z, e) = (&mut z[..x.len()], &mut e[..x.len()]);
            for i in 0..x.len() {
                z[i] = (x[i] * self.a[0] + y[i] * self.a[1] + self.b) / m;
                e[i] = (z[i].abs() - epsilon) / temperature;
            }
            f32::exp_all(e);
            for i in 0..x.len() {
                let inside = 1.0 / (1.0 + e[i]);
                let steep = (1.0 - inside) * inside / temperature;
                let g = f64::from(if z[i] > 0.0 {
                    -steep
                } else if z[i] < 0.0 {
                    steep
                } else {
                    0.0
                });
                soft += f64::from(inside);
                pull[0] += g * f64::from(x[i]);
                pull[1] += g * f64::from(y[i]);
                pull[2] += g;
            }
        }
        let m = f64::from(m);
        // Σ G z, from the sums already there.
        let shrink = (a[0] * pull[0] + a[1] * pull[1] + b * pull[2]) / m;
        let slope = |k: usize| (pull[k] - shrink * yx[k] / (m * n)) / (m * n);
        Slope { value: soft / n, a: [slope(0), slope(1)], b: slope(2) }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::datasets::Cloud;
    use super::*;

    /// `P` as its definition reads, in f64.
    fn soft(points: &Points, a: [f64; 2], b: f64, epsilon: f64, temperature: f64) -> f64 {
        let y: Vec<f64> =
            points.x.iter().zip(&points.y).map(|(x, y)| a[0] * x + a[1] * y + b).collect();
        let n = y.len() as f64;
        let m = (y.iter().map(|y| y * y).sum::<f64>() / n).sqrt();
        y.iter().map(|y| 1.0 / (1.0 + (((y / m).abs() - epsilon) / temperature).exp())).sum::<f64>()
            / n
    }

    #[test]
    fn the_slope_is_that_of_finite_differences() {
        for (cloud, temperature) in
            [(Cloud::Gaussian, 1.0), (Cloud::Lines, 0.3), (Cloud::Circle, 0.1)]
        {
            let points = Points::of(&cloud.points(700, 1).unwrap()).unwrap();
            let (a, b, epsilon) = ([0.8, -1.3], 0.4, 0.1);
            let mut climber = Climber::new(&points, [0.8, -1.3]);
            climber.b = 0.4;
            let slope = climber.slope(epsilon as f32, temperature as f32);
            let value = |a, b| soft(&points, a, b, epsilon, temperature);
            let h = 1e-6;
            let wanted = [
                (value([a[0] + h, a[1]], b) - value([a[0] - h, a[1]], b)) / (2.0 * h),
                (value([a[0], a[1] + h], b) - value([a[0], a[1] - h], b)) / (2.0 * h),
                (value(a, b + h) - value(a, b - h)) / (2.0 * h),
            ];
            assert!((slope.value - value(a, b)).abs() < 1e-6);
            for (found, wanted) in [slope.a[0], slope.a[1], slope.b].iter().zip(wanted) {
                assert!((found - wanted).abs() < 1e-5 + 1e-4 * wanted.abs(), "{found} {wanted}");
            }
        }
    }

    #[test]
    fn an_ascent_climbs() {
        // Half of the points on the line x = 0, so that a band around it holds them.
        let cloud = Cloud::Gaussian.points(2_000, 0).unwrap();
        let right = cloud.narrow(0, 0, 1_000).unwrap();
        let line = (right
            * Tensor::new(&[0f32, 1.0], &Device::Cpu).unwrap().broadcast_as((1_000, 2)).unwrap())
        .unwrap();
        let points = Tensor::cat(&[&line, &cloud.narrow(0, 1_000, 1_000).unwrap()], 0).unwrap();
        let options = MixtureOptions { steps: 1_000, ..MixtureOptions::default() };
        let ascent = Ascent::from(&points, [0.6, 0.8], &options).unwrap();
        assert!(ascent.band.fraction > 0.5, "{ascent:?}");
        assert!((f64::from(ascent.soft) - ascent.band.fraction).abs() < 0.05, "{ascent:?}");
        assert!(Ascent::from(&points, [0.0, 0.0], &options).is_err());
        assert!(Ascent::from(&points, [f32::NAN, 0.0], &options).is_err());
    }
}
