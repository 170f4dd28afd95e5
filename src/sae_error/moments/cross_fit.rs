//! A map for each fold from the other folds.

use std::ops::Range;

use super::Moments;
use crate::progress::safe_point;
use crate::sae_error::linear_map::{LinearMap, LinearScore};
use crate::{Error, Result};

/// Maps of which each was fitted on all folds but one, and what they leave in the fold that they have
/// not seen.
#[derive(Debug, Clone)]
pub(in crate::sae_error) struct CrossFit {
    /// Map i has not seen fold i.
    pub(in crate::sae_error) maps: Vec<LinearMap>,
    /// The map of all folds.
    pub(in crate::sae_error) all: LinearMap,
    /// Squares that are left in each target.
    rss: Vec<f64>,
    /// Squares of each target about the mean of all rows.
    tss: Vec<f64>,
}

impl CrossFit {
    pub(in crate::sae_error) fn new(moments: &Moments, intercept: bool) -> Result<Self> {
        let folds: Vec<usize> = (0..moments.folds.len()).collect();
        let with_rows = moments.folds.iter().filter(|fold| fold.rows > 0).count();
        if with_rows < 2 {
            return Err(Error::invalid("the number of folds with rows", "at least 2", with_rows));
        }
        let mut rss = vec![0.0; moments.targets];
        let mut maps = Vec::with_capacity(folds.len());
        for &fold in &folds {
            safe_point("the regression")?;
            let others: Vec<usize> = folds.iter().copied().filter(|&other| other != fold).collect();
            let map = moments.fit(&others, intercept)?;
            if moments.folds[fold].rows > 0 {
                let left = moments.centred(&[fold])?.residuals(&map)?;
                rss.iter_mut().zip(left).for_each(|(sum, left)| *sum += left);
            }
            maps.push(map);
        }
        let sums = moments.centred(&folds)?;
        Ok(Self { maps, all: sums.fit(intercept)?, rss, tss: sums.totals().to_vec() })
    }

    /// How well some of the targets are predicted.
    pub(in crate::sae_error) fn score(&self, targets: Range<usize>) -> Result<LinearScore> {
        let in_sample = self.all.in_sample_of(targets.clone());
        LinearScore::new(&self.rss[targets.clone()], &self.tss[targets], in_sample)
    }

    /// R² of each target held out; none for one that does not vary.
    pub(in crate::sae_error) fn per_target(&self) -> Vec<Option<f64>> {
        let pairs = self.rss.iter().zip(&self.tss);
        pairs.map(|(rss, tss)| (*tss > 0.0).then(|| 1.0 - rss / tss)).collect()
    }
}
