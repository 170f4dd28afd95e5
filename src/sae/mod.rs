//! Sparse autoencoders: a dictionary of features for a model's activations.
//!
//! An [`Sae`] writes an activation as a few [`Codes`] times the columns of its decoder. It reads the
//! `-scope` repositories of the bilinear transformers.

mod autoencoder;
mod buffer;
mod codes;
mod fit;
mod influence;
mod intervene;
mod quality;
pub(crate) mod scope;
mod top_k;

pub use autoencoder::{Sae, SaeWeights};
pub use codes::Codes;
pub use fit::SaeOptions;
pub use quality::PatchedLoss;
