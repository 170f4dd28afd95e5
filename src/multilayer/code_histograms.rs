//! How large the activations of codes are, layer by layer.

use std::fmt;

use super::codes::LayerCodes;
use super::layer_views::LayerHistogram;
use crate::Result;
use crate::display::show_as_text;
use crate::text::thousands;

/// Activations of codes in bins of equal width from 0 to the largest of all layers.
#[derive(Debug, Clone, PartialEq)]
pub struct CodeHistograms {
    /// Active entries in each bin, `[layer][bin]`: bin i is `[edge i, edge i + 1)`, the last closed.
    pub values: Vec<Vec<u64>>,
    /// Where bins begin, and where the last one ends: one more than there are bins.
    pub edges: Vec<f64>,
    /// The entries of each layer that are not above zero: rows · latents less the active ones.
    pub zeros: Vec<u64>,
}

impl LayerCodes {
    /// Histograms of the active entries at each layer, in `bins` bins that all layers share. If nothing
    /// is active, they end at 1.
    ///
    /// ```
    /// use eigenlens::multilayer::LayerCodes;
    /// use eigenlens::sae::Codes;
    /// # fn main() -> eigenlens::Result<()> {
    /// let first = Codes::new(5, [vec![(0, 1.0), (3, 2.0)]])?;
    /// let second = Codes::new(5, [vec![(3, 0.5)]])?;
    /// let found = LayerCodes::new([first, second])?.histograms(2)?;
    /// assert_eq!(found.edges, [0.0, 1.0, 2.0]);
    /// assert_eq!(found.values, [[0, 2], [1, 0]]);
    /// assert_eq!(found.zeros, [3, 4]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for no bins.
    pub fn histograms(&self, bins: usize) -> Result<CodeHistograms> {
        let layers: Vec<Vec<f64>> = self
            .iter()
            .map(|codes| {
                let entries = (0..codes.rows()).flat_map(|row| codes.row(row));
                entries.map(|(_, value)| f64::from(value)).filter(|value| *value > 0.0).collect()
            })
            .collect();
        let largest = layers.iter().flatten().copied().fold(0.0, f64::max);
        let range = (0.0, if largest > 0.0 { largest } else { 1.0 });
        let all = (self.rows() * self.width()) as u64;
        let zeros = layers.iter().map(|active| all - active.len() as u64).collect();
        let found = layers.iter().map(|active| LayerHistogram::of(active, range, bins));
        let found = found.collect::<Result<Vec<_>>>()?;
        let edges = found[0].edges.clone();
        Ok(CodeHistograms {
            values: found.into_iter().map(|own| own.counts).collect(),
            edges,
            zeros,
        })
    }
}

show_as_text!(CodeHistograms);

impl fmt::Display for CodeHistograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bins = self.edges.len() - 1;
        write!(f, "{bins} bins of activations up to {:.3}", self.edges[bins])?;
        for (layer, (values, zeros)) in self.values.iter().zip(&self.zeros).enumerate() {
            let [active, zeros] =
                [values.iter().sum(), *zeros].map(|own: u64| thousands(own as usize));
            write!(f, "\nlayer {layer}: {active} active, {zeros} zero")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::codes::tests::random_codes;

    #[test]
    fn every_entry_is_in_a_bin_or_zero() {
        let codes = random_codes(2, [3, 9, 4, 11]);
        let found = codes.histograms(7).unwrap();
        for (layer, codes) in codes.iter().enumerate() {
            let active = |row| codes.row(row).filter(|(_, value)| *value > 0.0).count() as u64;
            let active: u64 = (0..9).map(active).sum();
            assert_eq!(found.values[layer].iter().sum::<u64>(), active);
            assert_eq!(found.zeros[layer], 99 - active);
        }
        assert!(found.values.iter().any(|own| own[6] > 0) && found.to_string().contains("7 bins"));
        let none = codes.keeping(|_| false).unwrap().histograms(2).unwrap();
        assert_eq!((none.edges, none.zeros), (vec![0.0, 0.5, 1.0], vec![0; 3]));
        assert!(codes.histograms(0).is_err());
    }
}
