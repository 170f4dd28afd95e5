//! The error of each token, taken apart.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::linear_map::LinearMap;
use super::rows::ErrorBlock;
use super::split::{ContextFolds, rows_at, unknown};
use crate::display::show_as_text;
use crate::{Error, Result};

/// Maps of which each has not seen the contexts of its fold.
#[derive(Debug)]
pub(super) struct CrossMaps {
    pub(super) folds: ContextFolds,
    /// One a fold.
    pub(super) maps: Vec<LinearMap>,
}

/// Errors of a block and their parts, each `[n, d]`, f64.
#[derive(Debug)]
pub(super) struct BlockParts {
    pub(super) activations: Tensor,
    pub(super) errors: Tensor,
    pub(super) linear: Tensor,
    pub(super) nonlinear: Tensor,
}

impl CrossMaps {
    /// The map that has not seen a context.
    pub(super) fn map_for(&self, context: u32) -> Result<&LinearMap> {
        let fold = self.folds.fold_of(context).ok_or_else(|| unknown(context))?;
        Ok(&self.maps[fold])
    }

    /// The linear part of rows x `[n, d]`, each by the map that has not seen its context, `[n, m]`, f64.
    pub(super) fn predict(&self, x: &Tensor, contexts: &[u32]) -> Result<Tensor> {
        let rows = x.dims().first().copied().unwrap_or(0);
        if x.rank() != 2 || rows != contexts.len() {
            let expected = format!("[{}, d], a row per context given", contexts.len());
            return Err(Error::shape("the activations", expected, x.dims()));
        }
        let x = x.to_dtype(DType::F64)?;
        let groups = self.folds.groups(contexts)?;
        let mut places = vec![0u32; rows];
        let mut predicted = Vec::with_capacity(groups.len());
        let mut next = 0;
        for (map, group) in self.maps.iter().zip(&groups) {
            for &row in group {
                places[row as usize] = next;
                next += 1;
            }
            if !group.is_empty() {
                predicted.push(map.apply(&rows_at(&x, group)?)?);
            }
        }
        rows_at(&Tensor::cat(&predicted, 0)?, &places)
    }

    /// Takes the errors of a block apart; `contexts` are those of its rows.
    pub(super) fn parts(&self, block: &ErrorBlock, contexts: &[u32]) -> Result<BlockParts> {
        let activations = block.activations.to_dtype(DType::F64)?;
        let errors = (&activations - block.reconstructions.to_dtype(DType::F64)?)?;
        let linear = self.predict(&activations, contexts)?;
        let nonlinear = (&errors - &linear)?;
        Ok(BlockParts { activations, errors, linear, nonlinear })
    }
}

/// `Σ x²` of each row of x `[n, d]`, in f64.
pub(super) fn row_squares(x: &Tensor) -> Result<Vec<f64>> {
    Ok(x.to_dtype(DType::F64)?.sqr()?.sum(1)?.to_vec1()?)
}

/// The error of each token, taken apart: Euclidean norms of `e`, of its linear part `x A + b` and of the
/// rest `e − x A − b`.
///
/// Each token's map has not seen its context. Made by [`Explained::parts`](super::Explained::parts).
#[derive(Debug, Clone)]
pub struct ErrorParts {
    /// `‖e‖` of each token.
    pub total: Vec<f64>,
    /// Norm of the linear part of each token.
    pub linear: Vec<f64>,
    /// Norm of the nonlinear part of each token.
    pub nonlinear: Vec<f64>,
    pub(super) maps: Arc<CrossMaps>,
}

impl ErrorParts {
    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.total.len()
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.total.is_empty()
    }

    /// The linear part of the errors at activations x `[n, d]`, `[n, d]`, f64; `contexts` are those of
    /// the rows.
    ///
    /// # Errors
    /// [`Error::Shape`] unless every row has a context, or for another width; [`Error::NotFound`] for a
    /// context that was not among the rows of the fit, for which no map was left out.
    pub fn linear(&self, x: &Tensor, contexts: &[u32]) -> Result<Tensor> {
        self.maps.predict(x, contexts)
    }

    /// The nonlinear part of `errors` `[n, d]` at activations x `[n, d]`, `[n, d]`, f64.
    ///
    /// # Errors
    /// As [`ErrorParts::linear`].
    pub fn nonlinear(&self, x: &Tensor, errors: &Tensor, contexts: &[u32]) -> Result<Tensor> {
        let linear = self.linear(x, contexts)?;
        if errors.dims() != linear.dims() {
            let expected = format!("{:?}", linear.dims());
            return Err(Error::shape("the errors", expected, errors.dims()));
        }
        Ok((errors.to_dtype(DType::F64)? - linear)?)
    }
}

show_as_text!(ErrorParts);

impl fmt::Display for ErrorParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        write!(
            f,
            "Errors of {} tokens: mean norm {:.4}, linear part {:.4}, nonlinear part {:.4}",
            self.len(),
            mean(&self.total),
            mean(&self.linear),
            mean(&self.nonlinear)
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::sae_error::moments::Moments;

    /// Maps `x ↦ (fold + 1) x` of so many folds.
    fn maps(contexts: &[u32], folds: usize) -> CrossMaps {
        let map = |fold: usize| {
            let x = Tensor::new(&[[0f64, 0.0], [1.0, 0.0], [0.0, 1.0]], &Device::Cpu).unwrap();
            let mut moments = Moments::new(2, 2, 1).unwrap();
            moments.add(0, &x, &(&x * (fold + 1) as f64).unwrap()).unwrap();
            moments.fit(&[0], true).unwrap()
        };
        let maps = (0..folds).map(map).collect();
        CrossMaps { folds: ContextFolds::new(contexts, folds, 0).unwrap(), maps }
    }

    /// Parts with given norms, whose maps are of no use.
    pub(in crate::sae_error) fn of_norms(
        total: Vec<f64>,
        linear: Vec<f64>,
        nonlinear: Vec<f64>,
    ) -> ErrorParts {
        ErrorParts { total, linear, nonlinear, maps: Arc::new(maps(&[0, 1], 2)) }
    }

    #[test]
    fn each_row_is_predicted_by_the_map_of_its_fold() {
        let contexts = [3, 3, 4, 5, 5, 6, 7];
        let maps = maps(&contexts, 3);
        let x = Tensor::arange(0f32, 14.0, &Device::Cpu).unwrap().reshape((7, 2)).unwrap();
        let found: Vec<Vec<f64>> = maps.predict(&x, &contexts).unwrap().to_vec2().unwrap();
        let x: Vec<Vec<f32>> = x.to_vec2().unwrap();
        for ((found, x), context) in found.iter().zip(&x).zip(contexts) {
            let factor = (maps.folds.fold_of(context).unwrap() + 1) as f64;
            for (found, x) in found.iter().zip(x) {
                assert!((found - factor * f64::from(*x)).abs() < 1e-9);
            }
            let own = maps.map_for(context).unwrap().matrix(&Device::Cpu).unwrap();
            assert!((own.to_vec2::<f64>().unwrap()[0][0] - factor).abs() < 1e-12);
        }
        assert!(maps.map_for(9).unwrap_err().to_string().contains("the context 9"));
    }

    #[test]
    fn parts_add_up_and_bad_rows_are_refused() {
        let parts = of_norms(vec![2.0, 4.0], vec![1.0, 1.0], vec![0.0, 1.0]);
        assert_eq!((parts.len(), parts.is_empty()), (2, false));
        assert!(parts.to_string().contains("mean norm 3.0000"), "{parts}");
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let errors = (&x * 5.0).unwrap();
        let sum = (parts.linear(&x, &[0, 1]).unwrap()
            + parts.nonlinear(&x, &errors, &[0, 1]).unwrap())
        .unwrap();
        let gap = (sum - errors.to_dtype(DType::F64).unwrap()).unwrap().abs().unwrap();
        assert!(gap.max_all().unwrap().to_scalar::<f64>().unwrap() < 1e-9);
        assert!(parts.linear(&x, &[0]).is_err() && parts.linear(&x, &[0, 8]).is_err());
        assert!(parts.nonlinear(&x, &errors.narrow(0, 0, 1).unwrap(), &[0, 1]).is_err());
        assert_eq!(row_squares(&x).unwrap(), [5.0, 25.0]);
    }
}
