//! Features of autoencoders, looked at through the texts that activate them.
//!
//! [`max_activations`] goes over a sample of text once and keeps, for each feature, the contexts
//! that activate it most, with how often and how strongly it is active. A [`Visualizer`] shows
//! them.
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

mod gallery;
mod maximal;
mod visualizer;

pub use crate::harvest::{FeatureTable, Histogram, Statistics, load_tables, save_tables};
pub use gallery::{Example, FeatureView, Gallery};
pub use maximal::{MaxOptions, max_activations};
pub use visualizer::Visualizer;
