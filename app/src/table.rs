//! What is known of each latent.

use std::cmp::Ordering;
use std::ops::Range;

use eigenlens::multilayer::{LayerDistributions, LayerExample, LayerExamples};
use eigenlens::prelude::Tensor;
use eigenlens::{Result, candle};
use serde::{Deserialize, Serialize};

/// Rows of examples at most that are gone over to know the best of every latent.
const GONE_OVER: usize = 2_000_000;

/// The best example of each latent at each layer; none if it takes long to go over all.
pub(crate) fn bests(examples: &LayerExamples) -> impl Iterator<Item = Result<LayerExample>> {
    let all = (examples.len() <= GONE_OVER).then(|| examples.iter());
    all.into_iter().flatten().filter(|own| own.as_ref().map_or(true, |own| own.rank == 0))
}

/// Numbers of one latent; those that nothing is known of are none.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct LatentNumbers {
    pub(crate) latent: usize,
    /// Active pairs of a position and a layer.
    pub(crate) count: Option<u64>,
    /// Their share of all pairs.
    pub(crate) density: Option<f64>,
    pub(crate) mean_layer: Option<f64>,
    pub(crate) std: Option<f64>,
    pub(crate) entropy: Option<f64>,
    /// The largest activation among the examples.
    pub(crate) max: Option<f64>,
}

/// Numbers of all latents.
#[derive(Debug)]
pub(crate) struct LatentTable {
    rows: Vec<LatentNumbers>,
    by_layer: Option<LayerNumbers>,
    /// Positions that were counted.
    positions: Option<u64>,
}

/// What was counted at each layer: the layers of a latent stand side by side.
#[derive(Debug)]
struct LayerNumbers {
    layers: usize,
    shares: Vec<f64>,
    counts: Vec<i64>,
    means: Vec<f64>,
}

impl LayerNumbers {
    fn new(own: &LayerDistributions) -> Result<Self> {
        let by_latent =
            |matrix: Tensor| -> candle::Result<Tensor> { matrix.t()?.contiguous()?.flatten_all() };
        Ok(Self {
            layers: own.layers(),
            shares: by_latent(own.probabilities()?)?.to_vec1()?,
            counts: by_latent(own.counts()?)?.to_vec1()?,
            means: by_latent(own.means()?)?.to_vec1()?,
        })
    }
}

/// What a list is sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SortKey {
    #[default]
    Latent,
    Count,
    Density,
    MeanLayer,
    Std,
    Entropy,
    Max,
}

/// Which latents a list has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LatentFilter {
    pub(crate) mean_layer: [Option<f64>; 2],
    pub(crate) std: [Option<f64>; 2],
    pub(crate) density: [Option<f64>; 2],
    pub(crate) alive: Option<bool>,
}

impl LatentTable {
    /// For so many latents with `k` active in each row. `k` tells how many positions were counted,
    /// because a row of a top-k autoencoder has k active latents.
    pub(crate) fn new(
        latents: usize,
        k: Option<usize>,
        distributions: Option<&LayerDistributions>,
        examples: Option<&LayerExamples>,
    ) -> Result<Self> {
        let mut rows: Vec<LatentNumbers> = (0..latents)
            .map(|latent| LatentNumbers { latent, ..LatentNumbers::default() })
            .collect();
        let (mut by_layer, mut positions) = (None, None);
        if let Some(own) = distributions {
            let layers = own.layers();
            let counts = own.count();
            let all: u64 = counts.iter().sum();
            positions = k.map(|k| all.div_ceil((k * layers) as u64));
            let finite = |value: f64| value.is_finite().then_some(value);
            let (mean, std, entropy) = (own.mean_layer(), own.std(), own.entropy());
            for (latent, row) in rows.iter_mut().enumerate() {
                row.count = Some(counts[latent]);
                row.density = positions.map(|positions| {
                    counts[latent] as f64 / (positions * layers as u64).max(1) as f64
                });
                row.mean_layer = finite(mean[latent]);
                row.std = finite(std[latent]);
                row.entropy = finite(entropy[latent]);
            }
            by_layer = Some(LayerNumbers::new(own)?);
        }
        if let Some(examples) = examples {
            for best in bests(examples) {
                let (best, own) = (best?, &mut rows);
                let (activation, max) = (f64::from(best.activation), &mut own[best.latent].max);
                *max = Some(max.map_or(activation, |max| max.max(activation)));
            }
        }
        Ok(Self { rows, by_layer, positions })
    }

    /// Whether it is known how often latents are active, and at which layers.
    pub(crate) fn has_distributions(&self) -> bool {
        self.by_layer.is_some()
    }

    /// Positions that were counted, if that is known.
    pub(crate) fn positions(&self) -> Option<u64> {
        self.positions
    }

    /// Numbers of a latent.
    pub(crate) fn row(&self, latent: usize) -> LatentNumbers {
        self.rows[latent]
    }

    /// Share of each layer in the latent's summed activation; empty if nothing is known.
    pub(crate) fn profile(&self, latent: usize) -> &[f64] {
        self.layers_of(latent).map(|(own, at)| &own.shares[at]).unwrap_or_default()
    }

    /// Positions at which the latent is active, by layer; empty if nothing is known.
    pub(crate) fn counts(&self, latent: usize) -> &[i64] {
        self.layers_of(latent).map(|(own, at)| &own.counts[at]).unwrap_or_default()
    }

    /// Its mean activation at these positions, by layer; empty if nothing is known.
    pub(crate) fn means(&self, latent: usize) -> &[f64] {
        self.layers_of(latent).map(|(own, at)| &own.means[at]).unwrap_or_default()
    }

    /// What was counted, and where a latent's layers are in it.
    fn layers_of(&self, latent: usize) -> Option<(&LayerNumbers, Range<usize>)> {
        let own = self.by_layer.as_ref()?;
        Some((own, latent * own.layers..(latent + 1) * own.layers))
    }

    /// The latents that `filter` and `matches` let through, sorted; what is not known comes last.
    pub(crate) fn list(
        &self,
        (key, descending): (SortKey, bool),
        filter: LatentFilter,
        matches: impl Fn(usize) -> bool,
    ) -> Vec<usize> {
        let mut found: Vec<&LatentNumbers> =
            self.rows.iter().filter(|row| filter.takes(row) && matches(row.latent)).collect();
        let by_key = |a: &&LatentNumbers, b: &&LatentNumbers| match (key.of(a), key.of(b)) {
            (Some(a), Some(b)) if descending => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
        };
        found.sort_by(by_key);
        found.into_iter().map(|row| row.latent).collect()
    }
}

impl SortKey {
    fn of(self, row: &LatentNumbers) -> Option<f64> {
        match self {
            Self::Latent => Some(row.latent as f64),
            Self::Count => row.count.map(|own| own as f64),
            Self::Density => row.density,
            Self::MeanLayer => row.mean_layer,
            Self::Std => row.std,
            Self::Entropy => row.entropy,
            Self::Max => row.max,
        }
    }
}

impl LatentFilter {
    fn takes(&self, row: &LatentNumbers) -> bool {
        let within = |[low, high]: [Option<f64>; 2], value: Option<f64>| {
            let above = low.is_none_or(|low| value.is_some_and(|own| own >= low));
            above && high.is_none_or(|high| value.is_some_and(|own| own <= high))
        };
        within(self.mean_layer, row.mean_layer)
            && within(self.std, row.std)
            && within(self.density, row.density)
            && self.alive.is_none_or(|alive| row.count.is_some_and(|own| (own > 0) == alive))
    }
}

#[cfg(test)]
mod tests {
    use eigenlens::multilayer::LayerCodes;
    use eigenlens::sae::Codes;

    use super::*;

    /// Latent 0 at the first layer only, 1 at both, 2 never.
    fn table() -> LatentTable {
        let first = Codes::new(3, [vec![(0, 2.0)], vec![(1, 1.0)]]).unwrap();
        let second = Codes::new(3, [vec![(1, 3.0)], vec![(1, 1.0)]]).unwrap();
        let mut found = LayerDistributions::new(2, 3).unwrap();
        found.add(&LayerCodes::new([first, second]).unwrap()).unwrap();
        LatentTable::new(3, Some(1), Some(&found), None).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_distributions() {
        let table = table();
        assert_eq!((table.positions(), table.has_distributions()), (Some(2), true));
        let row = table.row(1);
        assert_eq!((row.count, row.density, row.mean_layer), (Some(3), Some(0.75), Some(0.8)));
        assert_eq!(table.profile(1), [0.2, 0.8]);
        assert_eq!((table.counts(0), table.means(0)), (&[1, 0][..], &[2.0, 0.0][..]));
        assert_eq!((table.counts(1), table.means(1)), (&[1, 2][..], &[1.0, 2.0][..]));
        let never = table.row(2);
        assert_eq!((never.count, never.mean_layer, never.max), (Some(0), None, None));
        let unknown = LatentTable::new(2, None, None, None).unwrap();
        assert!(unknown.row(1).count.is_none() && unknown.profile(1).is_empty());
        assert!(unknown.counts(1).is_empty() && unknown.means(1).is_empty());
        assert!(!unknown.has_distributions());
    }

    #[test]
    fn lists_are_sorted_and_filtered_and_what_is_unknown_comes_last() {
        let table = table();
        let all = LatentFilter::default();
        let list = |key, descending| table.list((key, descending), all, |_| true);
        assert_eq!(list(SortKey::Count, true), [1, 0, 2]);
        assert_eq!(list(SortKey::MeanLayer, false), [0, 1, 2]);
        assert_eq!(list(SortKey::MeanLayer, true), [1, 0, 2]);
        let of = |filter| table.list((SortKey::Latent, false), filter, |_| true);
        assert_eq!(of(LatentFilter { alive: Some(true), ..all }), [0, 1]);
        assert_eq!(of(LatentFilter { alive: Some(false), ..all }), [2]);
        assert_eq!(of(LatentFilter { mean_layer: [Some(0.5), None], ..all }), [1]);
        assert_eq!(of(LatentFilter { density: [None, Some(0.3)], ..all }), [0, 2]);
        assert_eq!(table.list((SortKey::Latent, true), all, |latent| latent != 1), [2, 0]);
    }
}
