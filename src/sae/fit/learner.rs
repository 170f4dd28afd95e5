//! An autoencoder in training, wherever its activations come from.

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use super::build::engine;
use super::engine::Engine;
use super::metrics::{HistoryRow, Metrics};
use super::options::SaeOptions;
use super::setup::Units;
use super::shape::FitShape;
use super::source::FitSource;
use super::step::{Batch, StepSettings};
use crate::Result;
use crate::sae::Sae;
use crate::train::{TakeTensor, warmup};

/// The weights of an autoencoder in training, and what is known of its features.
pub(super) struct Learner {
    dead_after: usize,
    sparsity_warmup: usize,
    /// λ, 0 without a penalty.
    lambda: f64,
    engine: Box<dyn Engine>,
    metrics: Metrics,
}

impl Learner {
    /// The first weights for the activations of `source`.
    ///
    /// # Errors
    /// Options that do not fit the activations.
    pub(super) fn new(
        options: &SaeOptions,
        source: &dyn FitSource,
        device: &Device,
    ) -> Result<Self> {
        let recipe = options.recipe(source.widths().input);
        let shape = FitShape::new(options, &recipe, source.widths())?;
        let metrics = Metrics::new(shape.m, shape.widths.output);
        let start = shape.start(source, options.seed)?;
        Ok(Self {
            dead_after: options.dead_after,
            sparsity_warmup: options.sparsity_warmup,
            lambda: recipe.lambda().unwrap_or(0.0),
            engine: engine(&recipe, shape, start, device)?,
            metrics,
        })
    }

    /// Makes step `step`, counted from 0. Returns the loss before it.
    pub(super) fn step(
        &mut self,
        batch: Batch<'_>,
        step: usize,
        learning_rate: f64,
    ) -> Result<f64> {
        let dead = self.metrics.dead(step, self.dead_after);
        let settings = StepSettings {
            learning_rate,
            lambda: self.lambda * warmup(step, self.sparsity_warmup),
            dead: &dead,
        };
        let outcome = self.engine.step(batch, &settings)?;
        self.metrics.add(batch, &outcome, step + 1);
        Ok(outcome.loss)
    }

    /// What there was since the last row.
    pub(super) fn row(&mut self, done: usize) -> HistoryRow {
        self.metrics.row(done, self.dead_after)
    }

    /// All that changes from step to step.
    pub(super) fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.engine.state()?;
        all.extend(self.metrics.state()?);
        Ok(all)
    }

    /// Takes over what [`Learner::state`] returned after `done` steps.
    pub(super) fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.engine.restore(done, take)?;
        self.metrics.restore(take)
    }

    /// The autoencoder of the weights as they are now.
    pub(super) fn finish(&self, source: &dyn FitSource, device: &Device) -> Result<Sae> {
        let [input, output] = source.scales();
        let units = Units { input, output, threshold: self.metrics.threshold() };
        self.engine.finish(units, device)
    }
}
