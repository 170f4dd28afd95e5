//! Toy models of superposition: data whose features are known, and dictionaries that look for them.

mod adam;
mod correlation;
mod dictionary;
mod grid;
mod metrics;
mod step;
mod superposition;

pub use dictionary::{Dictionary, Sparsity};
pub use grid::{DictionaryGrid, GridOptions};
pub use metrics::{Quality, best_cosines, mmcs, mmcs_unsigned, recovered};
pub use superposition::{Samples, Superposition, SuperpositionConfig};
