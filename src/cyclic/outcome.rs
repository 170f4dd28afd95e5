//! Scores of interventions.

use super::change::Change;
use super::patch::Patch;
use crate::Result;
use crate::geometry::Interval;

/// Draws of a bootstrap.
const DRAWS: usize = 2_000;

/// What a model answers with one patch in one layer.
#[derive(Debug, Clone)]
pub struct PatchOutcome {
    /// The layer before which the stream was patched.
    pub layer: usize,
    /// The patch.
    pub patch: Patch,
    /// `logit(old answer) − logit(new answer)`: the mean over all changes, and Student's interval,
    /// as in Engels et al. (2024). It is too narrow, because changes share problems and words.
    pub difference: Interval,
    /// The same mean with a bootstrap over the words that problems start from.
    pub difference_by_start: Interval,
    /// The share of changes after which the answer asked for is the best of the words, with a
    /// bootstrap over the words that problems start from.
    pub success: Interval,
    /// The share of changes after which the best word is the answer asked for or next to it around
    /// the circle.
    pub within_one: f64,
    /// The logit difference of each change, draw by draw.
    pub differences: Vec<f64>,
    /// The best word after each change, draw by draw.
    pub answers: Vec<usize>,
}

/// How changes are scored.
pub(super) struct OutcomeScoring {
    /// The word that the problem of each change starts from.
    pub(super) groups: Vec<usize>,
    pub(super) period: usize,
    pub(super) confidence: f64,
    pub(super) seed: u64,
}

impl OutcomeScoring {
    /// Scores logits of the words after each change, draw by draw.
    pub(super) fn outcome(
        &self,
        layer: usize,
        patch: &Patch,
        changes: &[Change],
        logits: &[Vec<f64>],
    ) -> Result<PatchOutcome> {
        let all = changes.iter().cycle().zip(logits);
        let differences: Vec<f64> =
            all.clone().map(|(change, row)| row[change.old] - row[change.new]).collect();
        let answers: Vec<usize> = logits.iter().map(|row| best(row)).collect();
        let off = |change: &Change, answer: usize| {
            let apart = change.new.abs_diff(answer);
            apart.min(self.period - apart)
        };
        let apart: Vec<usize> =
            changes.iter().cycle().zip(&answers).map(|(change, &own)| off(change, own)).collect();
        let success: Vec<f64> =
            apart.iter().map(|apart| f64::from(u8::from(*apart == 0))).collect();
        let near = apart.iter().filter(|apart| **apart <= 1).count();
        let groups: Vec<usize> = self.groups.iter().cycle().take(logits.len()).copied().collect();
        let by_start = |values: &[f64]| {
            Interval::bootstrap(values, &groups, self.confidence, DRAWS, self.seed)
        };
        Ok(PatchOutcome {
            layer,
            patch: patch.clone(),
            difference: Interval::of(&differences, self.confidence)?,
            difference_by_start: by_start(&differences)?,
            success: by_start(&success)?,
            within_one: near as f64 / apart.len() as f64,
            differences,
            answers,
        })
    }
}

/// The place of the largest number; the first of equal ones.
pub(super) fn best(row: &[f64]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, value)| if *value > row[best] { i } else { best })
}
