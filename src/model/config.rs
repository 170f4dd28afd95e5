//! What a decoder is made of.

use crate::check::check_sizes;
use crate::{Error, Result};

/// Sizes and parts of a [`Decoder`](super::Decoder).
///
/// Start from the family that is nearest and change what differs:
///
/// ```
/// use eigenlens::model::Config;
/// let small = Config { vocab: 100, kv_heads: Some(1), ..Config::llama(2, 4, 32, 64) };
/// assert_eq!(small.d_head(), 8);
/// ```
#[derive(Debug, Clone, PartialEq)]
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
    /// Hidden neurons of an MLP.
    pub d_hidden: usize,
    /// Longest sequence of tokens.
    pub context: usize,
    /// Number of tokens.
    pub vocab: usize,
    /// What the residual stream passes through before each attention, each MLP and the
    /// unembedding.
    pub norm: Norm,
    /// Whether the outputs of attention and MLP pass through norms too, before they join the
    /// residual stream.
    pub post_norms: bool,
    /// How a model knows where a token stands.
    pub position: Position,
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
    /// What an attention's output is multiplied by before it joins the residual stream; 1 but for
    /// bilinear transformers.
    pub attention_scale: f64,
    /// Whether the MLP reads the residual stream from before the attention:
    /// `x + attention(n₁(x)) + MLP(n₂(x))`.
    pub parallel: bool,
    /// The kind of MLP.
    pub mlp: Mlp,
    /// Whether the maps of an MLP have biases.
    pub mlp_bias: bool,
    /// What token embeddings are multiplied by; 1.
    pub embed_scale: f64,
    /// Bound c of logits, `c tanh(logit / c)`; `None`: unbounded.
    pub logit_cap: Option<f64>,
    /// Whether the unembedding is the embedding matrix.
    pub tied: bool,
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

/// How a model knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Position {
    /// Queries and keys are turned by angles that grow with the position.
    Rotary(Rotary),
    /// A vector for each position, added to the token's embedding.
    Learned,
}

/// Rotary embedding: of the first `r = dims` entries of a head, numbers i and i + r/2 turn together,
/// by `position · f(base^(-2i/r))` radians.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rotary {
    /// Entries of a head that turn. `None`: all.
    pub dims: Option<usize>,
    /// Wavelengths grow up to 2π times this; 10,000.
    pub base: f64,
    /// What is done to the frequencies so that longer texts fit.
    pub scaling: Scaling,
}

/// A change `f` of the rotary frequencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scaling {
    /// None.
    None,
    /// `f / factor`.
    Linear {
        /// How many times slower.
        factor: f64,
    },
    /// That of Llama 3.1. With wavelength `w = 2π/f`: `f` where `w < original/high`, `f / factor`
    /// where `w > original/low`, and between them `(1 − s) f / factor + s f` with
    /// `s = (original/w − low) / (high − low)`.
    Llama3 {
        /// How many times slower low frequencies are.
        factor: f64,
        /// Turns within the original context below which a frequency is low.
        low: f64,
        /// Turns within the original context above which a frequency stays.
        high: f64,
        /// Context that the model was first trained with, in tokens.
        original: f64,
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
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`, which is nearly [`Activation::Gelu`].
    GeluTanh,
}

impl Rotary {
    /// All of a head, wavelengths up to 2π·`base`, no scaling.
    pub fn new(base: f64) -> Self {
        Self { dims: None, base, scaling: Scaling::None }
    }
}

impl Scaling {
    /// The frequency in the place of `f`.
    pub(super) fn of(self, f: f64) -> f64 {
        match self {
            Self::None => f,
            Self::Linear { factor } => f / factor,
            Self::Llama3 { factor, low, high, original } => {
                let turns = original * f / (2. * std::f64::consts::PI);
                if turns > high {
                    f
                } else if turns < low {
                    f / factor
                } else {
                    let share = (turns - low) / (high - low);
                    (1. - share) * f / factor + share * f
                }
            }
        }
    }

    fn check(self) -> Result<()> {
        let (factor, bounds) = match self {
            Self::None => return Ok(()),
            Self::Linear { factor } => (factor, true),
            Self::Llama3 { factor, low, high, original } => {
                (factor, low > 0. && high > low && original > 0. && high.is_finite())
            }
        };
        if factor > 0. && factor.is_finite() && bounds {
            return Ok(());
        }
        let expected = "positive, with a high frequency factor above the low one";
        Err(Error::invalid("the rotary scaling's numbers", expected, format!("{self:?}")))
    }
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
    /// A bilinear transformer as the published ones are: RMS norms without gain, attention scaled
    /// by 1/√(2·layers), no biases.
    pub fn bilinear(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            layers,
            heads,
            kv_heads: None,
            d_model,
            d_head: None,
            d_hidden,
            context: 256,
            vocab: 4096,
            norm: Norm::Rms { eps: 1e-8 },
            post_norms: false,
            position: Position::Rotary(Rotary::new(10_000.)),
            qkv_bias: false,
            attention_bias: false,
            score_scale: None,
            inverse_layer_scale: false,
            score_cap: None,
            windows: Vec::new(),
            attention_scale: 1. / (2. * layers as f64).sqrt(),
            parallel: false,
            mlp: Mlp::Gated(None),
            mlp_bias: false,
            embed_scale: 1.,
            logit_cap: None,
            tied: false,
        }
    }

    /// GPT-2: LayerNorms, learned positions, a plain MLP with the tanh GELU, biases everywhere, the
    /// unembedding tied.
    pub fn gpt2(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::LayerNorm { eps: 1e-5 },
            position: Position::Learned,
            qkv_bias: true,
            attention_bias: true,
            attention_scale: 1.,
            mlp: Mlp::Plain(Some(Activation::GeluTanh)),
            mlp_bias: true,
            tied: true,
            ..Self::bilinear(layers, heads, d_model, d_hidden)
        }
    }

    /// GPT-NeoX and Pythia: LayerNorms, the parallel residual, a quarter of each head rotary where
    /// that is an even number, a plain MLP with the exact GELU, biases everywhere.
    pub fn gpt_neox(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        let dims = d_model / heads.max(1) / 4;
        Self {
            position: Position::Rotary(Rotary {
                dims: Some(dims - dims % 2),
                ..Rotary::new(10_000.)
            }),
            parallel: true,
            mlp: Mlp::Plain(Some(Activation::Gelu)),
            tied: false,
            ..Self::gpt2(layers, heads, d_model, d_hidden)
        }
    }

    /// Llama: RMS norms with gain, rotary embedding, a SiLU-gated MLP, no biases. Mistral has
    /// `windows` more, Qwen-2 `qkv_bias`.
    pub fn llama(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::RmsGain { eps: 1e-5 },
            attention_scale: 1.,
            mlp: Mlp::Gated(Some(Activation::Silu)),
            ..Self::bilinear(layers, heads, d_model, d_hidden)
        }
    }

    /// Gemma 2: norms before and after attention and MLP with gain 1 + w, scaled embeddings, soft
    /// caps of 50 and 30, every other layer with a window of 4,096 from the first on.
    pub fn gemma2(layers: usize, heads: usize, d_model: usize, d_hidden: usize) -> Self {
        Self {
            norm: Norm::RmsOnePlusGain { eps: 1e-6 },
            post_norms: true,
            score_cap: Some(50.),
            windows: (0..layers).map(|layer| (layer % 2 == 0).then_some(4096)).collect(),
            mlp: Mlp::Gated(Some(Activation::GeluTanh)),
            embed_scale: (d_model as f64).sqrt(),
            logit_cap: Some(30.),
            tied: true,
            ..Self::llama(layers, heads, d_model, d_hidden)
        }
    }

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

    /// The entries of a head that rotary embedding turns.
    pub(super) fn rotary_dims(&self) -> usize {
        match self.position {
            Position::Learned => 0,
            Position::Rotary(rotary) => rotary.dims.unwrap_or(self.d_head()),
        }
    }

    /// Radians a position that pair `i` of a head turns by.
    pub(super) fn frequency(&self, i: usize) -> f64 {
        match self.position {
            Position::Learned => 0.,
            Position::Rotary(Rotary { base, scaling, .. }) => {
                scaling.of(base.powf(-2. * i as f64 / self.rotary_dims() as f64))
            }
        }
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
        }
    }

    /// Checks that the sizes make a model.
    pub(super) fn check(&self) -> Result<()> {
        check_sizes(&[
            ("the number of layers", self.layers),
            ("the number of heads", self.heads),
            ("the number of key and value heads", self.kv_heads()),
            ("d_model", self.d_model),
            ("d_hidden", self.d_hidden),
            ("the context", self.context),
            ("the vocabulary", self.vocab),
        ])?;
        if self.d_head.is_none() {
            // Half of a head turns with the other half.
            let (parts, of) = match self.rotary_dims() == self.d_model / self.heads {
                true => (2 * self.heads, "twice "),
                false => (self.heads, ""),
            };
            if !self.d_model.is_multiple_of(parts) {
                let expected = format!("a multiple of {of}the {} heads", self.heads);
                return Err(Error::invalid("d_model", expected, self.d_model));
            }
        }
        check_sizes(&[("d_head", self.d_head())])?;
        if !self.heads.is_multiple_of(self.kv_heads()) {
            let expected = format!("a multiple of the {} key and value heads", self.kv_heads());
            return Err(Error::invalid("the number of heads", expected, self.heads));
        }
        let turned = self.rotary_dims();
        if !turned.is_multiple_of(2) || turned > self.d_head() {
            let expected = format!("an even number up to {}, the width of a head", self.d_head());
            return Err(Error::invalid("the rotary entries of a head", expected, turned));
        }
        if !self.windows.is_empty() && self.windows.len() != self.layers {
            let expected = format!("none, or one for each of {} layers", self.layers);
            return Err(Error::invalid("the windows", expected, self.windows.len()));
        }
        if self.windows.contains(&Some(0)) {
            return Err(Error::invalid("a window", "at least 1", 0));
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<()> {
        let positive = [
            ("the scale of attention scores", Some(self.score_scale())),
            ("the bound of attention scores", self.score_cap),
            ("the bound of logits", self.logit_cap),
            ("the scale of embeddings", Some(self.embed_scale)),
        ];
        for (what, value) in positive {
            if let Some(value) = value.filter(|value| !(*value > 0. && value.is_finite())) {
                return Err(Error::invalid(what, "positive", value));
            }
        }
        if !(self.norm.eps() >= 0. && self.norm.eps().is_finite()) {
            return Err(Error::invalid(
                "the epsilon of the norms",
                "zero or positive",
                self.norm.eps(),
            ));
        }
        match self.position {
            Position::Learned => Ok(()),
            Position::Rotary(Rotary { base, .. }) if !(base > 0. && base.is_finite()) => {
                Err(Error::invalid("the rotary base", "positive", base))
            }
            Position::Rotary(Rotary { scaling, .. }) => scaling.check(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_frequencies_fall_in_three_bands() {
        let scaling = Scaling::Llama3 { factor: 8., low: 1., high: 4., original: 64. };
        let of_turns = |turns: f64| 2. * std::f64::consts::PI * turns / 64.;
        let share = |turns: f64| scaling.of(of_turns(turns)) / of_turns(turns);
        assert_eq!((share(5.), share(0.5)), (1., 1. / 8.));
        assert!((share(2.5) - (0.5 / 8. + 0.5)).abs() < 1e-12);
        assert_eq!(Scaling::Linear { factor: 4. }.of(2.), 0.5);
    }

    #[test]
    fn sizes_and_numbers_that_make_no_model_are_refused() {
        let usual = Config::llama(2, 4, 32, 64);
        usual.check().unwrap();
        let rotary = |rotary| Position::Rotary(rotary);
        let cases = [
            (Config { kv_heads: Some(3), ..usual.clone() }, "a multiple of the 3 key"),
            (Config { kv_heads: Some(0), ..usual.clone() }, "key and value heads"),
            (Config { heads: 5, ..usual.clone() }, "twice the 5 heads"),
            (Config { d_head: Some(7), ..usual.clone() }, "even number up to 7"),
            (Config { windows: vec![None], ..usual.clone() }, "each of 2 layers"),
            (Config { windows: vec![None, Some(0)], ..usual.clone() }, "a window"),
            (Config { score_cap: Some(0.), ..usual.clone() }, "bound of attention scores"),
            (Config { logit_cap: Some(f64::NAN), ..usual.clone() }, "bound of logits"),
            (Config { norm: Norm::RmsGain { eps: -1. }, ..usual.clone() }, "epsilon"),
            (Config { position: rotary(Rotary::new(0.)), ..usual.clone() }, "rotary base"),
            (
                Config {
                    position: rotary(Rotary { dims: Some(10), ..Rotary::new(1e4) }),
                    ..usual.clone()
                },
                "even number up to 8",
            ),
            (
                Config {
                    position: rotary(Rotary {
                        scaling: Scaling::Linear { factor: 0. },
                        ..Rotary::new(1e4)
                    }),
                    ..usual
                },
                "rotary scaling",
            ),
        ];
        for (config, expected) in cases {
            let message = config.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
