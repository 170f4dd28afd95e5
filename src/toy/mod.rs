//! Toy models of superposition: data whose features are known, and dictionaries that look for them.
//!
//! A [`Superposition`] writes samples as sparse sums of more directions than there are dimensions,
//!
//! $$x = \sum_i c_i d_i,\qquad c_i \ge 0,\ \text{few of them not zero},$$
//!
//! and a [`DictionaryGrid`] trains sparse autoencoders of several penalties and sizes on them, all at
//! once. Since the dᵢ are known, [`mmcs`] can say how many of them each has found, beside what
//! [`pca`], [`ica`] and a [`random_dictionary`] find. [`PhaseDiagram`] asks for which numbers of
//! active features it works at all. After Sharkey, Braun and Millidge, "Taking features out of
//! superposition with sparse autoencoders" (2022).
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::toy::mmcs;
//! # fn main() -> Result<()> {
//! let world = Superposition::new(SuperpositionConfig::new(6, 3, 1.2), 0)?;
//! let samples = world.sample(4_000, 1)?;
//! let options = GridOptions { epochs: 10, ..GridOptions::l1([0.1], [12]) };
//! let grid = DictionaryGrid::fit(&samples.x(), &options)?;
//! assert!(mmcs(&world.truth(), &grid.dictionary(0, 0)?.atoms())? > 0.8);
//! # Ok(()) }
//! ```

mod adam;
mod baselines;
mod correlation;
mod dictionary;
mod grid;
mod metrics;
mod phase;
mod report;
mod step;
mod streams;
mod superposition;
#[cfg(test)]
mod tests;

pub use baselines::{IcaOptions, ica, pca, random_dictionary};
pub use dictionary::{Dictionary, Sparsity};
pub use grid::{DictionaryGrid, GridOptions};
pub use metrics::{Quality, best_cosines, mmcs, mmcs_unsigned, recovered};
pub use phase::PhaseDiagram;
pub use report::GridReport;
pub use superposition::{Samples, Superposition, SuperpositionConfig};
