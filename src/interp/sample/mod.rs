//! Which texts a model is shown of each feature.
//!
//! | texts | which |
//! | --- | --- |
//! | explained | the contexts with the largest peaks; they take part in nothing else |
//! | positives | of the other contexts with the feature, sorted by peak and cut into groups of equal count, some of each group |
//! | negatives | contexts in which the feature is silent |
//! | wrong marks | positives again, with marks on as many silent tokens |
//!
//! All are excerpts of one length. A positive's is around its peak, and a negative's begins where that
//! of a positive does, so that neither length nor place tells one from the other. Special tokens are
//! in none, and no two texts of a feature are equal. What is drawn for a feature depends on the seed
//! and the feature, and not on the other features or on the size of batches.

mod draw;
mod dry_run;
mod estimate;
mod options;
mod pieces;
mod plan;
mod planned;
mod scan;
mod shown_contexts;
#[cfg(test)]
mod tests;

pub use dry_run::DryRun;
pub use estimate::Estimate;
pub use options::{Interp, Scoring};
pub(super) use pieces::pieces;
pub use plan::Plan;
pub(super) use planned::{Group, PlannedFeature, PlannedText};
