//! Bilinear layers and what their weights compute.
//!
//! A bilinear layer multiplies two linear maps entry by entry, so each output is a quadratic form:
//!
//! ```text
//! y_o = Σ_h P_oh (L_h·x)(R_h·x) = xᵀ B_o x      B_o = Σ_h P_oh L_h R_hᵀ
//! ```
//!
//! The *interaction matrices* `B_o` ([`interactions`]) are all there is to know about the layer:
//! `B_o[i, j]` is how strongly inputs i and j act together on output o. Only the symmetric part
//! ([`symmetrise`]) matters, because `xᵀBx = xᵀBᵀx`. After Pearce, Dooms, Rigg, Oramas and Sharkey,
//! "Bilinear MLPs enable weight-based mechanistic interpretability" (2024).
//!
//! - [`toy`]: a layer trained on logic gates, small enough to read;
//! - [`image`]: a classifier of digits, taken apart into eigenvectors ([`Decomposition`]);
//! - [`cpd`]: the same classifier as few neurons that all classes share;
//! - [`tracer`]: the MLP of a language model, between the features of two autoencoders.
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::bilinear::{interactions, symmetrise};
//! # fn main() -> Result<()> {
//! let left = Tensor::new(&[[1f32, 0.]], &Device::Cpu)?; // one hidden neuron: x0 · x1
//! let right = Tensor::new(&[[0f32, 1.]], &Device::Cpu)?;
//! let out = Tensor::new(&[[2f32]], &Device::Cpu)?;
//! let b = symmetrise(&interactions(&out, &left, &right)?)?;
//! assert_eq!(b.to_vec3::<f32>()?, [[[0., 1.], [1., 0.]]]); // 2 x0 x1
//! # Ok(())
//! # }
//! ```

mod adversarial;
pub mod cpd;
mod decompose;
mod explanation;
pub mod image;
mod interaction;
pub mod toy;
pub mod tracer;

pub use adversarial::{AdversarialMask, MaskEffect};
pub use decompose::Decomposition;
pub use explanation::Explanation;
pub use interaction::{interactions, symmetrise};
