//! Both indices of one set of points.

use std::fmt;

use candle_core::Tensor;

use super::mixture::Mixture;
use super::mixture_options::MixtureOptions;
use super::points::Points;
use super::separability::{Binning, Separability};
use crate::Result;
use crate::display::show_as_text;
use crate::text::thousands;

/// Whether points in the plane are one feature of two dimensions or two features of one: their
/// ε-mixture index and their separability index.
///
/// Irreducible points, such as a circle, have a small mixture index and a large separability
/// index. [`plot`](Self::plot) shows why.
#[derive(Debug, Clone)]
pub struct Reducibility {
    points: Points,
    mixture: Mixture,
    separability: Separability,
    scaled: Separability,
    equal_width: Separability,
}

impl Reducibility {
    /// Measures `points`, `[n, 2]`, with the sizes of the study: ε = 0.1, 10,000 steps, 1,000
    /// angles.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another shape,
    /// [`Error::NonFinite`](crate::Error::NonFinite) for NaN,
    /// [`Error::Invalid`](crate::Error::Invalid) for fewer than 40 points (the bins of an axis) or
    /// points that are all the same; [`Error::Interrupted`](crate::Error::Interrupted) when Stop
    /// is pressed.
    pub fn of(points: &Tensor) -> Result<Self> {
        Self::with(points, &MixtureOptions::default())
    }

    /// [`of`](Self::of) with other options for the mixture index.
    ///
    /// # Errors
    /// As [`of`](Self::of), and for bad options.
    pub fn with(points: &Tensor, options: &MixtureOptions) -> Result<Self> {
        let plane = Points::of(points)?;
        let separability = Separability::measure(&plane, Binning::fixed())?;
        let scaled = Separability::measure(&plane, Binning::scaled())?;
        let equal_width = Separability::measure(&plane, Binning::equal_width())?;
        let mixture = Mixture::of(points, options)?;
        Ok(Self { points: plane, mixture, separability, scaled, equal_width })
    }

    /// The ε-mixture index, with its band.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// The separability index as the study's figures have it ([`Binning::fixed`]).
    pub fn separability(&self) -> &Separability {
        &self.separability
    }

    /// The same with points divided by their *root* mean square ([`Binning::scaled`]).
    pub fn separability_scaled(&self) -> &Separability {
        &self.scaled
    }

    /// The separability index as the study measures language models ([`Binning::equal_width`]).
    pub fn separability_equal_width(&self) -> &Separability {
        &self.equal_width
    }

    /// The points, one coordinate after the other.
    pub(crate) fn coordinates(&self) -> [&[f64]; 2] {
        [&self.points.x, &self.points.y]
    }
}

show_as_text!(Reducibility);

impl fmt::Display for Reducibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mixture = &self.mixture;
        let count = thousands(self.points.len());
        let epsilon = mixture.ascended().epsilon;
        writeln!(f, "Reducibility of {count} points")?;
        let row = |f: &mut fmt::Formatter<'_>, name: &str, value: f64, unit: &str, note: String| {
            write!(f, "  {name:26}{value:>8.4}{unit:5}  {note}")
        };
        let hard = mixture.ascents().iter().map(|ascent| ascent.band.fraction);
        let least = hard.fold(f64::INFINITY, f64::min);
        let soft = mixture.ascents().iter().map(|ascent| f64::from(ascent.soft));
        let soft = soft.fold(0.0, f64::max);
        let ascents = mixture.ascents().len();
        let note =
            format!("ε = {epsilon}, best of {ascents} ascents, worst {least:.4}, soft {soft:.4}");
        row(f, "ε-mixture index", mixture.index(), "", note)?;
        if let Some(best) = mixture.certified() {
            let note = match best.is_proved() {
                true => "no band holds more".to_owned(),
                false => format!("no band holds more than {:.4}", best.bound),
            };
            writeln!(f)?;
            row(f, "best band", best.band.fraction, "", note)?;
        }
        for (name, curve) in [
            ("separability index", &self.separability),
            ("  by root mean square", &self.scaled),
            ("  bins of equal width", &self.equal_width),
        ] {
            let bins = curve.binning().bins;
            let note = format!(
                "at {:.1}°, bias-corrected {:.4}, {bins} × {bins} bins",
                curve.angle().to_degrees(),
                curve.corrected()
            );
            writeln!(f)?;
            row(f, name, curve.index(), " bits", note)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::datasets::Cloud;
    use super::*;

    fn measure(cloud: Cloud) -> Reducibility {
        let options = MixtureOptions { steps: 500, directions: 1_000, ..MixtureOptions::default() };
        Reducibility::with(&cloud.points(2_000, 0).unwrap(), &options).unwrap()
    }

    #[test]
    fn the_circle_is_the_irreducible_one() {
        let [gaussian, lines, circle, _] = Cloud::ALL.map(measure);
        for reducible in [&gaussian, &lines] {
            let (less, more) = (reducible.separability_scaled(), circle.separability_scaled());
            assert!(less.corrected() + 1.0 < more.corrected(), "{reducible}\n{circle}");
        }
        assert!(gaussian.separability_scaled().corrected().abs() < 0.1, "{gaussian}");
        // 30 % of the points are on a line.
        assert!(lines.mixture().best().fraction > 0.29, "{lines}");
        assert!(gaussian.mixture().best().fraction < 0.13, "{gaussian}");
    }

    #[test]
    fn both_indices_are_printed() {
        let circle = measure(Cloud::Circle);
        let text = circle.to_string();
        assert!(text.starts_with("Reducibility of 2,000 points"), "{text}");
        for part in ["ε-mixture index", "best band", "separability index", "bits", "ε = 0.1"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let few = Cloud::Circle.points(39, 0).unwrap();
        let error = Reducibility::of(&few).unwrap_err().to_string();
        assert!(error.contains("number of points") && error.contains("39"), "{error}");
    }
}
