//! Clouds under way: a bound on the score of each, then the score.

use candle_core::{DType, Device, Tensor};

use super::options::SearchOptions;
use super::row::SearchRow;
use crate::features::cloud::{CloudPlane, FeatureCloud};
use crate::geometry::{Band, BestBand, Binning, Separability};
use crate::random::Rng;
use crate::{Error, Result};

/// Points of a plane in which a first band is looked for, and directions.
const FEW_POINTS: usize = 500;
const FEW_DIRECTIONS: usize = 256;

/// A cloud under way.
pub(super) struct Candidate {
    pub(super) row: SearchRow,
    planes: Vec<CloudPlane>,
}

/// What a first look at a cloud gives.
pub(super) enum Bounded {
    Yes(Candidate),
    TooFew,
    Stopped,
}

impl SearchOptions {
    /// The largest score that there can be: all information that the bins hold.
    pub(super) fn largest_score(&self) -> f64 {
        (Binning::equal_width().bins as f64).log2()
    }

    /// Whether as many as are kept are certain to be above all that are not refined.
    pub(super) fn is_settled(&self, candidates: &[Candidate], refined: usize) -> bool {
        let next = candidates[refined].row.score;
        let above = candidates[..refined].iter().filter(|own| own.row.score_at_least >= next);
        above.count() >= self.keep
    }

    /// A bound on the score of a cloud.
    pub(super) fn bounded(&self, place: usize, cloud: &FeatureCloud) -> Result<Bounded> {
        let least = self.least.max(Binning::equal_width().bins);
        if cloud.members().len() < 2 || cloud.columns().dims()[1] < 2 || cloud.len() < least {
            return Ok(Bounded::TooFew);
        }
        let mut planes = Vec::new();
        for (first, points) in cloud.planes(self.components)?.iter().enumerate() {
            let look = || -> Result<CloudPlane> {
                let separability = Separability::of(points, Binning::equal_width())?.index();
                let few = BestBand::of(&some_of(points)?, self.epsilon, FEW_DIRECTIONS)?;
                let mixture = share_within(&few.band, points)?;
                Ok(CloudPlane { first, mixture, mixture_bound: 1.0, separability })
            };
            match look() {
                Ok(plane) => planes.push(plane),
                Err(Error::Interrupted { .. }) => return Ok(Bounded::Stopped),
                // A plane of no width, as where all points lie on a line, has nothing to tell.
                Err(Error::Invalid { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        let Some(plane) = best(&planes) else { return Ok(Bounded::TooFew) };
        let row = SearchRow {
            cloud: place,
            name: cloud.name(),
            points: cloud.len(),
            plane,
            score: plane.score(),
            score_at_least: 0.0,
            refined: false,
            null: None,
            null_share: None,
        };
        Ok(Bounded::Yes(Candidate { row, planes }))
    }

    /// Searches the best band of each plane that can still be the cloud's best, and compares with
    /// random orders. False if Stop came before there was a result.
    pub(super) fn refine(&self, candidate: &mut Candidate, cloud: &FeatureCloud) -> Result<bool> {
        let points = cloud.planes(self.components)?;
        candidate.planes.sort_by(|a, b| b.score().total_cmp(&a.score()));
        let mut sure = 0.0;
        for plane in &mut candidate.planes {
            if plane.score() < sure {
                continue;
            }
            match BestBand::of(&points[plane.first], self.epsilon, self.directions) {
                Ok(found) => {
                    plane.mixture = plane.mixture.max(found.band.fraction);
                    plane.mixture_bound = found.bound.max(plane.mixture);
                    sure = f64::max(sure, plane.score_at_least());
                }
                Err(Error::Interrupted { .. }) => return Ok(false),
                Err(other) => return Err(other),
            }
        }
        let Some(plane) = best(&candidate.planes) else { return Ok(false) };
        let at_least = candidate.planes.iter().map(CloudPlane::score_at_least).fold(0.0, f64::max);
        let row = &mut candidate.row;
        (row.plane, row.score, row.score_at_least) = (plane, plane.score(), at_least);
        row.refined = true;
        if self.nulls > 0 {
            let nulls = self.nulls_of(&points[plane.first], row.cloud)?;
            if nulls.len() == self.nulls {
                let count = nulls.len() as f64;
                let reached = nulls.iter().filter(|null| **null >= plane.separability).count();
                row.null = Some(nulls.iter().sum::<f64>() / count);
                row.null_share = Some(reached as f64 / count);
            }
        }
        Ok(true)
    }

    /// S of the points with their second coordinate in random orders; fewer if Stop is pressed.
    fn nulls_of(&self, points: &Tensor, cloud: usize) -> Result<Vec<f64>> {
        let mut rng = Rng::stream(self.seed, cloud as u64);
        let (n, first) = (points.dims()[0], points.narrow(1, 0, 1)?);
        let second = points.narrow(1, 1, 1)?.contiguous()?;
        let mut nulls = Vec::with_capacity(self.nulls);
        for _ in 0..self.nulls {
            let order = Tensor::from_vec(rng.permutation(n), n, &Device::Cpu)?;
            let mixed = Tensor::cat(&[&first, &second.index_select(&order, 0)?], 1)?;
            match Separability::of(&mixed, Binning::equal_width()) {
                Ok(found) => nulls.push(found.index()),
                Err(Error::Interrupted { .. }) => break,
                Err(other) => return Err(other),
            }
        }
        Ok(nulls)
    }
}

/// The plane of the largest score.
fn best(planes: &[CloudPlane]) -> Option<CloudPlane> {
    planes.iter().copied().max_by(|a, b| a.score().total_cmp(&b.score()))
}

/// Few of the points, spread over all.
fn some_of(points: &Tensor) -> Result<Tensor> {
    let n = points.dims()[0];
    if n <= FEW_POINTS {
        return Ok(points.clone());
    }
    let index: Vec<u32> = (0..FEW_POINTS).map(|i| (i * n / FEW_POINTS) as u32).collect();
    Ok(points.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?)
}

/// The share of points within the band that has this one's direction and middle, and its width in
/// units of their own spread around it: an M that is certainly reached.
fn share_within(band: &Band, points: &Tensor) -> Result<f64> {
    let rows: Vec<Vec<f64>> = points.to_dtype(DType::F64)?.to_vec2()?;
    let [a, b] = band.normal;
    let distance = |row: &Vec<f64>| a * row[0] + b * row[1] + band.offset;
    let distances: Vec<f64> = rows.iter().map(distance).collect();
    let n = distances.len() as f64;
    let spread = (distances.iter().map(|d| d * d).sum::<f64>() / n).sqrt();
    let inside = distances.iter().filter(|d| spread > 0.0 && d.abs() <= band.epsilon * spread);
    Ok(inside.count() as f64 / n)
}
