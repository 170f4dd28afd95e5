//! Features of autoencoders, looked at through the texts that activate them.
//!
//! [`max_activations`] goes over a sample of text once and keeps, for each feature, the contexts
//! that activate it most, with how often and how strongly it is active. A [`Visualizer`] shows
//! them.
//!
//! Features that belong together are found by their directions: [`Neighbours`] has the nearest of
//! each, [`Clusters`] the groups, [`FeatureCloud`] what a group writes at each token, and
//! [`Search`] ranks groups by how irreducible their clouds are. After Engels, Liao, Michaud, Gurnee
//! and Tegmark, "Not All Language Model Features Are Linear" (2024), section 4.
//!
//! # Examples
//!
//! ```
//! use eigenlens::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let tracer = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?;
//! let features = Visualizer::from_pretrained(&model, tracer.output(), "eigenlens/classics-4k")?;
//! let gallery = features.show(&[729], 3)?; // three texts that activate feature 729 most
//! assert!(gallery.to_string().contains("729"));
//! # Ok(())
//! # }
//! ```

mod cloud;
mod clusters;
mod explanations;
mod gallery;
mod maximal;
mod neighbours;
mod pairs;
mod reader;
mod reader_table;
mod search;
mod visualizer;

pub use crate::harvest::{FeatureTable, Histogram, Statistics, load_tables, save_tables};
pub use cloud::{
    CloudLabels, CloudOptions, CloudPlane, CloudReducibility, FeatureCloud, Filing, TokenClasses,
    TokenWindow,
};
pub use clusters::{
    Centring, Clusters, GraphOptions, PublishedCheck, PublishedCluster, SpectralOptions,
    SpectralReport, Stability, angular_affinity, cosines, mean_pairwise_cosine, singular_values,
};
pub use explanations::{Explanations, FeatureExplanation};
pub use gallery::{Example, FeatureView, Gallery};
pub use maximal::{MaxOptions, max_activations};
pub use neighbours::Neighbours;
pub(crate) use pairs::{PairVisitor, UnitVectors};
pub use reader::FeatureReader;
pub(crate) use reader::check_reads_activations;
pub use search::{LeftOut, Search, SearchOptions, SearchRow};
pub use visualizer::Visualizer;
