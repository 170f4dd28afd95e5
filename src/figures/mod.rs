//! Figures that know what they draw: spectra, explanations, directions, reducibility, residuals,
//! layers.
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
//! [`CosineByLayer`](crate::multilayer::CosineByLayer).

mod circles;
mod cloud;
mod directions;
mod explanation;
mod layers;
mod reducibility;
mod residuals;
mod search;
mod spectrum;
#[cfg(test)]
mod tests;

pub use directions::{plot_directions, plot_recovery, plot_samples};
pub use explanation::plot_explanation;
pub use residuals::plot_regressions;
pub use spectrum::plot_eigenspectrum;
