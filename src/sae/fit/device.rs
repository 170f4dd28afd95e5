//! Training through tensor operations, on any device, with gradients by a graph.

use std::collections::HashMap;

use candle_core::{D, DType, Device, Tensor, Var};

use super::engine::Engine;
use super::setup::Units;
use super::shape::FitShape;
use super::step::{Batch, Outcome, StepSettings};
use super::weights::{KindWeights, SmallWeights, WeightArray};
use crate::Result;
use crate::linalg::{matmul, matmul_nt, unit_rows};
use crate::sae::Sae;
use crate::sae::kind::rule::Explains;
use crate::sae::kind::training::SaeKind;
use crate::train::{AdamW, AdamWOptions, Optimizer, TakeTensor, gradients};

/// KindWeights of a kind on a device.
pub(super) struct DeviceEngine<K: SaeKind> {
    kind: K,
    shape: FitShape,
    pub(super) weights: KindWeights<K, Var>,
    adam: AdamW,
}

impl<K: SaeKind> DeviceEngine<K> {
    pub(super) fn new(
        kind: K,
        shape: FitShape,
        weights: &KindWeights<K, WeightArray>,
        device: &Device,
    ) -> Result<Self> {
        let weights = weights.try_map(|own| Ok(Var::from_tensor(&own.to_tensor(device)?)?))?;
        Self::of(kind, shape, weights)
    }

    /// With these variables.
    pub(super) fn of(kind: K, shape: FitShape, weights: KindWeights<K, Var>) -> Result<Self> {
        let settings = AdamWOptions { weight_decay: 0.0, ..AdamWOptions::default() };
        let adam = AdamW::new(weights.refs().into_iter().cloned().collect(), settings)?;
        Ok(Self { kind, shape, weights, adam })
    }

    /// The variables, in the order in which a checkpoint numbers them.
    pub(super) fn vars(&self) -> Vec<Var> {
        self.weights.refs().into_iter().cloned().collect()
    }

    /// The loss of activations `x` `[n, d]` and what they are to become, `[n, d_out]`, each row's
    /// squared errors times its entry of `row_weights`, if there are such.
    pub(super) fn loss(
        &self,
        x: &Tensor,
        target: &Tensor,
        row_weights: Option<&Tensor>,
        settings: &StepSettings<'_>,
    ) -> Result<(Tensor, Outcome)> {
        let (decoder, n) = (self.weights.decoder.as_tensor(), x.dim(0)?);
        let SmallWeights { bias, encoder_bias, .. } = &self.weights.small;
        let bias = bias.as_ref().map(Var::as_tensor);
        let x = match bias.filter(|_| self.shape.is_centred()) {
            Some(bias) => x.broadcast_sub(bias)?,
            None => x.clone(),
        };
        let mut h = matmul_nt(&x, self.weights.reading().as_tensor())?;
        if let Some(bias) = encoder_bias {
            h = h.broadcast_add(bias.as_tensor())?;
        }
        let weights = self.weights.try_map(|var| Ok(var.as_tensor().clone()))?;
        let extras = weights.small.extras;
        let masks = self.kind.masks(&h.detach(), &extras, settings.dead)?;
        let codes = self.kind.codes(&h, &extras, &masks)?;

        let plus = |found: Tensor, bias: Option<&Tensor>| -> Result<Tensor> {
            match bias {
                Some(bias) => Ok(found.broadcast_add(bias)?),
                None => Ok(found),
            }
        };
        let square = |error: &Tensor| -> Result<Tensor> {
            let squares = error.sqr()?;
            match row_weights {
                Some(weights) => Ok(squares.broadcast_mul(&weights.unsqueeze(1)?)?.sum_all()?),
                None => Ok(squares.sum_all()?),
            }
        };
        let mut loss = Tensor::zeros((), h.dtype(), h.device())?;
        let mut error = target.clone();
        for end in &self.shape.ends {
            let (codes, decoder) = (codes.values.narrow(1, 0, *end)?, decoder.narrow(0, 0, *end)?);
            let found = matmul(&codes.contiguous()?, &decoder.contiguous()?)?;
            error = (target - plus(found, bias)?)?;
            loss = (loss + square(&error)?)?;
        }
        if let Some((auxiliary, how)) = &codes.auxiliary {
            let rest = match how.explains {
                Explains::Target => {
                    let found = matmul(auxiliary, &decoder.detach())?;
                    (target - plus(found, bias.map(Tensor::detach).as_ref())?)?
                }
                Explains::Error => (error.detach() - matmul(auxiliary, decoder)?)?,
            };
            loss = (loss + (square(&rest)? * how.weight)?)?;
        }
        if let Some(penalised) = &codes.penalised {
            loss = (loss + self.kind.penalty_on_device(settings.lambda, penalised, n)?)?;
        }
        let loss = (loss / n as f64)?;
        let number = |tensor: &Tensor| -> Result<f64> {
            Ok(tensor.detach().to_dtype(DType::F64)?.to_scalar::<f64>()?)
        };
        let counts = codes.values.detach().ne(0.0)?.to_dtype(DType::F32)?.sum(0)?;
        let counts = counts.to_vec1::<f32>()?;
        let num_active = counts.iter().map(|count| *count as usize).sum();
        let fired = counts.iter().map(|count| *count > 0.0).collect();
        let (value, error) = (number(&loss)?, number(&error.sqr()?.sum_all()?)?);
        let smallest = masks.smallest;
        Ok((loss, Outcome { loss: value, error, num_active, fired, smallest }))
    }
}

impl<K: SaeKind> Engine for DeviceEngine<K> {
    fn step(&mut self, batch: Batch<'_>, settings: &StepSettings<'_>) -> Result<Outcome> {
        let widths = self.shape.widths;
        let device = self.weights.decoder.device();
        let x = Tensor::from_slice(batch.x, (batch.rows, widths.input), device)?;
        let target = Tensor::from_slice(batch.target, (batch.rows, widths.output), device)?;
        let weights = batch.weights.map(|own| Tensor::from_slice(own, own.len(), device));
        let (loss, outcome) = self.loss(&x, &target, weights.transpose()?.as_ref(), settings)?;
        let mut found = gradients(&loss, &self.vars())?;
        let at = usize::from(self.weights.encoder.is_some());
        let decoder = self.weights.decoder.as_detached_tensor();
        let along = (&found[at] * &decoder)?.sum_keepdim(D::Minus1)?;
        found[at] = (&found[at] - decoder.broadcast_mul(&along)?)?;
        self.adam.set_learning_rate(settings.learning_rate);
        self.adam.step(&found)?;
        let moved = self.weights.decoder.as_detached_tensor();
        self.weights.decoder.set(&unit_rows(&moved)?)?;
        Ok(outcome)
    }

    fn decoder(&self) -> Result<Vec<f32>> {
        Ok(self.weights.decoder.as_detached_tensor().flatten_all()?.to_vec1()?)
    }

    fn finish(&self, units: Units, device: &Device) -> Result<Sae> {
        let tensor =
            |var: &Var| Ok(var.as_detached_tensor().to_dtype(DType::F32)?.to_device(device)?);
        self.shape.finish(&self.kind, self.weights.try_map(tensor)?, units)
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all: HashMap<String, Tensor> = self.adam.state()?.1.into_iter().collect();
        for (i, weight) in self.vars().into_iter().enumerate() {
            all.insert(format!("parameter.{i}"), weight.as_detached_tensor());
        }
        Ok(all)
    }

    fn restore(&mut self, step: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        for (i, weight) in self.vars().into_iter().enumerate() {
            weight.set(&take(&format!("parameter.{i}"), weight.dims())?)?;
        }
        self.adam.restore(step, take)
    }
}
