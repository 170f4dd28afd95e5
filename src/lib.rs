//! Rust notebooks for mechanistic interpretability.

pub mod bilinear;
mod check;
pub mod data;
mod device;
mod display;
mod error;
pub mod features;
pub mod figures;
#[doc(hidden)]
pub mod fuzzing;
#[doc = include_str!("from_numpy.md")]
pub mod from_numpy {}
pub mod geometry;
pub mod gguf;
mod home;
pub mod hub;
pub mod linalg;
#[doc = include_str!("methods.md")]
pub mod methods {}
pub mod model;
pub mod notebook;
pub mod plot;
mod png;
pub mod prelude;
mod progress;
mod provenance;
pub mod random;
pub mod sae;
mod store;
mod tensors;
mod text;
pub mod toy;
pub mod train;

pub use candle_core as candle;
pub use device::best_device;
pub use error::{Error, Result};
pub use ndarray;
pub use tensors::{TensorExt, TensorSummary, from_ndarray};
