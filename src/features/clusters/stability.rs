//! How a cluster fares as the settings of the graph change.

use std::fmt;

use rayon::prelude::*;

use super::{Clusters, GraphOptions};
use crate::display::{ShownColumn, ShownTable};
use crate::features::neighbours::Neighbours;
use crate::{Error, Result};

/// Numbers of neighbours that the study goes through.
const KS: [usize; 3] = [2, 3, 4];

/// How well a set of features is found again by [`Clusters::graph`] at every cut-off and number of
/// neighbours: the largest Jaccard index over its clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Stability {
    /// The cut-offs, ascending.
    pub cutoffs: Vec<f64>,
    /// The numbers of neighbours.
    pub ks: Vec<usize>,
    /// The largest Jaccard index, a row a cut-off, an entry a number of neighbours.
    pub jaccard: Vec<Vec<f64>>,
}

impl Clusters {
    /// How well `features` are found again by the graph method, at the 21 cut-offs and with the
    /// 2, 3 and 4 neighbours of the study. All 63 graphs are made from one list of neighbours.
    ///
    /// # Errors
    /// As [`Clusters::stability_at`], for lists of fewer than four neighbours too.
    pub fn stability(near: &Neighbours, features: &[usize]) -> Result<Stability> {
        Self::stability_at(near, features, &GraphOptions::studied_cutoffs(), &KS)
    }

    /// [`Clusters::stability`] at other cut-offs and numbers of neighbours.
    ///
    /// # Errors
    /// No features, or one that is not below the number of vectors; no cut-offs or numbers of
    /// neighbours, or such as [`Clusters::graph`] refuses.
    pub fn stability_at(
        near: &Neighbours,
        features: &[usize],
        cutoffs: &[f64],
        ks: &[usize],
    ) -> Result<Stability> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        if let Some(far) = features.iter().find(|feature| **feature >= near.len()) {
            return Err(Error::invalid("a feature", format!("below {}", near.len()), far));
        }
        if cutoffs.is_empty() || ks.is_empty() {
            let found = format!("{} cut-offs, {} `k`s", cutoffs.len(), ks.len());
            return Err(Error::invalid("the settings", "at least one of each", found));
        }
        let mut cutoffs = cutoffs.to_vec();
        cutoffs.sort_by(f64::total_cmp);
        let at = |cutoff: f64, k: usize| {
            let clusters = Self::graph(near, &GraphOptions { k, cutoff, prune: None })?;
            Ok(clusters.most_like(features).map_or(0.0, |(_, jaccard)| jaccard))
        };
        let row = |cutoff: &f64| ks.iter().map(|k| at(*cutoff, *k)).collect::<Result<Vec<f64>>>();
        let jaccard = cutoffs.par_iter().map(row).collect::<Result<Vec<_>>>()?;
        Ok(Stability { cutoffs, ks: ks.to_vec(), jaccard })
    }
}

impl Stability {
    /// The largest entry, with its cut-off and number of neighbours; the first of several.
    pub fn best(&self) -> (f64, f64, usize) {
        let mut best = (0.0, self.cutoffs[0], self.ks[0]);
        for (row, cutoff) in self.jaccard.iter().zip(&self.cutoffs) {
            for (jaccard, k) in row.iter().zip(&self.ks) {
                if *jaccard > best.0 {
                    best = (*jaccard, *cutoff, *k);
                }
            }
        }
        best
    }

    fn table(&self) -> ShownTable {
        let ks = self.ks.iter().map(|k| ShownColumn::right(format!("k = {k}")));
        let mut table = ShownTable::new([ShownColumn::right("cut-off")].into_iter().chain(ks))
            .caption("largest Jaccard index over the clusters of each graph");
        for (cutoff, row) in self.cutoffs.iter().zip(&self.jaccard) {
            let cells = row.iter().map(|jaccard| format!("{jaccard:.3}"));
            table.push([format!("{cutoff:.3}")].into_iter().chain(cells));
        }
        table
    }

    /// Shows a table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.table().bundle(self.to_string()).show_as_result();
    }
}

impl fmt::Display for Stability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table().text())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn a_group_is_found_between_its_cosines_and_those_of_others() {
        // Three pairs: 0.95 within, less than 0.4 between.
        let angles = [0.0f32, 0.3, 1.6, 1.9, 3.2, 3.5];
        let rows: Vec<Vec<f32>> = angles.iter().map(|a| vec![a.cos(), a.sin()]).collect();
        let near = Neighbours::of(&Tensor::new(rows, &Device::Cpu).unwrap(), 4).unwrap();
        let found = Clusters::stability(&near, &[2, 3]).unwrap();
        assert_eq!((found.jaccard.len(), found.jaccard[0].len()), (21, 3));
        for (cutoff, row) in found.cutoffs.iter().zip(&found.jaccard) {
            let expected = match cutoff {
                // cos 1.3 = 0.27 joins all.
                cutoff if *cutoff < 0.26 => 1.0 / 3.0,
                cutoff if *cutoff > 0.28 && *cutoff < 0.95 => 1.0,
                cutoff if *cutoff > 0.96 => 0.5,
                _ => continue,
            };
            assert_eq!(row, &[expected; 3], "{cutoff}");
        }
        assert_eq!(found.best().0, 1.0);
        assert!(found.to_string().starts_with("cut-off  k = 2"), "{found}");
        assert!(Clusters::stability(&near, &[6]).unwrap_err().to_string().contains("below 6"));
        assert!(Clusters::stability(&near, &[]).is_err());
        assert!(Clusters::stability_at(&near, &[1], &[], &[2]).is_err());
        assert!(Clusters::stability_at(&near, &[1], &[0.5], &[5]).is_err());
    }
}
