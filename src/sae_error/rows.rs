//! Activations and what an autoencoder makes of them, read in blocks.

use candle_core::{DType, Tensor};

use crate::check::check_finite;
use crate::model::Decoder;
use crate::sae::Sae;
use crate::{Error, Result};

/// Rows of a block of [`TensorRows`].
const ROWS_PER_BLOCK: usize = 4096;

/// Activations and what an autoencoder makes of them, read in blocks.
///
/// It is a trait because there are three ways to have them: in memory ([`TensorRows`]), in files, and
/// computed by the model each time. What reads them goes through them in order, more than once, and
/// holds one block at a time.
pub trait ErrorRows: Send + Sync {
    /// The width of an activation, d.
    fn width(&self) -> usize;

    /// The number of rows, n.
    fn rows(&self) -> usize;

    /// The context of each row, ascending.
    fn contexts(&self) -> &[u32];

    /// Calls `visit` with block after block, from the first row to the last.
    ///
    /// # Errors
    /// What `visit` returns, at once; what reading fails with.
    fn for_each_block(&self, visit: &mut dyn FnMut(ErrorBlock) -> Result<()>) -> Result<()>;

    /// The model and the autoencoder that the rows are of; none if they are not known, which is the
    /// default.
    fn origin(&self) -> Option<ErrorOrigin> {
        None
    }
}

/// The model and the autoencoder whose errors are looked at.
#[derive(Debug, Clone)]
pub struct ErrorOrigin {
    /// The model.
    pub model: Decoder,
    /// The autoencoder, which knows its hook point.
    pub sae: Sae,
}

/// Some rows that follow each other.
#[derive(Debug, Clone)]
pub struct ErrorBlock {
    /// Number of its first row.
    pub start: usize,
    /// Activations x, `[n, d]`.
    pub activations: Tensor,
    /// Reconstructions x̂, `[n, d]`.
    pub reconstructions: Tensor,
}

impl ErrorBlock {
    /// Errors `e = x − x̂`, `[n, d]`, in the type of the activations.
    ///
    /// # Errors
    /// [`Error::Tensor`] for tensors of different shapes.
    pub fn errors(&self) -> Result<Tensor> {
        Ok((&self.activations - &self.reconstructions.to_dtype(self.activations.dtype())?)?)
    }

    /// The numbers of its rows among all.
    ///
    /// # Errors
    /// [`Error::Tensor`] for activations that are no matrix.
    pub(super) fn range(&self) -> Result<std::ops::Range<usize>> {
        Ok(self.start..self.start + self.activations.dims2()?.0)
    }
}

/// [`ErrorRows`] in memory, in blocks of 4096 rows.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae_error::{ErrorRows, TensorRows};
/// # fn main() -> Result<()> {
/// let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu)?;
/// let rows = TensorRows::new(x.clone(), (x * 0.5)?, vec![0, 0])?;
/// rows.for_each_block(&mut |block| {
///     assert_eq!(block.errors()?.to_vec2::<f32>()?, [[0.5, 1.0], [1.5, 2.0]]);
///     Ok(())
/// })?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TensorRows {
    activations: Tensor,
    reconstructions: Tensor,
    contexts: Vec<u32>,
}

impl TensorRows {
    /// Of activations and reconstructions `[n, d]` and the context of each row. Both become f64 if one
    /// of them is, and f32 otherwise.
    ///
    /// # Errors
    /// [`Error::Shape`] unless both have one shape and every row has a context, or if there are no
    /// rows; [`Error::NonFinite`] for NaN; [`Error::Invalid`] for contexts that do not ascend.
    pub fn new(activations: Tensor, reconstructions: Tensor, contexts: Vec<u32>) -> Result<Self> {
        let (rows, width) = match *activations.dims() {
            [rows, width] if rows > 0 && width > 0 => (rows, width),
            _ => {
                let expected = "[n, d], none of them 0";
                return Err(Error::shape("the activations", expected, activations.dims()));
            }
        };
        if reconstructions.dims() != [rows, width] {
            let expected = format!("[{rows}, {width}], as the activations");
            return Err(Error::shape("the reconstructions", expected, reconstructions.dims()));
        }
        if contexts.len() != rows {
            let expected = format!("{rows} contexts, one a row");
            return Err(Error::shape("the contexts", expected, contexts.len()));
        }
        if let Some(row) = contexts.windows(2).position(|pair| pair[0] > pair[1]) {
            let found = format!("{} after {} at row {}", contexts[row + 1], contexts[row], row + 1);
            return Err(Error::invalid("the contexts", "ascending from row to row", found));
        }
        check_finite("the activations", &activations)?;
        check_finite("the reconstructions", &reconstructions)?;
        let is_double = [&activations, &reconstructions].iter().any(|x| x.dtype() == DType::F64);
        let dtype = if is_double { DType::F64 } else { DType::F32 };
        let activations = activations.to_dtype(dtype)?.contiguous()?;
        let reconstructions = reconstructions.to_dtype(dtype)?.contiguous()?;
        Ok(Self { activations, reconstructions, contexts })
    }
}

impl ErrorRows for TensorRows {
    fn width(&self) -> usize {
        self.activations.dims()[1]
    }

    fn rows(&self) -> usize {
        self.contexts.len()
    }

    fn contexts(&self) -> &[u32] {
        &self.contexts
    }

    fn for_each_block(&self, visit: &mut dyn FnMut(ErrorBlock) -> Result<()>) -> Result<()> {
        for start in (0..self.rows()).step_by(ROWS_PER_BLOCK) {
            let count = ROWS_PER_BLOCK.min(self.rows() - start);
            visit(ErrorBlock {
                start,
                activations: self.activations.narrow(0, start, count)?,
                reconstructions: self.reconstructions.narrow(0, start, count)?,
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn blocks_are_the_rows_in_order() {
        let rows = 2 * ROWS_PER_BLOCK + 3;
        let x = Rng::seed(1).normal((rows, 2), &Device::Cpu).unwrap();
        let half = (&x * 0.5).unwrap();
        let contexts: Vec<u32> = (0..rows as u32).map(|row| row / 7).collect();
        let all = TensorRows::new(x.clone(), half.to_dtype(DType::F64).unwrap(), contexts).unwrap();
        let (mut next, mut errors) = (0, Vec::new());
        all.for_each_block(&mut |block| {
            assert_eq!(block.range()?, next..next + block.activations.dims()[0]);
            next = block.range()?.end;
            errors.push(block.errors()?);
            Ok(())
        })
        .unwrap();
        assert_eq!((next, errors.len(), all.rows(), all.width()), (rows, 3, rows, 2));
        let errors: Vec<Vec<f64>> = Tensor::cat(&errors, 0).unwrap().to_vec2().unwrap();
        let expected: Vec<Vec<f64>> = half.to_dtype(DType::F64).unwrap().to_vec2().unwrap();
        assert_eq!(errors, expected, "half of x is exact");
    }

    #[test]
    fn an_error_of_a_visit_ends_the_reading() {
        let x = Tensor::zeros((ROWS_PER_BLOCK + 1, 1), DType::F32, &Device::Cpu).unwrap();
        let rows = TensorRows::new(x.clone(), x, vec![0; ROWS_PER_BLOCK + 1]).unwrap();
        let mut visits = 0;
        let result = rows.for_each_block(&mut |_| {
            visits += 1;
            Err(Error::invalid("a", "b", "c"))
        });
        assert!(result.is_err() && visits == 1 && rows.origin().is_none());
    }

    #[test]
    fn rows_that_do_not_fit_together_are_refused() {
        let x = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let nan = Tensor::new(&[[1f32, f32::NAN], [3.0, 4.0]], &Device::Cpu).unwrap();
        let text = |x: &Tensor, y: &Tensor, contexts: &[u32]| {
            TensorRows::new(x.clone(), y.clone(), contexts.to_vec()).unwrap_err().to_string()
        };
        assert!(text(&x.flatten_all().unwrap(), &x, &[0, 0]).contains("[n, d]"));
        assert!(text(&x, &x.t().unwrap().narrow(0, 0, 1).unwrap(), &[0, 0]).contains("[2, 2]"));
        assert!(text(&x, &x, &[0]).contains("one a row"));
        assert!(text(&x, &x, &[1, 0]).contains("0 after 1 at row 1"));
        assert!(text(&nan, &x, &[0, 0]).contains("the activations holds NaN"));
        assert!(text(&x, &nan, &[0, 0]).contains("the reconstructions holds NaN"));
    }
}
