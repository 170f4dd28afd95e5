//! Toy models of superposition: data whose features are known, and dictionaries that look for them.
//!
//! A [`Superposition`] writes samples as sparse sums of more directions than there are dimensions,
//!
//! ```text
//! x = Σᵢ cᵢ dᵢ      cᵢ ≥ 0, few of them not zero
//! ```
//!
//! and a [`DictionaryGrid`] trains sparse autoencoders of several penalties and sizes on them, all at
//! once. Since the dᵢ are known, [`mmcs`] can say how many of them each has found, beside what
//! [`pca`], [`ica`] and a [`random_dictionary`] find. [`PhaseDiagram`] asks for which numbers of
//! active features it works at all. After Sharkey, Braun and Millidge, "Taking features out of
//! superposition with sparse autoencoders" (2022).
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::toy::{mmcs, random_dictionary};
//! # fn main() -> Result<()> {
//! let world = Superposition::new(SuperpositionConfig::new(16, 8, 1.0), 0)?;
//! let samples = world.sample(4_000, 1)?;
//! let options = GridOptions { batch: 64, learning_rate: 0.01, ..GridOptions::l1([0.3], [32]) };
//! let grid = DictionaryGrid::fit(&samples.x(), &options)?;
//! let found = mmcs(&world.truth(), &grid.dictionary(0, 0)?.atoms())?;
//! // About 0.94, where directions drawn at random reach 0.68.
//! assert!(found > mmcs(&world.truth(), &random_dictionary(32, 8, 0)?)? + 0.1);
//! # Ok(()) }
//! ```

mod baselines;
mod correlation;
mod dictionary;
mod grid;
mod grid_fit;
mod grid_options;
mod metrics;
mod phase;
mod report;
mod streams;
mod superposition;
#[cfg(test)]
mod tests;

pub use baselines::{IcaOptions, ica, pca, random_dictionary};
pub use dictionary::{Dictionary, Sparsity};
pub use grid::DictionaryGrid;
pub use grid_options::GridOptions;
pub use metrics::{Quality, best_cosines, mmcs, mmcs_unsigned, recovered};
pub use phase::PhaseDiagram;
pub use report::GridReport;
pub use superposition::{Samples, Superposition, SuperpositionConfig};
