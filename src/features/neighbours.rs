//! The nearest vectors of each vector.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::Tensor;

use super::pairs::{BLOCK, PairVisitor, UnitVectors};
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::sae::Sae;
use crate::text::thousands;
use crate::{Error, Result};

/// Cosines that are compared with the bars of their rows at a time.
const RUN: usize = 16;

/// The `k` largest cosines of each of n vectors with the others. A cheap handle.
///
/// ```text
/// cos(i, j) = wᵢ·wⱼ / (‖wᵢ‖ ‖wⱼ‖)
/// ```
///
/// A vector of length 0 has the cosine 0 with every other. It takes n · k places of memory: the
/// products are computed tile by tile, each pair once, and only the lists are kept.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::features::Neighbours;
/// # fn main() -> Result<()> {
/// let vectors = Tensor::new(&[[1f32, 0.], [0., 2.], [3., 3.]], &Device::Cpu)?;
/// let near = Neighbours::of(&vectors, 1)?;
/// let (nearest, cosine) = near.row(0)?.next().expect("one neighbour each");
/// assert!(nearest == 2 && (cosine - 0.5f32.sqrt()).abs() < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Neighbours {
    k: usize,
    /// k entries a row, the nearest first.
    entries: Arc<[Neighbour]>,
}

/// An entry of a list: the other vector, and the cosine.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Neighbour {
    index: u32,
    cosine: f32,
}

/// What stands in a list before there is an entry.
const NONE: Neighbour = Neighbour { index: u32::MAX, cosine: f32::NEG_INFINITY };

impl Neighbours {
    /// The `k` nearest of each row of `vectors` `[n, d]`, the nearest first; of equal cosines the
    /// row of the lower index.
    ///
    /// # Errors
    /// - [`Error::Shape`] unless `vectors` is a matrix with rows.
    /// - [`Error::NonFinite`] for NaN.
    /// - [`Error::Invalid`] for a `k` that is 0 or not below n.
    /// - [`Error::Interrupted`] when Stop is pressed.
    pub fn of(vectors: &Tensor, k: usize) -> Result<Self> {
        check_sizes(&[("`k`, the number of neighbours,", k)])?;
        let unit = UnitVectors::of(vectors)?;
        let [n, _] = unit.dims();
        if k >= n {
            let expected = format!("below {n}, the number of vectors");
            return Err(Error::invalid("`k`, the number of neighbours,", expected, k));
        }
        let starts = (0..n).step_by(BLOCK);
        let lists =
            starts.map(|start| Mutex::new(NeighbourLists::new(start..n.min(start + BLOCK), k)));
        let search = NeighbourSearch { lists: lists.collect(), k };
        unit.visit("the search of neighbours", &search)?;
        let lists = search.lists.into_iter();
        let lists = lists.map(|list| list.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(Self { k, entries: lists.flat_map(|list| list.entries).collect() })
    }

    /// The `k` nearest of each decoder column of an autoencoder.
    ///
    /// # Errors
    /// As [`Neighbours::of`].
    pub fn of_decoder(sae: &Sae, k: usize) -> Result<Self> {
        Self::of(&sae.w_dec().t()?, k)
    }

    /// Number of vectors, n.
    pub fn len(&self) -> usize {
        self.entries.len() / self.k
    }

    /// Whether there are none; there always are two.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many neighbours each vector has here.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The neighbours of vector `i` and the cosines with them, the nearest first.
    ///
    /// # Errors
    /// An `i` that is not below n.
    pub fn row(&self, i: usize) -> Result<impl ExactSizeIterator<Item = (usize, f32)>> {
        if i >= self.len() {
            return Err(Error::invalid("the vector", format!("below {}", self.len()), i));
        }
        Ok(self.list(i))
    }

    /// [`Neighbours::row`] of a vector that there is.
    pub(super) fn list(&self, i: usize) -> impl ExactSizeIterator<Item = (usize, f32)> {
        let row = &self.entries[i * self.k..(i + 1) * self.k];
        row.iter().map(|own| (own.index as usize, own.cosine))
    }

    /// The cosine of each vector with its nearest, for a histogram.
    pub fn nearest(&self) -> Vec<f32> {
        self.entries.iter().step_by(self.k).map(|own| own.cosine).collect()
    }
}

show_as_text!(Neighbours);

impl fmt::Display for Neighbours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut nearest = self.nearest();
        nearest.sort_by(f32::total_cmp);
        let (middle, last) = (nearest.len() / 2, nearest.len() - 1);
        write!(
            f,
            "{} nearest of {} vectors; cosine with the nearest: median {:.3}, largest {:.3}",
            self.k,
            thousands(self.len()),
            nearest[middle],
            nearest[last]
        )
    }
}

/// The lists of some rows that follow each other.
#[derive(Debug, Clone)]
struct NeighbourLists {
    first: usize,
    k: usize,
    entries: Vec<Neighbour>,
}

impl NeighbourLists {
    fn new(rows: Range<usize>, k: usize) -> Self {
        Self { first: rows.start, k, entries: vec![NONE; rows.len() * k] }
    }

    /// The least cosine that a row keeps.
    fn bar(&self, row: usize) -> f32 {
        self.entries[(row - self.first + 1) * self.k - 1].cosine
    }

    /// Takes in a neighbour, if it is one of the k nearest so far.
    fn insert(&mut self, row: usize, new: Neighbour) {
        let list = &mut self.entries[(row - self.first) * self.k..][..self.k];
        let is_behind = |own: &Neighbour| {
            own.cosine < new.cosine || own.cosine == new.cosine && own.index > new.index
        };
        let place = list.partition_point(|own| !is_behind(own));
        if place < list.len() {
            list[place..].rotate_right(1);
            list[place] = new;
        }
    }

    /// Takes in the lists of some of these rows.
    fn merge(&mut self, other: &Self) {
        for (row, list) in (other.first..).zip(other.entries.chunks(self.k)) {
            list.iter()
                .filter(|own| own.index != NONE.index)
                .for_each(|own| self.insert(row, *own));
        }
    }
}

/// The lists of all rows, a block a lock.
struct NeighbourSearch {
    lists: Vec<Mutex<NeighbourLists>>,
    k: usize,
}

/// What a task found.
struct FoundNeighbours {
    rows: NeighbourLists,
    columns: NeighbourLists,
    /// What a row and a column must reach to be of interest.
    row_bars: Vec<f32>,
    column_bars: Vec<f32>,
}

impl NeighbourSearch {
    fn with<R>(&self, row: usize, look: impl FnOnce(&mut NeighbourLists) -> R) -> R {
        look(&mut self.lists[row / BLOCK].lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn bars(&self, rows: &Range<usize>) -> Vec<f32> {
        self.with(rows.start, |lists| rows.clone().map(|row| lists.bar(row)).collect())
    }
}

impl PairVisitor for NeighbourSearch {
    type Part = FoundNeighbours;

    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>) -> FoundNeighbours {
        FoundNeighbours {
            rows: NeighbourLists::new(rows.clone(), self.k),
            columns: NeighbourLists::new(columns.clone(), self.k),
            row_bars: self.bars(rows),
            column_bars: self.bars(columns),
        }
    }

    fn look(&self, part: &mut FoundNeighbours, i: usize, first: usize, cosines: &[f32]) {
        let FoundNeighbours { rows, columns, row_bars, column_bars } = part;
        let row_bar = &mut row_bars[i - rows.first];
        let bars = &mut column_bars[first - columns.first..];
        let runs = cosines.chunks(RUN).zip(bars.chunks_mut(RUN));
        for (start, (run, bars)) in runs.enumerate() {
            // Without branches: hardly any run has something of interest.
            let bar = *row_bar;
            let pairs = run.iter().zip(bars.iter());
            if !pairs.fold(false, |any, (cosine, own)| any | (*cosine >= bar.min(*own))) {
                continue;
            }
            for (j, (&cosine, bar)) in (first + start * RUN..).zip(run.iter().zip(bars)) {
                if cosine >= *row_bar {
                    rows.insert(i, Neighbour { index: j as u32, cosine });
                    *row_bar = row_bar.max(rows.bar(i));
                }
                if cosine >= *bar {
                    columns.insert(j, Neighbour { index: i as u32, cosine });
                    *bar = bar.max(columns.bar(j));
                }
            }
        }
    }

    fn end(&self, part: FoundNeighbours) {
        self.with(part.rows.first, |lists| lists.merge(&part.rows));
        self.with(part.columns.first, |lists| lists.merge(&part.columns));
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::random::Rng;

    /// The lists from all cosines in f64.
    fn by_sorting(vectors: &Tensor, k: usize) -> Vec<Vec<(usize, f64)>> {
        let rows: Vec<Vec<f64>> = vectors.to_dtype(DType::F64).unwrap().to_vec2().unwrap();
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let lists = rows.iter().enumerate().map(|(i, a)| {
            let others = rows.iter().enumerate().filter(|(j, _)| *j != i);
            let cosine = |b: &[f64]| product(a, b) / (product(a, a) * product(b, b)).sqrt();
            let mut all: Vec<(usize, f64)> = others.map(|(j, b)| (j, cosine(b))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(k);
            all
        });
        lists.collect()
    }

    #[test]
    fn lists_are_those_of_all_cosines() {
        for (n, d, k) in [(2, 3, 1), (40, 7, 39), (BLOCK + 30, 12, 4)] {
            let vectors = Rng::seed(d as u64).normal((n, d), &Device::Cpu).unwrap();
            let found = Neighbours::of(&vectors, k).unwrap();
            assert_eq!((found.len(), found.k()), (n, k));
            for (i, expected) in by_sorting(&vectors, k).into_iter().enumerate() {
                for ((index, cosine), (other, exact)) in found.row(i).unwrap().zip(expected) {
                    assert!((f64::from(cosine) - exact).abs() < 1e-6, "{n}: {i}");
                    // Neighbours closer to each other than rounding may change places.
                    assert!(index == other || n > 40, "{n}: {i}");
                }
            }
        }
    }

    #[test]
    fn of_equal_cosines_the_lower_index_comes_first() {
        let rows: Vec<Vec<f32>> = (0..9).map(|i| vec![1.0, f32::from(u8::from(i == 4))]).collect();
        let found = Neighbours::of(&Tensor::new(rows, &Device::Cpu).unwrap(), 3).unwrap();
        let indices = |i: usize| found.row(i).unwrap().map(|(j, _)| j).collect::<Vec<_>>();
        assert_eq!(indices(0), [1, 2, 3]);
        assert_eq!(indices(8), [0, 1, 2]);
        assert_eq!(indices(4), [0, 1, 2]);
        assert!(found.to_string().contains("3 nearest of 9 vectors"), "{found}");
    }

    #[test]
    fn bad_requests_are_named() {
        let vectors = Tensor::eye(3, DType::F32, &Device::Cpu).unwrap();
        let message = |k: usize| Neighbours::of(&vectors, k).unwrap_err().to_string();
        assert!(message(0).contains("at least 1"));
        assert!(message(3).contains("below 3, the number of vectors"), "{}", message(3));
        let found = Neighbours::of(&vectors, 2).unwrap();
        assert_eq!(found.nearest(), [0.0; 3]);
        let error = found.row(3).err().unwrap().to_string();
        assert!(error.contains("below 3"), "{error}");
    }
}
