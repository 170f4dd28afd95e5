//! What the error of autoencoders of growing width consists of: the bands of the study's first figure.

use std::fmt;

use super::PowerLaw;
use crate::check::check_sizes;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::Interval;
use crate::{Error, Result};

const CONFIDENCE: f64 = 0.95;

/// What is known of one autoencoder: shares of the variance that it leaves unexplained (FVU).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalingPoint {
    /// Number of features.
    pub width: usize,
    /// Mean number of active features.
    pub l0: f64,
    /// FVU.
    pub fvu: Interval,
    /// FVU once the linear prediction of the error is added to the reconstruction: what of the error
    /// is nonlinear.
    pub fvu_nonlinear: Interval,
    /// FVU of codes by [`Pursuit`](super::Pursuit) on the same decoder.
    pub pursuit: Option<f64>,
    /// The same once the linear prediction of that error is added.
    pub pursuit_nonlinear: Option<f64>,
}

/// The parts of one autoencoder's FVU, from top to bottom. They add up to the power law's value at
/// its width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ErrorBand {
    /// Number of features.
    pub width: usize,
    /// Mean number of active features.
    pub l0: f64,
    /// FVU as measured.
    pub total: Interval,
    /// FVU with the linear prediction of the error.
    pub with_prediction: f64,
    /// FVU of pursuit's codes.
    pub pursuit: Option<f64>,
    /// FVU of pursuit's codes with the linear prediction of their error.
    pub with_pursuit: Option<f64>,
    /// What more features would explain: the power law less its constant.
    pub absent: f64,
    /// What no number of features would explain, and a linear map of the activation does: the constant
    /// less the [floor](Breakdown::floor). Below zero if the widths at hand say that more features
    /// would reach under the floor.
    pub linear: f64,
    /// What better codes of the same features would explain: the floor less `with_pursuit`.
    pub encoder: Option<f64>,
    /// The rest.
    pub nonlinear: f64,
}

/// The error of autoencoders of growing width and about equal L0, taken apart.
///
/// With y(W) the power law through the FVUs and c its constant, N the mean over widths of the FVU
/// with the linear prediction (the floor), and P(W) that of pursuit's codes:
///
/// ```text
/// y(W) = (y(W) − c) + (c − N) + (N − P(W)) + P(W)
///         absent      linear     encoder     nonlinear
/// ```
///
/// Without pursuit the last two are one. The lines between the bands have intervals: the FVUs those
/// of their points, the constant that of [`PowerLaw::intervals`], the floor that of its mean. As in
/// the first figure of Engels et al. (2024).
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// The parts at each width, by ascending width.
    pub bands: Vec<ErrorBand>,
    /// The power law through the FVUs.
    pub law: PowerLaw,
    floor: Interval,
}

impl Breakdown {
    /// Takes the FVUs of some autoencoders apart.
    ///
    /// # Errors
    /// As [`PowerLaw::fit`]: at least three different widths; [`Error::Invalid`] for a width of zero
    /// or an FVU below zero.
    pub fn of(points: &[ScalingPoint]) -> Result<Self> {
        let mut points = points.to_vec();
        points.sort_by_key(|point| point.width);
        for point in &points {
            check_sizes(&[("a width", point.width)])?;
            let measured = [Some(point.fvu.mean), Some(point.fvu_nonlinear.mean)];
            let pursued = [point.pursuit, point.pursuit_nonlinear];
            if let Some(bad) = measured.into_iter().chain(pursued).flatten().find(|fvu| *fvu < 0.0)
            {
                return Err(Error::invalid("an FVU", "a share of at least zero", bad));
            }
        }
        let widths: Vec<f64> = points.iter().map(|point| point.width as f64).collect();
        let totals: Vec<f64> = points.iter().map(|point| point.fvu.mean).collect();
        let law = PowerLaw::fit(&widths, &totals)?;
        let below: Vec<f64> = points.iter().map(|point| point.fvu_nonlinear.mean).collect();
        let floor = Interval::of(&below, CONFIDENCE)?;
        let constant = law.c.unwrap_or(0.0);
        let bands = points.iter().map(|point| ErrorBand {
            width: point.width,
            l0: point.l0,
            total: point.fvu,
            with_prediction: point.fvu_nonlinear.mean,
            pursuit: point.pursuit,
            with_pursuit: point.pursuit_nonlinear,
            absent: law.predict(point.width as f64) - constant,
            linear: constant - floor.mean,
            encoder: point.pursuit_nonlinear.map(|pursuit| floor.mean - pursuit),
            nonlinear: point.pursuit_nonlinear.unwrap_or(floor.mean),
        });
        Ok(Self { bands: bands.collect(), law, floor })
    }

    /// The FVU with the linear prediction, mean over widths: the study's horizontal line. The interval
    /// is that of Student's t over widths; it is wide where the line is not horizontal.
    pub fn floor(&self) -> Interval {
        self.floor
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let headings = ["features", "L0", "FVU", "absent", "linear", "encoder", "nonlinear"];
        let mut shown = ShownTable::new(headings.map(ShownColumn::right)).caption(self.heading());
        let share = |value: f64| format!("{value:.4}");
        for band in &self.bands {
            shown.push([
                band.width.to_string(),
                format!("{:.1}", band.l0),
                share(band.total.mean),
                share(band.absent),
                share(band.linear),
                band.encoder.map_or_else(|| "–".to_owned(), share),
                share(band.nonlinear),
            ]);
        }
        shown
    }

    fn heading(&self) -> String {
        let within =
            |own: Interval| format!("{:.4} ({:.4} to {:.4})", own.mean, own.lower, own.upper);
        let constant = self.law.intervals().c.map_or_else(|| "none".to_owned(), within);
        format!("FVU by part; constant of the power law {constant}, floor {}", within(self.floor))
    }
}

impl fmt::Display for Breakdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.heading(), self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exactly(mean: f64) -> Interval {
        Interval { mean, lower: mean, upper: mean, confidence: CONFIDENCE }
    }

    fn points() -> Vec<ScalingPoint> {
        let point = |width: usize| ScalingPoint {
            width,
            l0: 16.0,
            fvu: exactly(2.0 / (width as f64).sqrt() + 0.12),
            fvu_nonlinear: exactly(0.1),
            pursuit: Some(0.2),
            pursuit_nonlinear: (width > 100).then_some(0.08),
        };
        [400, 100, 1_600, 900].map(point).to_vec()
    }

    #[test]
    fn bands_of_an_exact_law_are_its_parts_and_add_up() {
        let found = Breakdown::of(&points()).unwrap();
        let widths: Vec<usize> = found.bands.iter().map(|band| band.width).collect();
        assert_eq!(widths, [100, 400, 900, 1_600]);
        assert!((found.floor().mean - 0.1).abs() < 1e-15);
        for band in &found.bands {
            assert!((band.absent - 2.0 / (band.width as f64).sqrt()).abs() < 1e-9, "{found}");
            assert!((band.linear - 0.02).abs() < 1e-9, "{found}");
            let sum = band.absent + band.linear + band.encoder.unwrap_or(0.0) + band.nonlinear;
            assert!((sum - band.total.mean).abs() < 1e-9, "{found}");
        }
        let [first, second] = [found.bands[0], found.bands[1]];
        assert_eq!((first.encoder, first.nonlinear), (None, found.floor().mean));
        assert!((second.encoder.unwrap() - 0.02).abs() < 1e-12 && second.nonlinear == 0.08);
        let text = found.to_string();
        assert!(text.contains("floor 0.1000") && text.contains("100  16.0  0.3200"), "{text}");
    }

    #[test]
    fn points_that_say_nothing_are_refused() {
        let text = |points: &[ScalingPoint]| Breakdown::of(points).unwrap_err().to_string();
        assert!(text(&points()[..2]).contains("at least three"));
        let mut negative = points();
        negative[1].pursuit = Some(-0.1);
        assert!(text(&negative).contains("at least zero"));
        negative[1] = ScalingPoint { width: 0, ..points()[0] };
        assert!(text(&negative).contains("a width"));
    }
}
