//! The ways in which autoencoders are stored.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A way of storing autoencoders, with its files, names and maths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// The bilinear transformers' `-scope` repositories.
    Scope,
    /// SAELens: `cfg.json` and `sae_weights.safetensors`, version 6 or before.
    SaeLens,
    /// Gemma Scope: `params.npz`.
    GemmaScope,
    /// Gemma Scope 2: `params.safetensors`.
    GemmaScope2,
    /// EleutherAI's sparsify: `cfg.json` and `sae.safetensors`.
    Sparsify,
    /// dictionary_learning: `config.json` and `ae.pt`.
    DictionaryLearning,
    /// OpenAI's autoencoders of GPT-2: `{layer}.pt`.
    OpenAi,
    /// Multi-layer autoencoders: `config.json` and `model.safetensors`.
    Mlsae,
    /// Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.
    LlamaScope,
    /// Llama Scope R1: `config.json` and `sae_weights.safetensors` with `encoder.weight`.
    LlamaScopeR1,
    /// Language-Model-SAEs: `config.json` and `sae_weights.safetensors` with `W_E`.
    Llamascopium,
    /// Goodfire's: one `.pth`.
    Goodfire,
    /// qresearch's of DeepSeek-R1: one `.pt`.
    DeepSeekR1,
    /// Qwen Scope: `layer{n}.sae.pt`.
    QwenScope,
    /// Kissane and Krzyzanowski's of attention outputs: `{name}.pt` and `{name}_cfg.json`.
    AttentionOut,
    /// Hanna's transcoders: `layer_{n}.safetensors`.
    HannaTranscoder,
    /// A layer of a cross-layer transcoder: `W_enc_{n}.safetensors` and `W_dec_{n}.safetensors`.
    CrossLayerTranscoder,
    /// The Mistral autoencoders of *Not all language model features are linear*: a pickled
    /// configuration and state in one `.pt`.
    Mistral,
}

impl Family {
    const ALL: [Self; 18] = [
        Self::Scope,
        Self::SaeLens,
        Self::GemmaScope,
        Self::GemmaScope2,
        Self::Sparsify,
        Self::DictionaryLearning,
        Self::OpenAi,
        Self::Mlsae,
        Self::LlamaScope,
        Self::LlamaScopeR1,
        Self::Llamascopium,
        Self::Goodfire,
        Self::DeepSeekR1,
        Self::QwenScope,
        Self::AttentionOut,
        Self::HannaTranscoder,
        Self::CrossLayerTranscoder,
        Self::Mistral,
    ];

    /// Every family.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter()
    }

    /// Its name, in messages and to ask for it.
    fn name(self) -> &'static str {
        match self {
            Self::Scope => "scope",
            Self::SaeLens => "saelens",
            Self::GemmaScope => "gemma-scope",
            Self::GemmaScope2 => "gemma-scope-2",
            Self::Sparsify => "sparsify",
            Self::DictionaryLearning => "dictionary-learning",
            Self::OpenAi => "openai",
            Self::Mlsae => "mlsae",
            Self::LlamaScope => "llama-scope",
            Self::LlamaScopeR1 => "llama-scope-r1",
            Self::Llamascopium => "llamascopium",
            Self::Goodfire => "goodfire",
            Self::DeepSeekR1 => "deepseek-r1",
            Self::QwenScope => "qwen-scope",
            Self::AttentionOut => "attention-out",
            Self::HannaTranscoder => "hanna-transcoder",
            Self::CrossLayerTranscoder => "cross-layer-transcoder",
            Self::Mistral => "mistral",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Family {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::all().find(|family| family.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid("the family", format!("one of {names}"), text)
        })
    }
}
