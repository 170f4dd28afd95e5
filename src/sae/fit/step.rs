//! One step of training: what goes in, and what comes out.

use super::shape::FitShape;
use super::weights::{KindWeights, Parameter};
use crate::sae::kind::training::SaeKind;

/// Some activations and what is to be made of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) rows: usize,
    /// What is read, `[rows, d]`.
    pub(crate) x: &'a [f32],
    /// What is predicted, `[rows, d_out]`.
    pub(crate) target: &'a [f32],
    /// What each row's squared errors are multiplied by; none for 1.
    pub(crate) weights: Option<&'a [f32]>,
}

impl Batch<'_> {
    /// What a row's squared errors are multiplied by.
    #[inline(always)]
    pub(super) fn weight(&self, row: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[row])
    }
}

/// What changes from step to step.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepSettings<'a> {
    pub(super) learning_rate: f64,
    /// λ.
    pub(super) lambda: f64,
    /// Features that were in no code for long.
    pub(super) dead: &'a [u32],
}

/// What a step found before it changed the weights.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// What was made small, a mean over the activations.
    pub(super) loss: f64,
    /// `Σ‖t − x̂‖²`.
    pub(super) error: f64,
    /// Entries of the codes.
    pub(super) num_active: usize,
    /// Which features were in a code.
    pub(super) fired: Vec<bool>,
    /// The smallest entry, if codes were chosen from the batch together.
    pub(super) smallest: Option<f32>,
}

/// What a step is about, as far as it is known before any feature is in a code.
pub(super) struct HostStep<'a, K: SaeKind> {
    pub(super) shape: &'a FitShape,
    pub(super) weights: &'a KindWeights<K, Parameter>,
    pub(super) batch: Batch<'a>,
    pub(super) settings: &'a StepSettings<'a>,
    /// x − b, or x, `[n, d]`.
    pub(super) centred: &'a [f32],
    /// What the encoder computes, `[n, m]`.
    pub(super) h: &'a [f32],
}

impl<K: SaeKind> HostStep<'_, K> {
    /// Writes what there is without any feature less what is to be explained, of one activation.
    pub(super) fn bias_less_target(&self, row: usize, error: &mut [f32]) {
        let target = &self.batch.target[row * error.len()..][..error.len()];
        match &self.weights.small.bias {
            Some(bias) => {
                let pairs = bias.values.iter().zip(target);
                error.iter_mut().zip(pairs).for_each(|(error, (b, t))| *error = b - t);
            }
            None => error.iter_mut().zip(target).for_each(|(error, t)| *error = -t),
        }
    }

    /// What the gradients of a squared error are multiplied by.
    pub(super) fn factor(&self) -> f32 {
        2.0 / self.batch.rows as f32
    }
}
