//! What a notebook imports: `use eigenlens::prelude::*;`.

pub use crate::bilinear::cpd::{CpdFit, CpdModel};
pub use crate::bilinear::image::{FitOptions, ImageConfig, ImageModel};
pub use crate::bilinear::toy::{ToyConfig, ToyFit, ToyModel};
pub use crate::bilinear::tracer::{Directions, Statistic, Tracer};
pub use crate::cyclic::{
    CyclicTask, InterveneOptions, Interventions, Patch, PlaneSweep, PromptOptions, Role,
    SweepOptions,
};
pub use crate::data::text::{Contexts, Tokenizer, Tokens};
pub use crate::data::{Augmentation, FashionMnist, ImageDataset, Images, Mnist, Table};
pub use crate::features::{
    CloudOptions, Clusters, Explanations, FeatureCloud, GraphOptions, MaxOptions, Neighbours,
    PublishedCluster, Search, SearchOptions, SpectralOptions, TokenClasses, Visualizer,
    max_activations,
};
pub use crate::figures::{
    plot_directions, plot_eigenspectrum, plot_explanation, plot_recovery, plot_regressions,
    plot_samples,
};
pub use crate::geometry::{
    BestBand, Binning, Cloud, Colouring, Explanatory, FourierPower, Interval, Mixture,
    MixtureOptions, OrderNull, Probe, ProbeOptions, Reducibility, Regression, Separability,
    Subspace, Targets,
};
pub use crate::harvest::{HarvestOptions, Keep, ShuffleOptions, Store};
pub use crate::interp::{ChatModel, Interp};
pub use crate::linalg::pca;
pub use crate::model::{
    Config, Decoder, DecoderLoader, HookPoint, Hooks, LensOptions, Sampling, TrainOptions,
    TunedLens, logit_difference,
};
pub use crate::multilayer::{
    Evaluation, LayerCodes, LayerDistributions, LayerExampleOptions, LayerExamples,
    LayerScanOptions, Mlsae, MlsaeOptions, Persistence, ResidualStatistics, VarianceDecomposition,
    Weighting,
};
pub use crate::notebook::{DebugDisplay as _, OnStop, Progress, input, interrupted, stopped};
pub use crate::plot::{
    self, Figure, Scale, bar, beside, grid, histogram, imshow, line, plot_heat_maps, scatter, stack,
};
pub use crate::random::Rng;
pub use crate::sae::{
    Codes, MatchedModel, Objective, Registry, Sae, SaeLoader, SaeOptions, model_for,
};
pub use crate::sae_error::{InfoOptions, SaeGrid, SaeInfo, Subject};
pub use crate::toy::{
    DictionaryGrid, GridOptions, PhaseDiagram, Sparsity, Superposition, SuperpositionConfig,
};
pub use crate::{Error, Result, TensorExt, best_device, from_ndarray};
#[doc(no_inline)]
pub use candle_core::{D, DType, Device, IndexOp, Tensor, Var};
