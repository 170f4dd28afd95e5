//! Whether the planes of a cloud's components are features of two dimensions.

use std::fmt;

use candle_core::Tensor;

use super::FeatureCloud;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::{Binning, Mixture, MixtureOptions, Separability};
use crate::{Error, Result};

/// Components whose planes are looked at, as in the study.
const COMPONENTS: usize = 5;
/// The study drops planes with a smaller mixture index: they are nearly empty.
const LEAST_MIXTURE: f64 = 0.01;

/// The plane of two components that follow each other, and its indices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CloudPlane {
    /// The first of its two components, from 0.
    pub first: usize,
    /// The share of points in the best ε-band that was found: the mixture index M is at least this.
    pub mixture: f64,
    /// The mixture index is at most this.
    pub mixture_bound: f64,
    /// The separability index S, in bits, in 10 × 10 bins.
    pub separability: f64,
}

impl CloudPlane {
    /// `(1 − M) S` in bits, with the best band that was found: no less than the true one.
    pub fn score(&self) -> f64 {
        (1.0 - self.mixture) * self.separability
    }

    /// `(1 − M) S` with the bound on the mixture index: no more than the true one.
    pub fn score_at_least(&self) -> f64 {
        (1.0 - self.mixture_bound) * self.separability
    }
}

/// The planes of a cloud's components.
#[derive(Debug, Clone, PartialEq)]
pub struct CloudReducibility {
    name: String,
    planes: Vec<CloudPlane>,
}

impl FeatureCloud {
    /// Measures the planes of components 1 and 2, 2 and 3, … up to 4 and 5, as the study does for each
    /// of its clusters.
    ///
    /// # Errors
    /// A cluster of one feature, fewer than ten points, points that are all the same; bad options;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn reducibility(&self, options: &MixtureOptions) -> Result<CloudReducibility> {
        let planes = self.planes(COMPONENTS)?;
        let planes = planes.iter().enumerate().map(|(first, points)| {
            let mixture = Mixture::of(points, options)?;
            let separability = Separability::of(points, Binning::equal_width())?;
            Ok(CloudPlane {
                first,
                mixture: mixture.best().fraction,
                mixture_bound: mixture.certified().map_or(1.0, |best| best.bound),
                separability: separability.index(),
            })
        });
        Ok(CloudReducibility { name: self.name(), planes: planes.collect::<Result<_>>()? })
    }

    /// The scores on components i and i + 1, `[m, 2]` each, of the first components, at most so many.
    pub(in crate::features) fn planes(&self, components: usize) -> Result<Vec<Tensor>> {
        self.check_not_empty()?;
        let (g, d) = (self.members().len(), self.columns().dims()[1]);
        let count = components.min(g).min(d).min(self.len());
        if count < 2 {
            let what = format!("the cloud of {}", self.name());
            let expected = "at least 2 features, dimensions and points, for a plane";
            let found = format!("{g} features, {d} dimensions, {} points", self.len());
            return Err(Error::invalid(what, expected, found));
        }
        let scores = self.pca(count)?.scores;
        (0..count - 1).map(|first| Ok(scores.narrow(1, first, 2)?.contiguous()?)).collect()
    }
}

impl CloudReducibility {
    /// The planes, the one of the first components first.
    pub fn planes(&self) -> &[CloudPlane] {
        &self.planes
    }

    /// The plane that is farthest from reducible: of the largest `(1 − M) S`.
    pub fn best(&self) -> &CloudPlane {
        let best = |a: usize, b: usize| match self.planes[b].score() > self.planes[a].score() {
            true => b,
            false => a,
        };
        &self.planes[(0..self.planes.len()).fold(0, best)]
    }

    /// The largest `(1 − M) S` of a plane, in bits: one irreducible plane is enough to make a feature
    /// of two dimensions.
    pub fn score(&self) -> f64 {
        self.best().score()
    }

    /// What the study ranks clusters by: the mean of `(1 − M) S` over the planes with an M of 0.01 or
    /// more *and one more plane of score 0*, which weighs more on clusters of few features.
    pub fn published_score(&self) -> f64 {
        let kept = self.planes.iter().filter(|plane| plane.mixture >= LEAST_MIXTURE);
        let (count, sum) = kept.fold((1, 0.0), |(n, sum), plane| (n + 1, sum + plane.score()));
        sum / f64::from(count)
    }

    fn table(&self) -> ShownTable {
        let headings = ["components", "M", "M at most", "S, bits", "(1 − M) S"];
        let mut table = ShownTable::new(headings.map(ShownColumn::right)).caption(&*self.name);
        for plane in &self.planes {
            table.push([
                format!("{}, {}", plane.first + 1, plane.first + 2),
                format!("{:.4}", plane.mixture),
                format!("{:.4}", plane.mixture_bound),
                format!("{:.4}", plane.separability),
                format!("{:.4}", plane.score()),
            ]);
        }
        table
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.table().bundle(self.to_string()).show_as_result();
    }
}

impl fmt::Display for CloudReducibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.name, self.table().text())
    }
}
