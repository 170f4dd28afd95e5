//! The separability index: the least information between two coordinates over all rotations.

use std::f64::consts::{LN_2, TAU};
use std::fmt;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::information::ContingencyTable;
use super::points::Points;
use crate::check::{check_not_negative, check_positive, check_sizes};
use crate::display::show_as_text;
use crate::progress::interrupted;
use crate::{Error, Result};

/// How rotated points are counted, and at which angles. Two binnings were used in the study:
/// [`Binning::fixed`] in its figures of synthetic data, [`Binning::equal_width`] for features of
/// language models.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Binning {
    /// Bins of each axis, at least 2.
    pub bins: usize,
    /// What the bins cover.
    pub range: BinRange,
    /// Number of angles, equally spaced from 0 to 2π.
    pub angles: usize,
    /// Whether the last angle is 2π; otherwise it is one step before.
    pub both_ends: bool,
    /// Added to both sides of the ratio under the logarithm.
    pub floor: f64,
}

/// What the bins of an axis cover.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BinRange {
    /// From −r to r, after the mean of the points is taken away and they are divided by the *mean
    /// square* of their coordinates, as the study does. Points beyond count in the outermost bins.
    /// Since it is not the root, the result depends on the unit of the points.
    MeanSquare(f64),
    /// From −r to r, after the mean is taken away and the points are divided by the *root* mean
    /// square of their coordinates.
    RootMeanSquare(f64),
    /// From the smallest to the largest rotated coordinate, as NumPy's `histogram2d` does.
    Data,
}

impl Binning {
    /// 40 × 40 bins over ±3 of the points divided by their mean square, 1,000 angles.
    pub fn fixed() -> Self {
        let range = BinRange::MeanSquare(3.0);
        Self { bins: 40, range, angles: 1_000, both_ends: false, floor: 1e-4 }
    }

    /// [`fixed`](Self::fixed) with the points divided by their root mean square: the unit of the
    /// points plays no part.
    pub fn scaled() -> Self {
        Self { range: BinRange::RootMeanSquare(3.0), ..Self::fixed() }
    }

    /// 10 × 10 bins of equal width between the extremes, 100 angles from 0 to 2π.
    pub fn equal_width() -> Self {
        Self { bins: 10, range: BinRange::Data, angles: 100, both_ends: true, floor: 1e-10 }
    }

    fn check(&self, points: usize) -> Result<()> {
        check_sizes(&[("angles", self.angles)])?;
        if self.bins < 2 {
            return Err(Error::invalid("bins", "at least 2", self.bins));
        }
        if self.bins > 4_096 {
            return Err(Error::invalid("bins", "at most 4,096", self.bins));
        }
        if points < self.bins {
            let expected = format!("at least {}, the bins of an axis", self.bins);
            return Err(Error::invalid("the number of points", expected, points));
        }
        if let BinRange::MeanSquare(reach) | BinRange::RootMeanSquare(reach) = self.range {
            check_positive("`range`", reach)?;
        }
        check_not_negative("`floor`", self.floor)
    }

    /// The `i`-th angle in radians.
    fn angle(&self, i: usize) -> f64 {
        let steps = if self.both_ends { self.angles - 1 } else { self.angles };
        TAU * i as f64 / steps.max(1) as f64
    }

    /// Points as they are rotated.
    fn prepared(&self, points: &Points) -> Points {
        let mean = points.mean();
        let centred = points.moved(mean, 1.0).mean_square();
        match self.range {
            BinRange::MeanSquare(_) => points.moved(mean, 1.0 / centred),
            BinRange::RootMeanSquare(_) => points.moved(mean, 1.0 / centred.sqrt()),
            BinRange::Data => points.clone(),
        }
    }

    /// The bin of each value.
    fn places(&self, values: &[f64]) -> Vec<usize> {
        let bins = self.bins as f64;
        if let BinRange::MeanSquare(reach) | BinRange::RootMeanSquare(reach) = self.range {
            let half = bins / 2.0;
            let place = |v: &f64| ((v + reach) / reach * half).clamp(0.0, bins - 0.1) as usize;
            return values.iter().map(place).collect();
        }
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // NumPy widens a range of width 0.
        let (low, high) = if low == high { (low - 0.5, high + 0.5) } else { (low, high) };
        let step = (high - low) / bins;
        let edge = |i: usize| if i == self.bins { high } else { i as f64 * step + low };
        let place = |&v: &f64| {
            // A guess, then the edges decide: a lattice has points on them.
            let mut bin = (((v - low) / step) as usize).min(self.bins - 1);
            while bin > 0 && v < edge(bin) {
                bin -= 1;
            }
            while bin + 1 < self.bins && v >= edge(bin + 1) {
                bin += 1;
            }
            bin
        };
        values.iter().map(place).collect()
    }
}

/// Mutual information between the coordinates of points, at every rotation.
///
/// At angle θ the coordinates are `x cos θ + y sin θ` and `y cos θ − x sin θ`.
#[derive(Debug, Clone)]
pub struct Separability {
    binning: Binning,
    angles: Vec<f64>,
    information: Vec<f64>,
    corrected: Vec<f64>,
    lowest: usize,
    points: usize,
}

impl Separability {
    /// The whole curve, and its minimum.
    ///
    /// # Errors
    /// [`Error::Shape`] unless `points` is `[n, 2]`, [`Error::NonFinite`] for NaN,
    /// [`Error::Invalid`] if all points are the same, if there are fewer than bins of an axis, or
    /// for a bad binning; [`Error::Interrupted`] when Stop is pressed.
    pub fn of(points: &Tensor, binning: Binning) -> Result<Self> {
        Self::measure(&Points::of(points)?, binning)
    }

    pub(super) fn measure(points: &Points, binning: Binning) -> Result<Self> {
        binning.check(points.len())?;
        let prepared = binning.prepared(points);
        let angles: Vec<f64> = (0..binning.angles).map(|i| binning.angle(i)).collect();
        let at = |&angle: &f64| {
            if interrupted() {
                return Err(Error::Interrupted { what: "the separability index".into() });
            }
            let counts = count(&prepared, angle, &binning);
            let table = ContingencyTable::new(&counts, binning.bins);
            Ok((table.information(binning.floor), table.corrected()))
        };
        let (information, corrected): (Vec<f64>, Vec<f64>) =
            angles.par_iter().map(at).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let lowest = (0..angles.len())
            .min_by(|&i, &j| information[i].total_cmp(&information[j]))
            .unwrap_or(0);
        let points = points.len();
        Ok(Self { binning, angles, information, corrected, lowest, points })
    }

    /// The index `S` in bits: the least information of all rotations.
    pub fn index(&self) -> f64 {
        self.information[self.lowest] / LN_2
    }

    /// The angle of the least information, in radians; the first where there are several.
    pub fn angle(&self) -> f64 {
        self.angles[self.lowest]
    }

    /// The information in bits at [`angle`](Self::angle), estimated without the bias that few
    /// points in many bins bring (see [`grassberger`](super::grassberger)): near 0 for points that
    /// are separable there. Can be negative, and lies above [`index`](Self::index) where there is
    /// much information: the floor of the binning, which lowers that, plays no part here.
    pub fn corrected(&self) -> f64 {
        self.corrected[self.lowest] / LN_2
    }

    /// All angles, in radians, `[angles]` in f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the tensor cannot be made.
    pub fn angles(&self) -> Result<Tensor> {
        Ok(Tensor::new(self.angles.as_slice(), &Device::Cpu)?)
    }

    /// The information at every angle, in nats, `[angles]` in f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the tensor cannot be made.
    pub fn curve(&self) -> Result<Tensor> {
        Ok(Tensor::new(self.information.as_slice(), &Device::Cpu)?)
    }

    /// The bias-corrected estimate at every angle, in nats, `[angles]` in f64.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the tensor cannot be made.
    pub fn corrected_curve(&self) -> Result<Tensor> {
        Ok(Tensor::new(self.corrected.as_slice(), &Device::Cpu)?)
    }

    /// How points were counted.
    pub fn binning(&self) -> &Binning {
        &self.binning
    }
}

show_as_text!(Separability);

impl fmt::Display for Separability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Binning { bins, range, angles, .. } = self.binning;
        write!(
            f,
            "separability index {:.4} bits at {:.1}° (bias-corrected {:.4}; {} points, {bins} × \
             {bins} bins ",
            self.index(),
            self.angle().to_degrees(),
            self.corrected(),
            self.points,
        )?;
        match range {
            BinRange::MeanSquare(reach) => write!(f, "over ±{reach} mean squares"),
            BinRange::RootMeanSquare(reach) => write!(f, "over ±{reach} root mean squares"),
            BinRange::Data => write!(f, "between the extremes"),
        }?;
        write!(f, ", {angles} angles)")
    }
}

/// Points in each pair of bins, row-major, at `angle`.
fn count(points: &Points, angle: f64, binning: &Binning) -> Vec<f64> {
    let (sin, cos) = angle.sin_cos();
    let rotated = |a: f64, b: f64| -> Vec<f64> {
        points.x.iter().zip(&points.y).map(|(x, y)| x * a + y * b).collect()
    };
    let rows = binning.places(&rotated(cos, sin));
    let columns = binning.places(&rotated(-sin, cos));
    let mut counts = vec![0.0; binning.bins * binning.bins];
    for (row, column) in rows.iter().zip(&columns) {
        counts[row * binning.bins + column] += 1.0;
    }
    counts
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::super::datasets::Cloud;
    use super::*;
    use crate::random::Rng;

    fn few() -> Binning {
        Binning { bins: 20, angles: 60, ..Binning::scaled() }
    }

    #[test]
    fn independent_coordinates_share_nothing_and_a_circle_does() {
        let square = Rng::seed(0).uniform(-1.0, 1.0, (4_096, 2), &Device::Cpu).unwrap();
        let circle = Cloud::Circle.points(4_096, 0).unwrap();
        let (square, circle) =
            (Separability::of(&square, few()).unwrap(), Separability::of(&circle, few()).unwrap());
        assert!(square.corrected().abs() < 0.02, "{square}");
        assert!(square.index() > 0.0 && square.index() < 0.1, "{square}");
        // The axes of the square, or a quarter turn from them.
        let off = square.angle().to_degrees().rem_euclid(90.0);
        assert!(!(8.0..82.0).contains(&off), "{square}");
        assert!(circle.index() > 1.2 && circle.corrected() > 1.2, "{circle}");
    }

    #[test]
    fn a_rotated_square_is_found() {
        let square = Rng::seed(1).uniform(-1.0, 1.0, (8_000, 2), &Device::Cpu).unwrap();
        let (sin, cos) = 0.5f32.sin_cos();
        let turn = Tensor::new(&[[cos, sin], [-sin, cos]], &Device::Cpu).unwrap();
        let found = Separability::of(&square.matmul(&turn).unwrap(), few()).unwrap();
        let off = (found.angle() - 0.5).rem_euclid(std::f64::consts::FRAC_PI_2);
        assert!(!(0.15..1.42).contains(&off), "{found}");
    }

    #[test]
    fn both_binnings_know_a_perfect_line() {
        // At 0° both coordinates are the same, in as many bins as there are.
        let line: Vec<Vec<f64>> = (0..1_000).map(|i| vec![f64::from(i); 2]).collect();
        let line = Tensor::new(line, &Device::Cpu).unwrap();
        let equal = Binning { floor: 0.0, angles: 8, both_ends: false, ..Binning::equal_width() };
        let curve: Vec<f64> =
            Separability::of(&line, equal).unwrap().curve().unwrap().to_vec1().unwrap();
        assert!((curve[0] - 10f64.ln()).abs() < 1e-12, "{curve:?}");
    }

    #[test]
    fn the_unit_plays_a_part_in_one_binning_only() {
        let points = Cloud::Gaussian.points(2_000, 0).unwrap();
        let large = (&points * 8.0).unwrap();
        for (binning, same) in
            [(Binning::scaled(), true), (Binning::equal_width(), true), (Binning::fixed(), false)]
        {
            let binning = Binning { angles: 5, ..binning };
            let gap = Separability::of(&points, binning).unwrap().index()
                - Separability::of(&large, binning).unwrap().index();
            assert_eq!(gap.abs() < 1e-9, same, "{binning:?} {gap}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let points = Cloud::Circle.points(30, 0).unwrap();
        let message = |binning| Separability::of(&points, binning).unwrap_err().to_string();
        let text = message(Binning::fixed());
        assert!(text.contains("at least 40") && text.contains("found 30"), "{text}");
        assert!(message(Binning { angles: 0, ..few() }).contains("angles"));
        assert!(message(Binning { bins: 1, ..few() }).contains("bins"));
        assert!(message(Binning { floor: -1.0, ..few() }).contains("floor"));
        assert!(
            message(Binning { range: BinRange::RootMeanSquare(f64::NAN), ..few() })
                .contains("range")
        );
        let same = Tensor::zeros((100, 2), DType::F32, &Device::Cpu).unwrap();
        assert!(Separability::of(&same, few()).is_err());
    }
}
