//! Multi-layer sparse autoencoders: one dictionary for the residual stream at every layer.
//!
//! The principal type is [`Mlsae`]: a model, one [`Sae`](crate::sae::Sae), and the layers at which
//! it is used. Because latents are shared, one can ask at which layers each of them is active. After
//! Lawson, Farnik, Houghton and Aitchison, "Residual Stream Analysis with Multi-Layer SAEs" (2024).
//!
//! [`LayerCodes`] are the sparse codes of the same positions at all layers. Statistics take them in
//! batch after batch and hold a few numbers a latent:
//!
//! | question | type |
//! | --- | --- |
//! | At which layers is a latent active? | [`LayerDistributions`] |
//! | Is the variance over layers between latents, or within a latent, or within a token? | [`VarianceDecomposition`] |
//! | Does a latent that is active stay active at the next layer? | [`Persistence`] |
//! | Which contexts activate a latent most at a layer? | [`LayerExamples`] |
//! | How well is each layer reconstructed? | [`Evaluation`] |
//! | What does the model say if a latent is added, or a layer reconstructed? | [`SteeredLogits`] |
//! | How alike are neighbouring layers before any autoencoder? | [`ResidualStatistics`] |
//! | Do latents of neighbouring layers point the same way? | [`CosineByLayer`], [`max_cosines`] |
//!
//! A [tuned lens](crate::model::TunedLens) may come before the autoencoder: [`Mlsae::with_lens`].
//!
//! Where a formula of the original does not measure what it says, the plain definition has the
//! plain name, and the original's is there under a name that begins with `Original` or `original`.

mod checkpoint;
mod code_histograms;
mod codes;
mod cosine_layers;
mod decomposition;
mod directions;
mod distributions;
mod distributions_file;
mod distributions_published;
mod evaluation;
mod examples;
mod fit;
mod fit_options;
mod intervention;
mod layer_variance;
mod layer_views;
mod layers_source;
mod lens;
mod mlsae;
mod moments;
mod original;
mod original_interface;
mod pass;
mod persistence;
mod prompt;
mod ranked_logits;
mod reader;
mod resampling;
mod residual;
mod save;
mod scores;
mod steering;
mod surveys;

pub use code_histograms::CodeHistograms;
pub use codes::LayerCodes;
pub use cosine_layers::{CosineBins, CosineByLayer, LayerPairing, cosine_by_layer_distance};
pub use decomposition::{LayerVarianceIntervals, VarianceDecomposition, Weighting};
pub use directions::{max_cosines, max_cosines_original, nearest_embeddings};
pub use distributions::LayerDistributions;
pub use evaluation::{Evaluation, LayerEvaluation};
pub use examples::{ExampleRule, ExampleText, LayerExample, LayerExampleOptions, LayerExamples};
pub use fit_options::{LayerWeighting, MlsaeOptions};
pub use intervention::{
    InterventionLayers, InterventionPositions, LatentChange, LatentIntervention,
};
pub use layer_variance::{LatentSums, LayerVariance};
pub use layer_views::{LayerHeatMap, LayerHistogram, LayerSummary};
pub use mlsae::Mlsae;
pub use moments::{MeanAndSpread, RunningMoments};
pub use original::{
    CountedEntries, OriginalEvaluation, OriginalMetrics, OriginalOptions, OriginalVarianceValues,
    OriginalVariances, PublishedForward, PublishedRecipe, PublishedStep, PublishedTraining,
    geometric_median, original_names, original_std_spread, unit_columns, without_part_along,
};
pub use original_interface::original_code_histograms;
pub use pass::{LayerBatch, LayerScanOptions};
pub use persistence::Persistence;
pub use prompt::LayerPrompt;
pub use ranked_logits::{LogitShift, RankedLogit};
pub use residual::{ResidualMeans, ResidualStatistics};
pub use scores::{EvaluatedLayer, LayerScores};
pub use steering::SteeredLogits;
