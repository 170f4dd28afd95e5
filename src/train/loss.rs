//! Losses and accuracy.

use std::any::Any;
use std::sync::{Mutex, PoisonError};

use candle_core::{D, DType, Shape, Tensor};
use rayon::prelude::*;

use crate::linalg::{
    Kernel, Real, can_fuse, exponentials, fused, softmax_parts, vectorised, with_values,
};
use crate::{Error, Result};

/// Mean cross-entropy `−log softmax(logits)[label]`, in nats: a scalar with a gradient, for
/// `logits` `[n, classes]` and integer `labels` `[n]`.
///
/// # Errors
/// Shapes that do not match, or a label that is not below `classes`.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    check(logits, labels)?;
    if can_fuse(logits) {
        let labels = labels.to_dtype(DType::U32)?.to_vec1()?;
        let tracked = logits.track_op();
        return fused(logits, CrossEntropy { labels, tracked, gradient: Mutex::new(None) });
    }
    // The subtracted maximum only guards against overflow: it takes no part in the gradient.
    let shifted = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?;
    let log_sum = shifted.exp()?.sum(D::Minus1)?.log()?;
    let own = shifted.gather(&labels.to_dtype(DType::U32)?.unsqueeze(1)?, 1)?.squeeze(1)?;
    Ok((log_sum - own)?.mean_all()?)
}

vectorised! {
    fn scale_all<T: Real>(row: &mut [T], factor: T) {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// `−ln q(next)` for q of a row of logits, in f64, with `[Σ w, ln Σ exp(logit)]`. `weights`, as many, become
/// w: `exp(logit − the largest)`.
pub(crate) fn row_loss(logits: &[f32], next: u32, weights: &mut [f32]) -> (f64, [f64; 2]) {
    weights.copy_from_slice(logits);
    let sums = exponentials(weights);
    (sums[1] - f64::from(logits[next as usize]), sums)
}

/// [`row_loss`] of each row of `logits` `[…, vocab]`, f32 on the CPU, with as many next tokens.
pub(crate) fn loss_of_each_row(logits: &Tensor, next: &[u32]) -> Result<Vec<f64>> {
    let vocab = logits.dim(D::Minus1)?;
    with_values(logits, |logits| {
        let rows = logits.par_chunks(vocab).zip(next);
        let scratch = || vec![0f32; vocab];
        rows.map_init(scratch, |scratch, (logits, next)| row_loss(logits, *next, scratch).0)
            .collect()
    })
}

/// Replaces a row of logits by `exp(x − m)`, m the largest; returns the loss at `label` and the sum.
fn exponentials_and_loss<T: Real>(row: &mut [T], label: usize) -> (T, f64) {
    let own = row[label];
    let (most, sum) = softmax_parts(row);
    (sum, sum.to_f64().ln() - (own - most).to_f64())
}

/// [`cross_entropy`] in one pass over the logits, which leaves its gradient behind if one is asked
/// for.
struct CrossEntropy {
    labels: Vec<u32>,
    tracked: bool,
    /// `(softmax − onehot)/n`, a `Vec` of the logits' type, from forward to backward.
    gradient: Mutex<Option<Box<dyn Any + Send>>>,
}

impl CrossEntropy {
    fn loss<T: Real>(&self, logits: &[T], dims: &[usize]) -> T {
        let rows = logits.par_chunks(classes(dims)).zip(&self.labels);
        let losses = rows.map_init(Vec::<T>::new, |scratch, (logits, label)| {
            scratch.clear();
            scratch.extend_from_slice(logits);
            exponentials_and_loss(scratch, *label as usize).1
        });
        mean(&losses.collect::<Vec<f64>>())
    }

    fn loss_and_gradient<T: Real>(&self, logits: &[T], dims: &[usize]) -> (T, Vec<T>) {
        let classes = classes(dims);
        let n = T::from_f64(self.labels.len() as f64);
        let mut gradient = vec![T::zero(); logits.len()];
        let rows = gradient.par_chunks_mut(classes).zip(logits.par_chunks(classes));
        let losses = rows.zip(&self.labels).map(|((row, logits), label)| {
            let label = *label as usize;
            row.copy_from_slice(logits);
            let (sum, loss) = exponentials_and_loss(row, label);
            scale_all(row, T::one() / (sum * n));
            row[label] -= T::one() / n;
            loss
        });
        (mean(&losses.collect::<Vec<f64>>()), gradient)
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.gradient.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn classes(dims: &[usize]) -> usize {
    dims.last().copied().unwrap_or(1)
}

fn mean<T: Real>(losses: &[f64]) -> T {
    T::from_f64(losses.iter().sum::<f64>() / losses.len() as f64)
}

impl Kernel for CrossEntropy {
    const NAME: &'static str = "cross_entropy";

    fn shape(&self, _: &[usize]) -> Shape {
        Shape::from(())
    }

    fn forward<T: Real>(&self, logits: &[T], dims: &[usize]) -> Vec<T> {
        if !self.tracked {
            return vec![self.loss(logits, dims)];
        }
        let (loss, gradient) = self.loss_and_gradient(logits, dims);
        *self.kept() = Some(Box::new(gradient));
        vec![loss]
    }

    fn backward<T: Real>(&self, logits: &[T], grad: &[T], dims: &[usize]) -> Vec<T> {
        let kept = self.kept().take().and_then(|kept| kept.downcast::<Vec<T>>().ok());
        let mut gradient = match kept {
            Some(kept) => *kept,
            // A second backward pass of the same graph.
            None => self.loss_and_gradient(logits, dims).1,
        };
        if grad[0] != T::one() {
            gradient.par_iter_mut().for_each(|entry| *entry *= grad[0]);
        }
        gradient
    }
}

/// The share of rows whose largest logit is their label's, in `[0, 1]`.
///
/// # Errors
/// As [`cross_entropy`].
pub fn accuracy(logits: &Tensor, labels: &Tensor) -> Result<f64> {
    check(logits, labels)?;
    let right = logits.argmax(D::Minus1)?.eq(&labels.to_dtype(DType::U32)?)?;
    Ok(right.to_dtype(DType::F64)?.mean_all()?.to_scalar::<f64>()?)
}

/// Mean of `(y − target)²` over all entries: a scalar with a gradient.
///
/// # Errors
/// Shapes that differ.
pub fn mean_squared_error(y: &Tensor, target: &Tensor) -> Result<Tensor> {
    if y.dims() != target.dims() {
        return Err(Error::shape("the target", format!("{:?}", y.dims()), target.dims()));
    }
    Ok((y - target)?.sqr()?.mean_all()?)
}

fn check(logits: &Tensor, labels: &Tensor) -> Result<()> {
    match (logits.dims(), labels.dims()) {
        ([n, _], [labels]) if n == labels && *n > 0 => {}
        ([n, _], _) if *n > 0 => {
            return Err(Error::shape("labels", format!("[{n}], one a row"), labels.dims()));
        }
        _ => return Err(Error::shape("logits", "[n, classes] with n ≥ 1", logits.dims())),
    }
    check_labels(labels, logits.dim(1)?)
}

/// Fails unless `labels` are integers below `classes`.
pub(crate) fn check_labels(labels: &Tensor, classes: usize) -> Result<()> {
    if !labels.dtype().is_int() {
        let found = labels.dtype().as_str();
        return Err(Error::invalid("the dtype of labels", "an integer type, as u32", found));
    }
    let largest = labels.to_dtype(DType::I64)?.max_all()?.to_scalar::<i64>()?;
    let smallest = labels.to_dtype(DType::I64)?.min_all()?.to_scalar::<i64>()?;
    for label in [largest, smallest] {
        if !(0..classes as i64).contains(&label) {
            return Err(Error::invalid("labels", format!("below {classes} classes"), label));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::Rng;
    use crate::train::tests::assert_gradients;

    #[test]
    fn cross_entropy_by_hand_and_without_overflow() {
        let logits = Tensor::new(&[[0f64, 0.], [1000., 0.]], &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1u32, 0], &Device::Cpu).unwrap();
        let loss: f64 = cross_entropy(&logits, &labels).unwrap().to_scalar().unwrap();
        assert!((loss - 0.5 * 2f64.ln()).abs() < 1e-12);
        assert_eq!(accuracy(&logits, &labels).unwrap(), 0.5);
    }

    #[test]
    fn a_loss_without_a_gradient_is_the_same() {
        let logits = Rng::seed(1).normal((7, 50), &Device::Cpu).unwrap();
        let labels = Tensor::arange(0u32, 7, &Device::Cpu).unwrap();
        for dtype in [DType::F32, DType::F64] {
            let logits = (logits.to_dtype(dtype).unwrap() * 9.0).unwrap();
            let tracked = Var::from_tensor(&logits).unwrap();
            let loss = |logits: &Tensor| {
                let loss = cross_entropy(logits, &labels).unwrap().to_dtype(DType::F64).unwrap();
                loss.to_scalar::<f64>().unwrap()
            };
            assert_eq!(loss(&logits), loss(tracked.as_tensor()));
            let wide = logits.to_dtype(DType::F64).unwrap();
            let expected = candle_nn::ops::log_softmax(&wide, 1).unwrap();
            let expected: Vec<Vec<f64>> = expected.to_vec2().unwrap();
            let own: Vec<f64> = (0..7).map(|row| -expected[row][row]).collect();
            assert!((loss(&logits) - own.iter().sum::<f64>() / 7.0).abs() < 1e-5);
            if dtype == DType::F32 {
                let found = loss_of_each_row(&logits, &[0, 1, 2, 3, 4, 5, 6]).unwrap();
                let gaps = found.iter().zip(&own).map(|(found, own)| (found - own).abs());
                assert!(gaps.fold(0.0, f64::max) < 1e-5);
            }
        }
    }

    #[test]
    fn its_gradient_is_that_of_finite_differences() {
        let logits = Var::new(&[[0.3f64, -1., 2.], [0.5, 0.5, -0.2]], &Device::Cpu).unwrap();
        let labels = Tensor::new(&[2u32, 1], &Device::Cpu).unwrap();
        let vars = [logits.clone()];
        assert_gradients(&vars, || cross_entropy(&logits, &labels));
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let logits = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let message = |labels: Tensor| cross_entropy(&logits, &labels).unwrap_err().to_string();
        assert!(message(Tensor::new(&[0u32], &Device::Cpu).unwrap()).contains("[2], one a row"));
        assert!(message(Tensor::new(&[0u32, 3], &Device::Cpu).unwrap()).contains("below 3"));
        assert!(message(Tensor::new(&[0i64, -1], &Device::Cpu).unwrap()).contains("-1"));
        assert!(message(Tensor::new(&[0f32, 1.], &Device::Cpu).unwrap()).contains("integer"));
        assert!(mean_squared_error(&logits, &logits.t().unwrap()).is_err());
    }
}
