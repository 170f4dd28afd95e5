//! Sparse autoencoders: a dictionary of features for a model's activations.
//!
//! An [`Sae`] writes an activation as a few [`Codes`] times the columns of its decoder. What it
//! computes is its [`Architecture`]; [`Sae::load`] finds out from files which of the [families](Family)
//! of the field they belong to, and reads them by that family's own rules. The [`Registry`] lists
//! what is published, and [`model_for`] loads the model that an autoencoder belongs to.
//!
//! # Examples
//!
//! Codes of a sentence, and what the autoencoder leaves unexplained:
//!
//! ```
//! use eigenlens::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let sae = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?.output().clone();
//! let tokens = model.tokens("She had been very happy")?;
//! let x = model.activations(&tokens, &[sae.point()?])?.tensor(sae.point()?)?;
//! let codes = sae.encode(&x)?;
//! assert!(codes.row(0).len() <= 16); // at most 16 features are active at a position
//! let error = (&x - sae.decode(&codes)?.reshape(x.dims())?)?;
//! assert!(error.sqr()?.sum_all()?.to_scalar::<f32>()? < x.sqr()?.sum_all()?.to_scalar::<f32>()?);
//! # Ok(())
//! # }
//! ```

mod architecture;
mod autoencoder;
mod check;
mod check_model;
mod codes;
mod coding;
mod columns;
mod coverage;
mod family;
mod fit;
mod fold;
mod formats;
mod influence;
mod intervene;
mod kind;
mod matched;
mod order;
mod origin;
mod quality;
mod record;
mod registry;
mod scan;
mod screen;
#[cfg(test)]
mod tests;
mod tile_scan;
mod top_k;
mod weights;

pub use architecture::{Architecture, Encoder, Normalization, Rescale, SaeActivation};
pub use autoencoder::Sae;
pub use check::{Check, OutlierRows};
pub use codes::Codes;
pub use coverage::{Coverage, CoverageRow};
pub use family::Family;
pub use fit::SaeOptions;
pub(crate) use fit::{
    Batch, FitPlace, FitSize, FitSource, SmallFit, Widths, buffer_of, mean_row, root_mean_square,
};
pub use formats::SaeLoader;
pub(crate) use formats::folder_point;
pub(crate) use intervene::plus;
pub use kind::objective::Objective;
pub use matched::{MatchNote, MatchedModel, model_for};
pub use origin::{Note, Origin};
pub use quality::PatchedLoss;
pub(crate) use record::model_name;
pub use record::{ExcludedTokens, PositionSlice, TrainingRecord};
pub use registry::{Entry, Registry};
pub use weights::{Gate, SaeWeights};
