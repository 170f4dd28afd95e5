//! Sparse codes of the same positions at several layers.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use crate::check::{check_all_finite, check_sizes};
use crate::display::show_as_text;
use crate::sae::Codes;
use crate::{Error, Result};

/// Sparse codes of one batch of positions at L layers, by one dictionary of n latents: what every
/// statistic over layers takes in. A cheap handle.
///
/// Layers are numbered by their place here, 0 … L − 1. An entry is *active* if its value is above
/// zero; entries that are zero or negative, such as those of a top-k choice before the ReLU, are
/// kept, and only the formulas of the original count them.
///
/// ```
/// use eigenlens::multilayer::LayerCodes;
/// use eigenlens::sae::Codes;
/// # fn main() -> eigenlens::Result<()> {
/// let first = Codes::new(4, [vec![(0, 1.0), (3, 2.0)]])?;
/// let second = Codes::new(4, [vec![(3, 0.5)]])?;
/// let codes = LayerCodes::new([first, second])?;
/// assert_eq!((codes.layers(), codes.rows(), codes.width()), (2, 1, 4));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct LayerCodes {
    layers: Arc<[Codes]>,
}

/// A value of one latent at a position, with its layer.
pub(super) type LayerValue = (usize, f32);

impl LayerCodes {
    /// Codes of the same rows at each layer, in the order of the layers.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no layers, or if two of them have different rows or widths.
    pub fn new(layers: impl IntoIterator<Item = Codes>) -> Result<Self> {
        let layers: Arc<[Codes]> = layers.into_iter().collect();
        let Some(first) = layers.first() else {
            return Err(Error::invalid("the layers of codes", "at least one", "none"));
        };
        let sizes = |codes: &Codes| (codes.rows(), codes.width());
        if let Some(other) = layers.iter().find(|own| sizes(own) != sizes(first)) {
            let expected = format!("{} rows of {} features", first.rows(), first.width());
            let found = format!("{} rows of {}", other.rows(), other.width());
            return Err(Error::invalid("the codes of every layer", expected, found));
        }
        Ok(Self { layers })
    }

    /// Codes from `values` and `indices` `[L, …, k]` of `width` latents, a row for each of the
    /// positions between.
    ///
    /// # Errors
    /// - [`Error::Shape`] unless both have the same shape with at least three axes.
    /// - [`Error::Invalid`] for an index that is not below `width`, or named twice in a row.
    /// - [`Error::NonFinite`] for NaN.
    pub fn from_entries(values: &Tensor, indices: &Tensor, width: usize) -> Result<Self> {
        if values.rank() < 3 || values.elem_count() == 0 {
            let expected = "[layers, …, k], none of them 0";
            return Err(Error::shape("the values of codes", expected, values.dims()));
        }
        if values.dims() != indices.dims() {
            let expected = format!("{:?}, that of the values", values.dims());
            return Err(Error::shape("the indices of codes", expected, indices.dims()));
        }
        if !indices.dtype().is_int() {
            let found = indices.dtype().as_str();
            return Err(Error::invalid("the dtype of the indices", "an integer type", found));
        }
        let (layers, k) = (values.dim(0)?, values.dim(values.rank() - 1)?);
        let values: Vec<f32> = values.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        check_all_finite("the values of codes", &values)?;
        let indices: Vec<i64> = indices.to_dtype(DType::I64)?.flatten_all()?.to_vec1()?;
        let per_layer = values.len() / layers;
        let all = values.chunks(per_layer).zip(indices.chunks(per_layer));
        let codes = all.map(|(values, indices)| {
            let rows = values.chunks(k).zip(indices.chunks(k));
            let row = |(values, indices): (&[f32], &[i64])| {
                // What is no u32 is beyond every width.
                let feature = |index: &i64| u32::try_from(*index).unwrap_or(u32::MAX);
                indices.iter().map(feature).zip(values.iter().copied()).collect()
            };
            Codes::new(width, rows.map(row))
        });
        Self::new(codes.collect::<Result<Vec<_>>>()?)
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Number of rows: positions.
    pub fn rows(&self) -> usize {
        self.layers[0].rows()
    }

    /// Number of latents, n.
    pub fn width(&self) -> usize {
        self.layers[0].width()
    }

    /// The codes at a layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that is not below L.
    pub fn layer(&self, layer: usize) -> Result<&Codes> {
        self.layers.get(layer).ok_or_else(|| {
            Error::invalid("the layer", format!("below {}", self.layers.len()), layer)
        })
    }

    /// The codes at each layer, in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Codes> {
        self.layers.iter()
    }

    /// The codes of the rows that `is_kept` says yes to: for example of those that are no special
    /// tokens.
    ///
    /// # Errors
    /// None for codes that there are.
    pub fn keeping(&self, is_kept: impl Fn(usize) -> bool) -> Result<Self> {
        let layers = self.layers.iter().map(|codes| {
            let rows = (0..codes.rows()).filter(|row| is_kept(*row));
            Codes::new(codes.width(), rows.map(|row| codes.row(row).collect()))
        });
        Self::new(layers.collect::<Result<Vec<_>>>()?)
    }

    /// Active entries alone: the codes after the ReLU.
    #[must_use]
    pub fn rectified(&self) -> Self {
        let active = |_, value: f32| (value > 0.0).then_some(value);
        Self { layers: self.layers.iter().map(|codes| codes.map(active)).collect() }
    }

    /// Calls `look` with each pair of a row and a latent that has an entry of which `counts` says
    /// yes: with the row, the latent and those entries in the order of layers.
    pub(super) fn for_each_pair(
        &self,
        counts: impl Fn(f32) -> bool,
        mut look: impl FnMut(usize, usize, &[LayerValue]),
    ) {
        let mut entries: Vec<(u32, LayerValue)> = Vec::new();
        let mut values: Vec<LayerValue> = Vec::new();
        for row in 0..self.rows() {
            entries.clear();
            for (layer, codes) in self.layers.iter().enumerate() {
                let own = codes.row(row).filter(|(_, value)| counts(*value));
                entries.extend(own.map(|(latent, value)| (latent, (layer, value))));
            }
            // Stable, so that layers stay in order.
            entries.sort_by_key(|(latent, _)| *latent);
            for pair in entries.chunk_by(|a, b| a.0 == b.0) {
                values.clear();
                values.extend(pair.iter().map(|(_, value)| *value));
                look(row, pair[0].0 as usize, &values);
            }
        }
    }

    /// Returns an error unless these are codes of so many layers and latents.
    pub(super) fn check(&self, layers: usize, latents: usize) -> Result<()> {
        if (self.layers(), self.width()) == (layers, latents) {
            return Ok(());
        }
        let expected = format!("of {layers} layers and {latents} latents, as those before");
        let found = format!("{} layers and {} latents", self.layers(), self.width());
        Err(Error::invalid("the codes", expected, found))
    }
}

/// Returns an error unless there is at least one layer and one latent.
pub(super) fn check_layers_and_latents(layers: usize, latents: usize) -> Result<()> {
    check_sizes(&[("the number of layers", layers), ("the number of latents", latents)])
}

show_as_text!(LayerCodes);

impl fmt::Display for LayerCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, rows, width) = (self.layers(), self.rows(), self.width());
        let active = |codes: &Codes| -> usize {
            (0..rows).map(|row| codes.row(row).filter(|(_, value)| *value > 0.0).count()).sum()
        };
        let active: usize = self.layers.iter().map(active).sum();
        let mean = active as f64 / (rows * layers).max(1) as f64;
        write!(f, "{rows} rows at {layers} layers, {width} latents, {mean:.1} active in each")
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    /// Codes of `rows` rows with `k` entries at each layer, values of both signs and some zeros.
    pub(crate) fn random_codes(seed: u64, [layers, rows, k, n]: [usize; 4]) -> LayerCodes {
        let mut rng = Rng::seed(seed);
        let codes = (0..layers).map(|_| {
            let rows: Vec<Vec<(u32, f32)>> = (0..rows)
                .map(|_| {
                    let chosen = rng.permutation(n).into_iter().take(k);
                    chosen.map(|latent| (latent, (8.0 * rng.unit() - 2.0).floor() / 2.0)).collect()
                })
                .collect();
            Codes::new(n, rows).unwrap()
        });
        LayerCodes::new(codes.collect::<Vec<_>>()).unwrap()
    }

    /// All values, `[layer][row][latent]`, zero where there is no entry.
    pub(crate) fn dense(codes: &LayerCodes) -> Vec<Vec<Vec<f32>>> {
        codes.iter().map(|own| own.to_dense(&Device::Cpu).unwrap().to_vec2().unwrap()).collect()
    }

    #[test]
    fn entries_become_codes_and_pairs_come_in_order() {
        let values = Tensor::new(&[[[2f32, -1.0]], [[0.5, 3.0]]], &Device::Cpu).unwrap();
        let indices = Tensor::new(&[[[3i64, 0]], [[3, 1]]], &Device::Cpu).unwrap();
        let codes = LayerCodes::from_entries(&values, &indices, 4).unwrap();
        let mut pairs = Vec::new();
        codes.for_each_pair(|_| true, |row, latent, own| pairs.push((row, latent, own.to_vec())));
        assert_eq!(
            pairs,
            [(0, 0, vec![(0, -1.0)]), (0, 1, vec![(1, 3.0)]), (0, 3, vec![(0, 2.0), (1, 0.5)])]
        );
        assert_eq!(codes.rectified().layer(0).unwrap().entries(), 1);
        assert!(codes.to_string().contains("1.5 active"), "{codes}");
    }

    #[test]
    fn rows_can_be_left_out() {
        let codes = random_codes(1, [3, 7, 2, 5]);
        let kept = codes.keeping(|row| row % 3 == 0).unwrap();
        assert_eq!(kept.rows(), 3);
        for (own, all) in dense(&kept).iter().zip(dense(&codes)) {
            assert_eq!(own[1], all[3]);
        }
        assert_eq!(codes.keeping(|_| false).unwrap().rows(), 0);
    }

    #[test]
    fn codes_that_do_not_belong_together_are_refused() {
        let of = |width, rows| Codes::new(width, vec![vec![]; rows]).unwrap();
        let message = |layers: Vec<Codes>| LayerCodes::new(layers).unwrap_err().to_string();
        assert!(message(vec![]).contains("at least one"));
        assert!(message(vec![of(3, 2), of(3, 1)]).contains("2 rows of 3 features"));
        assert!(message(vec![of(3, 2), of(4, 2)]).contains("found 2 rows of 4"));
        let values = Tensor::new(&[[[1f32]]], &Device::Cpu).unwrap();
        let index = |index: i64| Tensor::new(&[[[index]]], &Device::Cpu).unwrap();
        for bad in [4, -1] {
            let error = LayerCodes::from_entries(&values, &index(bad), 4).unwrap_err().to_string();
            assert!(error.contains("below 4"), "{error}");
        }
        let nan = Tensor::new(&[[[f32::NAN]]], &Device::Cpu).unwrap();
        assert!(LayerCodes::from_entries(&nan, &index(0), 4).is_err());
        assert!(LayerCodes::from_entries(&nan.squeeze(0).unwrap(), &index(0), 4).is_err());
        assert!(LayerCodes::from_entries(&values, &values, 4).is_err());
        let codes = random_codes(0, [2, 1, 1, 4]);
        assert!(codes.check(2, 4).is_ok() && codes.layer(2).is_err());
        assert!(codes.check(3, 4).unwrap_err().to_string().contains("of 3 layers"));
    }
}
