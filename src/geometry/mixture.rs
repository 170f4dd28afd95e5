//! The ε-mixture index: how many points a thin band can hold.

use std::fmt;

use candle_core::Tensor;
use rayon::prelude::*;

use super::ascent::{Ascent, Climber};
use super::band::Band;
use super::best_band::BestBand;
use super::mixture_options::MixtureOptions;
use super::points::Points;
use crate::display::show_as_text;
use crate::random::Rng;
use crate::{Error, Result};

/// What several ascents found, and the best band there is.
///
/// The mixture index `M_ε` is the largest share of points in a band `|v·x + c| ≤ ε σ`, where `σ` is
/// the points' root mean square distance from the middle of the band.
#[derive(Debug, Clone)]
pub struct Mixture {
    ascents: Vec<Ascent>,
    best: Band,
    certified: Option<BestBand>,
    points: usize,
}

impl Mixture {
    /// Runs the ascents, all at once, and the search for the best band.
    ///
    /// Each ascent starts at a random direction with the band through the mean of the points, in
    /// units of their spread, so that the unit of the data plays no part. (The study starts at the
    /// origin and does not scale; [`Ascent::from`] does it so.)
    ///
    /// # Errors
    /// [`Error::Shape`] unless `points` is `[n, 2]`, [`Error::NonFinite`] for NaN,
    /// [`Error::Invalid`] if all points are the same or for bad options; [`Error::Interrupted`]
    /// when Stop is pressed.
    pub fn of(points: &Tensor, options: &MixtureOptions) -> Result<Self> {
        options.check()?;
        let points = Points::of(points)?;
        let mean = points.mean();
        let scale = 1.0 / points.moved(mean, 1.0).mean_square().sqrt();
        let scaled = points.moved(mean, scale);
        let mut rng = Rng::seed(options.seed);
        let mut starts = vec![[0f32; 2]; options.restarts];
        rng.add_normal(starts.as_flattened_mut(), 1.0);
        let ascents = starts
            .into_par_iter()
            .map(|start| {
                let mut ascent = Climber::new(&scaled, start).run(&scaled, options)?;
                ascent.band = ascent.band.moved_back(mean, scale);
                Ok(ascent)
            })
            .collect::<Result<Vec<Ascent>>>()?;
        let bands: Vec<Band> = ascents.iter().map(|ascent| ascent.band).collect();
        let certified = match options.directions {
            0 => None,
            directions => Some(BestBand::search(&points, options.epsilon, directions, &bands)?),
        };
        let best = bands.into_iter().max_by(|a, b| a.fraction.total_cmp(&b.fraction));
        let best = best.ok_or_else(|| Error::invalid("restarts", "at least 1", 0))?;
        Ok(Self { ascents, best, certified, points: points.len() })
    }

    /// The index as the ascents find it: the largest share of points in one of their bands.
    pub fn index(&self) -> f64 {
        self.best.fraction
    }

    /// The ascents, in the order of their starts. `a` and `b` of each are in units of the points'
    /// spread around their mean, the bands in the unit of the points.
    pub fn ascents(&self) -> &[Ascent] {
        &self.ascents
    }

    /// The best band of the ascents.
    pub fn ascended(&self) -> &Band {
        &self.best
    }

    /// The best band of all: the certified one, or that of the ascents where it was left out.
    pub fn best(&self) -> &Band {
        self.certified.as_ref().map_or(&self.best, |best| &best.band)
    }

    /// The search for the best band, unless it was left out.
    pub fn certified(&self) -> Option<&BestBand> {
        self.certified.as_ref()
    }
}

show_as_text!(Mixture);

impl fmt::Display for Mixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = &self.best;
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0f64), |(low, high), v| (low.min(v), high.max(v)))
        };
        let hard = ends(&mut self.ascents.iter().map(|ascent| ascent.band.fraction));
        let soft = ends(&mut self.ascents.iter().map(|ascent| f64::from(ascent.soft)));
        write!(
            f,
            "ε-mixture index {:.4} (ε = {}, {} points; {} ascents: {:.4} to {:.4}, soft {:.4} to \
             {:.4})",
            best.fraction,
            best.epsilon,
            self.points,
            self.ascents.len(),
            hard.0,
            hard.1,
            soft.0,
            soft.1
        )?;
        match &self.certified {
            Some(certified) => write!(f, "\n  {certified}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::super::datasets::Cloud;
    use super::*;

    fn quick() -> MixtureOptions {
        MixtureOptions { steps: 400, restarts: 3, directions: 600, ..MixtureOptions::default() }
    }

    #[test]
    fn the_certified_band_is_never_worse() {
        for cloud in Cloud::ALL {
            let mixture = Mixture::of(&cloud.points(500, 5).unwrap(), &quick()).unwrap();
            let certified = mixture.certified().unwrap();
            assert!(certified.band.fraction >= mixture.index(), "{cloud}: {mixture}");
            assert!(certified.bound >= certified.band.fraction);
            for ascent in mixture.ascents() {
                assert!(ascent.band.fraction <= mixture.index());
            }
        }
    }

    #[test]
    fn the_unit_of_the_points_plays_no_part() {
        let points = Cloud::Gaussian.points(400, 1).unwrap();
        let small = Mixture::of(&points, &quick()).unwrap();
        let large = ((&points * 1024.0).unwrap() + 0.0).unwrap();
        let large = Mixture::of(&large, &quick()).unwrap();
        assert!((small.index() - large.index()).abs() < 0.01, "{small}\n{large}");
        assert!((large.ascended().scale / small.ascended().scale - 1024.0).abs() < 50.0);
    }

    #[test]
    fn bad_options_are_named() {
        let points = Cloud::Circle.points(20, 0).unwrap();
        let message =
            |options: MixtureOptions| Mixture::of(&points, &options).unwrap_err().to_string();
        assert!(message(MixtureOptions { steps: 0, ..quick() }).contains("steps"));
        assert!(message(MixtureOptions { restarts: 0, ..quick() }).contains("restarts"));
        assert!(message(MixtureOptions { rate: f64::NAN, ..quick() }).contains("learning rate"));
        assert!(message(MixtureOptions { epsilon: 2.0, ..quick() }).contains("epsilon"));
        let one = Tensor::ones((3, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        assert!(Mixture::of(&one, &quick()).is_err());
    }
}
