//! k-means by products of matrices, with distance bounds.
//!
//! In each turn the centres move by some distances. A point whose distance to its own centre is
//! certainly below that to all others keeps it without a look (Hamerly, "Making k-means even faster",
//! 2010); the others are compared with all centres by one product.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::linalg::{matmul_nt, with_values};
use crate::progress::Progress;
use crate::random::Rng;
use crate::{Error, Result};

/// Turns at most, as in scikit-learn.
const TURNS: usize = 300;
/// It ends when the centres' squared moves are below this share of the mean variance.
const SETTLED: f64 = 1e-4;
/// Products with centres that are held at a time.
const ENTRIES: usize = 1 << 22;

/// Points, each with the number of its centre.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    pub(super) labels: Vec<u32>,
    /// The sum of the squared distances to the centres.
    pub(super) inertia: f64,
}

/// `k` groups of the rows of `points` `[n, q]` (f32, on the CPU), the best of `restarts`.
///
/// # Errors
/// [`Error::Interrupted`] when Stop is pressed.
pub(super) fn kmeans(points: &Tensor, k: usize, restarts: usize, seed: u64) -> Result<Partition> {
    // About their mean, which changes no distance and keeps more digits of it.
    let points = points.broadcast_sub(&points.mean_keepdim(0)?)?.contiguous()?;
    let squares: Vec<f32> = points.sqr()?.sum(1)?.to_vec1()?;
    let mut progress = Progress::new("k-means", (restarts * TURNS) as u64, "turn");
    let mut best: Option<Partition> = None;
    for restart in 0..restarts {
        let mut rng = Rng::stream(seed, restart as u64);
        let centres = first_centres(&points, &squares, k, &mut rng)?;
        let found = Lloyd::new(&points, &squares, centres).run(&mut progress)?;
        if best.as_ref().is_none_or(|best| found.inertia < best.inertia) {
            best = Some(found);
        }
    }
    progress.finish();
    best.ok_or_else(|| Error::invalid("`restarts`", "at least 1", 0))
}

/// Centres by greedy k-means++ (Arthur and Vassilvitskii, 2007): each is the best of a few points
/// drawn in proportion to their squared distance from the centres so far.
fn first_centres(points: &Tensor, squares: &[f32], k: usize, rng: &mut Rng) -> Result<Tensor> {
    let n = squares.len();
    let trials = 2 + (k as f64).ln() as usize;
    let mut chosen = vec![rng.below(n) as u32];
    let row = |index: &[u32]| points.index_select(&Tensor::new(index, &Device::Cpu)?, 0);
    let distances = |index: &[u32]| -> Result<Vec<Vec<f32>>> {
        let products: Vec<Vec<f32>> = matmul_nt(&row(index)?, points)?.to_vec2()?;
        let squared = index.iter().zip(products).map(|(own, products)| {
            let own = squares[*own as usize];
            let each = products.iter().zip(squares);
            each.map(|(product, other)| (own + other - 2.0 * product).max(0.0)).collect()
        });
        Ok(squared.collect())
    };
    let mut closest = distances(&chosen)?.swap_remove(0);
    while chosen.len() < k {
        let total: f64 = closest.iter().map(|d| f64::from(*d)).sum();
        let mut sums = Vec::with_capacity(n);
        let mut sum = 0f64;
        for d in &closest {
            sum += f64::from(*d);
            sums.push(sum);
        }
        let draw = |rng: &mut Rng| {
            let at = f64::from(rng.unit()) * total;
            sums.partition_point(|sum| *sum <= at).min(n - 1) as u32
        };
        let candidates: Vec<u32> = (0..trials).map(|_| draw(rng)).collect();
        let found = distances(&candidates)?;
        let nearer = found.into_par_iter().map(|own| {
            let least: Vec<f32> = own.iter().zip(&closest).map(|(a, b)| a.min(*b)).collect();
            let sum: f64 = least.iter().map(|d| f64::from(*d)).sum();
            (sum, least)
        });
        let nearer: Vec<(f64, Vec<f32>)> = nearer.collect();
        let best = nearer.into_iter().zip(candidates).min_by(|a, b| a.0.0.total_cmp(&b.0.0));
        let Some(((_, least), candidate)) = best else { break };
        closest = least;
        chosen.push(candidate);
    }
    Ok(row(&chosen)?)
}

/// A point's centre, and what is known of its distances.
#[derive(Debug, Clone, Copy)]
struct CentreBounds {
    own: u32,
    /// Not below the distance to its centre.
    upper: f64,
    /// Not above the distance to any other.
    lower: f64,
}

struct Lloyd<'a> {
    points: &'a Tensor,
    squares: &'a [f32],
    centres: Tensor,
    places: Vec<CentreBounds>,
}

impl<'a> Lloyd<'a> {
    fn new(points: &'a Tensor, squares: &'a [f32], centres: Tensor) -> Self {
        let unknown = CentreBounds { own: 0, upper: f64::INFINITY, lower: 0.0 };
        Self { points, squares, centres, places: vec![unknown; squares.len()] }
    }

    fn run(mut self, progress: &mut Progress) -> Result<Partition> {
        let variance = self.squares.iter().map(|s| f64::from(*s)).sum::<f64>()
            / (self.squares.len() * self.points.dims()[1]) as f64;
        for _ in 0..TURNS {
            let changed = self.assign()?;
            let moved = self.move_centres()?;
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "k-means".to_owned() });
            }
            let far = moved.iter().map(|d| d * d).sum::<f64>();
            if changed == 0 || far <= SETTLED * variance {
                break;
            }
        }
        self.places.iter_mut().for_each(|place| place.upper = f64::INFINITY);
        self.assign()?;
        let inertia = self.places.iter().map(|place| place.upper * place.upper).sum();
        Ok(Partition { labels: self.places.iter().map(|place| place.own).collect(), inertia })
    }

    /// Gives points their nearest centre, those for which the bounds do not tell. Returns how many
    /// have another than before.
    fn assign(&mut self) -> Result<usize> {
        let k = self.centres.dims()[0];
        let own: Vec<f32> = self.centres.sqr()?.sum(1)?.to_vec1()?;
        let open = self.places.iter().enumerate();
        let open = open.filter(|(_, place)| place.upper >= place.lower);
        let open: Vec<u32> = open.map(|(at, _)| at as u32).collect();
        let mut changed = 0;
        for some in open.chunks((ENTRIES / k).max(1)) {
            let index = Tensor::new(some, &Device::Cpu)?;
            let products = matmul_nt(&self.points.index_select(&index, 0)?, &self.centres)?;
            let found: Vec<CentreBounds> = with_values(&products, |products| {
                let rows = products.par_chunks(k).zip(some);
                rows.map(|(row, at)| nearest(row, &own, self.squares[*at as usize])).collect()
            })?;
            for (at, place) in some.iter().zip(found) {
                let old = std::mem::replace(&mut self.places[*at as usize], place);
                changed += usize::from(old.own != place.own || old.upper == f64::INFINITY);
            }
        }
        Ok(changed)
    }

    /// Moves centres to the means of their points, and bounds by as much. A centre without points goes
    /// to the point that is farthest from its own. Returns how far each moved.
    fn move_centres(&mut self) -> Result<Vec<f64>> {
        let (k, q) = (self.centres.dims()[0], self.centres.dims()[1]);
        let mut counts = vec![0usize; k];
        self.places.iter().for_each(|place| counts[place.own as usize] += 1);
        let empty: Vec<usize> = (0..k).filter(|centre| counts[*centre] == 0).collect();
        if !empty.is_empty() {
            let mut order: Vec<usize> = (0..self.places.len()).collect();
            order.sort_by(|a, b| self.places[*b].upper.total_cmp(&self.places[*a].upper));
            let mut order = order.into_iter();
            for centre in empty {
                let alone = |at: &usize| counts[self.places[*at].own as usize] > 1;
                let Some(far) = order.by_ref().find(alone) else { break };
                counts[self.places[far].own as usize] -= 1;
                counts[centre] = 1;
                self.places[far] = CentreBounds { own: centre as u32, upper: 0.0, lower: 0.0 };
            }
        }
        let mut members: Vec<Vec<usize>> = counts.iter().map(|n| Vec::with_capacity(*n)).collect();
        for (at, place) in self.places.iter().enumerate() {
            members[place.own as usize].push(at);
        }
        let means: Vec<f32> = with_values(self.points, |points| {
            let mean = |members: &Vec<usize>| {
                let mut sum = vec![0f64; q];
                for at in members {
                    let row = &points[at * q..(at + 1) * q];
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                }
                let count = members.len().max(1) as f64;
                sum.into_iter().map(move |sum| (sum / count) as f32).collect::<Vec<f32>>()
            };
            members.par_iter().flat_map_iter(mean).collect()
        })?;
        let means = Tensor::from_vec(means, (k, q), &Device::Cpu)?;
        let moved: Vec<f32> = (&means - &self.centres)?.sqr()?.sum(1)?.sqrt()?.to_vec1()?;
        let moved: Vec<f64> = moved.into_iter().map(f64::from).collect();
        self.centres = means;
        let most = moved.iter().copied().fold(0.0, f64::max);
        for place in &mut self.places {
            place.upper += moved[place.own as usize];
            place.lower -= most;
        }
        Ok(moved)
    }
}

/// The nearest centre of a point from its products with all, and the distance to the second.
fn nearest(products: &[f32], centres: &[f32], square: f32) -> CentreBounds {
    let (mut own, mut first, mut second) = (0, f32::INFINITY, f32::INFINITY);
    for (at, (product, centre)) in products.iter().zip(centres).enumerate() {
        let less = centre - 2.0 * product;
        if less < first {
            (own, second, first) = (at as u32, first, less);
        } else if less < second {
            second = less;
        }
    }
    let distance = |less: f32| f64::from((square + less).max(0.0)).sqrt();
    CentreBounds { own, upper: distance(first), lower: distance(second) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs(k: usize, each: usize, q: usize) -> Tensor {
        let mut rng = Rng::seed(8);
        let centres = (rng.normal((k, q), &Device::Cpu).unwrap() * 5.0).unwrap();
        let noise = rng.normal((k * each, q), &Device::Cpu).unwrap();
        let index: Vec<u32> = (0..(k * each) as u32).map(|i| i % k as u32).collect();
        let own = centres.index_select(&Tensor::new(index, &Device::Cpu).unwrap(), 0).unwrap();
        (own + noise).unwrap()
    }

    /// The sum of squared distances to the means of the labels' points, in f64.
    fn inertia(points: &Tensor, labels: &[u32]) -> f64 {
        let rows: Vec<Vec<f32>> = points.to_vec2().unwrap();
        let k = *labels.iter().max().unwrap() + 1;
        let own = |label| rows.iter().zip(labels).filter(move |(_, l)| **l == label);
        let q = rows[0].len();
        let of_axis = |label: u32, j: usize| {
            let n = own(label).count() as f64;
            let mean = own(label).map(|(row, _)| f64::from(row[j])).sum::<f64>() / n;
            own(label).map(|(row, _)| (f64::from(row[j]) - mean).powi(2)).sum::<f64>()
        };
        (0..k).flat_map(|label| (0..q).map(move |j| (label, j))).map(|(l, j)| of_axis(l, j)).sum()
    }

    #[test]
    fn separated_blobs_are_found() {
        let points = blobs(7, 30, 6);
        let found = kmeans(&points, 7, 3, 0).unwrap();
        for (at, label) in found.labels.iter().enumerate() {
            assert_eq!(*label, found.labels[at % 7], "{at}");
        }
        let exact = inertia(&points, &found.labels);
        assert!((found.inertia - exact).abs() < 1e-3 * exact, "{} {exact}", found.inertia);
        let again = kmeans(&points, 7, 3, 0).unwrap();
        assert_eq!(again.labels, found.labels, "the seed decides");
    }

    #[test]
    fn bounds_change_no_assignment() {
        // More groups than blobs: points near an edge, and centres that move for many turns.
        let points = blobs(4, 60, 3);
        let found = kmeans(&points, 19, 1, 5).unwrap();
        let mut sums = vec![(0f64, [0f64; 3]); 19];
        let rows: Vec<Vec<f32>> = points.to_vec2().unwrap();
        for (row, label) in rows.iter().zip(&found.labels) {
            let (count, sum) = &mut sums[*label as usize];
            *count += 1.0;
            sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        assert!(sums.iter().all(|(count, _)| *count > 0.0), "none is empty");
        let distance = |row: &[f32], (count, sum): &(f64, [f64; 3])| -> f64 {
            row.iter().zip(sum).map(|(x, sum)| (f64::from(*x) - sum / count).powi(2)).sum()
        };
        let mut apart = 0;
        for (row, label) in rows.iter().zip(&found.labels) {
            let own = distance(row, &sums[*label as usize]);
            apart += usize::from(sums.iter().any(|other| distance(row, other) < own - 1e-3));
        }
        // It may end a little before the last point has settled.
        assert!(apart <= 2, "{apart}");
    }

    #[test]
    fn as_many_groups_as_points_cost_nothing() {
        let points = blobs(5, 1, 4);
        let found = kmeans(&points, 5, 1, 0).unwrap();
        assert!(found.inertia < 1e-6, "{}", found.inertia);
        let mut labels = found.labels;
        labels.sort_unstable();
        assert_eq!(labels, [0, 1, 2, 3, 4]);
    }
}
