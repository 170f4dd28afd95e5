//! Language models that can be looked into and changed while they run.
//!
//! One [`Decoder`], described by a [`Config`], with a [`HookPoint`] at every place that the
//! literature names. It reads the bilinear transformers of Pearce, Dooms, Rigg, Oramas and Sharkey
//! (2024): RMS norms without gain, rotary embedding in halves, and the bilinear MLP
//!
//! $$\mathrm{MLP}(x) = P\,(Lx \circ Rx),$$
//!
//! or its relatives with an activation on the left half, with biases, without norms, or plain.

mod checkpoint;
mod config;
mod decoder;
mod effect;
mod fit;
mod forward;
mod generate;
mod hooks;
mod kernels;
mod parameters;
mod summary;
mod text;

pub use config::{Activation, Config, Mlp, Norm};
pub use decoder::Decoder;
pub use effect::{Effect, EffectRow};
pub use fit::TrainOptions;
pub use generate::Sampling;
pub use hooks::{Cache, HookPoint, Hooks};
pub use summary::Summary;
