//! What a decoder is made of.

use crate::error::check_sizes;
use crate::{Error, Result};

/// Sizes and parts of a [`Decoder`](super::Decoder).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Blocks of attention and MLP.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Hidden neurons of an MLP.
    pub d_hidden: usize,
    /// Longest sequence of tokens.
    pub context: usize,
    /// Number of tokens.
    pub vocab: usize,
    /// What the residual stream passes through before each attention, each MLP and the
    /// unembedding.
    pub norm: Norm,
    /// The kind of MLP.
    pub mlp: Mlp,
    /// Whether the maps of an MLP have biases. Attention never has.
    pub mlp_bias: bool,
    /// Wavelengths of the rotary embedding grow up to 2π times this; 10,000.
    pub rotary_base: f64,
    /// What an attention's output is multiplied by before it joins the residual stream.
    pub attention_scale: f64,
}

/// A normalisation of the residual stream, position by position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Norm {
    /// None: `x`.
    None,
    /// `x / √(mean(x²) + eps)`, without gain.
    Rms {
        /// The term that keeps a zero vector finite.
        eps: f64,
    },
}

/// An MLP, with input `x` `[d_model]`, hidden width h and output map `P` `[d_model, h]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// `P (act(Lx) ∘ Rx)`; bilinear without an activation.
    Gated(Option<Activation>),
    /// `P act(Wx)`.
    Plain(Option<Activation>),
}

/// An activation function, entry by entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x σ(x)`.
    Silu,
    /// `x Φ(x)`, with the normal distribution function Φ.
    Gelu,
}

impl Config {
    /// A bilinear transformer as the published ones are: RMS norms without gain, attention scaled
    /// by 1/√(2·layers), no biases.
    pub fn bilinear(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            layers,
            heads,
            d_model,
            d_hidden,
            context: 256,
            vocab: 4096,
            norm: Norm::Rms { eps: 1e-8 },
            mlp: Mlp::Gated(None),
            mlp_bias: false,
            rotary_base: 10_000.,
            attention_scale: 1. / (2. * layers as f64).sqrt(),
        }
    }

    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_model / self.heads.max(1)
    }

    /// Rows of the MLP's input map: left above right where it is gated.
    pub(super) fn mlp_rows(&self) -> usize {
        match self.mlp {
            Mlp::Gated(_) => 2 * self.d_hidden,
            Mlp::Plain(_) => self.d_hidden,
        }
    }

    /// Checks that the sizes make a model.
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the number of layers", self.layers),
            ("the number of heads", self.heads),
            ("d_model", self.d_model),
            ("d_hidden", self.d_hidden),
            ("the context", self.context),
            ("the vocabulary", self.vocab),
        ])?;
        if !self.d_model.is_multiple_of(2 * self.heads) {
            let expected = format!("a multiple of twice the {} heads", self.heads);
            return Err(Error::invalid("d_model", expected, self.d_model));
        }
        Ok(())
    }
}
