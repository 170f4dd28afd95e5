//! Reducibility of points in the plane, beside PyTorch.

use eigenlens::geometry::Ascent;
use eigenlens::prelude::*;

use crate::Result;
use crate::pytorch::{self, Work};
use crate::report::Row;

/// Points, as in the study.
const POINTS: usize = 4_096;

/// Speeds of the mixture ascent and of the separability curve, and how they compare with PyTorch's.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let points = Cloud::Lines.points(POINTS, 0)?;
    let ascend = |steps: usize| {
        let options = MixtureOptions { steps, ..MixtureOptions::default() };
        Ascent::from(&points, [0.6, -0.8], &options).map(drop)
    };
    let curve = |angles: usize| {
        let binning = Binning { angles, ..Binning::fixed() };
        Separability::of(&points, binning).map(drop)
    };
    let works = [
        Work::new("ε-mixture ascent", "mixture", ascend)
            .size(format!("{POINTS} points"))
            .turn(2_000, 1, "steps/s"),
        Work::new("separability", "separability", curve)
            .size(format!("{POINTS} points, 40×40 bins"))
            .turn(1_000, 1, "angles/s"),
    ];
    pytorch::rows(works, &[("points", POINTS)])
}
