//! Small dictionaries, trained on samples in memory.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::build::engine;
use super::engine::Engine;
use super::metrics::{RunningThreshold, SMALLEST};
use super::setup::{FirstNumbers, Units};
use super::shape::{FitShape, Widths};
use super::step::{Batch, StepSettings};
use crate::Result;
use crate::sae::Sae;
use crate::sae::kind::objective::{Objective, Recipe};
use crate::train::TakeTensor;

/// A dictionary `x̂ = D f`, `h = E x + e` in training: no b, no auxiliary loss, and a penalty that is
/// there from the first step.
pub(crate) struct SmallFit {
    engine: Box<dyn Engine>,
    threshold: RunningThreshold,
    lambda: f64,
    dims: usize,
}

impl SmallFit {
    /// Begins with rows of length one, `[size, dims]`, as D's columns and E's rows; a `tied` E stays
    /// Dᵀ.
    pub(crate) fn new(
        objective: Objective,
        k: usize,
        atoms: Vec<f32>,
        dims: usize,
        tied: bool,
    ) -> Result<Self> {
        let recipe = Recipe { k, ..objective.into() };
        let m = atoms.len() / dims;
        let shape = FitShape {
            widths: Widths { input: dims, output: dims },
            m,
            transcoder: false,
            has_bias: false,
            has_encoder_bias: true,
            ends: recipe.dictionary_ends(m),
        };
        let start = FirstNumbers {
            encoder: (!tied).then(|| atoms.clone()),
            decoder: atoms,
            bias: None,
            offset: vec![0.0; m],
        };
        let engine = engine(&recipe, shape, start, &Device::Cpu)?;
        let lambda = recipe.lambda().unwrap_or(0.0);
        Ok(Self { engine, threshold: RunningThreshold::default(), lambda, dims })
    }

    /// Moves the weights by what samples `x` `[n, dims]` say. Returns the sum of their losses.
    pub(crate) fn step(&mut self, x: &[f32], learning_rate: f64) -> Result<f64> {
        let rows = x.len() / self.dims;
        let batch = Batch { rows, x, target: x, weights: None };
        let settings = StepSettings { learning_rate, lambda: self.lambda, dead: &[] };
        let outcome = self.engine.step(batch, &settings)?;
        self.threshold.add(&outcome);
        Ok(outcome.loss * rows as f64)
    }

    /// What a fit that goes on has to know, by name.
    pub(crate) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.engine.state()?;
        all.insert(SMALLEST.to_owned(), self.threshold.state()?);
        Ok(all)
    }

    /// Takes over what [`SmallFit::state`] returned after `steps` steps.
    pub(crate) fn restore(&mut self, steps: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.threshold = RunningThreshold::restored(|shape| take(SMALLEST, shape))?;
        self.engine.restore(steps, take)
    }

    /// D's columns as they are now, `[size, dims]`.
    pub(crate) fn atoms(&self) -> Result<Vec<f32>> {
        self.engine.decoder()
    }

    /// The dictionary as it is now.
    pub(crate) fn finish(&self) -> Result<Sae> {
        let units = Units { input: 1.0, output: 1.0, threshold: self.threshold.get() };
        self.engine.finish(units, &Device::Cpu)
    }
}
