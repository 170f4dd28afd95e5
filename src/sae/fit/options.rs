//! How an autoencoder is trained.

use std::fmt;
use std::path::PathBuf;

use crate::check::{check_not_negative, check_sizes};
use crate::model::HookPoint;
use crate::progress::OnStop;
use crate::{Error, Result};

/// How [`Sae::fit`](crate::sae::Sae::fit) trains.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions {
    /// What a code is and what is made small; [`Objective::TopK`].
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

/// What a code is, and the loss, a mean over activations, that training makes small.
///
/// With x what is read, t what is predicted (x itself, but for transcoders), `h = E (x − b) + e` (no
/// b for transcoders), a code f, and `x̂ = D f + b`, where D's columns have length one. Kinds with a
/// penalty λ are trained on activations divided by √(mean ‖x‖²/d), so that λ, thresholds and
/// bandwidths mean the same wherever activations come from; the weights are scaled back.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Objective {
    /// `f = max(h, 0)`, loss `‖t − x̂‖² + λ Σ f` (Bricken et al., 2023, with a decoder of length one).
    Standard {
        /// λ.
        l1: f64,
    },
    /// f keeps the `k` largest of h, and of those, with `relu`, the positive ones; no e but for
    /// transcoders. Loss `‖t − x̂‖² + α ‖r − D z‖²` with r the error `t − x̂` as a constant and z the
    /// largest of h among dead features (Gao et al., 2024); α is `auxiliary`, and how many z has
    /// `auxiliary_k`.
    #[default]
    TopK,
    /// f keeps the `k` n largest positive entries of the h of all n activations of a step; loss as
    /// with [`Objective::TopK`]. A running mean of the smallest entry kept becomes the threshold of
    /// a JumpReLU autoencoder (Bussmann et al., 2024).
    BatchTopK,
    /// `fᵢ = hᵢ` where `hᵢ > θᵢ`, loss `‖t − x̂‖² + λ ‖f‖₀`; θ = exp of what is learned, through
    /// straight-through estimators with a rectangle of width ε (Rajamanoharan et al., 2024b).
    JumpRelu {
        /// λ.
        l0: f64,
        /// ε.
        bandwidth: f64,
        /// θ at the start.
        threshold: f64,
    },
    /// With `π = h + g`, `fᵢ = max(hᵢ exp(rᵢ) + cᵢ, 0)` where `πᵢ > 0`, and no e; loss
    /// `‖t − x̂‖² + λ Σ max(π, 0) + ‖t − x̂(max(π, 0))‖²`, where the last term leaves D and b as they
    /// are (Rajamanoharan et al., 2024a).
    Gated {
        /// λ.
        l1: f64,
    },
    /// [`Objective::BatchTopK`] with a loss that sums the squared errors of the first
    /// `prefixes[0]`, `prefixes[1]`, … and of all features (Bussmann et al., 2025).
    Matryoshka {
        /// Sizes of the nested dictionaries, ascending; the whole needs no mention.
        prefixes: Vec<usize>,
    },
}

impl Objective {
    /// [`Objective::JumpRelu`] with bandwidth and threshold 0.1.
    pub fn jump_relu(l0: f64) -> Self {
        Self::JumpRelu { l0, bandwidth: 0.1, threshold: 0.1 }
    }

    /// λ, of those that have one.
    pub(super) fn penalty(&self) -> Option<f64> {
        match self {
            Self::Standard { l1 } | Self::Gated { l1 } => Some(*l1),
            Self::JumpRelu { l0, .. } => Some(*l0),
            Self::TopK | Self::BatchTopK | Self::Matryoshka { .. } => None,
        }
    }

    /// Ends of the nested dictionaries in `m` features.
    pub(super) fn ends(&self, m: usize) -> Vec<usize> {
        match self {
            Self::Matryoshka { prefixes } => {
                prefixes.iter().copied().filter(|end| *end < m).chain([m]).collect()
            }
            _ => vec![m],
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard { .. } => "ReLU with L1",
            Self::TopK => "top-k",
            Self::BatchTopK => "batch-top-k",
            Self::JumpRelu { .. } => "JumpReLU",
            Self::Gated { .. } => "gated",
            Self::Matryoshka { .. } => "matryoshka",
        })
    }
}

impl SaeOptions {
    /// Fails for options that no fit can have.
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the expansion", self.expansion),
            ("k", self.k),
            ("the number of steps", self.steps),
            ("the batch", self.batch),
            ("the buffer", self.buffer),
            ("the steps a row", self.report),
        ])?;
        if self.auxiliary_k == Some(0) {
            return Err(Error::invalid("auxiliary_k", "at least 1", 0));
        }
        if u32::try_from(self.buffer).is_err() {
            return Err(Error::invalid("the buffer", format!("at most {}", u32::MAX), self.buffer));
        }
        check_not_negative("the learning rate", self.learning_rate)?;
        check_not_negative("the weight of the auxiliary loss", self.auxiliary)?;
        if let Some(penalty) = self.objective.penalty() {
            check_not_negative("the penalty", penalty)?;
        }
        if !self.relu && self.objective != Objective::TopK {
            let expected =
                format!("true for {}: only top-k keeps negative entries", self.objective);
            return Err(Error::invalid("relu", expected, false));
        }
        match &self.objective {
            Objective::JumpRelu { bandwidth, threshold, .. } => {
                for (what, value) in [("the bandwidth", *bandwidth), ("the threshold", *threshold)]
                {
                    if !value.is_finite() || value <= 0.0 {
                        return Err(Error::invalid(what, "a finite number above 0", value));
                    }
                }
                Ok(())
            }
            Objective::Matryoshka { prefixes } => {
                let ascending = prefixes.windows(2).all(|pair| pair[0] < pair[1]);
                if prefixes.first().is_none_or(|first| *first == 0) || !ascending {
                    let expected = "sizes from 1 that ascend, at least one";
                    return Err(Error::invalid("the prefixes", expected, format!("{prefixes:?}")));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Fails for options that `m` features cannot have.
    pub(super) fn check_features(&self, m: usize) -> Result<()> {
        if self.k > m && self.objective.penalty().is_none() {
            return Err(Error::invalid("k", format!("at most {m}, the features"), self.k));
        }
        if let Objective::Matryoshka { prefixes } = &self.objective
            && let Some(last) = prefixes.last().filter(|last| **last > m)
        {
            return Err(Error::invalid("a prefix", format!("at most {m}, the features"), last));
        }
        Ok(())
    }
}
