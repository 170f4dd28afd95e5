//! How a multi-layer autoencoder is trained.

use crate::model::TunedLens;
use crate::sae::SaeOptions;

/// How [`Mlsae::fit`](super::Mlsae::fit) trains.
#[derive(Debug, Clone)]
pub struct MlsaeOptions {
    /// Layers after which the stream is read; none: all of the model.
    pub layers: Option<Vec<usize>>,
    /// All other options. `batch` and `buffer` count activations, of which a token has one a layer.
    pub sae: SaeOptions,
    /// Whether every activation is centred and divided by its standard deviation over dimensions,
    /// because streams grow from layer to layer; true.
    pub standardize: bool,
    /// What the errors of a layer weigh.
    pub weighting: LayerWeighting,
    /// What streams go through before the autoencoder reads them, as the original's `-lens` ones are
    /// trained; none. Errors are measured there too.
    pub lens: Option<TunedLens>,
}

/// What the squared errors of a layer's activations weigh in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LayerWeighting {
    /// 1 over the variance of the layer's activations about the mean of each dimension, measured once
    /// at the start: every layer's share of unexplained variance counts the same.
    #[default]
    Variance,
    /// Every activation as it is read counts the same: with `standardize`, each standardised one.
    Equal,
}

impl Default for MlsaeOptions {
    /// k 32, 16 latents for each dimension, all layers, as in Lawson et al. (2024).
    fn default() -> Self {
        let sae = SaeOptions { expansion: 16, k: 32, ..SaeOptions::default() };
        Self {
            layers: None,
            sae,
            standardize: true,
            weighting: LayerWeighting::default(),
            lens: None,
        }
    }
}
