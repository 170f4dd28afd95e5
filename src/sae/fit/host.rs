//! Training in f32 on the CPU, without a graph.
//!
//! What the encoder computes is one product of matrices, `h = (x − b) Eᵀ + e`. Where codes are sparse,
//! the rest touches only the rows of features that are in a code ([`super::sparse`]); where they are
//! not, as at the start of training with a penalty, matrices are multiplied ([`super::dense`]). With
//! r = x̂ − t, and the entries f of a code,
//!
//! ```text
//! x̂ = b + Σ fᵢ dᵢ      ∂/∂fᵢ = 2/n r·dᵢ      ∂/∂dᵢ = 2/n Σ fᵢ r      ∂/∂Eᵢ = Σ ∂/∂hᵢ (x − b)
//! ```
//!
//! where the last two sum over the activations whose code has feature i, and the kind says how ∂/∂hᵢ
//! comes from ∂/∂fᵢ. Each feature's gradients are made tangent to the sphere and taken by Adam while
//! they are in the cache.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::dense::Dense;
use super::engine::Engine;
use super::setup::Units;
use super::shape::FitShape;
use super::sparse::Sparse;
use super::step::{Batch, HostStep, Outcome, StepSettings};
use super::update::{Large, StepGradients};
use super::weights::{KindWeights, Parameter, WeightArray};
use crate::Result;
use crate::linalg::{Operand, ProductInto};
use crate::sae::Sae;
use crate::sae::kind::extras::ExtraWeights;
use crate::sae::kind::rule::{TrainedEntry, TrainingRule};
use crate::sae::kind::training::SaeKind;
use crate::train::{AdamStep, AdamWOptions, TakeTensor};

/// KindWeights of a kind on the host.
pub(super) struct HostEngine<K: SaeKind> {
    kind: K,
    shape: FitShape,
    pub(super) weights: KindWeights<K, Parameter>,
    num_steps: usize,
    scratch: Scratch,
}

/// Memory that a step leaves to the next: fresh memory costs as much time as what is written to it.
#[derive(Debug, Default)]
struct Scratch {
    centred: Vec<f32>,
    h: Vec<f32>,
    sparse: Sparse,
    dense: Dense,
}

impl<K: SaeKind> HostEngine<K> {
    pub(super) fn new(
        kind: K,
        shape: FitShape,
        weights: KindWeights<K, WeightArray>,
    ) -> Result<Self> {
        let weights = weights.try_map(|array| Ok(Parameter::new(array)))?;
        Ok(Self { kind, shape, weights, num_steps: 0, scratch: Scratch::default() })
    }

    /// What a step finds, and the gradients of all weights, through dense codes or sparse ones.
    #[cfg(test)]
    pub(super) fn all_gradients(
        &mut self,
        batch: Batch<'_>,
        settings: &StepSettings<'_>,
        dense: bool,
    ) -> (Outcome, Vec<Vec<f32>>) {
        let Self { kind, shape, weights, scratch, .. } = self;
        let (outcome, gradients) =
            gradients(kind, shape, weights, batch, settings, Some(dense), scratch);
        let (d, out) = (shape.widths.input, shape.widths.output);
        let (mut encoder, mut decoder) = (vec![0.0; shape.m * d], vec![0.0; shape.m * out]);
        let rows = encoder.chunks_mut(d).zip(decoder.chunks_mut(out));
        rows.enumerate().for_each(|(at, (own, other))| gradients.feature(at, own, other));
        let matrices = if weights.encoder.is_none() {
            vec![decoder.iter().zip(&encoder).map(|(a, b)| a + b).collect()]
        } else {
            vec![encoder, decoder]
        };
        (outcome, matrices.into_iter().chain(gradients.small.refs().into_iter().cloned()).collect())
    }
}

impl<K: SaeKind> Engine for HostEngine<K> {
    fn step(&mut self, batch: Batch<'_>, settings: &StepSettings<'_>) -> Result<Outcome> {
        self.num_steps += 1;
        let options = AdamWOptions {
            learning_rate: settings.learning_rate,
            weight_decay: 0.0,
            ..AdamWOptions::default()
        };
        let adam = AdamStep::new(&options, i32::try_from(self.num_steps).unwrap_or(i32::MAX));
        let Self { kind, shape, weights, scratch, .. } = self;
        let (outcome, gradients) = gradients(kind, shape, weights, batch, settings, None, scratch);
        gradients.apply(weights, adam);
        Ok(outcome)
    }

    fn decoder(&self) -> Result<Vec<f32>> {
        Ok(self.weights.decoder.values.clone())
    }

    fn finish(&self, units: Units, device: &Device) -> Result<Sae> {
        let weights = self.weights.try_map(|weight| weight.to_tensor(device))?;
        self.shape.finish(&self.kind, weights, units)
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = HashMap::new();
        for (i, weight) in self.weights.refs().into_iter().enumerate() {
            let lists = [&weight.values, &weight.mean, &weight.square];
            for (name, values) in Parameter::names(i).into_iter().zip(lists) {
                all.insert(name, Tensor::from_slice(values, &*weight.shape, &Device::Cpu)?);
            }
        }
        Ok(all)
    }

    fn restore(&mut self, step: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.num_steps = step;
        for (i, weight) in self.weights.refs_mut().into_iter().enumerate() {
            let lists = [&mut weight.values, &mut weight.mean, &mut weight.square];
            for (name, values) in Parameter::names(i).into_iter().zip(lists) {
                *values = take(&name, &weight.shape)?.flatten_all()?.to_vec1()?;
            }
        }
        Ok(())
    }
}

/// With dense codes or sparse ones, or as is faster.
fn gradients<'a, K: SaeKind>(
    kind: &K,
    shape: &FitShape,
    weights: &KindWeights<K, Parameter>,
    batch: Batch<'_>,
    settings: &StepSettings<'_>,
    dense: Option<bool>,
    scratch: &'a mut Scratch,
) -> (Outcome, StepGradients<'a, K>) {
    let (n, m, d) = (batch.rows, shape.m, shape.widths.input);
    let small = &weights.small;
    let extras = K::Extras::map(K::Extras::refs(&small.extras), |extra| &*extra.values);
    let prepared = K::prepare(&extras);
    let rule = kind.rule(&prepared);
    let Scratch { centred, h, sparse, dense: matrices } = scratch;

    let bias = small.bias.as_ref().filter(|_| shape.is_centred());
    center(centred, batch.x, bias.map(|bias| &*bias.values), d);
    h.resize(n * m, 0.0);
    let (rows, encoder) = (Operand::new(centred, n, d), &weights.reading().values);
    ProductInto::NT.write_slice(h, rows, Operand::new(encoder, m, d), true);
    if let Some(bias) = &small.encoder_bias {
        h.par_chunks_mut(m).for_each(|row| {
            row.iter_mut().zip(&bias.values).for_each(|(h, e)| *h += e);
        });
    }
    let centred = &**centred;
    let step = HostStep { shape, weights, batch, settings, centred, h };
    let each = rule.each().filter(|each| dense.unwrap_or_else(|| is_dense(*each, h, m)));
    let ((outcome, small), large) = match each {
        Some(each) => {
            (matrices.take(&step, each), Large::Dense([&matrices.encoder, &matrices.decoder]))
        }
        None => (sparse.take(&step, &rule), Large::Sparse(sparse.reconstructions())),
    };
    (outcome, StepGradients { widths: shape.widths, centred, large, small })
}

/// Whether codes of `h` `[n, m]` are better handled as a matrix, by some of the rows.
pub(super) fn is_dense<E: TrainedEntry>(rule: &E, h: &[f32], m: usize) -> bool {
    /// From this share of features in a code on, products of dense matrices are faster.
    const MIN_SHARE: f64 = 1.0 / 8.0;
    /// The same where there is an auxiliary code too.
    const MIN_SHARE_WITH_AUXILIARY: f64 = 1.0 / 16.0;
    /// CodeRows of which one is looked at.
    const ROWS_PER_LOOK: usize = 16;
    let rows = h.chunks(m).step_by(ROWS_PER_LOOK);
    let all = rows.len() * m;
    let is_held = |(at, h): &(usize, &f32)| {
        rule.touches(*at, **h) || (E::HAS_AUXILIARY && rule.auxiliary_value(*at, **h) != 0.0)
    };
    let count = rows.flat_map(|row| row.iter().enumerate()).filter(is_held).count();
    let share = if E::HAS_AUXILIARY { MIN_SHARE_WITH_AUXILIARY } else { MIN_SHARE };
    count as f64 > share * all as f64
}

/// Writes x − b, or x.
fn center(centred: &mut Vec<f32>, x: &[f32], bias: Option<&[f32]>, d: usize) {
    centred.clear();
    centred.extend_from_slice(x);
    if let Some(bias) = bias {
        centred.par_chunks_mut(d).for_each(|row| {
            row.iter_mut().zip(bias).for_each(|(x, b)| *x -= b);
        });
    }
}
