//! What is shown of distributions over layers: their summary, heat map and histograms.

use std::fmt;

use candle_core::{Device, Tensor};

use super::distributions::LayerDistributions;
use super::moments::MeanAndSpread;
use crate::check::check_sizes;
use crate::display::show_as_text;
use crate::text::thousands;
use crate::{Error, Result};

/// How widely latents spread over layers.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSummary {
    /// Number of latents.
    pub latents: usize,
    /// Latents that were active at all.
    pub alive: usize,
    /// Latents that were active at one layer only.
    pub at_one_layer: usize,
    /// Latents that were active at every layer.
    pub at_all_layers: usize,
    /// The standard deviation over layers, of the latents that were active.
    pub std: MeanAndSpread,
    /// Its mean with the latents' sums of activations as weights.
    pub weighted_std: f64,
    /// What a latent has that is equally active at all L layers, `√((L² − 1)/12)`.
    pub uniform_std: f64,
}

/// Columns of a heat map: layers × latents, sorted by descending mean layer.
#[derive(Debug, Clone)]
pub struct LayerHeatMap {
    /// The latent of each column.
    pub latents: Vec<usize>,
    /// `p(ℓ|j)`, `[L, columns]`, f64.
    pub probabilities: Tensor,
}

/// How often values fall into bins of equal width.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerHistogram {
    /// Where bins begin, and where the last one ends: one more than there are bins.
    pub edges: Vec<f64>,
    /// Values in each bin.
    pub counts: Vec<u64>,
}

impl LayerDistributions {
    /// How widely latents spread over layers.
    pub fn summary(&self) -> LayerSummary {
        let (std, total, layers) = (self.std(), self.total(), self.layers_with(1));
        let alive = || std.iter().zip(&total).filter(|(std, _)| !std.is_nan());
        let weight: f64 = alive().map(|(_, total)| total).sum();
        let at = |wanted: usize| layers.iter().filter(|own| **own == wanted).count();
        LayerSummary {
            latents: self.latents(),
            alive: layers.iter().filter(|own| **own > 0).count(),
            at_one_layer: at(1),
            at_all_layers: at(self.layers()),
            std: MeanAndSpread::of(&std),
            weighted_std: alive().map(|(std, total)| std * total).sum::<f64>() / weight,
            uniform_std: (((self.layers() * self.layers()) as f64 - 1.0) / 12.0).sqrt(),
        }
    }

    /// Latents by descending mean layer, of equal ones the lower index first; without those that
    /// have no mean layer because they were never active.
    pub fn order(&self) -> Vec<usize> {
        let middle = self.mean_layer();
        let mut order: Vec<usize> = (0..self.latents()).filter(|i| !middle[*i].is_nan()).collect();
        order.sort_by(|a, b| middle[*b].total_cmp(&middle[*a]));
        order
    }

    /// The `count` latents with the largest standard deviation over layers, the widest first; fewer if
    /// not as many were active.
    pub fn most_spread(&self, count: usize) -> Vec<usize> {
        let std = self.std();
        let mut latents: Vec<usize> = (0..self.latents()).filter(|i| !std[*i].is_nan()).collect();
        latents.sort_by(|a, b| std[*b].total_cmp(&std[*a]));
        latents.truncate(count);
        latents
    }

    /// The heat map of all latents that were active, in the [order](Self::order) of mean layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no latent was active.
    pub fn heat_map(&self) -> Result<LayerHeatMap> {
        self.heat_map_of(self.order())
    }

    /// The heat map of the latents whose largest sum at a layer is above `threshold`: of a single
    /// prompt, those that do something there.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such latent.
    pub fn heat_map_above(&self, threshold: f64) -> Result<LayerHeatMap> {
        let most =
            self.by_latent(|totals| totals.iter().copied().fold(f64::NEG_INFINITY, f64::max));
        self.heat_map_of(self.order().into_iter().filter(|i| most[*i] > threshold).collect())
    }

    fn heat_map_of(&self, latents: Vec<usize>) -> Result<LayerHeatMap> {
        if latents.is_empty() {
            let expected = "at least one that was active enough";
            return Err(Error::invalid("the latents of a heat map", expected, "none"));
        }
        let ids: Vec<u32> = latents.iter().map(|latent| *latent as u32).collect();
        let ids = Tensor::new(ids, &Device::Cpu)?;
        let probabilities = self.probabilities()?.index_select(&ids, 1)?;
        Ok(LayerHeatMap { latents, probabilities })
    }

    /// The histogram of mean layers from 0 to L − 1, in `bins` bins; the original has 16 · L.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no bins.
    pub fn histogram(&self, bins: usize) -> Result<LayerHistogram> {
        LayerHistogram::of(&self.mean_layer(), (0.0, (self.layers() - 1) as f64), bins)
    }

    /// The histogram of the distance `|m − round(m)|` of mean layers m from the next whole number,
    /// from 0 to ½: latents of a single layer are at 0.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no bins.
    pub fn histogram_of_distances(&self, bins: usize) -> Result<LayerHistogram> {
        let distances = self.mean_layer().into_iter().map(|middle| (middle - middle.round()).abs());
        LayerHistogram::of(&distances.collect::<Vec<_>>(), (0.0, 0.5), bins)
    }
}

impl LayerHistogram {
    /// Of the `values` within `range`, both ends included; a range without length is widened by ½ on
    /// both sides, and NaN is left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no bins, or for a range that does not go up between finite numbers.
    pub fn of(values: &[f64], (low, high): (f64, f64), bins: usize) -> Result<Self> {
        check_sizes(&[("the number of bins", bins)])?;
        if !(low.is_finite() && high.is_finite() && low <= high) {
            let found = format!("{low} to {high}");
            return Err(Error::invalid("the range", "from a number to a larger one", found));
        }
        let (low, high) = if low == high { (low - 0.5, high + 0.5) } else { (low, high) };
        let width = (high - low) / bins as f64;
        let edges: Vec<f64> = (0..=bins)
            .map(|bin| if bin == bins { high } else { low + width * bin as f64 })
            .collect();
        let mut counts = vec![0; bins];
        for value in values.iter().filter(|value| (low..=high).contains(*value)) {
            // By the edges themselves: a quotient may round a value into its neighbour.
            counts[edges[1..bins].partition_point(|edge| edge <= value)] += 1;
        }
        Ok(Self { edges, counts })
    }

    /// The density of each bin: its share of the counted values over its width.
    pub fn density(&self) -> Vec<f64> {
        let all: u64 = self.counts.iter().sum();
        let widths = self.edges.windows(2).map(|pair| pair[1] - pair[0]);
        widths.zip(&self.counts).map(|(width, own)| *own as f64 / all as f64 / width).collect()
    }
}

show_as_text!(LayerSummary, LayerHeatMap, LayerHistogram);

impl fmt::Display for LayerSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [latents, alive, one, all] =
            [self.latents, self.alive, self.at_one_layer, self.at_all_layers].map(thousands);
        writeln!(f, "{alive} of {latents} latents active: {one} at one layer, {all} at all")?;
        write!(
            f,
            "std over layers {}, weighted by activation {:.4}, uniform {:.4}",
            self.std, self.weighted_std, self.uniform_std
        )
    }
}

impl fmt::Display for LayerHeatMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.probabilities.dims()[0];
        write!(f, "Heat map of {} latents over {layers} layers", thousands(self.latents.len()))
    }
}

impl fmt::Display for LayerHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bins, all) = (self.counts.len(), self.counts.iter().sum::<u64>());
        let (low, high) = (self.edges[0], self.edges[bins]);
        write!(f, "{} values in {bins} bins from {low} to {high}", thousands(all as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::super::distributions::tests::random_distributions;
    use super::*;

    /// Latents at one layer each, and the last one never active.
    fn at_one_layer(layers: usize) -> LayerDistributions {
        let latents = layers + 1;
        let own = |at: usize| at % latents == at / latents;
        let counts = (0..layers * latents).map(|at| u64::from(own(at)) * 3).collect();
        // 3 · 0.1 / 0.1 is above 3.
        let totals = (0..layers * latents).map(|at| if own(at) { 0.1 } else { 0.0 }).collect();
        LayerDistributions::from_parts(layers, counts, totals)
    }

    #[test]
    fn latents_of_one_layer_make_an_identity() {
        let found = at_one_layer(4);
        let summary = found.summary();
        assert_eq!((summary.latents, summary.alive, summary.at_one_layer), (5, 4, 4));
        assert_eq!((summary.at_all_layers, summary.std.mean, summary.weighted_std), (0, 0.0, 0.0));
        assert!((summary.uniform_std - 1.25f64.sqrt()).abs() < 1e-15);
        let map = found.heat_map().unwrap();
        assert_eq!(map.latents, [3, 2, 1, 0]);
        let shares: Vec<Vec<f64>> = map.probabilities.to_vec2().unwrap();
        for (layer, row) in shares.iter().enumerate() {
            assert!(row.iter().enumerate().all(|(i, p)| *p == f64::from(u8::from(3 - i == layer))));
        }
        assert!(found.heat_map_above(0.1).is_err() && found.heat_map_above(0.09).is_ok());
        assert_eq!(found.histogram(4).unwrap().counts, [1, 1, 1, 1]);
        assert_eq!(found.histogram_of_distances(5).unwrap().counts, [4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_summary_of_latents_that_spread() {
        let found = random_distributions();
        let (summary, std) = (found.summary(), found.std());
        let alive = std.iter().filter(|std| !std.is_nan()).count();
        assert_eq!(summary.std.count as usize, alive);
        let mean = std.iter().filter(|std| !std.is_nan()).sum::<f64>() / alive as f64;
        assert!((summary.std.mean - mean).abs() < 1e-12);
        assert!(summary.std.mean < summary.uniform_std && summary.to_string().contains("uniform"));
        let widest = found.most_spread(3);
        assert!(widest.len() == 3 && std.iter().all(|own| own.is_nan() || *own <= std[widest[0]]));
        assert!(at_one_layer(4).most_spread(9).len() == 4);
        let middle = found.mean_layer();
        assert!(found.order().is_sorted_by(|a, b| middle[*a] >= middle[*b]));
    }

    #[test]
    fn bins_are_closed_below_and_the_last_above_too() {
        let values = [0.0, 0.5, 1.0, 1.5, 3.0, 3.1, -0.1, f64::NAN];
        let found = LayerHistogram::of(&values, (0.0, 3.0), 6).unwrap();
        assert_eq!(found.counts, [1, 1, 1, 1, 0, 1]);
        assert!((found.density().iter().sum::<f64>() * 0.5 - 1.0).abs() < 1e-15);
        assert_eq!(LayerHistogram::of(&[2.0], (2.0, 2.0), 1).unwrap().edges, [1.5, 2.5]);
        assert!(LayerHistogram::of(&[], (0.0, 1.0), 0).is_err());
        assert!(LayerHistogram::of(&[], (1.0, 0.0), 3).unwrap_err().to_string().contains("1 to 0"));
        assert!(at_one_layer(1).histogram(2).is_ok(), "one layer has a range of no length");
    }
}
