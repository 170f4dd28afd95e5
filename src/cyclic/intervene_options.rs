//! How a model is patched.

use std::path::PathBuf;

use super::patch::{CircleReading, Patch, PatchVariant};
use super::problems::Role;
use crate::geometry::Interval;
use crate::progress::OnStop;

/// How [`Interventions::run`](super::Interventions::run) intervenes.
#[derive(Debug, Clone)]
pub struct InterveneOptions {
    /// The position that is patched; the start.
    pub role: Role,
    /// Layers whose stream is patched, each before the layer, and their number for after the last;
    /// empty, which means all.
    pub layers: Vec<usize>,
    /// Frequencies of the circles that a probe reads and a patch sets; 1.
    pub frequencies: Vec<usize>,
    /// What takes the place of activations; those of [`Patch::published`].
    pub patches: Vec<Patch>,
    /// Whose formulas; the plain ones.
    pub variant: PatchVariant,
    /// How the circle's plane is found; by a probe of five principal components.
    pub reading: CircleReading,
    /// The step of the sources of changed answers; that of the problem itself. Engels et al. (2024)
    /// take 3.
    pub source_step: Option<usize>,
    /// The template whose problems are patched, while probes are fitted to all; all.
    pub template: Option<usize>,
    /// Confidence of the intervals; 0.96.
    pub confidence: f64,
    /// Problems of one pass; 64.
    pub batch: usize,
    /// Seed of permuted orders, random planes and bootstraps; 0.
    pub seed: u64,
    /// A folder for the logits of the layers that are done, from which the same call goes on after it
    /// was cut off; none. Their files are named by the content of the question, so that other
    /// interventions can share it.
    pub checkpoint: Option<PathBuf>,
    /// What it does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for InterveneOptions {
    fn default() -> Self {
        Self {
            role: Role::Start,
            layers: Vec::new(),
            frequencies: vec![1],
            patches: Patch::published(),
            variant: PatchVariant::Plain,
            reading: CircleReading::default(),
            source_step: None,
            template: None,
            confidence: Interval::NINETY_SIX,
            batch: 64,
            seed: 0,
            checkpoint: None,
            on_stop: OnStop::EndCell,
        }
    }
}
