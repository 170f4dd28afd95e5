//! How an autoencoder is trained.

use std::path::PathBuf;

use crate::check::{check_not_negative, check_sizes};
use crate::model::HookPoint;
use crate::progress::OnStop;
use crate::sae::kind::Revival;
use crate::sae::kind::objective::{Objective, Recipe};
use crate::{Error, Result};

/// How [`Sae::fit`](crate::sae::Sae::fit) trains.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions {
    /// What a code is and what is made small; [`Objective::TopK`], on which published notebooks rely.
    /// [`Objective::BatchTopK`] is the first choice for a new autoencoder.
    pub objective: Objective,
    /// The hook point that is predicted, which makes it a transcoder; none: the one that is read.
    pub target: Option<HookPoint>,
    /// Features for each dimension of the activation; 8.
    pub expansion: usize,
    /// Features that a code keeps, of those kinds that count them; 16.
    pub k: usize,
    /// Whether only the positive ones of them are kept, as nearly everywhere; the bilinear
    /// `-scope` autoencoders keep all. True.
    pub relu: bool,
    /// What the auxiliary loss of dead features weighs, in the kinds that count their features;
    /// 1/32. With 0 there is none.
    pub auxiliary: f64,
    /// Dead features that together explain what the others leave; none: half the activation's width.
    pub auxiliary_k: Option<usize>,
    /// Optimiser steps; 1,000.
    pub steps: usize,
    /// Activations a step; 1,024.
    pub batch: usize,
    /// Activations that are held and shuffled together; 16,384. They take 4 bytes for each of
    /// their dimensions, and a transcoder's as much again for what it predicts.
    pub buffer: usize,
    /// Tokens a window of text; 128.
    pub length: usize,
    /// Tokens that are no text, such as `<bos>`: activations at them are neither trained on nor
    /// measured. None.
    pub skip_tokens: Vec<u32>,
    /// First positions of each window whose activations are neither trained on nor measured, because
    /// many models put something else than the text there; below `length`. 0.
    pub skip_positions: usize,
    /// The highest learning rate, falling to zero along a cosine; 1e-3.
    pub learning_rate: f64,
    /// Steps over which the learning rate rises in a line; 0.
    pub warmup: usize,
    /// Steps over which the penalty on active features rises in a line; 100.
    pub sparsity_warmup: usize,
    /// Steps between two rows of the history; 50.
    pub report: usize,
    /// Steps after which a feature that was in no code counts as dead; 200.
    pub dead_after: usize,
    /// Seed of the first weights, of the draws of text and of the shuffling; 0.
    pub seed: u64,
    /// A folder to save to at every row of the history, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for SaeOptions {
    fn default() -> Self {
        Self {
            objective: Objective::default(),
            target: None,
            expansion: 8,
            k: 16,
            relu: true,
            auxiliary: 1.0 / 32.0,
            auxiliary_k: None,
            steps: 1_000,
            batch: 1_024,
            buffer: 16_384,
            length: 128,
            skip_tokens: Vec::new(),
            skip_positions: 0,
            learning_rate: 1e-3,
            warmup: 0,
            sparsity_warmup: 100,
            report: 50,
            dead_after: 200,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl SaeOptions {
    /// Fails for options that no fit can have.
    pub(crate) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the expansion", self.expansion),
            ("k", self.k),
            ("the number of steps", self.steps),
            ("the batch", self.batch),
            ("the buffer", self.buffer),
            ("`report`, the steps per row of the history,", self.report),
        ])?;
        if self.auxiliary_k == Some(0) {
            return Err(Error::invalid("`auxiliary_k`", "at least 1", 0));
        }
        if self.skip_positions >= self.length && self.skip_positions > 0 {
            let expected = format!("below {}, the length of a window (`length`)", self.length);
            return Err(Error::invalid("`skip_positions`", expected, self.skip_positions));
        }
        if u32::try_from(self.buffer).is_err() {
            return Err(Error::invalid("the buffer", format!("at most {}", u32::MAX), self.buffer));
        }
        check_not_negative("the learning rate", self.learning_rate)?;
        check_not_negative("the weight of the auxiliary loss", self.auxiliary)?;
        self.recipe(1).check()
    }

    /// Whether activations are divided by `√(mean ‖x‖²/d)`, because their size decides what a penalty
    /// weighs.
    pub(crate) fn is_rescaled(&self) -> bool {
        self.recipe(1).lambda().is_some()
    }

    /// What decides on the kind that is trained, of activations of `width` dimensions.
    pub(super) fn recipe(&self, width: usize) -> Recipe {
        let k = self.auxiliary_k.unwrap_or(width / 2).max(1);
        let revival = Revival { weight: self.auxiliary, k };
        Recipe { objective: self.objective.clone(), k: self.k, relu: self.relu, revival }
    }
}
