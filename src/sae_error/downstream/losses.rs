//! Losses at some positions of several runs, and how far their predictions are from the first's.

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use crate::linalg::with_values;
use crate::model::Decoder;
use crate::train::row_loss;
use crate::{Error, Result};

/// Logits of a run that are in memory at a time.
const LOGITS_PER_PART: usize = 1 << 24;

/// What a run says at each row, in nats.
#[derive(Debug, Clone, Default)]
pub(super) struct RowLosses {
    /// `−ln q(next)` with q the run's distribution of the next token.
    pub(super) cross_entropy: Vec<f64>,
    /// `KL(p ‖ q) = Σ p ln(p/q)` with p that of the model as it is.
    pub(super) kl: Vec<f64>,
}

/// Losses of the model as it is and of each of `arms`, from the residual streams after all layers,
/// `[rows, d_model]`, for the tokens `next` that follow. Logits are made for a few rows at a time, so
/// that they take no more than three times 64 MB or one row's.
///
/// # Errors
/// [`Error::Invalid`] for logits that are not finite.
pub(super) fn row_losses(
    model: &Decoder,
    clean: &Tensor,
    arms: &[Tensor],
    next: &[u32],
) -> Result<Vec<RowLosses>> {
    row_losses_in_parts(model, clean, arms, next, LOGITS_PER_PART / model.config().vocab)
}

fn row_losses_in_parts(
    model: &Decoder,
    clean: &Tensor,
    arms: &[Tensor],
    next: &[u32],
    rows_per_part: usize,
) -> Result<Vec<RowLosses>> {
    let mut found = vec![RowLosses::default(); arms.len() + 1];
    let mut start = 0;
    for next in next.chunks(rows_per_part.max(1)) {
        let logits = |stream: &Tensor| -> Result<Tensor> {
            let rows = stream.narrow(0, start, next.len())?.contiguous()?;
            Ok(model.unembed(&rows)?.to_dtype(DType::F32)?)
        };
        let reference = CleanPart::new(logits(clean)?, next)?;
        found[0].extend(reference.own());
        for (arm, found) in arms.iter().zip(&mut found[1..]) {
            found.extend(reference.losses(&logits(arm)?)?);
        }
        start += next.len();
    }
    let finite = |own: &RowLosses| own.cross_entropy.iter().chain(&own.kl).all(|x| x.is_finite());
    match found.iter().all(finite) {
        true => Ok(found),
        false => Err(Error::invalid("the logits", "finite", "NaN or infinite ones")),
    }
}

impl RowLosses {
    fn extend(&mut self, rows: Vec<[f64; 2]>) {
        self.cross_entropy.extend(rows.iter().map(|[loss, _]| loss));
        self.kl.extend(rows.iter().map(|[_, kl]| kl));
    }
}

/// Logits of some rows by the model as it is.
struct CleanPart<'a> {
    /// `[rows, vocabulary]`, f32.
    logits: Tensor,
    next: &'a [u32],
    /// `exp(logit − largest of its row)`; empty on a GPU.
    weights: Vec<f32>,
    /// For each row `Σ weights`, and `ln Σ exp(logit)`.
    sums: Vec<[f64; 2]>,
    /// Losses of the rows.
    losses: Vec<f64>,
}

impl<'a> CleanPart<'a> {
    fn new(logits: Tensor, next: &'a [u32]) -> Result<Self> {
        if !matches!(logits.device(), Device::Cpu) {
            let losses = on_device(&logits, &logits, next)?;
            let losses = losses.into_iter().map(|[loss, _]| loss).collect();
            return Ok(Self { logits, next, weights: Vec::new(), sums: Vec::new(), losses });
        }
        let vocabulary = logits.dim(1)?;
        let (weights, sums, losses) = with_values(&logits, |values| {
            let mut weights = vec![0f32; values.len()];
            let rows = weights.par_chunks_mut(vocabulary).zip(values.par_chunks(vocabulary));
            let rows = rows.zip(next).map(|((weights, row), next)| row_loss(row, *next, weights));
            let (losses, sums): (Vec<f64>, Vec<[f64; 2]>) = rows.unzip();
            (weights, sums, losses)
        })?;
        Ok(Self { logits, next, weights, sums, losses })
    }

    /// Loss and divergence of each row of the model as it is.
    fn own(&self) -> Vec<[f64; 2]> {
        self.losses.iter().map(|loss| [*loss, 0.0]).collect()
    }

    /// Loss and divergence of each row of another run, with `ln p/q = (x − y) − (ln Σeˣ − ln Σeʸ)` for
    /// logits x of the model as it is and y of the run: equal logits are apart by exactly 0.
    fn losses(&self, logits: &Tensor) -> Result<Vec<[f64; 2]>> {
        if !matches!(logits.device(), Device::Cpu) {
            return on_device(&self.logits, logits, self.next);
        }
        let vocabulary = logits.dim(1)?;
        with_values(&self.logits, |clean| {
            with_values(logits, |own| {
                let clean = clean.par_chunks(vocabulary).zip(self.weights.par_chunks(vocabulary));
                let rows = own.par_chunks(vocabulary).zip(clean).zip(&self.sums).zip(self.next);
                let scratch = || vec![0f32; vocabulary];
                let losses = rows.map_init(scratch, |scratch, row| {
                    let (((own, (clean, weights)), [sum, log_sum]), next) = row;
                    let (loss, [_, own_log_sum]) = row_loss(own, *next, scratch);
                    let gaps = clean.iter().zip(own).zip(weights);
                    let gap: f64 = gaps
                        .map(|((x, y), weight)| {
                            (f64::from(*x) - f64::from(*y)) * f64::from(*weight)
                        })
                        .sum();
                    [loss, gap / sum - (log_sum - own_log_sum)]
                });
                losses.collect::<Vec<_>>()
            })
        })?
    }
}

/// [`CleanPart::losses`] by the device's own operations.
fn on_device(clean: &Tensor, own: &Tensor, next: &[u32]) -> Result<Vec<[f64; 2]>> {
    let log = |logits: &Tensor| candle_nn::ops::log_softmax(logits, D::Minus1);
    let (clean, own) = (log(clean)?, log(own)?);
    let next = Tensor::new(next, own.device())?.unsqueeze(1)?;
    let loss = own.gather(&next, 1)?.squeeze(1)?.neg()?;
    let kl = (clean.exp()? * (&clean - &own)?)?.sum(1)?;
    let host = |values: Tensor| values.to_dtype(DType::F64)?.to_vec1::<f64>();
    Ok(host(loss)?.into_iter().zip(host(kl)?).map(|(loss, kl)| [loss, kl]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;
    use crate::random::Rng;

    /// A model whose logits are far from equal, and the streams of three runs of seven rows.
    fn runs() -> (Decoder, Vec<Tensor>, Vec<u32>) {
        let config = Config { vocab: 13, ..Config::llama(1, 2, 8, 16) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
        }
        let mut rng = Rng::seed(1);
        let streams = (0..3).map(|_| rng.normal((7, 8), &Device::Cpu).unwrap()).collect();
        (model, streams, vec![0, 12, 3, 3, 7, 1, 5])
    }

    /// `ln softmax` of each row in f64.
    fn log_shares(logits: &Tensor) -> Vec<Vec<f64>> {
        let rows = logits.to_dtype(DType::F64).unwrap().to_vec2::<f64>().unwrap();
        let of = |row: Vec<f64>| {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum = most + row.iter().map(|x| (x - most).exp()).sum::<f64>().ln();
            row.into_iter().map(|x| x - sum).collect()
        };
        rows.into_iter().map(of).collect()
    }

    #[test]
    fn losses_are_those_of_whole_logits_in_f64() {
        let (model, streams, next) = runs();
        let clean = log_shares(&model.unembed(&streams[0]).unwrap());
        for rows_per_part in [0, 1, 3, 100] {
            let found =
                row_losses_in_parts(&model, &streams[0], &streams[1..], &next, rows_per_part);
            for (found, stream) in found.unwrap().iter().zip(&streams) {
                let own = log_shares(&model.unembed(stream).unwrap());
                for row in 0..next.len() {
                    let loss = -own[row][next[row] as usize];
                    assert!((found.cross_entropy[row] - loss).abs() < 2e-6 * loss.max(1.0));
                    let pairs = clean[row].iter().zip(&own[row]);
                    let kl: f64 = pairs.map(|(p, q)| p.exp() * (p - q)).sum();
                    assert!((found.kl[row] - kl).abs() < 2e-6 * kl.max(1.0), "{row}");
                }
            }
        }
    }

    #[test]
    fn a_device_finds_the_same_and_equal_runs_are_apart_by_nothing() {
        let (model, streams, next) = runs();
        let logits = |i: usize| model.unembed(&streams[i]).unwrap();
        let part = CleanPart::new(logits(0), &next).unwrap();
        let host = part.losses(&logits(1)).unwrap();
        let device = on_device(&logits(0), &logits(1), &next).unwrap();
        for (host, device) in host.iter().flatten().zip(device.iter().flatten()) {
            assert!((host - device).abs() < 1e-4 * host.abs().max(1.0), "{host} {device}");
        }
        assert_eq!(part.losses(&logits(0)).unwrap(), part.own());
    }

    #[test]
    fn logits_that_are_not_numbers_are_refused() {
        let (model, streams, next) = runs();
        let bad = (&streams[1] * f64::NAN).unwrap();
        let error = row_losses(&model, &streams[0], &[bad], &next).unwrap_err().to_string();
        assert!(error.contains("the logits must be finite"), "{error}");
    }
}
