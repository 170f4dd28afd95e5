//! Synthetic activations: sparse sums of more directions than there are dimensions.

use std::fmt;
use std::sync::Arc;

use candle_core::{Device, Tensor, cpu::erf::erf_f32};
use rayon::prelude::*;

use super::correlation::{random_correlation, root};
use super::streams::{CORRELATION, DIRECTIONS};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::linalg::matmul;
use crate::progress::interrupted;
use crate::random::Rng;
use crate::sae::Codes;
use crate::{Error, Result};

/// Rows whose Gaussian numbers are held at a time.
const CHUNK: usize = 4_096;

/// What a [`Superposition`] is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SuperpositionConfig {
    /// Ground-truth directions n; 512.
    pub features: usize,
    /// Dimensions m that they share; 256.
    pub dims: usize,
    /// Mean number of active features in a sample, above 0 and below n; 5.
    pub active: f64,
    /// Ratio δ of the frequencies of one feature and the one before, in (0, 1]; 0.99.
    pub decay: f64,
    /// Whether features tend to be active together, or apart; true.
    pub correlated: bool,
    /// Least and greatest coefficient of an active feature, drawn uniformly; 0 and 1.
    pub strength: (f64, f64),
}

impl Default for SuperpositionConfig {
    /// The sizes of the original study.
    fn default() -> Self {
        Self {
            features: 512,
            dims: 256,
            active: 5.0,
            decay: 0.99,
            correlated: true,
            strength: (0.0, 1.0),
        }
    }
}

impl SuperpositionConfig {
    /// `features` directions in `dims` dimensions, `active` of them in a sample on average.
    pub fn new(features: usize, dims: usize, active: f64) -> Self {
        Self { features, dims, active, ..Self::default() }
    }

    fn check(&self) -> Result<()> {
        let n = self.features;
        check_sizes(&[("the number of features", n), ("the number of dimensions", self.dims)])?;
        if !(self.active > 0.0 && self.active < n as f64) {
            let expected = format!("above 0 and below {n}, the features that exist");
            return Err(Error::invalid(
                "the mean number of active features",
                expected,
                self.active,
            ));
        }
        if !(self.decay > 0.0 && self.decay <= 1.0) {
            return Err(Error::invalid("the decay", "above 0 and at most 1", self.decay));
        }
        let (low, high) = self.strength;
        if !(low >= 0.0 && high > 0.0 && low <= high && high.is_finite()) {
            let expected = "two finite numbers, not negative, the lower first, the higher above 0";
            return Err(Error::invalid("the strength", expected, format!("({low}, {high})")));
        }
        Ok(())
    }
}

/// A world of n known directions in m dimensions, and samples of it. A cheap handle.
///
/// The directions dᵢ are uniform on the unit sphere. In a sample, feature i is active with
/// probability pᵢ and then has a coefficient cᵢ, uniform in [`SuperpositionConfig::strength`]:
///
/// ```text
/// x = Σᵢ cᵢ dᵢ      pᵢ = min(1, s δⁱ Φ(zᵢ))      z ~ N(0, R)
/// ```
///
/// with the Gaussian distribution function Φ, which makes a uniform number of each zᵢ; a random
/// positive-definite correlation R (the identity unless `correlated`); frequencies that fall with
/// the index by the factor δ; and s such that the mean number of active features is as asked. After
/// Sharkey, Braun and Millidge, "Taking features out of superposition with sparse autoencoders"
/// (2022). A sample may have no active feature at all; see [`Samples::not_empty`].
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let world = Superposition::new(SuperpositionConfig::new(6, 3, 1.5), 0)?;
/// let samples = world.sample(1_000, 1)?;
/// assert_eq!((samples.x().dims(), samples.codes().width()), (&[1_000, 3][..], 6));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Superposition(Arc<World>);

#[derive(Debug)]
struct World {
    config: SuperpositionConfig,
    gaussian: Tensor,
    truth: Tensor,
    correlation: Option<Correlation>,
    /// `s δⁱ`.
    scales: Vec<f32>,
}

#[derive(Debug, Clone)]
struct Correlation {
    matrix: Tensor,
    /// Its symmetric square root.
    root: Tensor,
}

impl Superposition {
    /// The world of seed `seed`.
    ///
    /// # Errors
    /// No features or dimensions, a mean number of active features that cannot be had, a decay or
    /// strength out of range.
    pub fn new(config: SuperpositionConfig, seed: u64) -> Result<Self> {
        config.check()?;
        let (n, m) = (config.features, config.dims);
        let gaussian = Rng::stream(seed, DIRECTIONS).normal((n, m), &Device::Cpu)?;
        let truth = gaussian.broadcast_div(&gaussian.sqr()?.sum_keepdim(1)?.sqrt()?)?;
        let correlation = match config.correlated {
            true => {
                let matrix = random_correlation(n, &mut Rng::stream(seed, CORRELATION))?;
                Some(Correlation { root: root(&matrix)?, matrix })
            }
            false => None,
        };
        let scale = scale(&config);
        let scales = decays(&config).map(|decay| (scale * decay) as f32).collect();
        Ok(Self(Arc::new(World { config, gaussian, truth, correlation, scales })))
    }

    /// The same directions and correlation with another mean number of active features.
    ///
    /// # Errors
    /// A number that cannot be had.
    pub fn with_active(&self, active: f64) -> Result<Self> {
        let config = SuperpositionConfig { active, ..self.config() };
        config.check()?;
        let scale = scale(&config);
        Ok(Self(Arc::new(World {
            scales: decays(&config).map(|decay| (scale * decay) as f32).collect(),
            gaussian: self.0.gaussian.clone(),
            truth: self.0.truth.clone(),
            correlation: self.0.correlation.clone(),
            config,
        })))
    }

    /// What it is made of.
    pub fn config(&self) -> SuperpositionConfig {
        self.0.config.clone()
    }

    /// The directions, rows of length 1, `[features, dims]`.
    pub fn truth(&self) -> Tensor {
        self.0.truth.clone()
    }

    /// The Gaussian vectors that became the directions, `[features, dims]`.
    pub fn gaussian(&self) -> Tensor {
        self.0.gaussian.clone()
    }

    /// R, the correlation of the Gaussian behind the activities, `[features, features]`.
    ///
    /// # Errors
    /// None that the user can cause.
    pub fn correlation(&self) -> Result<Tensor> {
        match &self.0.correlation {
            Some(correlation) => Ok(correlation.matrix.clone()),
            None => Ok(Tensor::eye(self.0.config.features, candle_core::DType::F32, &Device::Cpu)?),
        }
    }

    /// The share of samples in which each feature is active, as they are in the limit.
    pub fn frequencies(&self) -> Vec<f64> {
        self.0.scales.iter().map(|&scale| frequency(f64::from(scale))).collect()
    }

    /// `count` samples; the same seed gives the same ones.
    ///
    /// # Errors
    /// No samples; [`Error::Interrupted`] when Stop is pressed.
    pub fn sample(&self, count: usize, seed: u64) -> Result<Samples> {
        check_sizes(&[("the number of samples", count)])?;
        let n = self.0.config.features;
        let mut rows = Vec::with_capacity(count);
        // Every chunk has streams of its own, so that the numbers do not depend on the threads.
        for start in (0..count).step_by(CHUNK) {
            if interrupted() {
                return Err(Error::Interrupted { what: "the sampling".to_owned() });
            }
            let height = CHUNK.min(count - start);
            let mut gaussian = vec![0f32; height * n];
            Rng::stream(seed, 2 * start as u64).add_normal(&mut gaussian, 1.0);
            if let Some(Correlation { root, .. }) = &self.0.correlation {
                let independent = Tensor::from_vec(gaussian, (height, n), &Device::Cpu)?;
                gaussian = matmul(&independent, root)?.flatten_all()?.to_vec1()?;
            }
            let drawn = gaussian.par_chunks(n).enumerate();
            let drawn = drawn
                .map(|(row, z)| self.row(z, &mut Rng::stream(seed, 2 * (start + row) as u64 + 1)));
            rows.extend(drawn.collect::<Vec<_>>());
        }
        let codes = Codes::new(n, rows)?;
        Ok(Samples { x: self.combine(&codes)?, codes })
    }

    /// One sample's active features with their coefficients.
    fn row(&self, z: &[f32], rng: &mut Rng) -> Vec<(u32, f32)> {
        let (low, high) = self.0.config.strength;
        let (low, high) = (low as f32, high as f32);
        let mut active = Vec::new();
        for (i, (&z, &scale)) in z.iter().zip(&self.0.scales).enumerate() {
            let uniform = 0.5 * (1.0 + erf_f32(z * std::f32::consts::FRAC_1_SQRT_2));
            if rng.unit() < scale * uniform {
                active.push((i as u32, low + (high - low) * rng.unit()));
            }
        }
        active
    }

    /// The sums `Σ cᵢ dᵢ` of coefficients of your own, `[rows, dims]`.
    ///
    /// # Errors
    /// Codes of another number of features.
    pub fn combine(&self, codes: &Codes) -> Result<Tensor> {
        let SuperpositionConfig { features, dims, .. } = self.0.config;
        if codes.width() != features {
            let expected = format!("codes of {features} features");
            return Err(Error::shape("the codes", expected, codes.width()));
        }
        let truth: Vec<f32> = self.0.truth.flatten_all()?.to_vec1()?;
        let mut x = vec![0f32; codes.rows() * dims];
        x.par_chunks_mut(dims).enumerate().for_each(|(row, x)| {
            for (feature, value) in codes.row(row) {
                let direction = &truth[feature as usize * dims..][..dims];
                for (x, d) in x.iter_mut().zip(direction) {
                    *x += value * d;
                }
            }
        });
        Ok(Tensor::from_vec(x, (codes.rows(), dims), &Device::Cpu)?)
    }
}

show_as_text!(Superposition);

impl fmt::Display for Superposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SuperpositionConfig { features, dims, active, decay, correlated, .. } = self.0.config;
        let kind = if correlated { "correlated" } else { "independent" };
        write!(
            f,
            "{features} features in {dims} dimensions, {active} active in a sample on average, \
             {kind}, frequencies falling by {decay}"
        )
    }
}

/// Samples of a [`Superposition`], with the truth about them. A cheap handle.
#[derive(Debug, Clone)]
pub struct Samples {
    x: Tensor,
    codes: Codes,
}

impl Samples {
    /// The activations, f32, `[samples, dims]`.
    pub fn x(&self) -> Tensor {
        self.x.clone()
    }

    /// Which features are active in each, with their coefficients.
    pub fn codes(&self) -> Codes {
        self.codes.clone()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.codes.rows()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.codes.rows() == 0
    }

    /// The share of samples in which each feature is active.
    pub fn frequencies(&self) -> Vec<f64> {
        let mut counts = vec![0u64; self.codes.width()];
        for row in 0..self.codes.rows() {
            self.codes.row(row).for_each(|(feature, _)| counts[feature as usize] += 1);
        }
        counts.iter().map(|&count| count as f64 / self.len().max(1) as f64).collect()
    }

    /// Up to `count` samples with at least one active feature, the first ones.
    ///
    /// # Errors
    /// None of the samples has one.
    pub fn not_empty(&self, count: usize) -> Result<Self> {
        let rows = (0..self.len()).filter(|&row| self.codes.row(row).len() > 0).take(count);
        let rows: Vec<u32> = rows.map(|row| row as u32).collect();
        if rows.is_empty() {
            let found = format!("none of {} (and at most {count} wanted)", self.len());
            return Err(Error::invalid("the samples with an active feature", "at least 1", found));
        }
        let codes = rows.iter().map(|&row| self.codes.row(row as usize).collect());
        Ok(Self {
            codes: Codes::new(self.codes.width(), codes)?,
            x: self.x.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?,
        })
    }
}

show_as_text!(Samples);

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "samples: {}", self.codes)
    }
}

/// `δⁱ` of every feature.
fn decays(config: &SuperpositionConfig) -> impl Iterator<Item = f64> {
    let decay = config.decay;
    (0..config.features).map(move |i| decay.powf(i as f64))
}

/// `E min(1, a U)` for a uniform U.
fn frequency(a: f64) -> f64 {
    if a <= 1.0 { a / 2.0 } else { 1.0 - 0.5 / a }
}

/// The s for which the frequencies add up to the mean number of active features, by bisection.
fn scale(config: &SuperpositionConfig) -> f64 {
    let total = |scale: f64| decays(config).map(|decay| frequency(scale * decay)).sum::<f64>();
    let (mut low, mut high) = (0.0, 1.0);
    while total(high) < config.active && high < 1e300 {
        (low, high) = (high, 2.0 * high);
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        match total(middle) < config.active {
            true => low = middle,
            false => high = middle,
        }
    }
    high
}
