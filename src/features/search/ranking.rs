//! The ranking.

use std::time::{Duration, Instant};

use super::candidate::Bounded;
use super::options::SearchOptions;
use super::row::{LeftOut, SearchRow};
use crate::features::cloud::FeatureCloud;
use crate::progress::{Progress, interrupted};
use crate::{Error, Result};

/// A ranking of clouds by their most irreducible plane: the largest `(1 − M) S`.
///
/// Each cloud gets a bound first: S of its planes, and an M that is certainly reached, by the
/// best band among few points. Clouds are refined in the order of that bound, with the best band of
/// all points, until `keep` of them are certain to lead, or the time is up.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::features::{CloudOptions, FeatureCloud, Search, SearchOptions};
/// # fn main() -> Result<()> {
/// # let decoder = Tensor::eye(2, DType::F32, &Device::Cpu)?;
/// # let turn = |i: usize| (i as f32).sin_cos();
/// # let rows = |f: &dyn Fn(usize) -> (f32, f32)| -> Result<Codes> {
/// #     Codes::new(2, (0..400).map(|i| vec![(0, f(i).0), (1, f(i).1)]))
/// # };
/// # let circle = rows(&turn)?;
/// # let square = rows(&|i| ((i % 20) as f32, (i / 20) as f32))?;
/// # let cloud = |codes: &Codes, name: &str| -> Result<FeatureCloud> {
/// #     let options = CloudOptions::default();
/// #     Ok(FeatureCloud::from_codes(codes, &decoder, &[0, 1], &options)?.named(name))
/// # };
/// let clouds = [cloud(&square, "square")?, cloud(&circle, "circle")?];
/// let found = Search::over(&clouds, &SearchOptions::default())?;
/// assert_eq!(found.rows()[0].name, "circle");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    rows: Vec<SearchRow>,
    left_out: LeftOut,
    pub(super) clouds: usize,
    elapsed: Duration,
}

impl Search {
    /// Ranks `clouds`.
    ///
    /// # Errors
    /// - No clouds; an `epsilon`, a number of components or of clouds to keep that cannot be.
    /// - [`Error::Stopped`] when Stop is pressed: `stopped::<Search>()?` gives the ranking so far.
    pub fn over(clouds: &[FeatureCloud], options: &SearchOptions) -> Result<Self> {
        options.check()?;
        if clouds.is_empty() {
            return Err(Error::invalid("the clouds", "at least one", "none"));
        }
        let start = Instant::now();
        let is_over = || start.elapsed() >= options.budget || interrupted();
        let mut progress = Progress::new("searching", 2 * clouds.len() as u64, "cloud");
        let (mut candidates, mut too_few, mut seen) = (Vec::new(), 0, 0);
        for (place, cloud) in clouds.iter().enumerate() {
            if is_over() {
                break;
            }
            match options.bounded(place, cloud)? {
                Bounded::Yes(candidate) => candidates.push(candidate),
                Bounded::TooFew => too_few += 1,
                Bounded::Stopped => break,
            }
            seen += 1;
            // Stop is looked at before each cloud.
            let _ = progress.advance(1);
        }
        candidates.sort_by(|a, b| b.row.score.total_cmp(&a.row.score));
        let mut refined = 0;
        while refined < candidates.len() && !is_over() && !options.is_settled(&candidates, refined)
        {
            let cloud = &clouds[candidates[refined].row.cloud];
            if !options.refine(&mut candidates[refined], cloud)? {
                break;
            }
            refined += 1;
            let _ = progress.advance(1);
        }
        progress.finish();
        let not_seen = clouds.len() - seen;
        let open = candidates[refined..].iter().map(|own| own.row.score).fold(0.0, f64::max);
        let left_out = LeftOut {
            not_seen,
            too_few,
            not_refined: candidates.len() - refined,
            score_at_most: if not_seen > 0 { options.largest_score() } else { open },
        };
        let mut rows: Vec<SearchRow> = candidates.into_iter().map(|own| own.row).collect();
        rows.sort_by(|a, b| b.refined.cmp(&a.refined).then(b.score.total_cmp(&a.score)));
        let (clouds, elapsed) = (clouds.len(), start.elapsed());
        let found = Self { rows, left_out, clouds, elapsed };
        match interrupted() {
            true => options.on_stop.end(
                "the search",
                found,
                "`stopped::<Search>()?` gives the ranking so far.",
            ),
            false => Ok(found),
        }
    }

    /// The clouds: first those that were refined, by score, then the others by their bound.
    pub fn rows(&self) -> &[SearchRow] {
        &self.rows
    }

    /// What the ranking leaves out.
    pub fn left_out(&self) -> &LeftOut {
        &self.left_out
    }

    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// How many rows, from the first on, are certain to have the largest scores of all clouds, in
    /// whatever order: no other can be above the least of them.
    pub fn certain(&self) -> usize {
        let refined = self.rows.iter().take_while(|row| row.refined).count();
        let is_certain = |count: &usize| {
            let (first, others) = self.rows[..refined].split_at(*count);
            let least = first.iter().map(|row| row.score_at_least).fold(f64::INFINITY, f64::min);
            let most =
                others.iter().map(|row| row.score).fold(self.left_out.score_at_most, f64::max);
            least >= most
        };
        (1..=refined).rev().find(is_certain).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::features::CloudOptions;
    use crate::geometry::Cloud;
    use crate::sae::Codes;

    /// A cloud whose points are these, of two features and a third that is hardly ever active.
    fn cloud(kind: Cloud, count: usize, seed: u64) -> FeatureCloud {
        let rows: Vec<Vec<f32>> =
            kind.points(count, seed).unwrap().to_dtype(DType::F32).unwrap().to_vec2().unwrap();
        let rows = rows.into_iter().map(|row| vec![(0, row[0]), (1, row[1])]);
        let codes = Codes::new(2, rows).unwrap();
        let decoder = Tensor::new(&[[1f32, 0.0, 0.0], [0.0, 1.0, 0.0]], &Device::Cpu).unwrap();
        let options = CloudOptions::default();
        let cloud = FeatureCloud::from_codes(&codes, &decoder, &[0, 1], &options).unwrap();
        cloud.named(format!("{kind} {seed}"))
    }

    fn clouds() -> Vec<FeatureCloud> {
        let kinds = [Cloud::Gaussian, Cloud::Lines, Cloud::Circle];
        (0..6).map(|i| cloud(kinds[i % 3], 600, i as u64)).collect()
    }

    fn options() -> SearchOptions {
        SearchOptions { directions: 600, nulls: 3, ..SearchOptions::default() }
    }

    #[test]
    fn circles_lead_and_the_bounds_hold() {
        let clouds = clouds();
        let all = Search::over(&clouds, &options()).unwrap();
        assert_eq!((all.rows().len(), all.left_out().not_refined), (6, 0));
        for row in &all.rows()[..2] {
            assert_eq!(row.cloud % 3, 2, "{all}");
            assert!(row.null.unwrap() < row.plane.separability && row.null_share == Some(0.0));
        }
        // With two to keep, others are not refined, and none of them can be above.
        let two = Search::over(&clouds, &SearchOptions { keep: 2, ..options() }).unwrap();
        assert!(two.left_out().not_refined > 0 && two.certain() >= 2, "{two}");
        for row in two.rows().iter().filter(|row| !row.refined) {
            let exact = all.rows().iter().find(|own| own.cloud == row.cloud).unwrap();
            assert!(exact.score <= row.score + 1e-12, "{} {}", exact.score, row.score);
            assert!(exact.score <= two.left_out().score_at_most + 1e-12);
        }
        assert_eq!(two.rows()[0].cloud, all.rows()[0].cloud);
        let text = two.to_string();
        assert!(text.contains("no other scores above") && text.contains("circle"), "{text}");
    }

    #[test]
    fn a_search_without_time_is_still_a_ranking() {
        let none = SearchOptions { budget: Duration::ZERO, ..options() };
        let found = Search::over(&clouds(), &none).unwrap();
        assert_eq!((found.rows().len(), found.certain()), (0, 0));
        assert_eq!(found.left_out().not_seen, 6);
        assert!((found.left_out().score_at_most - 10f64.log2()).abs() < 1e-12);
        assert!(found.to_string().contains("6 were not looked at"), "{found}");
    }

    #[test]
    fn clouds_that_have_no_plane_are_counted() {
        let small = cloud(Cloud::Circle, 50, 0);
        let codes = Codes::new(1, (0..300).map(|i| vec![(0, i as f32)])).unwrap();
        let decoder = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
        let one = FeatureCloud::from_codes(&codes, &decoder, &[0], &CloudOptions::default());
        let found = Search::over(&[small, one.unwrap()], &options()).unwrap();
        assert_eq!((found.rows().len(), found.left_out().too_few), (0, 2));
        assert!(Search::over(&[], &options()).unwrap_err().to_string().contains("at least one"));
        let message = |options: SearchOptions| {
            Search::over(&clouds()[..1], &options).unwrap_err().to_string()
        };
        assert!(message(SearchOptions { components: 1, ..options() }).contains("`components`"));
        assert!(message(SearchOptions { epsilon: 1.0, ..options() }).contains("`epsilon`"));
        assert!(message(SearchOptions { keep: 0, ..options() }).contains("`keep`"));
    }
}
