//! Which clusters have an irreducible plane: a ranking that knows what it has not looked at.

use std::fmt;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor};

use super::cloud::{CloudPlane, FeatureCloud};
use crate::check::check_sizes;
use crate::display::{ShownColumn, ShownTable};
use crate::geometry::{Band, BestBand, Binning, Separability};
use crate::progress::{OnStop, Progress, interrupted};
use crate::random::Rng;
use crate::text::thousands;
use crate::{Error, Result};

/// Points of a plane in which a first band is looked for, and directions.
const FEW_POINTS: usize = 500;
const FEW_DIRECTIONS: usize = 256;
/// Rows that are printed.
const SHOWN: usize = 20;

/// How [`Search::over`] ranks clouds.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// How long it may take; 10 minutes. Whatever was found by then is a ranking, with a bound on
    /// what it leaves out.
    pub budget: Duration,
    /// Clouds with the most irreducible planes that are refined until no other can be among them; 20.
    pub keep: usize,
    /// Random orders of one coordinate against the other for each refined cloud; 20, 0 for none.
    pub nulls: usize,
    /// Clouds of fewer points are left out; 200.
    pub least: usize,
    /// Half the width of the band of the mixture index, in units of its points' spread; 0.1.
    pub epsilon: f64,
    /// Directions that the search for the best band may look at; 4,000.
    pub directions: usize,
    /// Components whose planes are looked at, from 2; 5.
    pub components: usize,
    /// Decides on the random orders; 0.
    pub seed: u64,
    /// What Stop does; ends the cell.
    pub on_stop: OnStop,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            budget: Duration::from_secs(600),
            keep: 20,
            nulls: 20,
            least: 200,
            epsilon: 0.1,
            directions: 4_000,
            components: 5,
            seed: 0,
            on_stop: OnStop::EndCell,
        }
    }
}

/// A cloud in a ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRow {
    /// Which of the clouds it is.
    pub cloud: usize,
    /// The cloud's name.
    pub name: String,
    /// Number of points.
    pub points: usize,
    /// Its plane of the largest score. Of a cloud that was not refined, the mixture index is no more
    /// than bounded.
    pub plane: CloudPlane,
    /// `(1 − M) S` of its best plane, in bits, is at most this.
    pub score: f64,
    /// And at least this.
    pub score_at_least: f64,
    /// Whether the best band was searched for in all points.
    pub refined: bool,
    /// The mean of S, in bits, if one coordinate of the plane is put in a random order: what so many
    /// points share by chance.
    pub null: Option<f64>,
    /// The share of random orders with an S as large as that of the plane.
    pub null_share: Option<f64>,
}

/// What a ranking leaves out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeftOut {
    /// Clouds that were not looked at when the time was up.
    pub not_seen: usize,
    /// Clouds with too few points or features for a plane.
    pub too_few: usize,
    /// Clouds that were looked at and not refined.
    pub not_refined: usize,
    /// No cloud that was not refined has a larger score than this, in bits; those of too few points
    /// are not meant.
    pub score_at_most: f64,
}

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
    clouds: usize,
    elapsed: Duration,
}

/// A cloud under way.
struct Candidate {
    row: SearchRow,
    planes: Vec<CloudPlane>,
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

    fn refined(&self) -> usize {
        self.rows.iter().filter(|row| row.refined).count()
    }

    fn table(&self) -> ShownTable {
        let right = ["M", "S, bits", "by chance", "(1 − M) S", "at least"].map(ShownColumn::right);
        let columns = [
            ShownColumn::right("rank"),
            ShownColumn::left("cloud"),
            ShownColumn::right("points"),
            ShownColumn::left("components"),
        ];
        let mut table = ShownTable::new(columns.into_iter().chain(right)).note(self.closing());
        for (rank, row) in self.rows.iter().filter(|row| row.refined).take(SHOWN).enumerate() {
            let SearchRow { name, points, plane, score, score_at_least, null, .. } = row;
            table.push([
                (rank + 1).to_string(),
                name.clone(),
                thousands(*points),
                format!("{}, {}", plane.first + 1, plane.first + 2),
                format!("{:.3}", plane.mixture),
                format!("{:.3}", plane.separability),
                null.map(|null| format!("{null:.3}")).unwrap_or_default(),
                format!("{score:.3}"),
                format!("{score_at_least:.3}"),
            ]);
        }
        table
    }

    /// What was looked at and what was not.
    fn closing(&self) -> String {
        let LeftOut { not_seen, too_few, not_refined, score_at_most } = self.left_out;
        let mut words = format!("{} of {} clouds refined", self.refined(), self.clouds);
        if not_refined + not_seen > 0 {
            words += &format!("; no other scores above {score_at_most:.3} bits");
        }
        if not_seen > 0 {
            words += &format!(" ({not_seen} were not looked at when the time was up)");
        }
        if too_few > 0 {
            words += &format!("; {too_few} have too few points or features");
        }
        words + &format!("; the first {} are certain", self.certain())
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.table().bundle(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.table().text(), self.closing())
    }
}

/// What a first look at a cloud gives.
enum Bounded {
    Yes(Candidate),
    TooFew,
    Stopped,
}

impl SearchOptions {
    fn check(&self) -> Result<()> {
        check_sizes(&[("`keep`", self.keep), ("`directions`", self.directions)])?;
        if self.components < 2 {
            return Err(Error::invalid("`components`", "at least 2, a plane", self.components));
        }
        if !(self.epsilon > 0.0 && self.epsilon < 1.0) {
            return Err(Error::invalid("`epsilon`", "above 0 and below 1", self.epsilon));
        }
        Ok(())
    }

    /// The largest score that there can be: all information that the bins hold.
    fn largest_score(&self) -> f64 {
        (Binning::equal_width().bins as f64).log2()
    }

    /// Whether as many as are kept are certain to be above all that are not refined.
    fn is_settled(&self, candidates: &[Candidate], refined: usize) -> bool {
        let next = candidates[refined].row.score;
        let above = candidates[..refined].iter().filter(|own| own.row.score_at_least >= next);
        above.count() >= self.keep
    }

    /// A bound on the score of a cloud.
    fn bounded(&self, place: usize, cloud: &FeatureCloud) -> Result<Bounded> {
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
    fn refine(&self, candidate: &mut Candidate, cloud: &FeatureCloud) -> Result<bool> {
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

#[cfg(test)]
mod tests {
    use super::super::cloud::CloudOptions;
    use super::*;
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
