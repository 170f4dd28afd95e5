//! A classifier's interaction tensor as few neurons that all classes share.
//!
//! Eigenvectors belong to one class each. A *canonical polyadic decomposition* (CPD) of rank R
//! instead writes all classes' interaction matrices at once, in pixel space, as
//!
//! ```text
//! T_c     = Σ_r d_cr ½ (l_r r_rᵀ + r_r l_rᵀ)      r = 1 … R
//! logit_c = Σ_r d_cr (l_r·x)(r_r·x)
//! ```
//!
//! and finds the factors that maximise the cosine similarity ⟨P, T⟩ / (‖P‖ ‖T‖) to the model's own
//! tensor P. Both are sums of rank-one terms, so products of the factors with each other suffice:
//! the tensors of classes × pixels × pixels are never formed.
//!
//! Since `4 (l·x)(r·x) = ((l + r)·x)² − ((l − r)·x)²`, every neuron is one pattern that adds and
//! one that takes away: [`CpdModel::decompose`].
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::bilinear::cpd::{CpdFit, CpdModel};
//! use eigenlens::bilinear::image::{ImageConfig, ImageModel};
//! # fn main() -> Result<()> {
//! let config = ImageConfig { height: 4, width: 4, classes: 3, d_hidden: 4, ..Default::default() };
//! let model = ImageModel::new(config, 0, &Device::Cpu)?;
//! let cpd = CpdModel::new(&model, 4, 0)?;
//! let before = cpd.similarity(&model)?;
//! let history = cpd.fit(&model, CpdFit { steps: 100, ..CpdFit::default() })?;
//! assert!(history.last("similarity")? > before);
//! assert_eq!(cpd.decompose()?.sigma.dims(), [4]);
//! # Ok(())
//! # }
//! ```

mod fit;
mod model;
mod similarity;

pub use fit::CpdFit;
pub use model::{CpdDecomposition, CpdModel};
pub use similarity::{InteractionTensor, SimilarityGradients};
