//! Figures that know what they draw: spectra, explanations, directions, reducibility, residuals,
//! layers, errors of autoencoders.
//!
//! [`plot`](crate::plot) draws arrays; the functions here draw what models and analyses return.
//!
//! | function | draws |
//! | --- | --- |
//! | [`plot_eigenspectrum`] | eigenvalues with their strongest eigenvectors |
//! | [`plot_explanation`] | what eigenvectors contribute to a sample's logits |
//! | [`plot_directions`], [`plot_samples`] | vectors in three dimensions, and samples of them |
//! | [`plot_recovery`] | atoms that approach them over training, an animation |
//! | [`plot_regressions`] | what regressions of several layers leave unexplained |
//! | [`plot_power_laws`] | how errors of autoencoders fall with the number of features |
//! | [`plot_norm_baselines`] | what predicts the size of errors, by layer |
//! | [`plot_downstream`] | what parts of errors cost the model, for several autoencoders |
//! | [`plot_rows_needed`] | R² over the number of rows of a fit |
//!
//! [`Reducibility`](crate::geometry::Reducibility), [`Regression`](crate::geometry::Regression),
//! [`FeatureCloud`](crate::features::FeatureCloud), [`Search`](crate::features::Search),
//! [`Stability`](crate::features::Stability), [`Streams`](crate::cyclic::Streams),
//! [`Interventions`](crate::cyclic::Interventions) and [`PlaneSweep`](crate::cyclic::PlaneSweep) have
//! a method `plot`; so have, of multi-layer autoencoders,
//! [`LayerHeatMap`](crate::multilayer::LayerHeatMap),
//! [`LayerHistogram`](crate::multilayer::LayerHistogram),
//! [`VarianceDecomposition`](crate::multilayer::VarianceDecomposition),
//! [`Persistence`](crate::multilayer::Persistence),
//! [`ResidualStatistics`](crate::multilayer::ResidualStatistics) and
//! [`CosineByLayer`](crate::multilayer::CosineByLayer); and, of the errors of autoencoders,
//! [`LinearNull`](crate::sae_error::LinearNull), [`NormTest`](crate::sae_error::NormTest),
//! [`PowerLaw`](crate::sae_error::PowerLaw), [`Breakdown`](crate::sae_error::Breakdown),
//! [`SaeGrid`](crate::sae_error::SaeGrid), [`PerToken`](crate::sae_error::PerToken),
//! [`Downstream`](crate::sae_error::Downstream), [`Circuits`](crate::sae_error::Circuits),
//! [`NoiseSimulation`](crate::sae_error::NoiseSimulation) and
//! [`ProbeSimilarity`](crate::sae_error::ProbeSimilarity).

mod circles;
mod cloud;
mod directions;
mod explanation;
mod interp;
mod layers;
mod reducibility;
mod residuals;
mod sae_error;
mod sae_error_downstream;
mod sae_error_scaling;
mod sae_error_simulation;
mod sae_error_tokens;
mod search;
mod spectrum;
#[cfg(test)]
mod tests;

pub use directions::{plot_directions, plot_recovery, plot_samples};
pub use explanation::plot_explanation;
pub use residuals::plot_regressions;
pub use sae_error::plot_norm_baselines;
pub use sae_error_downstream::plot_downstream;
pub use sae_error_scaling::{plot_power_laws, plot_rows_needed};
pub use spectrum::plot_eigenspectrum;
