//! How alike the directions of latents are that live at neighbouring layers.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;

use super::directions::columns;
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::features::{PairVisitor, UnitVectors};
use crate::{Error, Result};

/// Which differences of mean layers go with which cosines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerPairing {
    /// Those of the same two latents. The default.
    #[default]
    Same,
    /// The original's: cosines of latents sorted by mean layer, differences of unsorted ones at the same
    /// places of the list. The two do not belong together.
    Original,
}

/// Pairs of latents by the distance of their mean layers and by the cosine of their directions.
///
/// Pairs are taken so that the first latent has the larger mean layer: with [`LayerPairing::Same`]
/// differences are not negative. Latents without a mean layer are left out.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::multilayer::{CosineByLayer, CosineBins, LayerPairing};
/// # fn main() -> Result<()> {
/// let decoder = Tensor::new(&[[1f32, 0.0, 1.0], [0.0, 1.0, 0.0]], &Device::Cpu)?;
/// let bins = CosineBins { difference: (0.0, 4.0), cosine: (-1.5, 1.5), shape: [4, 3] };
/// let found = CosineByLayer::of(&decoder, &[0.0, 1.0, 3.5], LayerPairing::Same, &bins)?;
/// // Columns 0 and 2 point the same way and are 3.5 layers apart.
/// assert_eq!(found.counts[3 * 3 + 2], 1);
/// assert_eq!(found.counts.iter().sum::<u64>(), 3);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CosineByLayer {
    /// The bins.
    pub bins: CosineBins,
    /// Pairs in each bin, differences in rows and cosines in columns.
    pub counts: Vec<u64>,
    /// Pairs whose difference or cosine lies beyond the bins.
    pub outside: u64,
}

/// The bins of [`CosineByLayer`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CosineBins {
    /// The range of differences of mean layers.
    pub difference: (f64, f64),
    /// The range of cosines.
    pub cosine: (f64, f64),
    /// Number of bins of differences, and of cosines.
    pub shape: [usize; 2],
}

impl CosineBins {
    /// The original's 64 × 512 bins, with differences up to L − 1 where it has 5 for every model.
    pub fn of_layers(layers: usize) -> Self {
        let difference = (0.0, layers.saturating_sub(1).max(1) as f64);
        Self { difference, cosine: (-0.25, 0.25), shape: [64, 512] }
    }

    fn check(&self) -> Result<()> {
        let [differences, cosines] = self.shape;
        check_sizes(&[("the bins of differences", differences), ("the bins of cosines", cosines)])?;
        for (what, (low, high)) in
            [("the range of differences", self.difference), ("the range of cosines", self.cosine)]
        {
            if !(low.is_finite() && high.is_finite() && low < high) {
                let found = format!("{low} to {high}");
                return Err(Error::invalid(what, "from a number to a larger one", found));
            }
        }
        Ok(())
    }

    /// The bin of a pair, if it is within.
    fn place(&self, difference: f64, cosine: f64) -> Option<usize> {
        let [rows, columns] = self.shape;
        let row = bin(difference, self.difference, rows)?;
        Some(row * columns + bin(cosine, self.cosine, columns)?)
    }
}

fn bin(value: f64, (low, high): (f64, f64), bins: usize) -> Option<usize> {
    let share = (value - low) / (high - low);
    (0.0..=1.0).contains(&share).then(|| ((share * bins as f64) as usize).min(bins - 1))
}

impl CosineByLayer {
    /// Of the columns of `decoder` `[d, n]` and the mean layer of each.
    ///
    /// # Errors
    /// [`Error::Shape`] unless there is a mean layer a column, [`Error::Invalid`] for bad bins;
    /// as [`max_cosines`](super::max_cosines) otherwise.
    pub fn of(
        decoder: &Tensor,
        mean_layers: &[f64],
        pairing: LayerPairing,
        bins: &CosineBins,
    ) -> Result<Self> {
        bins.check()?;
        let sorted = SortedByLayer::new(decoder, mean_layers, pairing)?;
        let histogram = HistogramOfPairs { sorted: &sorted, bins: *bins, found: Mutex::default() };
        sorted.unit.visit("cosines by layer", &histogram)?;
        let found = histogram.found.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (mut counts, outside) = found;
        counts.resize(bins.shape[0] * bins.shape[1], 0);
        Ok(Self { bins: *bins, counts, outside })
    }
}

/// Difference of mean layers and cosine of every pair of the columns of `decoder` `[d, n]`, in the
/// order of descending mean layer (NaN first): the upper triangle, row by row. It takes memory for
/// n(n − 1)/2 pairs; [`CosineByLayer`] is for dictionaries of any size.
///
/// # Errors
/// As [`CosineByLayer::of`].
pub fn cosine_by_layer_distance(
    decoder: &Tensor,
    mean_layers: &[f64],
    pairing: LayerPairing,
) -> Result<Vec<(f64, f32)>> {
    let sorted = SortedByLayer::new(decoder, mean_layers, pairing)?;
    let n = mean_layers.len();
    let pairs = vec![(0.0, 0.0); n * (n - 1) / 2];
    let list = ListOfPairs { sorted: &sorted, found: Mutex::new(pairs) };
    sorted.unit.visit("cosines by layer", &list)?;
    Ok(list.found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Columns in the order of their mean layers.
struct SortedByLayer {
    unit: UnitVectors,
    /// The mean layer that goes with each place.
    layers: Vec<f64>,
}

impl SortedByLayer {
    fn new(decoder: &Tensor, mean_layers: &[f64], pairing: LayerPairing) -> Result<Self> {
        let vectors = columns(decoder)?;
        let n = vectors.dim(0)?;
        if mean_layers.len() != n {
            let expected = format!("{n}, one a column of the decoder");
            return Err(Error::shape("the mean layers", expected, mean_layers.len()));
        }
        let mut order: Vec<u32> = (0..n as u32).collect();
        let key = |i: &u32| {
            let layer = mean_layers[*i as usize];
            if layer.is_nan() { f64::INFINITY } else { layer }
        };
        order.sort_by(|a, b| key(b).total_cmp(&key(a)));
        let layers = match pairing {
            LayerPairing::Same => order.iter().map(|i| mean_layers[*i as usize]).collect(),
            LayerPairing::Original => mean_layers.to_vec(),
        };
        let order = Tensor::new(order, vectors.device())?;
        Ok(Self { unit: UnitVectors::of(&vectors.index_select(&order, 0)?)?, layers })
    }

    fn difference(&self, i: usize, j: usize) -> f64 {
        self.layers[i] - self.layers[j]
    }
}

struct HistogramOfPairs<'a> {
    sorted: &'a SortedByLayer,
    bins: CosineBins,
    found: Mutex<(Vec<u64>, u64)>,
}

impl PairVisitor for HistogramOfPairs<'_> {
    type Part = (Vec<u64>, u64);

    fn begin(&self, _: &Range<usize>, _: &Range<usize>) -> Self::Part {
        (vec![0; self.bins.shape[0] * self.bins.shape[1]], 0)
    }

    fn look(&self, (counts, outside): &mut Self::Part, i: usize, first: usize, cosines: &[f32]) {
        for (j, &cosine) in (first..).zip(cosines) {
            let difference = self.sorted.difference(i, j);
            match self.bins.place(difference, f64::from(cosine)) {
                Some(place) => counts[place] += 1,
                None => *outside += u64::from(!difference.is_nan()),
            }
        }
    }

    fn end(&self, (counts, outside): Self::Part) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0.resize(counts.len(), 0);
        found.0.iter_mut().zip(counts).for_each(|(sum, own)| *sum += own);
        found.1 += outside;
    }
}

struct ListOfPairs<'a> {
    sorted: &'a SortedByLayer,
    found: Mutex<Vec<(f64, f32)>>,
}

impl PairVisitor for ListOfPairs<'_> {
    type Part = Vec<(usize, (f64, f32))>;

    fn begin(&self, _: &Range<usize>, _: &Range<usize>) -> Self::Part {
        Vec::new()
    }

    fn look(&self, part: &mut Self::Part, i: usize, first: usize, cosines: &[f32]) {
        let n = self.sorted.layers.len();
        // Where row i of the triangle begins, less the columns that it lacks.
        let start = (i * (2 * n - i - 1) / 2) as isize - (i + 1) as isize;
        part.extend((first..).zip(cosines).map(|(j, &cosine)| {
            let place = (start + j as isize) as usize;
            (place, (self.sorted.difference(i, j), cosine))
        }));
    }

    fn end(&self, part: Self::Part) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        part.into_iter().for_each(|(place, pair)| found[place] = pair);
    }
}

show_as_text!(CosineByLayer);

impl fmt::Display for CosineByLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([rows, columns], pairs) = (self.bins.shape, self.counts.iter().sum::<u64>());
        write!(f, "{pairs} pairs in {rows} × {columns} bins, {} outside", self.outside)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn pairs_belong_together_unless_the_original_is_asked_for() {
        let n = 600; // more than a block
        let mut rng = Rng::seed(2);
        let decoder = rng.normal((5, n), &Device::Cpu).unwrap();
        let layers: Vec<f64> = (0..n)
            .map(|i| if i % 97 == 3 { f64::NAN } else { f64::from(3.0 * rng.unit()) })
            .collect();
        let cosines: Vec<Vec<f32>> =
            crate::features::cosines(&decoder.t().unwrap().contiguous().unwrap())
                .unwrap()
                .to_vec2()
                .unwrap();
        let rank = |i: &usize| if layers[*i].is_nan() { f64::INFINITY } else { layers[*i] };
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
        let pairs = || (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
        for pairing in [LayerPairing::Same, LayerPairing::Original] {
            let found = cosine_by_layer_distance(&decoder, &layers, pairing).unwrap();
            assert_eq!(found.len(), n * (n - 1) / 2);
            for ((i, j), (difference, cosine)) in pairs().zip(&found) {
                let expected = match pairing {
                    LayerPairing::Same => layers[order[i]] - layers[order[j]],
                    LayerPairing::Original => layers[i] - layers[j],
                };
                assert!(expected == *difference || expected.is_nan() && difference.is_nan());
                assert!((cosines[order[i]][order[j]] - cosine).abs() < 1e-6);
            }
            let bins = CosineBins { difference: (0.0, 3.0), cosine: (-0.5, 0.5), shape: [7, 9] };
            let histogram = CosineByLayer::of(&decoder, &layers, pairing, &bins).unwrap();
            let mut counts = vec![0; 63];
            let mut outside = 0;
            for (difference, cosine) in found.iter().filter(|pair| !pair.0.is_nan()) {
                match bins.place(*difference, f64::from(*cosine)) {
                    Some(place) => counts[place] += 1,
                    None => outside += 1,
                }
            }
            assert_eq!((&histogram.counts, histogram.outside), (&counts, outside));
            assert!(histogram.to_string().contains("7 × 9"), "{histogram}");
        }
    }

    #[test]
    fn bad_bins_and_layers_are_refused() {
        let decoder = Rng::seed(0).normal((2, 3), &Device::Cpu).unwrap();
        let message = |layers: &[f64], bins: CosineBins| {
            let found = CosineByLayer::of(&decoder, layers, LayerPairing::Same, &bins);
            found.unwrap_err().to_string()
        };
        let bins = CosineBins::of_layers(4);
        assert_eq!(
            (bins.difference, CosineBins::of_layers(1).difference),
            ((0.0, 3.0), (0.0, 1.0))
        );
        assert!(message(&[0.0; 2], bins).contains("one a column"));
        assert!(message(&[0.0; 3], CosineBins { shape: [0, 1], ..bins }).contains("differences"));
        let backwards = CosineBins { cosine: (1.0, 0.0), ..bins };
        assert!(message(&[0.0; 3], backwards).contains("the range of cosines"));
        let edges = [-0.1, 0.0, 0.99, 1.0, 1.1, f64::NAN].map(|value| bin(value, (0.0, 1.0), 2));
        assert_eq!(edges, [None, Some(0), Some(1), Some(1), None, None]);
    }
}
