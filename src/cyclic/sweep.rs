//! Answers all over the plane of a circle.

use std::f64::consts::TAU;
use std::fmt;

use candle_core::{Device, Tensor};

use super::outcome::best;
use super::pass::{Runner, check_layer};
use super::patch::{CircleReading, PatchVariant, Patcher};
use super::problems::{Problems, Role};
use super::streams::Streams;
use crate::check::{check_all_finite, check_sizes};
use crate::display::show_as_text;
use crate::model::Decoder;
use crate::progress::Progress;
use crate::{Error, Result};

/// How [`PlaneSweep::run`] sweeps.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// The layer before which the stream is patched; 0.
    pub layer: usize,
    /// The step of the problem that is patched, whose start is the first word; 1.
    pub step: usize,
    /// Distances from the middle, where the classes lie at 1; 0 to 1.9 in steps of 0.1.
    pub radii: Vec<f64>,
    /// Angles at each distance; 100.
    pub angles: usize,
    /// Whose formula; the plain one.
    pub variant: PatchVariant,
    /// How the circle's plane is found; by a probe of five principal components.
    pub reading: CircleReading,
    /// Passes at a time; 64.
    pub batch: usize,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self {
            layer: 0,
            step: 1,
            radii: (0..20).map(|i| f64::from(i) / 10.0).collect(),
            angles: 100,
            variant: PatchVariant::Plain,
            reading: CircleReading::default(),
            batch: 64,
        }
    }
}

/// What a model answers if the activation at the start is a point of the circle's plane, and the mean
/// in all other directions: a point `r (cos θ, sin θ)` says that the start is `θ p/2π`.
///
/// After Engels et al. (2024), Figure 6.
#[derive(Debug, Clone)]
pub struct PlaneSweep {
    task: String,
    words: Vec<String>,
    /// The layer before which the stream was patched.
    pub layer: usize,
    /// The step of the problem that was patched.
    pub step: usize,
    /// The points, `[radii · angles, 2]`, f64: radius by radius, angle by angle.
    pub points: Tensor,
    /// Logits of the words at each point, `[points, words]`, f64.
    pub logits: Tensor,
    /// The best word at each point.
    pub best: Vec<usize>,
    /// Logit of the best word less that of the second.
    pub margin: Vec<f64>,
    /// The right word at each point.
    pub truth: Vec<usize>,
}

/// Points `r (cos θ, sin θ)` with θ = 2πi/`angles`, radius by radius, angle by angle: `[radii ·
/// angles, 2]`, f64.
///
/// # Errors
/// [`Error::Invalid`] for no radii or angles, [`Error::NonFinite`] for NaN.
pub fn polar_grid(radii: &[f64], angles: usize) -> Result<Tensor> {
    check_sizes(&[("the number of radii", radii.len()), ("`angles`", angles)])?;
    check_all_finite("the radii", radii)?;
    let mut points = Vec::with_capacity(2 * radii.len() * angles);
    for radius in radii {
        for i in 0..angles {
            let (sin, cos) = (TAU * i as f64 / angles as f64).sin_cos();
            points.extend([radius * cos, radius * sin]);
        }
    }
    Ok(Tensor::from_vec(points, (radii.len() * angles, 2), &Device::Cpu)?)
}

/// The right answers at the points of a grid of so many `angles`: the class nearest to the angle, of
/// two the even one, and `step` further on.
///
/// # Errors
/// [`Error::Invalid`] for no angles or classes.
pub fn polar_truth(radii: usize, angles: usize, period: usize, step: usize) -> Result<Vec<usize>> {
    check_sizes(&[("`angles`", angles), ("the number of classes", period)])?;
    let class = |i: usize| {
        // Rounded half to even, without a rounding before.
        let (whole, rest) = (i * period / angles, i * period % angles);
        let up = 2 * rest > angles || 2 * rest == angles && whole % 2 == 1;
        (whole + usize::from(up) + step) % period
    };
    Ok((0..radii * angles).map(|at| class(at % angles)).collect())
}

impl PlaneSweep {
    /// Sweeps over the plane of the circle of frequency 1 at the start. The middle is run once,
    /// whatever its angle.
    ///
    /// # Errors
    /// As [`Patcher::new`] and [`Decoder::run`]; [`Error::Invalid`] for activations that are not at
    /// the start, a step that the task does not have, no radii or angles, a batch of 0;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn run(
        model: &Decoder,
        problems: &Problems,
        streams: &Streams,
        options: &SweepOptions,
    ) -> Result<Self> {
        check_sizes(&[("`batch`", options.batch)])?;
        check_layer(model, options.layer)?;
        let role = Role::Start;
        if streams.role() != role || streams.class_of() != problems.classes(role) {
            let expected = "those at the start of the same problems";
            return Err(Error::invalid("the activations", expected, streams));
        }
        let own = |question: &super::Question| question.start == 0 && question.step == options.step;
        let Some(problem) = problems.questions().iter().position(own) else {
            let expected = format!("one of {:?}", problems.task().steps());
            return Err(Error::invalid("`step`", expected, options.step));
        };
        let points = polar_grid(&options.radii, options.angles)?;
        let (rows, of_point) = distinct(&options.radii, options.angles);
        let targets = streams.circle(&[1])?;
        let x = streams.layer(options.layer)?;
        let patcher = Patcher::new(&x, &targets, &options.reading, options.variant)?;
        let ids = Tensor::new(rows.as_slice(), &Device::Cpu)?;
        let vectors = patcher.points(&points.index_select(&ids, 0)?)?;
        let runner =
            Runner::new(model, problems, &[options.layer], role, &[problem], options.batch)?;
        let mut progress = Progress::new("sweep", rows.len() as u64, "point");
        let which = vec![problem; rows.len()];
        let mut each = |count| progress.advance(count as u64);
        let found = runner.logits(options.layer, &which, &vectors, &mut each)?;
        let Some(found) = found else {
            return Err(Error::Interrupted { what: "the sweep".to_owned() });
        };
        let logits: Vec<Vec<f64>> = of_point.iter().map(|&row| found[row].clone()).collect();
        let period = problems.task().period();
        Ok(Self {
            task: problems.task().name().to_owned(),
            words: problems.task().words().to_vec(),
            layer: options.layer,
            step: options.step,
            best: logits.iter().map(|row| best(row)).collect(),
            margin: logits.iter().map(|row| margin(row)).collect(),
            truth: polar_truth(options.radii.len(), options.angles, period, options.step)?,
            logits: Tensor::new(logits, &Device::Cpu)?,
            points,
        })
    }

    /// The words.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The share of the points at a distance from `low` to `high` whose answer is right.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such point.
    pub fn right(&self, low: f64, high: f64) -> Result<f64> {
        let points: Vec<Vec<f64>> = self.points.to_vec2()?;
        let (mut right, mut all) = (0usize, 0usize);
        for (point, (best, truth)) in points.iter().zip(self.best.iter().zip(&self.truth)) {
            // A radius of the options, up to rounding.
            let radius = point[0].hypot(point[1]);
            if radius > low - 1e-9 && radius < high + 1e-9 {
                all += 1;
                right += usize::from(best == truth);
            }
        }
        match all {
            0 => Err(Error::invalid(
                "the distances",
                "those of some points",
                format!("{low} to {high}"),
            )),
            _ => Ok(right as f64 / all as f64),
        }
    }
}

/// The largest number less the second.
pub(super) fn margin(row: &[f64]) -> f64 {
    let first = best(row);
    let others = row.iter().enumerate().filter(|(i, _)| *i != first);
    let second = others.fold(f64::NEG_INFINITY, |most, (_, value)| most.max(*value));
    row[first] - second
}

/// The points of a grid without repetitions of the middle, and which of them each point is.
fn distinct(radii: &[f64], angles: usize) -> (Vec<u32>, Vec<usize>) {
    let (mut rows, mut of_point) = (Vec::new(), Vec::new());
    let mut middle = None;
    for (i, radius) in radii.iter().enumerate() {
        for angle in 0..angles {
            let known = if *radius == 0.0 { middle } else { None };
            let row = known.unwrap_or_else(|| {
                rows.push((i * angles + angle) as u32);
                rows.len() - 1
            });
            if *radius == 0.0 {
                middle = Some(row);
            }
            of_point.push(row);
        }
    }
    (rows, of_point)
}

show_as_text!(PlaneSweep);

impl fmt::Display for PlaneSweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of step {}, patched before layer {} at {} points of the plane: ",
            self.task,
            self.step,
            self.layer,
            self.best.len()
        )?;
        match self.right(0.5, 1.5) {
            Ok(share) => write!(f, "{:.0} % right at distances from 0.5 to 1.5", 100.0 * share),
            Err(_) => write!(f, "none at distances from 0.5 to 1.5"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_one_point() {
        let (rows, of_point) = distinct(&[0.0, 1.0, 0.0], 3);
        assert_eq!((rows, of_point), (vec![0, 3, 4, 5], vec![0, 0, 0, 1, 2, 3, 0, 0, 0]));
        let points: Vec<Vec<f64>> = polar_grid(&[0.0, 2.0], 4).unwrap().to_vec2().unwrap();
        assert_eq!(points[4], [2.0, 0.0]);
        assert!((points[5][1] - 2.0).abs() < 1e-15 && points[3] == [0.0, 0.0]);
        assert!(polar_grid(&[], 4).is_err() && polar_grid(&[1.0], 0).is_err());
        assert!(polar_grid(&[f64::NAN], 4).is_err());
    }

    #[test]
    fn an_angle_between_two_classes_is_the_even_one() {
        // 14 angles, 7 classes: every other angle is halfway.
        let truth = polar_truth(1, 14, 7, 0).unwrap();
        assert_eq!(truth, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6, 6]);
        assert_eq!(polar_truth(2, 7, 7, 3).unwrap()[7..], [3, 4, 5, 6, 0, 1, 2]);
        assert_eq!(margin(&[1.0, 5.0, 3.5]), 1.5);
    }
}
