//! A step of training through tensor operations, on any device, with gradients by a graph.

use candle_core::{D, DType, Device, Tensor, Var};

use super::Objective;
use super::masks::Masks;
use super::setup::{BIAS, DECODER, ENCODER, EXTRAS, Moment, Outcome, Setup, Weight};
use super::source::Batch;
use crate::Result;
use crate::linalg::{matmul, matmul_nt, unit_rows};
use crate::train::{AdamW, AdamWOptions, Optimizer, gradients};

/// Weights on a device.
#[derive(Debug)]
pub(super) struct Tensors {
    pub(super) setup: Setup,
    pub(super) weights: Vec<Var>,
    pub(super) adam: AdamW,
}

impl Tensors {
    pub(super) fn new(setup: Setup, weights: &[Weight], device: &Device) -> Result<Self> {
        let var = |weight: &Weight| -> Result<Var> {
            Ok(Var::from_tensor(&Tensor::from_slice(&weight.values, &*weight.shape, device)?)?)
        };
        let weights = weights.iter().map(var).collect::<Result<Vec<_>>>()?;
        let settings = AdamWOptions { weight_decay: 0.0, ..AdamWOptions::default() };
        let adam = AdamW::new(weights.clone(), settings)?;
        Ok(Self { setup, weights, adam })
    }

    /// Moves the weights.
    pub(super) fn step(&mut self, batch: Batch<'_>, moment: &Moment<'_>) -> Result<Outcome> {
        let [d, out] = self.setup.widths;
        let device = self.weights[ENCODER].device();
        let x = Tensor::from_slice(batch.x, (batch.rows, d), device)?;
        let target = Tensor::from_slice(batch.target, (batch.rows, out), device)?;
        let (loss, outcome) = self.loss(&x, &target, moment)?;
        let mut found = gradients(&loss, &self.weights)?;
        let decoder = self.weights[DECODER].as_detached_tensor();
        let along = (&found[DECODER] * &decoder)?.sum_keepdim(D::Minus1)?;
        found[DECODER] = (&found[DECODER] - decoder.broadcast_mul(&along)?)?;
        self.adam.set_learning_rate(moment.learning_rate);
        self.adam.step(&found)?;
        let moved = self.weights[DECODER].as_detached_tensor();
        self.weights[DECODER].set(&unit_rows(&moved)?)?;
        Ok(outcome)
    }

    /// The loss of activations `x` `[n, d]` and what they are to become, `[n, d_out]`.
    pub(super) fn loss(
        &self,
        x: &Tensor,
        target: &Tensor,
        moment: &Moment<'_>,
    ) -> Result<(Tensor, Outcome)> {
        let Setup { objective, ends, transcoder, auxiliary, .. } = &self.setup;
        let at = |at: usize| self.weights[at].as_tensor();
        let (decoder, bias, n) = (at(DECODER), at(BIAS), x.dim(0)?);
        let x = if *transcoder { x.clone() } else { x.broadcast_sub(bias)? };
        let mut h = matmul_nt(&x, at(ENCODER))?;
        if self.setup.encoder_bias() {
            h = h.broadcast_add(at(EXTRAS))?;
        }
        let extras: Vec<Tensor> =
            self.weights[EXTRAS..].iter().map(|own| own.as_detached_tensor()).collect();
        let masks = Masks::new(&self.setup, &h.detach(), &extras, moment.dead)?;
        let open = masks.main;

        let mut penalised = None;
        let codes = match objective {
            Objective::Standard { .. } => {
                let codes = (&h * &open)?;
                penalised = Some(codes.sum_all()?);
                codes
            }
            Objective::TopK | Objective::BatchTopK | Objective::Matryoshka { .. } => (&h * &open)?,
            Objective::JumpRelu { bandwidth, .. } => {
                let threshold = at(EXTRAS + 1).exp()?;
                let fixed = threshold.detach();
                let above = h.detach().broadcast_sub(&fixed)?;
                let window = above.abs()?.lt(0.5 * bandwidth)?.to_dtype(h.dtype())?;
                // Nothing in value; its gradient is that of a step smeared out over the window.
                let shift = (window.broadcast_mul(&(&threshold - &fixed)?)? / *bandwidth)?;
                penalised = Some((&open - &shift)?.sum_all()?);
                ((&h * &open)? - shift.broadcast_mul(&fixed)?)?
            }
            Objective::Gated { .. } => {
                let gains = at(EXTRAS + 1).exp()?;
                h.broadcast_mul(&gains)?.broadcast_add(at(EXTRAS + 2))?.mul(&open)?
            }
        };
        let square = |error: &Tensor| -> Result<Tensor> { Ok(error.sqr()?.sum_all()?) };
        let mut loss = Tensor::zeros((), h.dtype(), h.device())?;
        let mut error = target.clone();
        for end in ends {
            let (codes, decoder) = (codes.narrow(1, 0, *end)?, decoder.narrow(0, 0, *end)?);
            let found = matmul(&codes.contiguous()?, &decoder.contiguous()?)?;
            error = (target - found.broadcast_add(bias)?)?;
            loss = (loss + square(&error)?)?;
        }
        if let Some(beside) = &masks.beside {
            loss = if let Objective::Gated { .. } = objective {
                let open = (h.broadcast_add(at(EXTRAS))? * beside)?;
                let found = matmul(&open, &decoder.detach())?.broadcast_add(&bias.detach())?;
                penalised = Some(open.sum_all()?);
                (loss + square(&(target - found)?)?)?
            } else {
                let found = matmul(&(&h * beside)?, decoder)?;
                (loss + (square(&(error.detach() - found)?)? * *auxiliary)?)?
            };
        }
        if let Some(penalised) = penalised {
            loss = (loss + (penalised * moment.penalty)?)?;
        }
        let loss = (loss / n as f64)?;
        let number = |tensor: &Tensor| -> Result<f64> {
            Ok(tensor.detach().to_dtype(DType::F64)?.to_scalar::<f64>()?)
        };
        let counts = codes.detach().ne(0.0)?.to_dtype(DType::F32)?.sum(0)?.to_vec1::<f32>()?;
        let active = counts.iter().map(|count| *count as usize).sum();
        let fired = counts.iter().map(|count| *count > 0.0).collect();
        let (loss_value, error) = (number(&loss)?, number(&square(&error)?)?);
        let smallest = masks.smallest;
        Ok((loss, Outcome { loss: loss_value, error, active, fired, smallest }))
    }
}
