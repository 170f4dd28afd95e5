//! Mechanistic interpretability in Rust: take neural networks apart, in a notebook or in a program.
//!
//! eigenlens is for researchers and students who ask what a network computes and how: with hooks
//! on language models, sparse autoencoders (SAEs) of every published format, and the weights of
//! bilinear layers. It runs on [candle], on the CPU or with CUDA, and comes with a Jupyter kernel in
//! which the tutorials of the works it implements run cell by cell (`cargo lab`; see the README).
//!
//! # The smallest program
//!
//! ```
//! use eigenlens::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let tokens = model.tokens("She had been very happy")?;
//! let (logits, cache) = model.run(&tokens, &Hooks::new().capture(HookPoint::ResidPost(1)))?;
//! assert_eq!(logits.dims()[..2], [1, tokens.dims()[1]]); // [batch, positions, vocabulary]
//! assert_eq!(cache.tensor(HookPoint::ResidPost(1))?.dims().len(), 3); // [batch, positions, d_model]
//! # Ok(())
//! # }
//! ```
//!
//! That model is part of the library, so this needs no network and no files. A folder or a name on
//! the Hugging Face hub works in its place.
//!
//! # The main types
//!
//! [`Decoder`](model::Decoder) is a language model: GPT-2, Pythia, Llama, Mistral, Gemma 2 and 3,
//! Qwen 2 and 3, OLMo and bilinear transformers are one type with one set of hook points. A
//! [`HookPoint`](model::HookPoint) names a place in it as TransformerLens does. [`Hooks`](model::Hooks)
//! say what to capture there and what to replace; what was captured is in a [`Cache`](model::Cache).
//!
//! [`Sae`](sae::Sae) is a sparse autoencoder: `encode` turns activations into
//! [`Codes`](sae::Codes), the few features that are active at each position, and `decode` turns them
//! back. [`Sae::load`](sae::Sae::load) reads any published format, [`Sae::fit`](sae::Sae::fit)
//! trains one, and [`Registry`](sae::Registry) lists what is published; [`model_for`](sae::model_for)
//! loads the model of one.
//!
//! ```
//! # use eigenlens::prelude::*;
//! # fn main() -> Result<()> {
//! let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
//! let tracer = Tracer::from_pretrained(&model, 2, "x8-k16", "x8-k16")?;
//! let sae = tracer.output(); // of what the third layer's MLP writes
//! let tokens = model.tokens("She had been very happy")?;
//! let codes = sae.encode(&model.activations(&tokens, &[sae.point()?])?.tensor(sae.point()?)?)?;
//! assert_eq!(codes.rows(), tokens.elem_count()); // one row of features per position
//! # Ok(())
//! # }
//! ```
//!
//! [`Tracer`](bilinear::tracer::Tracer) sits between the features of two autoencoders around a
//! bilinear MLP. It computes from the weights alone how strongly each pair of input features drives
//! an output feature, and the eigenvectors of that.
//!
//! [`Store`](harvest::Store) keeps what a model and its autoencoders make of a text, in a folder:
//! statistics and examples of each feature, codes, and activations in random order for training.
//!
//! [`Visualizer`](features::Visualizer) shows features: the texts that activate them most, with
//! each token coloured by its activation, and the tokens that they promote.
//!
//! [`Interp`](interp::Interp) has features explained in words by a language model behind any server
//! that speaks OpenAI's protocol ([`ChatModel`](interp::ChatModel)), and scores the explanations by how
//! well they tell texts apart. What was found is a [`Report`](interp::Report); the
//! [`Visualizer`](features::Visualizer) shows its explanations.
//!
//! [`Mlsae`](multilayer::Mlsae) is one autoencoder for the residual stream at every layer of a
//! model. It tells at which layers each latent is active, and for which texts.
//!
//! [`Figure`](plot::Figure) is a plotly figure. Chart functions such as [`imshow`](plot::imshow) and
//! [`line`](plot::line()) return one, and it shows itself as the last value of a cell.
//!
//! [`ImageModel`](bilinear::image::ImageModel), [`ToyModel`](bilinear::toy::ToyModel),
//! [`Superposition`](toy::Superposition) and [`DictionaryGrid`](toy::DictionaryGrid) are small
//! worlds whose answer is known or can be seen.
//!
//! # Map of the modules
//!
//! Data flows one way, and a module uses only those above it in this table.
//!
//! | module | what is there |
//! | --- | --- |
//! | [`random`] | one seeded generator, so that the CPU and the GPU draw the same numbers |
//! | [`linalg`], [`train`] | decompositions, eigenvalues, products; optimisers, schedules, losses |
//! | [`hub`], [`gguf`] | files of the Hugging Face hub and its cache; the GGUF format |
//! | [`data`] | digits, tokens and texts, tables |
//! | [`model`] | language models with hooks, generation, training, analysis |
//! | [`sae`] | sparse autoencoders: read, train, check, intervene |
//! | [`harvest`] | stores: activations, codes and statistics of one pass over a text, asked many times |
//! | [`bilinear`], [`toy`], [`geometry`], [`cyclic`], [`features`], [`multilayer`], [`sae_error`] | the analyses: interaction matrices, dictionaries, shapes of representations, circles of words, texts of features, latents over layers, errors of autoencoders |
//! | [`interp`] | explanations of features by a language model, and their scores |
//! | [`plot`], [`figures`] | charts of arrays; figures that know what they draw |
//! | [`notebook`], [`prelude`] | displays, progress bars, input and Stop; what a notebook imports |
//!
//! [`from_numpy`] compares the habits of NumPy and pandas with those here, and [`methods`] says how
//! the slow computations are made fast and what bounds their errors.
//!
//! # Features and platforms
//!
//! | feature | meaning |
//! | --- | --- |
//! | `cuda` | candle's CUDA backend (needs a CUDA toolkit); off by default |
//!
//! The library is tested on Linux with x86-64; other Unix systems and AArch64 have portable code in
//! every place where there are vector instructions. Windows is not supported: locks and mapped files
//! use Unix calls. The minimal Rust version is 1.95.
//!
//! [`candle`], [`ndarray`] and [`plotly`] are part of the interface and exported, so
//! that a program uses the same versions.
//!
//! # Errors
//!
//! Every fallible call returns [`Result`]. An [`Error`] names the file, field or option as it was
//! given, what was expected, what was found, and what to do; nothing panics on bad input.

pub mod bilinear;
mod check;
pub mod cyclic;
pub mod data;
mod device;
mod display;
mod error;
pub mod features;
pub mod figures;
#[doc(hidden)]
pub mod fuzzing;
#[doc = include_str!("from_numpy.md")]
pub mod from_numpy {}
pub mod geometry;
pub mod gguf;
pub mod harvest;
mod home;
mod http;
pub mod hub;
pub mod interp;
pub mod linalg;
#[doc = include_str!("methods.md")]
pub mod methods {}
pub mod model;
pub mod multilayer;
pub mod notebook;
pub mod plot;
mod png;
pub mod prelude;
mod progress;
mod provenance;
pub mod random;
pub mod sae;
pub mod sae_error;
mod store;
mod tensors;
mod text;
pub mod toy;
pub mod train;

pub use candle_core as candle;
pub use device::best_device;
pub use error::{Error, Result};
pub use home::home;
pub use ndarray;
pub use tensors::{TensorExt, TensorSummary, from_ndarray};
