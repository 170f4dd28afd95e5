//! Features of autoencoders, looked at through the texts that activate them.
//!
//! [`max_activations`] goes over a sample of text once and keeps, for each feature, the contexts
//! that activate it most, with how often and how strongly it is active. A [`Visualizer`] shows
//! them.

mod gallery;
mod histogram;
mod maximal;
mod store;
mod visualizer;

pub use gallery::{Example, FeatureView, Gallery};
pub use histogram::Histogram;
pub use maximal::{MaxOptions, max_activations};
pub use store::{FeatureTable, Statistics, load_tables, save_tables};
pub use visualizer::Visualizer;
