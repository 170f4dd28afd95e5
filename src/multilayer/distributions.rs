//! How the activations of each latent are distributed over layers.

use std::fmt;

use candle_core::{Device, Tensor};

use super::codes::{LayerCodes, check_layers_and_latents};
use super::original::CountedEntries;
use crate::display::show_as_text;
use crate::text::thousands;
use crate::{Error, Result};

/// For each latent j, how often and how strongly it is active at each layer ℓ = 0 … L − 1, and what
/// follows from that:
///
/// ```text
/// p(ℓ|j) = totals(ℓ,j) / Σ_ℓ totals(ℓ,j)      mean layer  m(j) = Σ_ℓ ℓ p(ℓ|j)
/// variance(j) = Σ_ℓ (ℓ − m(j))² p(ℓ|j)        entropy(j) = −Σ_ℓ p(ℓ|j) ln p(ℓ|j)
/// ```
///
/// A latent that is active at one layer only has variance 0; one that is equally active at all has
/// `(L² − 1)/12`. After Lawson, Farnik, Houghton and Aitchison, "Residual Stream Analysis with
/// Multi-Layer SAEs" (2024).
///
/// Counts are integers and sums are f64, so that parts of a text can be counted apart and
/// [merged](Self::merge), and a long text loses nothing.
///
/// ```
/// use eigenlens::multilayer::{LayerCodes, LayerDistributions};
/// use eigenlens::sae::Codes;
/// # fn main() -> eigenlens::Result<()> {
/// let first = Codes::new(2, [vec![(0, 1.0)], vec![(0, 1.0), (1, 3.0)]])?;
/// let second = Codes::new(2, [vec![(0, 2.0)], vec![]])?;
/// let mut found = LayerDistributions::new(2, 2)?;
/// found.add(&LayerCodes::new([first, second])?)?;
/// assert_eq!(found.mean_layer(), [0.5, 0.0]);
/// assert_eq!(found.variance(), [0.25, 0.0]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LayerDistributions {
    pub(super) layers: usize,
    pub(super) latents: usize,
    counted: CountedEntries,
    /// `[L, n]`, row by row.
    pub(super) counts: Vec<u64>,
    /// `[L, n]`, row by row.
    pub(super) totals: Vec<f64>,
}

impl LayerDistributions {
    /// Of so many layers and latents, before the first activation. Active entries count.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers or no latents.
    pub fn new(layers: usize, latents: usize) -> Result<Self> {
        Self::counting(CountedEntries::default(), layers, latents)
    }

    /// The same, where `counted` says which entries of the codes count.
    ///
    /// # Errors
    /// As [`LayerDistributions::new`].
    pub fn counting(counted: CountedEntries, layers: usize, latents: usize) -> Result<Self> {
        check_layers_and_latents(layers, latents)?;
        let (counts, totals) = (vec![0; layers * latents], vec![0.0; layers * latents]);
        Ok(Self { layers, latents, counted, counts, totals })
    }

    /// From counts and sums `[L, n]`, row by row.
    pub(super) fn from_parts(layers: usize, counts: Vec<u64>, totals: Vec<f64>) -> Self {
        let latents = counts.len() / layers.max(1);
        Self { layers, latents, counted: CountedEntries::default(), counts, totals }
    }

    /// Takes in the codes of a batch.
    ///
    /// # Errors
    /// [`Error::Invalid`] for codes of another number of layers or latents.
    pub fn add(&mut self, codes: &LayerCodes) -> Result<()> {
        codes.check(self.layers, self.latents)?;
        for (layer, codes) in codes.iter().enumerate() {
            let start = layer * self.latents;
            for row in 0..codes.rows() {
                for (latent, value) in codes.row(row) {
                    if self.counted.counts(value) {
                        self.counts[start + latent as usize] += 1;
                        self.totals[start + latent as usize] += f64::from(value);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes in what was counted on another part of the text.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of layers or latents, or if other entries were counted.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        let of = |own: &Self| (own.layers, own.latents, own.counted);
        if of(self) != of(other) {
            let expected = format!("as these: {self}");
            return Err(Error::invalid("the distributions to merge", expected, other));
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.totals.iter_mut().zip(&other.totals).for_each(|(own, other)| *own += other);
        Ok(())
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of latents, n.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// Positions at which each latent is active, by layer: `[L, n]`, i64.
    ///
    /// # Errors
    /// Memory.
    pub fn counts(&self) -> Result<Tensor> {
        let counts: Vec<i64> = self.counts.iter().map(|count| *count as i64).collect();
        Ok(Tensor::from_vec(counts, (self.layers, self.latents), &Device::Cpu)?)
    }

    /// Sums of activations by layer: `[L, n]`, f64.
    ///
    /// # Errors
    /// Memory.
    pub fn totals(&self) -> Result<Tensor> {
        self.matrix(self.totals.clone())
    }

    /// Mean activation where the latent is active, by layer: `[L, n]`, f64; 0 where it never is.
    ///
    /// # Errors
    /// Memory.
    pub fn means(&self) -> Result<Tensor> {
        let both = self.totals.iter().zip(&self.counts);
        self.matrix(both.map(|(total, count)| mean(*total, *count)).collect())
    }

    /// `p(ℓ|j)`: the share of each layer in the latent's sum, `[L, n]`, f64. NaN for latents that
    /// are never active.
    ///
    /// # Errors
    /// Memory.
    pub fn probabilities(&self) -> Result<Tensor> {
        let mut shares = self.totals.clone();
        let sums = self.total();
        for row in shares.chunks_mut(self.latents) {
            row.iter_mut().zip(&sums).for_each(|(share, sum)| *share /= sum);
        }
        self.matrix(shares)
    }

    fn matrix(&self, values: Vec<f64>) -> Result<Tensor> {
        Ok(Tensor::from_vec(values, (self.layers, self.latents), &Device::Cpu)?)
    }

    /// Active pairs of a position and a layer, of each latent.
    pub fn count(&self) -> Vec<u64> {
        let own = |latent| (0..self.layers).map(move |layer| layer * self.latents + latent);
        (0..self.latents).map(|latent| own(latent).map(|at| self.counts[at]).sum()).collect()
    }

    /// Sum of the activations over all layers, of each latent.
    pub fn total(&self) -> Vec<f64> {
        self.by_latent(|totals| totals.iter().sum())
    }

    /// Mean activation over all layers where it is active, of each latent; 0 if it never is.
    pub fn mean(&self) -> Vec<f64> {
        let both = self.total().into_iter().zip(self.count());
        both.map(|(total, count)| mean(total, count)).collect()
    }

    /// The mean layer m(j) of each latent; NaN if it is never active.
    pub fn mean_layer(&self) -> Vec<f64> {
        self.by_latent(mean_layer)
    }

    /// The variance over layers of each latent; NaN if it is never active.
    pub fn variance(&self) -> Vec<f64> {
        self.by_latent(|totals| {
            let (middle, sum) = (mean_layer(totals), totals.iter().sum::<f64>());
            let layers = totals.iter().enumerate();
            layers.map(|(layer, own)| (layer as f64 - middle).powi(2) * own / sum).sum()
        })
    }

    /// The standard deviation over layers of each latent: the root of the variance. NaN if it is
    /// never active, and where the entries of the original make the variance negative.
    pub fn std(&self) -> Vec<f64> {
        self.variance().into_iter().map(f64::sqrt).collect()
    }

    /// The entropy over layers of each latent in nats, 0 to ln L; NaN if it is never active.
    pub fn entropy(&self) -> Vec<f64> {
        self.by_latent(|totals| {
            let sum: f64 = totals.iter().sum();
            let shares = totals.iter().map(|own| own / sum).filter(|share| *share != 0.0);
            shares.fold(0.0, |entropy, share| entropy - share * share.ln())
        })
    }

    /// At how many layers each latent is active at no fewer than `least` positions.
    pub fn layers_with(&self, least: u64) -> Vec<usize> {
        let own = |latent| (0..self.layers).map(move |layer| layer * self.latents + latent);
        let often = |latent| own(latent).filter(|at| self.counts[*at] >= least.max(1)).count();
        (0..self.latents).map(often).collect()
    }

    /// What `of` makes of each latent's sums at the layers.
    pub(super) fn by_latent(&self, of: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        let mut own = vec![0.0; self.layers];
        let latents = 0..self.latents;
        latents
            .map(|latent| {
                let layers = self.totals.chunks(self.latents);
                own.iter_mut().zip(layers).for_each(|(own, layer)| *own = layer[latent]);
                of(&own)
            })
            .collect()
    }
}

fn mean(total: f64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { total / count as f64 }
}

fn mean_layer(totals: &[f64]) -> f64 {
    let sum: f64 = totals.iter().sum();
    // The share first: it is exactly 1 for a latent of a single layer.
    totals.iter().enumerate().map(|(layer, own)| layer as f64 * (own / sum)).sum()
}

show_as_text!(LayerDistributions);

impl fmt::Display for LayerDistributions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, latents) = (self.layers, thousands(self.latents));
        let count = thousands(self.counts.iter().sum::<u64>() as usize);
        write!(f, "{latents} latents over {layers} layers, {count} {} entries", self.counted)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::codes::tests::{dense, random_codes};
    use super::*;

    pub(crate) fn random_distributions() -> LayerDistributions {
        let mut found = LayerDistributions::new(5, 30).unwrap();
        found.add(&random_codes(3, [5, 40, 4, 30])).unwrap();
        found
    }

    #[test]
    fn sums_are_those_of_a_look_at_everything() {
        let codes = random_codes(7, [4, 20, 3, 9]);
        let mut active = LayerDistributions::new(4, 9).unwrap();
        let mut all = LayerDistributions::counting(CountedEntries::Original, 4, 9).unwrap();
        active.add(&codes).unwrap();
        all.add(&codes).unwrap();
        let counts: Vec<Vec<i64>> = active.counts().unwrap().to_vec2().unwrap();
        let totals: Vec<Vec<f64>> = active.totals().unwrap().to_vec2().unwrap();
        let signed: Vec<Vec<f64>> = all.totals().unwrap().to_vec2().unwrap();
        for (layer, rows) in dense(&codes).iter().enumerate() {
            for latent in 0..9 {
                let own = || rows.iter().map(|row| row[latent]);
                let positive: f32 = own().filter(|value| *value > 0.0).sum();
                assert_eq!(counts[layer][latent], own().filter(|v| *v > 0.0).count() as i64);
                assert_eq!(totals[layer][latent], f64::from(positive));
                assert_eq!(signed[layer][latent], f64::from(own().sum::<f32>()));
            }
        }
        assert_eq!(all.count().iter().sum::<u64>(), 4 * 20 * 3, "zeros count there too");
    }

    #[test]
    fn one_layer_and_all_layers_have_closed_forms() {
        let totals = vec![0.0, 2.0, 0.0, 0.0, 2.0, 5.0, 0.0, 2.0, 0.0, 0.0, 2.0, 0.0];
        let counts = totals.iter().map(|total| u64::from(*total > 0.0)).collect();
        let found = LayerDistributions::from_parts(4, counts, totals);
        let same = |found: Vec<f64>, expected: [f64; 3]| {
            let pairs = found.iter().zip(expected);
            assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-15 || a.is_nan() && b.is_nan()));
        };
        same(found.mean_layer(), [f64::NAN, 1.5, 1.0]);
        same(found.variance(), [f64::NAN, 15.0 / 12.0, 0.0]);
        same(found.std(), [f64::NAN, (15f64 / 12.0).sqrt(), 0.0]);
        assert!((found.entropy()[1] - 4f64.ln()).abs() < 1e-15 && found.entropy()[2] == 0.0);
        assert_eq!(found.layers_with(1), [0, 4, 1]);
        assert_eq!(found.layers_with(2), [0, 0, 0]);
        assert_eq!(found.mean(), [0.0, 2.0, 5.0]);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let codes = random_codes(5, [3, 30, 4, 12]);
        let of = |first: usize, end: usize| {
            let mut part = LayerDistributions::new(3, 12).unwrap();
            part.add(&codes.keeping(|row| (first..end).contains(&row)).unwrap()).unwrap();
            part
        };
        let mut parts = of(0, 11);
        parts.merge(&of(11, 30)).unwrap();
        assert_eq!(parts, of(0, 30));
        let other = LayerDistributions::counting(CountedEntries::Original, 3, 12).unwrap();
        assert!(parts.merge(&other).unwrap_err().to_string().contains("as these"));
        assert!(parts.add(&random_codes(0, [2, 1, 1, 12])).is_err());
        assert!(LayerDistributions::new(0, 3).is_err() && LayerDistributions::new(3, 0).is_err());
    }
}
