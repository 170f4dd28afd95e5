//! What the errors of sparse autoencoders are made of (Engels et al. 2024, *Decomposing the dark
//! matter of sparse autoencoders*).
//!
//! An autoencoder leaves an error `e = x − x̂`. [`Explained`] takes it apart into what a linear map
//! of the activation predicts and the rest:
//!
//! ```text
//! e ≈ x A + b      linear = x A + b      nonlinear = e − linear
//! ```
//!
//! and says with [`Explained::null`] how much of that the covariances alone imply: x contains e, so
//! e is predictable from x even if nothing else is. [`SaeInfo`] collects what the questions need in
//! one pass over a text.
//!
//! | question | type |
//! | --- | --- |
//! | What does an autoencoder make of each token of a text? | [`SaeInfo`], of many at once by `collect_all` |
//! | Which part of its error does the activation predict? | [`Explained`], [`LinearNull`], [`ErrorParts`] |
//! | Which part of the error's norm? | [`NormTest`] |
//! | Are the same tokens hard for small and large autoencoders? | [`PerToken`] |
//! | How does the error fall with width, and to what? | [`PowerLaw`], [`Breakdown`], over a [`SaeGrid`] |
//! | How much of the error is the encoder's? | [`Pursuit`] |
//! | What does each part cost the model? | [`Downstream`] |
//! | Do other sites predict the parts? | [`Circuits`] |
//! | What are features of a part of the error about? | [`PartReader`], with [`interp`](crate::interp) |
//! | What do known amounts of noise look like? | [`NoiseSimulation`] |
//!
//! Defaults are the plain definitions: held out by context, with an intercept, R² pooled over
//! columns, intervals from a bootstrap over contexts. [`original`] has the study's own variants by
//! name, each with the figure that depends on it.
//!
//! [`Subject`] picks a model, its places and a text, so that a notebook runs on all of them.

mod breakdown;
mod circuits;
mod detection;
mod downstream;
mod explained;
mod grid;
mod grid_fit;
mod grid_folder;
mod linear_map;
mod moments;
mod norm_test;
mod null;
pub mod original;
mod part_reader;
mod part_sae;
mod parts;
mod per_token;
mod power_law;
mod probe_similarity;
mod pursuit;
mod rows;
mod sae_info;
mod simulation;
mod split;
mod study;
mod subject;
mod window;

pub use breakdown::{Breakdown, ErrorBand, ScalingPoint};
pub use circuits::{Circuits, SiteQuantity};
pub use detection::DetectionCounts;
pub use downstream::{Arm, Downstream, DownstreamOptions, DownstreamRow};
pub use explained::{ExplainOptions, Explained};
pub use grid::{GridEntry, SaeGrid};
pub use linear_map::{LinearMap, LinearScore};
pub use moments::Moments;
pub use norm_test::{NormBaseline, NormBaselines, NormTarget, NormTest, NormTestRow};
pub use null::{LinearNull, NullDirection};
pub use part_reader::PartReader;
pub use part_sae::Part;
pub use parts::ErrorParts;
pub use per_token::PerToken;
pub use power_law::{PowerLaw, PowerLawEvidence, PowerLawIntervals, ResampledPowerLaw};
pub use probe_similarity::{ProbeSimilarity, SimilarityOptions};
pub use pursuit::{Pursuit, PursuitMethod, PursuitSteps};
pub use rows::{ErrorBlock, ErrorOrigin, ErrorRows, TensorRows};
pub use sae_info::{FeatureStatistics, InfoOptions, KeepActivations, SaeInfo, SaeName};
pub use simulation::{NoiseCell, NoiseSimulation, SimulationOptions};
pub use split::Split;
pub use study::Study;
pub use subject::Subject;
pub use window::Window;
