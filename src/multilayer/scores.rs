//! What a reconstruction is worth at one layer, as sums over the rows of a batch.

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::codes::LayerCodes;
use super::moments::RunningMoments;
use crate::check::check_finite;
use crate::linalg::{exponentials, with_values};
use crate::{Error, Result};

/// One layer of a batch to be evaluated. A row is a position; tensors are on any device.
#[derive(Debug, Clone, Default)]
pub struct EvaluatedLayer {
    /// Activations x, `[…, d]`.
    pub inputs: Option<Tensor>,
    /// Reconstructions x̂, of the same shape.
    pub reconstructions: Option<Tensor>,
    /// Logits of the model as it is, `[…, vocabulary]`.
    pub logits: Option<Tensor>,
    /// Logits with reconstructions in place of this layer's activations, of the same shape.
    pub patched_logits: Option<Tensor>,
    /// Mean loss of the model as it is, in nats a token.
    pub loss: Option<f64>,
    /// Mean loss with reconstructions in place of this layer's activations.
    pub patched_loss: Option<f64>,
    /// What dead latents make of the errors, of the inputs' shape: the original's auxiliary loss
    /// needs it, and no other number does.
    pub auxiliary: Option<Tensor>,
}

/// Sums over the rows of one layer of a batch, from which [`Evaluation`](super::Evaluation) and
/// [`OriginalEvaluation`](super::OriginalEvaluation) compute their numbers.
#[derive(Debug, Clone)]
pub struct LayerScores {
    pub(super) rows: u64,
    pub(super) width: usize,
    /// `Σ‖x − x̂‖²`.
    pub(super) squared_error: f64,
    /// Of each dimension of x.
    pub(super) inputs: RunningMoments,
    /// Of all entries of x, as one series.
    pub(super) entries: RunningMoments,
    /// Σ of the cosines of x and x̂.
    pub(super) cosines: f64,
    pub(super) logits: Option<LogitScores>,
    pub(super) losses: Option<[f64; 2]>,
    /// `Σ(e − aux)²` and `Σ(e − mean_d e)²` with e = x − x̂.
    pub(super) auxiliary: Option<[f64; 2]>,
}

/// Sums over rows of logits.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogitScores {
    pub(super) vocabulary: usize,
    /// `Σ KL(true ‖ patched)`, nats.
    pub(super) kl: f64,
    /// `Σ KL(patched ‖ true)`, nats.
    pub(super) reverse_kl: f64,
    pub(super) squared_error: f64,
}

impl LayerScores {
    /// Of one layer of a batch: inputs and reconstructions at least.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::multilayer::{EvaluatedLayer, LayerScores};
    /// # fn main() -> Result<()> {
    /// let x = Tensor::new(&[[1f32, 0.0], [0.0, 1.0]], &Device::Cpu)?;
    /// let scores = LayerScores::of(&EvaluatedLayer {
    ///     inputs: Some(x.clone()),
    ///     reconstructions: Some((x * 0.5)?),
    ///     ..EvaluatedLayer::default()
    /// })?;
    /// assert_eq!(scores.rows(), 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Error::Invalid`] without inputs or reconstructions, or where one of a pair of logits or
    ///   losses is missing.
    /// - [`Error::Shape`] for shapes that differ.
    /// - [`Error::NonFinite`] for NaN.
    pub fn of(layer: &EvaluatedLayer) -> Result<Self> {
        let both = pair("reconstructions", &layer.inputs, &layer.reconstructions)?;
        let Some((inputs, reconstructions)) = both else {
            return Err(Error::invalid("`inputs`", "there", "none"));
        };
        let (x, width) = rows_of("the inputs", inputs)?;
        let (found, _) = rows_of("the reconstructions", reconstructions)?;
        let logits = pair("patched_logits", &layer.logits, &layer.patched_logits)?;
        let mut scores = Self {
            rows: (x.len() / width) as u64,
            width,
            squared_error: 0.0,
            inputs: RunningMoments::start(width),
            entries: RunningMoments::start(1),
            cosines: 0.0,
            logits: logits.map(|(own, patched)| logit_scores(own, patched)).transpose()?,
            losses: match (layer.loss, layer.patched_loss) {
                (Some(own), Some(patched)) => Some([own, patched]),
                (None, None) => None,
                _ => return Err(Error::invalid("the losses", "both or none", "one")),
            },
            auxiliary: None,
        };
        for (x, found) in x.chunks(width).zip(found.chunks(width)) {
            scores.inputs.take(x);
            x.iter().for_each(|x| scores.entries.take(&[*x]));
            scores.squared_error += x.iter().zip(found).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            scores.cosines += cosine(x, found);
        }
        if let Some(auxiliary) = &layer.auxiliary {
            if auxiliary.dims() != inputs.dims() {
                let expected = format!("{:?}, that of the inputs", inputs.dims());
                return Err(Error::shape("`auxiliary`", expected, auxiliary.dims()));
            }
            let (auxiliary, _) = rows_of("`auxiliary`", auxiliary)?;
            let errors: Vec<f64> = x.iter().zip(&found).map(|(x, found)| x - found).collect();
            scores.auxiliary = Some(auxiliary_sums(&errors, &auxiliary, width));
        }
        Ok(scores)
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// Returns an error unless scores and codes are of the same layers and rows.
pub(super) fn check_batch(
    scores: &[LayerScores],
    codes: &LayerCodes,
    layers: usize,
    latents: usize,
) -> Result<()> {
    codes.check(layers, latents)?;
    if scores.len() != layers {
        let expected = format!("of {layers} layers");
        return Err(Error::invalid("the scores", expected, scores.len()));
    }
    match scores.iter().find(|own| own.rows != codes.rows() as u64) {
        Some(own) => {
            let expected = format!("of {} rows, as the codes are", codes.rows());
            Err(Error::invalid("the scores", expected, own.rows))
        }
        None => Ok(()),
    }
}

/// `[Σ(e − aux)², Σ(e − mean_d e)²]`.
fn auxiliary_sums(errors: &[f64], auxiliary: &[f64], width: usize) -> [f64; 2] {
    let gap: f64 = errors.iter().zip(auxiliary).map(|(e, aux)| (e - aux).powi(2)).sum();
    let about_mean = errors.chunks(width).map(|own| {
        let mean = own.iter().sum::<f64>() / width as f64;
        own.iter().map(|e| (e - mean).powi(2)).sum::<f64>()
    });
    [gap, about_mean.sum()]
}

/// The cosine of two vectors, 0 if one of them is 0.
pub(super) fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths == 0.0 { 0.0 } else { product(a, b) / lengths }
}

/// Both of a pair of tensors of one shape, or none of them.
fn pair<'a>(
    second: &str,
    a: &'a Option<Tensor>,
    b: &'a Option<Tensor>,
) -> Result<Option<(&'a Tensor, &'a Tensor)>> {
    match (a, b) {
        (Some(a), Some(b)) if a.dims() == b.dims() => Ok(Some((a, b))),
        (Some(a), Some(b)) => {
            Err(Error::shape(format!("`{second}`"), format!("{:?}", a.dims()), b.dims()))
        }
        (None, None) => Ok(None),
        _ => Err(Error::invalid(format!("`{second}`"), "there if its pair is", "one alone")),
    }
}

/// The numbers of `[…, d]` as f64, and d.
pub(super) fn rows_of(what: &str, tensor: &Tensor) -> Result<(Vec<f64>, usize)> {
    let width = tensor.dims().last().copied().unwrap_or(0);
    if tensor.elem_count() == 0 || width == 0 {
        return Err(Error::shape(what, "[…, d], none of them 0", tensor.dims()));
    }
    check_finite(what, tensor)?;
    let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
    Ok((values, width))
}

fn logit_scores(own: &Tensor, patched: &Tensor) -> Result<LogitScores> {
    let vocabulary = own.dims().last().copied().unwrap_or(0);
    if own.elem_count() == 0 {
        return Err(Error::shape("the logits", "[…, vocabulary], none of them 0", own.dims()));
    }
    let host = |tensor: &Tensor| tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32);
    let (own, patched) = (host(own)?, host(patched)?);
    let sums = with_values(&own, |own| {
        with_values(&patched, |patched| {
            let rows = own.par_chunks(vocabulary).zip(patched.par_chunks(vocabulary));
            let weights = || [vec![0f32; vocabulary], vec![0f32; vocabulary]];
            let sums = rows.map_init(weights, |[p, q], (own, patched)| {
                p.copy_from_slice(own);
                q.copy_from_slice(patched);
                row_scores([own, patched], [p, q])
            });
            // In order, so that the sum does not depend on the threads.
            sums.collect::<Vec<_>>()
                .into_iter()
                .fold([0.0; 3], |sums, own| [sums[0] + own[0], sums[1] + own[1], sums[2] + own[2]])
        })
    })??;
    let [kl, reverse_kl, squared_error] = sums;
    if !(kl.is_finite() && squared_error.is_finite()) {
        return Err(Error::invalid("the logits", "finite", "NaN or infinite ones"));
    }
    Ok(LogitScores { vocabulary, kl, reverse_kl, squared_error })
}

/// `[KL(x ‖ y), KL(y ‖ x), Σ (x − y)²]` of two rows of logits, where
/// `KL(x ‖ y) = Σ p (x − y) − (ln Σeˣ − ln Σeʸ)` with `p = eˣ/Σeˣ`: exactly 0 for equal rows, and right
/// to about 1e-7 nats for others. `p` and `q` are copies of x and y, which are overwritten.
fn row_scores([x, y]: [&[f32]; 2], [p, q]: [&mut [f32]; 2]) -> [f64; 3] {
    let ([sum_p, log_x], [sum_q, log_y]) = (exponentials(p), exponentials(q));
    let mut sums = [0.0; 3];
    for ((x, y), (p, q)) in x.iter().zip(y).zip(p.iter().zip(q.iter())) {
        let gap = f64::from(*x) - f64::from(*y);
        sums[0] += f64::from(*p) * gap;
        sums[1] += f64::from(*q) * gap;
        sums[2] += gap * gap;
    }
    let apart = log_x - log_y;
    [sums[0] / sum_p - apart, apart - sums[1] / sum_q, sums[2]]
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::random::Rng;

    pub(crate) fn random_layer(seed: u64) -> EvaluatedLayer {
        let mut rng = Rng::seed(seed);
        let x = rng.normal((2, 5, 4), &Device::Cpu).unwrap();
        let noise = rng.normal((2, 5, 4), &Device::Cpu).unwrap();
        let logits = rng.normal((2, 5, 7), &Device::Cpu).unwrap();
        let other = rng.normal((2, 5, 7), &Device::Cpu).unwrap();
        EvaluatedLayer {
            reconstructions: Some((&x + (noise * 0.3).unwrap()).unwrap()),
            inputs: Some((x + 0.5).unwrap()),
            patched_logits: Some((&logits + other * 0.5).unwrap()),
            logits: Some(logits),
            loss: Some(2.0),
            patched_loss: Some(2.5),
            auxiliary: None,
        }
    }

    #[test]
    fn sums_of_logits_by_hand() {
        // p = (1/2, 1/2), q = (3/4, 1/4).
        let [kl, reverse, squares] = {
            let [x, y] = [[5.0, 5.0], [3f32.ln(), 0.0]];
            row_scores([&x, &y], [&mut x.clone(), &mut y.clone()])
        };
        let expected = 0.5 * (2f64 / 3.0).ln() + 0.5 * 2f64.ln();
        assert!((kl - expected).abs() < 1e-7, "{kl}");
        assert!((reverse - (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln())).abs() < 1e-7);
        assert!((squares - ((5.0 - 3f64.ln()).powi(2) + 25.0)).abs() < 1e-5);
        let same = logit_scores(
            &Tensor::new(&[[1e3f32, -1e3]], &Device::Cpu).unwrap(),
            &Tensor::new(&[[1e3f32, -1e3]], &Device::Cpu).unwrap(),
        );
        assert_eq!(same.unwrap().kl, 0.0);
    }

    #[test]
    fn layers_that_are_not_whole_are_refused() {
        let message = |layer: EvaluatedLayer| LayerScores::of(&layer).unwrap_err().to_string();
        assert!(message(EvaluatedLayer::default()).contains("`inputs`"));
        assert!(
            message(EvaluatedLayer { inputs: None, ..random_layer(0) })
                .contains("`reconstructions` must be there")
        );
        assert!(message(EvaluatedLayer { loss: None, ..random_layer(0) }).contains("both or none"));
        let logits = Some(Tensor::zeros((2, 4, 7), DType::F32, &Device::Cpu).unwrap());
        assert!(message(EvaluatedLayer { logits, ..random_layer(0) }).contains("patched_logits"));
        let auxiliary = Some(Tensor::zeros((2, 5, 3), DType::F32, &Device::Cpu).unwrap());
        assert!(message(EvaluatedLayer { auxiliary, ..random_layer(0) }).contains("[2, 5, 4]"));
        let nan = Some(Tensor::full(f32::NAN, (2, 5, 4), &Device::Cpu).unwrap());
        assert!(message(EvaluatedLayer { inputs: nan, ..random_layer(0) }).contains("NaN"));
    }
}
