//! Language models that can be looked into and changed while they run.
//!
//! One [`Decoder`], described by a [`Config`], with a [`HookPoint`] at every place that the
//! literature names: GPT-2, GPT-Neo, GPT-NeoX and Pythia, OPT, Llama, Mistral, SmolLM2 and 3, Qwen-2
//! and 3, Gemma 2 and 3, OLMo 2 and 3, Phi-3, Granite, StarCoder 2, the small models of TransformerLens,
//! and the bilinear transformers of Pearce, Dooms, Rigg, Oramas and Sharkey (2024), whose MLP is
//!
//! ```text
//! MLP(x) = P (Lx ∘ Rx)
//! ```
//!
//! [`Decoder::from_pretrained`] reads them in the Hugging Face layout, each family's names mapped
//! onto the one model in a file of its own; [`Decoder::from_gguf`] reads what llama.cpp stores.
//!
//! # Examples
//!
//! What changes in the model's prediction if one layer's attention is silenced:
//!
//! ```
//! use eigenlens::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let tokens = model.tokens("She had been very")?;
//! let silence = Hooks::new().replace(HookPoint::AttnOut(1), |x| Ok(x.zeros_like()?));
//! let (logits, _) = model.run(&tokens, &Hooks::new())?; // [batch, positions, vocabulary]
//! let (changed, _) = model.run(&tokens, &silence)?;
//! assert_eq!(logits.dims(), changed.dims());
//! assert!((logits - changed)?.abs()?.max_all()?.to_scalar::<f32>()? > 0.1);
//! # Ok(())
//! # }
//! ```

mod analysis;
mod attend;
mod branch;
mod centred;
mod chat;
mod checkpoint;
mod config;
mod decoder;
mod effect;
mod families;
mod fetched;
mod fit;
mod forward;
mod generate;
mod gguf;
mod hooks;
mod kernels;
mod loader;
mod matrices;
mod names;
mod operations;
mod origin;
mod parameters;
mod pass;
mod past;
mod place;
mod point;
pub(crate) mod precision;
mod reach;
mod run;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod tuned_lens;

pub use analysis::{
    Attribution, AttributionRow, Gradients, Lens, LensRow, Patching, logit_difference,
};
pub use config::{Activation, Config, Mlp, Norm, Position, QkNorm, Rotary, Scaling};
pub use decoder::Decoder;
pub use effect::{Effect, EffectRow};
#[cfg(test)]
pub(crate) use families::GgufModel;
pub(crate) use fetched::fetched_name;
pub use fit::TrainOptions;
pub use generate::{Generation, Sampling};
pub use hooks::{Cache, Hooks};
pub use loader::DecoderLoader;
pub use names::{KnownModel, ModelSupport};
pub(crate) use past::Past;
pub use place::MASKED_SCORE;
pub use point::HookPoint;
pub use summary::Summary;
pub use tuned_lens::{LensDivergences, LensOptions, LensVariant, TunedLens, lens_divergence};
