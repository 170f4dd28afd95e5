//! Activations that an autoencoder reconstructs as they are, and with features taken away.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::Result;
use crate::sae::{Codes, Sae};
use crate::sae_error::sae_info::SaeInfo;

/// What an autoencoder makes of activations, in place of them.
pub(super) struct Reconstructed {
    /// x, `[rows, d]`, f32.
    pub(super) x: Tensor,
    sae: Sae,
    /// Codes of consecutive blocks of rows.
    codes: Vec<Codes>,
    /// For each feature its rank by mean size of its activation, from 0 for the least.
    ranks: Vec<usize>,
}

impl Reconstructed {
    /// Of the first `rows` activations of `info`. They are encoded anew, because codes of some
    /// autoencoders hold what undoes the normalisation of their rows.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub(super) fn of(info: &SaeInfo, rows: usize) -> Result<Self> {
        let sae = info.sae().clone();
        let (mut codes, mut sizes) = (Vec::new(), vec![0.0; sae.features()]);
        info.rows().for_each_block(&mut |block| {
            let own = block.range()?;
            if own.start >= rows {
                return Ok(());
            }
            let count = own.end.min(rows) - own.start;
            let block = sae.encode(&block.activations.narrow(0, 0, count)?)?;
            for row in 0..block.rows() {
                block.row(row).for_each(|(feature, value)| {
                    sizes[feature as usize] += f64::from(value).abs();
                });
            }
            codes.push(block);
            Ok(())
        })?;
        let x = decoded(&sae, &codes)?;
        Ok(Self { x, sae, codes, ranks: ranks(&sizes) })
    }

    /// Reconstructions without the share `share` of the features, those of the least mean activation,
    /// `[rows, d]`.
    ///
    /// # Errors
    /// As [`Sae::decode`].
    pub(super) fn without(&self, share: f64) -> Result<Tensor> {
        let taken = (share * self.ranks.len() as f64).floor() as usize;
        let left =
            |feature: u32, value: f32| (self.ranks[feature as usize] >= taken).then_some(value);
        let codes: Vec<Codes> = self.codes.iter().map(|codes| codes.map(left)).collect();
        decoded(&self.sae, &codes)
    }
}

fn decoded(sae: &Sae, codes: &[Codes]) -> Result<Tensor> {
    let blocks = codes.iter().map(|codes| sae.decode(codes)).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::cat(&blocks, 0)?.to_dtype(DType::F32)?)
}

/// The rank of each of `sizes`, from 0 for the least; of equal ones the first has the lower.
fn ranks(sizes: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by(|a, b| sizes[*a].total_cmp(&sizes[*b]));
    let mut ranks = vec![0; sizes.len()];
    order.iter().enumerate().for_each(|(rank, feature)| ranks[*feature] = rank);
    ranks
}

/// The numbers of the rows of each fold: contexts take turns.
pub(super) fn fold_rows(contexts: &[u32], folds: usize) -> Vec<Vec<u32>> {
    let mut fold_of: BTreeMap<u32, usize> = BTreeMap::new();
    let mut rows = vec![Vec::new(); folds];
    for (row, context) in (0..).zip(contexts) {
        let next = fold_of.len() % folds;
        rows[*fold_of.entry(*context).or_insert(next)].push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_features_go_first() {
        assert_eq!(ranks(&[3.0, 0.0, 1.0, 0.0]), [3, 0, 2, 1]);
    }

    #[test]
    fn contexts_take_turns_and_stay_whole() {
        assert_eq!(fold_rows(&[4, 4, 7, 9, 9], 2), [vec![0, 1, 3, 4], vec![2]]);
    }
}
