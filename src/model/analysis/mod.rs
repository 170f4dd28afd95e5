//! What parts of a model do to what it says.

mod attribution;
mod gradient;
mod lens;
mod patch;
mod patch_heads;

use candle_core::Tensor;

use crate::{Error, Result};

pub use attribution::{Attribution, AttributionRow};
pub use gradient::Gradients;
pub use lens::{Lens, LensRow};
pub use patch::Patching;

/// How much more a model says one token than another next: the logit of `toward` less that of
/// `against` at the last position of `logits` `[batch, positions, vocab]`, the mean over the batch.
/// A scalar with gradients.
///
/// # Errors
/// Logits of another rank; tokens that are not in the vocabulary.
pub fn logit_difference(logits: &Tensor, toward: u32, against: u32) -> Result<Tensor> {
    let [_, positions, vocab] = *logits.dims() else {
        return Err(Error::shape("the logits", "[batch, positions, vocab]", logits.dims()));
    };
    let last = logits.narrow(1, positions.saturating_sub(1), 1)?;
    let of = |token: u32| -> Result<Tensor> {
        if token as usize >= vocab {
            let expected = format!("below {vocab}, the vocabulary");
            return Err(Error::invalid("the token", expected, token));
        }
        Ok(last.narrow(2, token as usize, 1)?)
    };
    Ok((of(toward)? - of(against)?)?.mean_all()?)
}

/// The number that a metric gave.
fn scalar(metric: &Tensor) -> Result<f64> {
    if metric.elem_count() != 1 {
        return Err(Error::shape("the metric", "one number", metric.dims()));
    }
    let metric = metric.to_dtype(candle_core::DType::F64)?.flatten_all()?;
    Ok(metric.to_vec1::<f64>()?[0])
}
