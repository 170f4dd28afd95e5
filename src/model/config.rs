//! What a decoder is made of.

mod check;
mod rotary;
mod shown;
mod usual;

pub use rotary::{Position, Rotary, Scaling};

/// Sizes and parts of a [`Decoder`](super::Decoder).
///
/// Start from the family that is nearest and change what differs:
///
/// ```
/// use eigenlens::model::Config;
/// let small = Config { vocab: 100, kv_heads: Some(1), ..Config::llama(2, 4, 32, 64) };
/// assert_eq!(small.d_head(), 8);
/// ```
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Blocks of attention and MLP.
    pub layers: usize,
    /// Attention heads a block, each with queries of its own.
    pub heads: usize,
    /// Heads with keys and values of their own: query head n reads number
    /// ⌊n / (heads / kv_heads)⌋. `None`: as many as heads.
    pub kv_heads: Option<usize>,
    /// Width of the residual stream.
    pub d_model: usize,
    /// Width of a head. `None`: `d_model / heads`.
    pub d_head: Option<usize>,
    /// Hidden neurons of an MLP. It counts only where there are MLPs, as `mlp_bias` and `mlp_norm`
    /// do.
    pub d_hidden: usize,
    /// Longest sequence of tokens.
    pub context: usize,
    /// Number of tokens.
    pub vocab: usize,
    /// What the residual stream passes through before each attention, each MLP and the
    /// unembedding.
    pub norm: Norm,
    /// Whether attention and MLP read the residual stream through norms; true. OLMo 2 and 3 have
    /// none there: no ln1, no ln2, and so no hook points in them.
    pub pre_norms: bool,
    /// Whether the outputs of attention and MLP pass through norms too, before they join the
    /// residual stream.
    pub post_norms: bool,
    /// RMS norms of queries and keys, after their biases and before rotary embedding; `None`: none.
    /// Their epsilon and their kind of gain, w or 1 + w, are those of `norm`.
    pub qk_norm: Option<QkNorm>,
    /// How a model knows where a token stands.
    pub position: Position,
    /// Rotary embedding of the layers with a window, where it is another than `position`'s; `None`:
    /// the same.
    pub local_rotary: Option<Rotary>,
    /// Whether queries and keys stay as they are, where those of other layers turn (SmolLM 3), layer
    /// by layer. Without any entry, no layer's do.
    pub unturned: Vec<bool>,
    /// Position p has row `p + position_offset` of the learned vectors, of which there are
    /// `context + position_offset`; 0, and 2 for OPT.
    pub position_offset: usize,
    /// Whether queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the output map of the attention has a bias.
    pub attention_bias: bool,
    /// What `q·k` is multiplied by. `None`: `d_head^(-1/2)`.
    pub score_scale: Option<f64>,
    /// Whether the scores of layer l, from 0, are also divided by l + 1, as in the GPT-2 models of
    /// Stanford's CRFM (`scale_attn_by_inverse_layer_idx`).
    pub inverse_layer_scale: bool,
    /// Bound c of attention scores, `c tanh(score / c)`; `None`: unbounded.
    pub score_cap: Option<f64>,
    /// Keys that a query sees, itself the last of them, layer by layer; `None` in a layer: all that
    /// are not ahead. Without any entry, `None` in every layer.
    pub windows: Vec<Option<usize>>,
    /// What an attention's output is multiplied by before it joins the residual stream, after the
    /// hook point [`AttnOut`](super::HookPoint::AttnOut); 1 but for bilinear transformers.
    pub attention_scale: f64,
    /// What the outputs of attention and MLP are multiplied by, after any norm of outputs and before
    /// the hook points [`AttnOut`](super::HookPoint::AttnOut) and
    /// [`MlpOut`](super::HookPoint::MlpOut); 1 but for Granite.
    pub residual_scale: f64,
    /// Whether the MLP reads the residual stream from before the attention:
    /// `x + attention(n₁(x)) + MLP(n₂(x))`.
    pub parallel: bool,
    /// The kind of MLP.
    pub mlp: Mlp,
    /// Whether the maps of an MLP have biases.
    pub mlp_bias: bool,
    /// Whether a LayerNorm over the neurons, with epsilon 1e-5, gain and bias, lies between an MLP's
    /// activation and its output map (`solu_ln`).
    pub mlp_norm: bool,
    /// What token embeddings are multiplied by; 1.
    pub embed_scale: f64,
    /// What logits are multiplied by before they are bounded; 1, and the inverse of `logits_scaling`
    /// for Granite.
    pub logit_scale: f64,
    /// Bound c of logits, `c tanh(logit / c)`; `None`: unbounded.
    pub logit_cap: Option<f64>,
    /// Whether the unembedding is the embedding matrix.
    pub tied: bool,
    /// Whether the unembedding has a bias, `[vocab]`.
    pub unembed_bias: bool,
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
    /// `w ∘ x / √(mean(x²) + eps)`, with a gain w.
    RmsGain {
        /// The term that keeps a zero vector finite.
        eps: f64,
    },
    /// `(1 + w) ∘ x / √(mean(x²) + eps)`: the stored gain is a difference from 1.
    RmsOnePlusGain {
        /// The term that keeps a zero vector finite.
        eps: f64,
    },
    /// `w ∘ c / √(mean(c²) + eps) + b` for `c = x − mean(x)`, with gain w and bias b.
    LayerNorm {
        /// The term that keeps a constant vector finite.
        eps: f64,
    },
}

/// Over what an RMS norm of queries and keys goes. Values have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// Over the `d_head` entries of each head, with one gain `[d_head]` for all heads of queries, and
    /// one for all heads of keys (Qwen 3, Gemma 3).
    PerHead,
    /// Over all entries of a position's queries, and over all of its keys, with gains
    /// `[heads · d_head]` and `[kv_heads · d_head]` (OLMo 2 and 3).
    Whole,
}

/// An MLP, with input `x` `[d_model]`, hidden width h and output map `P` `[d_model, h]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// `P (act(Lx) ∘ Rx)`; bilinear without an activation.
    Gated(Option<Activation>),
    /// `P act(Wx)`.
    Plain(Option<Activation>),
    /// None: the blocks have attention alone. There is no ln2, and no hook point of an MLP.
    None,
}

/// An activation function, entry by entry but for [`Activation::Solu`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x σ(x)`.
    Silu,
    /// `x Φ(x)`, with the normal distribution function Φ.
    Gelu,
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`, which is nearly [`Activation::Gelu`].
    GeluTanh,
    /// `x ∘ softmax(x)`, with the softmax over the neurons (Elhage et al., 2022).
    Solu,
}

impl Norm {
    /// Whether it has a gain.
    pub(super) fn has_gain(self) -> bool {
        !matches!(self, Self::None | Self::Rms { .. })
    }

    /// Whether it subtracts the mean and adds a bias.
    pub(super) fn centres(self) -> bool {
        matches!(self, Self::LayerNorm { .. })
    }

    /// The term under the root.
    pub(super) fn eps(self) -> f64 {
        match self {
            Self::None => 0.,
            Self::Rms { eps }
            | Self::RmsGain { eps }
            | Self::RmsOnePlusGain { eps }
            | Self::LayerNorm { eps } => eps,
        }
    }
}

impl Config {
    /// Width of a head.
    pub fn d_head(&self) -> usize {
        self.d_head.unwrap_or(self.d_model / self.heads.max(1))
    }

    /// Heads with keys and values of their own.
    pub fn kv_heads(&self) -> usize {
        self.kv_heads.unwrap_or(self.heads)
    }

    /// Keys that a query of the layer sees, if not all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.windows.get(layer).copied().flatten()
    }

    /// Rotary embedding of the layer's queries and keys: that of `local_rotary` in a layer with a
    /// window, where there is one, else that of `position`. `None` where nothing turns.
    pub fn rotary_of(&self, layer: usize) -> Option<&Rotary> {
        let Position::Rotary(usual) = &self.position else { return None };
        if self.unturned.get(layer).copied().unwrap_or(false) {
            return None;
        }
        let local = self.local_rotary.as_ref().filter(|_| self.window(layer).is_some());
        Some(local.unwrap_or(usual))
    }

    /// What `q·k` is multiplied by, before any division by the number of the layer.
    pub fn score_scale(&self) -> f64 {
        self.score_scale.unwrap_or((self.d_head() as f64).powf(-0.5))
    }

    /// What `q·k` is multiplied by in a layer.
    pub(super) fn score_scale_of(&self, layer: usize) -> f64 {
        match self.inverse_layer_scale {
            true => self.score_scale() / (layer + 1) as f64,
            false => self.score_scale(),
        }
    }

    /// Every rotary embedding that a layer may have.
    pub(super) fn rotaries(&self) -> impl Iterator<Item = &Rotary> {
        let usual = match &self.position {
            Position::Rotary(rotary) => Some(rotary),
            Position::Learned | Position::Shortformer => None,
        };
        usual.into_iter().chain(&self.local_rotary)
    }

    /// Whether what was kept of `seen` positions is of no use with `positions` more, because in a
    /// text of that length every position turns by other angles.
    pub(super) fn turns_anew(&self, seen: usize, positions: usize) -> bool {
        let other = |rotary: &Rotary| rotary.is_long(seen) != rotary.is_long(seen + positions);
        seen > 0 && self.rotaries().any(other)
    }

    /// What attention and MLP read the residual stream through.
    pub(super) fn pre_norm(&self) -> Norm {
        if self.pre_norms { self.norm } else { Norm::None }
    }

    /// What their outputs pass through.
    pub(super) fn post_norm(&self) -> Norm {
        if self.post_norms { self.norm } else { Norm::None }
    }

    /// The norm of an MLP's neurons.
    pub(super) fn norm_of_neurons(&self) -> Norm {
        if self.mlp_norm { Norm::LayerNorm { eps: 1e-5 } } else { Norm::None }
    }

    /// Widths of the gains of queries' and keys' norms, if they have gains.
    pub(super) fn qk_gains(&self) -> Option<[usize; 2]> {
        let kind = self.qk_norm.filter(|_| self.norm.has_gain())?;
        Some(match kind {
            QkNorm::PerHead => [self.d_head(); 2],
            QkNorm::Whole => [self.q_width(), self.kv_width()],
        })
    }

    /// Width of all queries.
    pub(super) fn q_width(&self) -> usize {
        self.heads * self.d_head()
    }

    /// Width of all keys, and of all values.
    pub(super) fn kv_width(&self) -> usize {
        self.kv_heads() * self.d_head()
    }

    /// Rows of the MLP's input map: left above right where it is gated.
    pub(super) fn mlp_rows(&self) -> usize {
        match self.mlp {
            Mlp::Gated(_) => 2 * self.d_hidden,
            Mlp::Plain(_) => self.d_hidden,
            Mlp::None => 0,
        }
    }
}
