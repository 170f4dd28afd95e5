//! What each part of an autoencoder's error costs the model.

mod arm;
mod estimate;
mod losses;
mod measuring;
mod site;
mod table;
#[cfg(test)]
pub(super) mod tests;

use std::sync::Arc;

pub use arm::Arm;
pub use estimate::DownstreamRow;

use self::estimate::{Resampling, downstream_rows};
use self::measuring::{DownstreamTokens, Measuring};
use super::explained::Explained;
use super::sae_info::SaeInfo;
use crate::check::check_sizes;
use crate::data::text::Contexts;
use crate::model::Decoder;
use crate::progress::{OnStop, Progress, StopShield};
use crate::{Error, Result};

/// How [`Downstream::measure`] measures.
#[derive(Debug, Clone, PartialEq)]
pub struct DownstreamOptions {
    /// What takes the place of activations, beside [`Arm::Clean`] and [`Arm::Sae`], which are measured
    /// always; [`Arm::ALL`].
    pub arms: Vec<Arm>,
    /// Contexts that go through the model at a time; 4.
    pub batch: usize,
    /// Resamplings of the contexts for intervals; 1,000.
    pub draws: usize,
    /// Confidence of the intervals; 0.95.
    pub confidence: f64,
    /// Seed of resamplings, random directions and other tokens; 0.
    pub seed: u64,
    /// What it does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for DownstreamOptions {
    fn default() -> Self {
        Self {
            arms: Arm::ALL.to_vec(),
            batch: 4,
            draws: 1_000,
            confidence: 0.95,
            seed: 0,
            on_stop: OnStop::EndCell,
        }
    }
}

/// What it costs a model if reconstructions, and parts of their errors, take the place of activations.
///
/// For each [`Arm`] the activations at the positions of the window are replaced and the rest of the
/// model is run. The cost is the cross-entropy of the next token at those positions, and how far its
/// distribution is from that of the model as it is. If a part of the error matters as its size says,
/// adding it to x̂ gives back its share of the cost; the controls tell what any vector of that size
/// gives back. After Engels et al. (2024), Figure 9, who show the first four arms.
///
/// The parts of a context's errors come from a linear map that never saw the context: one of the
/// cross-fitted maps if it is a context of the [`SaeInfo`], and the map of all its rows otherwise.
#[derive(Debug, Clone)]
pub struct Downstream {
    /// The autoencoder's name.
    pub name: String,
    /// Each arm, [`Arm::Clean`] and [`Arm::Sae`] first.
    pub rows: Vec<DownstreamRow>,
    /// Contexts that were run.
    pub contexts: usize,
    /// Whether Stop was pressed before the end.
    pub interrupted: bool,
    tokens: Arc<DownstreamTokens>,
}

impl Downstream {
    /// Replaces activations of `model` on `contexts` at the place and in the window of `info`, which
    /// `explained` takes apart.
    ///
    /// The layers below the place are run once and those above once for each arm. Logits are made for a
    /// few positions at a time, so that they never take more than 200 MB or three positions' of them.
    ///
    /// # Errors
    /// - [`Error::Invalid`] for options that cannot be, a window that ends before it begins, an
    ///   explanation of other rows, a place outside the layers, and fewer than two contexts.
    /// - As [`Decoder::run`] and [`Sae::encode`](crate::sae::Sae::encode).
    /// - [`Error::Stopped`] when Stop is pressed, after which `stopped::<Downstream>()` returns what
    ///   the contexts until then say.
    pub fn measure(
        model: &Decoder,
        info: &SaeInfo,
        explained: &Explained,
        contexts: &Contexts,
        options: &DownstreamOptions,
    ) -> Result<Self> {
        check_sizes(&[("`batch`", options.batch), ("`draws`", options.draws)])?;
        if explained.rows().contexts() != info.context_of() {
            let expected = "of the rows of the same `SaeInfo`";
            return Err(Error::invalid("the explanation", expected, "of others"));
        }
        let arms = arms_of(options);
        let measuring = Measuring::new(model, info, explained, contexts, options.seed)?;
        let mut tokens = DownstreamTokens::new(arms.len());
        let mut progress = Progress::new("downstream", contexts.len() as u64, "context");
        let (mut done, mut interrupted) = (0, false);
        {
            let _shield = StopShield::new();
            while done < contexts.len() && !interrupted {
                let count = options.batch.min(contexts.len() - done);
                measuring.batch(done, count, &arms, &mut tokens)?;
                done += count;
                interrupted = progress.advance(count as u64) && done < contexts.len();
            }
        }
        progress.finish();
        if interrupted && done < 2 {
            return Err(Error::Interrupted { what: "the losses downstream".to_owned() });
        }
        let DownstreamOptions { confidence, draws, seed, .. } = *options;
        let resampling = Resampling { confidence, draws, seed };
        let found = Self {
            name: info.name().to_owned(),
            rows: downstream_rows(&arms, &tokens.arms, &tokens.context_of, resampling)?,
            contexts: done,
            interrupted,
            tokens: Arc::new(tokens),
        };
        if !interrupted {
            return Ok(found);
        }
        let access = "`stopped::<eigenlens::sae_error::Downstream>()?` gives what was done.";
        options.on_stop.end("the losses downstream", found, access)
    }

    /// What an arm costs.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it was not measured.
    pub fn get(&self, arm: Arm) -> Result<&DownstreamRow> {
        Ok(&self.rows[self.place(arm)?])
    }

    /// The loss at each token with an arm, nats, context after context.
    ///
    /// # Errors
    /// As [`Downstream::get`].
    pub fn losses(&self, arm: Arm) -> Result<&[f64]> {
        Ok(&self.tokens.arms[self.place(arm)?].losses.cross_entropy)
    }

    /// The divergence at each token from the model as it is, nats.
    ///
    /// # Errors
    /// As [`Downstream::get`].
    pub fn divergences(&self, arm: Arm) -> Result<&[f64]> {
        Ok(&self.tokens.arms[self.place(arm)?].losses.kl)
    }

    /// The number of each token's context among those that were run.
    pub fn context_of(&self) -> &[usize] {
        &self.tokens.context_of
    }

    /// The position of each token in its context.
    pub fn position_of(&self) -> &[usize] {
        &self.tokens.position_of
    }

    /// `‖linear‖` of each token.
    pub fn linear_norms(&self) -> &[f64] {
        &self.tokens.linear
    }

    /// `‖nonlinear‖` of each token.
    pub fn nonlinear_norms(&self) -> &[f64] {
        &self.tokens.nonlinear
    }

    fn place(&self, arm: Arm) -> Result<usize> {
        self.rows.iter().position(|row| row.arm == arm).ok_or_else(|| Error::NotFound {
            what: format!("`{arm}`"),
            hint: "It was not among the arms of the options.".to_owned(),
        })
    }
}

/// The arms in the order of a table, each once.
fn arms_of(options: &DownstreamOptions) -> Vec<Arm> {
    let mut arms = vec![Arm::Clean, Arm::Sae];
    for arm in &options.arms {
        if !arms.contains(arm) {
            arms.push(*arm);
        }
    }
    arms
}
