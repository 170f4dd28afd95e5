//! Sparse autoencoders: a dictionary of features for a model's activations.
//!
//! An [`Sae`] writes an activation as a few [`Codes`] times the columns of its decoder. What it
//! computes is its [`Architecture`]; [`Sae::load`] finds out from files which of the [families](Family)
//! of the field they belong to, and reads them by that family's own rules. The [`Registry`] lists
//! what is published.

mod architecture;
mod autoencoder;
mod check;
mod check_model;
mod codes;
mod coding;
mod columns;
mod fit;
mod fold;
mod formats;
mod influence;
mod intervene;
mod origin;
#[cfg(test)]
mod properties;
mod quality;
mod record;
mod registry;
mod scan;
mod screen;
mod select;
#[cfg(test)]
mod tiled;
mod top_k;
mod weights;

pub use architecture::{Activation, Architecture, Encoder, Normalization, Rescale};
pub use autoencoder::Sae;
pub use check::{Check, OutlierRows};
pub use codes::Codes;
pub use fit::{Objective, SaeOptions};
pub(crate) use formats::folder_point;
pub use formats::{Family, SaeLoader};
pub use origin::{Note, Origin};
pub use quality::PatchedLoss;
pub use record::{ExcludedTokens, PositionSlice, TrainingRecord};
pub use registry::{Entry, Registry};
pub use weights::{Gate, SaeWeights};
