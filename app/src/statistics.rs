//! How large the activations of latents are, layer by layer.

use eigenlens::features::{FeatureTable, Histogram, Statistics};
use eigenlens::prelude::HookPoint;
use eigenlens::{Error, Result};
use serde::Serialize;

/// Densities and histograms of all latents at each layer.
#[derive(Debug)]
pub(crate) struct LatentStatistics(Vec<Statistics>);

/// Those of one latent, in bins that its layers share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LatentHistograms {
    /// Where bins begin, and where the last one ends: one more than there are bins.
    edges: Vec<f32>,
    /// Activations above zero in each bin, `[layer][bin]`.
    values: Vec<Vec<u64>>,
    /// The share of tokens at which it is active, by layer.
    density: Vec<f32>,
}

impl LatentStatistics {
    /// From the tables of an autoencoder at `layers`, one each, in any order.
    pub(crate) fn new(tables: &[FeatureTable], layers: &[usize], latents: usize) -> Result<Self> {
        const WHAT: &str = "the tables of statistics";
        let of = |layer: &usize| {
            let point = HookPoint::ResidPost(*layer);
            let Some(table) = tables.iter().find(|own| own.point() == point) else {
                return Err(Error::invalid(WHAT, format!("with one at {point}"), "none there"));
            };
            if table.features() != latents {
                let (expected, found) = (format!("of {latents} latents"), table.features());
                return Err(Error::invalid(WHAT, expected, found));
            }
            let expected = "with histograms, as `max_activations` makes them";
            let own = table.statistics().cloned();
            own.ok_or_else(|| Error::invalid(WHAT, expected, format!("none at {point}")))
        };
        Ok(Self(layers.iter().map(of).collect::<Result<_>>()?))
    }

    /// Those of a latent that there is.
    pub(crate) fn of(&self, latent: usize) -> LatentHistograms {
        let own: Vec<&Histogram> = self.0.iter().map(|own| &own.histograms[latent]).collect();
        let (edges, values) = sharing_bins(&own);
        let density = self.0.iter().map(|own| own.density[latent]).collect();
        LatentHistograms { edges, values, density }
    }
}

/// Histograms in the bins of the widest of them, and the edges of these bins. Ranges are powers of two,
/// so that a bin of a wider one holds 2, 4, … bins of a narrower one.
fn sharing_bins(histograms: &[&Histogram]) -> (Vec<f32>, Vec<Vec<u64>>) {
    let widest = histograms.iter().map(|own| own.edge).fold(0.0, f32::max);
    let bins = histograms.iter().map(|own| own.counts.len()).max().unwrap_or_default();
    let values = histograms.iter().map(|own| {
        let doublings = ((widest / own.edge).log2().round() as usize).min(31);
        let mut values = vec![0; bins];
        for (bin, count) in own.counts.iter().enumerate() {
            values[bin >> doublings] += u64::from(*count);
        }
        values
    });
    let edges = (0..=bins).map(|bin| widest * bin as f32 / bins.max(1) as f32).collect();
    (edges, values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_the_bins_of_the_widest_and_lose_no_activation() {
        let mut narrow = Histogram { edge: 0.5, counts: [0; 32] };
        (narrow.counts[0], narrow.counts[7], narrow.counts[31]) = (5, 2, 1);
        let mut wide = Histogram { edge: 4.0, counts: [0; 32] };
        (wide.counts[0], wide.counts[31]) = (3, 9);
        let (edges, values) = sharing_bins(&[&narrow, &wide]);
        assert_eq!((edges.len(), edges[0], edges[1], edges[32]), (33, 0.0, 0.125, 4.0));
        // A bin of the wide one is 8 of the narrow one: below 0.125, and from 0.375 on.
        assert_eq!(values[0][..5], [7, 0, 0, 1, 0]);
        assert_eq!(values[0].iter().sum::<u64>(), 8);
        assert_eq!((values[1][0], values[1][31]), (3, 9));
        let (edges, values) = sharing_bins(&[&Histogram::default()]);
        assert_eq!((edges[32], values[0].iter().sum::<u64>()), (1.0 / 64.0, 0));
    }

    #[test]
    fn damaged_ranges_lose_no_activation_either() {
        let wide = Histogram { edge: 4.0, counts: [1; 32] };
        for edge in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let odd = Histogram { edge, counts: [1; 32] };
            let (_, values) = sharing_bins(&[&odd, &wide]);
            assert!(values.iter().all(|own| own.iter().sum::<u64>() == 32), "{edge}");
        }
    }
}
