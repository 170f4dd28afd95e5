//! Which rows a regression is fitted on, and which judge it.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::linear_map::{LinearMap, LinearScore};
use super::moments::Moments;
use crate::random::Rng;
use crate::{Error, Result};

/// Which rows a regression is fitted on, and which judge it.
///
/// By context where there are contexts: tokens of one context are alike, so that a map which has seen
/// half of them knows something of the others.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::Split;
/// # fn main() -> Result<()> {
/// let x = Rng::seed(0).normal((60, 2), &Device::Cpu)?;
/// let y = (x.sum_keepdim(1)? + 1.0)?;
/// let contexts: Vec<u32> = (0..60).map(|row| row / 6).collect();
/// let (maps, score) = Split::Folds(5).regress(&x, &y, &contexts, true, 0)?;
/// assert_eq!(maps.len(), 5);
/// assert!(score.r_squared > 1.0 - 1e-9);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// So many parts of the contexts, each judged by a map of the others.
    Folds(usize),
    /// Half of the contexts are fitted, the other half judges.
    Halves,
    /// Rows by number, whatever their context.
    Rows {
        /// Rows to fit on.
        fit: Vec<u32>,
        /// Rows that judge, none of them among the others.
        judge: Vec<u32>,
    },
}

impl Split {
    /// Regresses y `[n, m]` on x `[n, d]`, with the context of each row: a map for each fold or one in
    /// all, and how well they predict rows that they have not seen. Contexts are drawn with `seed`.
    ///
    /// # Errors
    /// As [`Moments::fit`] and [`Moments::score`]; [`Error::Shape`] unless every row has a context;
    /// [`Error::Invalid`] for fewer contexts than parts, and for rows that there are not or that both
    /// fit and judge.
    pub fn regress(
        &self,
        x: &Tensor,
        y: &Tensor,
        contexts: &[u32],
        intercept: bool,
        seed: u64,
    ) -> Result<(Vec<LinearMap>, LinearScore)> {
        let [rows, width] = *x.dims() else {
            return Err(Error::shape("the inputs", "[n, d]", x.dims()));
        };
        let [_, targets] = *y.dims() else {
            return Err(Error::shape("the targets", "[n, m]", y.dims()));
        };
        if contexts.len() != rows {
            let expected = format!("{rows} contexts, one a row");
            return Err(Error::shape("the contexts", expected, contexts.len()));
        }
        let groups = match self {
            Self::Folds(folds) => ContextFolds::new(contexts, *folds, seed)?.groups(contexts)?,
            Self::Halves => ContextFolds::new(contexts, 2, seed)?.groups(contexts)?,
            Self::Rows { fit, judge } => {
                check_rows(fit, judge, rows)?;
                vec![fit.clone(), judge.clone()]
            }
        };
        let mut moments = Moments::new(width, targets, groups.len())?;
        for (fold, rows) in groups.iter().enumerate() {
            moments.add(fold, &rows_at(x, rows)?, &rows_at(y, rows)?)?;
        }
        match self {
            Self::Folds(_) => moments.cross_fitted(intercept),
            Self::Halves | Self::Rows { .. } => {
                let map = moments.fit(&[0], intercept)?;
                let score = moments.score(&map, &[1])?;
                Ok((vec![map], score))
            }
        }
    }
}

fn check_rows(fit: &[u32], judge: &[u32], rows: usize) -> Result<()> {
    let mut is_fitted = vec![false; rows];
    for &row in fit.iter().chain(judge) {
        if row as usize >= rows {
            return Err(Error::invalid("a row of the split", format!("below {rows}"), row));
        }
    }
    fit.iter().for_each(|&row| is_fitted[row as usize] = true);
    match judge.iter().find(|&&row| is_fitted[row as usize]) {
        Some(row) => {
            Err(Error::invalid("`judge`", "without the rows of `fit`", format!("row {row}")))
        }
        None => Ok(()),
    }
}

/// The rows of a tensor at some numbers, in their order.
pub(super) fn rows_at(tensor: &Tensor, rows: &[u32]) -> Result<Tensor> {
    Ok(tensor.contiguous()?.index_select(&Tensor::new(rows, tensor.device())?, 0)?)
}

/// The fold of each context: a seeded shuffle deals them out, so that folds differ by one context at
/// most.
#[derive(Debug, Clone)]
pub(super) struct ContextFolds {
    folds: usize,
    of_context: BTreeMap<u32, usize>,
}

impl ContextFolds {
    /// Of the contexts of some rows, which may repeat.
    pub(super) fn new(contexts: &[u32], folds: usize, seed: u64) -> Result<Self> {
        if folds < 2 {
            return Err(Error::invalid("`folds`", "at least 2", folds));
        }
        let mut all = contexts.to_vec();
        all.sort_unstable();
        all.dedup();
        if all.len() < folds {
            let expected = format!("at least {folds}, the number of folds");
            return Err(Error::invalid("the number of contexts", expected, all.len()));
        }
        let order = Rng::seed(seed).permutation(all.len());
        let dealt = order.into_iter().enumerate();
        let of_context = dealt.map(|(i, place)| (all[place as usize], i % folds)).collect();
        Ok(Self { folds, of_context })
    }

    /// None for a context that was not among the rows.
    pub(super) fn fold_of(&self, context: u32) -> Option<usize> {
        self.of_context.get(&context).copied()
    }

    /// Numbers of the rows of each fold, ascending.
    pub(super) fn groups(&self, contexts: &[u32]) -> Result<Vec<Vec<u32>>> {
        let mut groups = vec![Vec::new(); self.folds];
        for (row, &context) in contexts.iter().enumerate() {
            let fold = self.fold_of(context).ok_or_else(|| unknown(context))?;
            groups[fold].push(row as u32);
        }
        Ok(groups)
    }
}

/// The error for a context that no fold has.
pub(super) fn unknown(context: u32) -> Error {
    Error::NotFound {
        what: format!("the context {context}"),
        hint: "It was not among the rows of the fit; the map of all rows goes for other texts."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn example() -> (Tensor, Tensor, Vec<u32>) {
        let mut rng = Rng::seed(0);
        let x = rng.normal((300, 3), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let noise = rng.normal((300, 1), &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let y = (x.sum_keepdim(1).unwrap() + noise).unwrap();
        (x, y, (0..300).map(|row| row / 10).collect())
    }

    #[test]
    fn contexts_are_dealt_out_whole_and_evenly() {
        let contexts: Vec<u32> = (0..23).flat_map(|context| vec![7 * context; 4]).collect();
        let folds = ContextFolds::new(&contexts, 5, 3).unwrap();
        let groups = folds.groups(&contexts).unwrap();
        let mut sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [16, 16, 20, 20, 20]);
        for (fold, rows) in groups.iter().enumerate() {
            let own = |row: &u32| folds.fold_of(contexts[*row as usize]) == Some(fold);
            assert!(rows.iter().all(own) && rows.is_sorted());
        }
        let other = ContextFolds::new(&contexts, 5, 4).unwrap().groups(&contexts).unwrap();
        assert_ne!(other, groups, "another seed deals otherwise");
        assert_eq!(folds.fold_of(1), None);
        assert!(folds.groups(&[1]).unwrap_err().to_string().contains("the context 1"));
    }

    #[test]
    fn halves_are_rows_of_half_of_the_contexts() {
        let (x, y, contexts) = example();
        let groups = ContextFolds::new(&contexts, 2, 9).unwrap().groups(&contexts).unwrap();
        let [fit, judge] = [groups[0].clone(), groups[1].clone()];
        let (maps, halves) = Split::Halves.regress(&x, &y, &contexts, true, 9).unwrap();
        let (_, rows) = Split::Rows { fit, judge }.regress(&x, &y, &contexts, true, 0).unwrap();
        assert_eq!((maps.len(), maps[0].rows(), &halves), (1, 150, &rows));
        // The variance of the sum is 3, that of the noise 1.
        assert!((halves.r_squared - 0.75).abs() < 0.1, "{halves}");
    }

    #[test]
    fn splits_that_cannot_be_are_refused() {
        let (x, y, contexts) = example();
        let text = |split: Split, contexts: &[u32]| {
            split.regress(&x, &y, contexts, true, 0).unwrap_err().to_string()
        };
        assert!(text(Split::Folds(1), &contexts).contains("`folds`"));
        assert!(text(Split::Folds(31), &contexts).contains("at least 31"));
        assert!(text(Split::Halves, &contexts[1..]).contains("one a row"));
        let rows =
            |fit: &[u32], judge: &[u32]| Split::Rows { fit: fit.into(), judge: judge.into() };
        assert!(text(rows(&[0, 1], &[2, 1]), &contexts).contains("row 1"));
        assert!(text(rows(&[0, 300], &[2]), &contexts).contains("below 300"));
        assert!(text(rows(&[0, 1, 2], &[4, 5]), &contexts).contains("at least 4"));
    }
}
