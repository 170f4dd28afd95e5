//! Llama, and what is built like it: SmolLM2 and 3, Mistral, Qwen-2 and 3, Granite.

use candle_core::{Tensor, Var};
use serde::Deserialize;

use super::rope_places::RopeLayers;
use super::rotary::RotaryFields;
use super::shared::{HiddenActivation, check_layers, context, positive, unusual_head, windows};
use super::{Weights, check_tied, var};
use crate::model::origin::ModelOrigin;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Decoder, Mlp, Norm, Position, QkNorm, Rotary};
use crate::store::{Document, Size, nullable};
use crate::{Error, Result};

/// A member of the family: they differ in what `config.json` leaves out, and in a field or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LlamaMember {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    SmolLm3,
    Granite,
}

/// What all members have in `config.json`, and some other families too.
#[derive(Debug, Deserialize)]
pub(super) struct LlamaConfig {
    /// Number of layers.
    pub(super) num_hidden_layers: Size,
    /// Heads per layer.
    pub(super) num_attention_heads: Size,
    /// Heads of keys and values: as many as of queries if left out, and 4 for SmolLM 3.
    pub(super) num_key_value_heads: Option<Size>,
    /// Width of a head: that of the stream over the number of heads if left out, and 128 for Qwen 3.
    pub(super) head_dim: Option<Size>,
    /// Width of the residual stream.
    pub(super) hidden_size: Size,
    /// Width of the MLPs' hidden layer.
    pub(super) intermediate_size: Size,
    /// Number of tokens.
    pub(super) vocab_size: Size,
    /// Tokens of the longest sequence.
    pub(super) max_position_embeddings: Option<Size>,
    /// What is added to the mean square in norms: 1e-6 if left out, and 1e-5 for Phi-3 and OLMo.
    pub(super) rms_norm_eps: Option<f64>,
    /// Whether the unembedding is the embedding.
    pub(super) tie_word_embeddings: Option<bool>,
}

/// The MLPs' activation, but for Gemma.
#[derive(Debug, Deserialize)]
pub(super) struct HiddenAct {
    /// `silu` if left out.
    pub(super) hidden_act: Option<HiddenActivation>,
}

/// Of all but Mistral and Qwen-2.
#[derive(Debug, Default, Deserialize)]
pub(super) struct AttentionBias {
    /// Whether the attention's maps have biases. False if left out.
    pub(super) attention_bias: Option<bool>,
}

/// Of Llama, SmolLM 3 and Granite.
#[derive(Debug, Default, Deserialize)]
struct MlpBias {
    /// Whether the MLPs' maps have biases. False if left out.
    mlp_bias: Option<bool>,
}

/// Of Mistral alone.
#[derive(Debug, Deserialize)]
struct MistralWindow {
    /// Positions that attention sees: 4096 if left out, all if null.
    #[serde(default, deserialize_with = "nullable")]
    sliding_window: Option<Option<Size>>,
}

/// Of Qwen-2 and 3.
#[derive(Debug, Deserialize)]
struct QwenWindow {
    /// Whether there is a window. False if left out.
    use_sliding_window: Option<bool>,
    /// Positions that attention sees in layers with a window: 4096 if left out, all if null.
    #[serde(default, deserialize_with = "nullable")]
    sliding_window: Option<Option<Size>>,
    /// The first layer with a window: 28 if left out.
    max_window_layers: Option<Size>,
}

/// Of SmolLM 3 alone.
#[derive(Debug, Deserialize)]
struct SmolLm3Layers {
    /// For each layer 1 if queries and keys turn, 0 if they do not.
    no_rope_layers: Option<Vec<Size>>,
    /// Where there is no such list, layers i with (i + 1) mod this = 0 do not turn: 4 if left out.
    no_rope_layer_interval: Option<Size>,
    /// Whether layers that do not turn have a window. False if left out.
    use_sliding_window: Option<bool>,
    /// Positions that attention sees there.
    sliding_window: Option<Size>,
}

/// Of Granite alone.
#[derive(Debug, Deserialize)]
struct GraniteScales {
    /// What embeddings are multiplied by: 1 if left out, as all of these.
    embedding_multiplier: Option<f64>,
    /// What scores are multiplied by, instead of the inverse root of a head's width.
    attention_multiplier: Option<f64>,
    /// What the outputs of attention and MLP are multiplied by.
    residual_multiplier: Option<f64>,
    /// What logits are divided by.
    logits_scaling: Option<f64>,
}

pub(super) fn config(document: &mut Document, member: LlamaMember) -> Result<Config> {
    let mut config: LlamaConfig = document.read()?;
    match member {
        LlamaMember::Qwen3 => config.head_dim = config.head_dim.or(Some(Size(128))),
        LlamaMember::SmolLm3 => {
            config.num_key_value_heads = config.num_key_value_heads.or(Some(Size(4)));
        }
        _ => {}
    }
    let HiddenAct { hidden_act } = document.read()?;
    let AttentionBias { attention_bias } = match member {
        LlamaMember::Mistral | LlamaMember::Qwen2 => AttentionBias::default(),
        _ => document.read()?,
    };
    let MlpBias { mlp_bias } = match member {
        LlamaMember::Mistral | LlamaMember::Qwen2 | LlamaMember::Qwen3 => MlpBias::default(),
        _ => document.read()?,
    };
    let bias = attention_bias.unwrap_or(false);
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = config.grouping();
    let usual = Config {
        kv_heads,
        d_head,
        context: context(document, config.max_position_embeddings, member.default_context())?,
        vocab: config.vocab_size.into(),
        norm: Norm::RmsGain { eps: config.rms_norm_eps.unwrap_or(1e-6) },
        position: Position::Rotary(config.whole_rotary_from(document, member.default_base())?),
        qkv_bias: bias || member == LlamaMember::Qwen2,
        attention_bias: bias,
        mlp: Mlp::Gated(Some(hidden_act.unwrap_or(HiddenActivation::Silu).into())),
        mlp_bias: mlp_bias.unwrap_or(false),
        tied: config.tie_word_embeddings.unwrap_or(member == LlamaMember::SmolLm3),
        ..Config::llama(layers, heads, d_model, d_hidden)
    };
    match member {
        LlamaMember::Llama => {
            Ok(Config { windows: windows(document, layers, None, |_| false)?, ..usual })
        }
        LlamaMember::Mistral => {
            let MistralWindow { sliding_window } = document.read()?;
            let window = sliding_window.map_or(Some(4096), |window| window.map(usize::from));
            Ok(Config { windows: windows(document, layers, window, |_| true)?, ..usual })
        }
        LlamaMember::Qwen2 => Ok(Config { windows: qwen_windows(document, layers)?, ..usual }),
        LlamaMember::Qwen3 => {
            let windows = qwen_windows(document, layers)?;
            Ok(Config { windows, qk_norm: Some(QkNorm::PerHead), ..usual })
        }
        LlamaMember::SmolLm3 => {
            let fields: SmolLm3Layers = document.read()?;
            let unturned = unturned(document, layers, &fields)?;
            let slides = fields.use_sliding_window.unwrap_or(false);
            let window = fields.sliding_window.map(usize::from).filter(|_| slides);
            let windows =
                windows(document, layers, window, |layer| unturned.get(layer) == Some(&true))?;
            Ok(Config { windows, unturned, ..usual })
        }
        LlamaMember::Granite => {
            let fields: GraniteScales = document.read()?;
            let scale = |name: &str, number| positive(document, name, number, 1.);
            Ok(Config {
                embed_scale: scale("embedding_multiplier", fields.embedding_multiplier)?,
                score_scale: Some(scale("attention_multiplier", fields.attention_multiplier)?),
                residual_scale: scale("residual_multiplier", fields.residual_multiplier)?,
                logit_scale: 1. / scale("logits_scaling", fields.logits_scaling)?,
                windows: windows(document, layers, None, |_| false)?,
                ..usual
            })
        }
    }
}

/// The window of each layer of Qwen-2 and 3.
fn qwen_windows(document: &mut Document, layers: usize) -> Result<Vec<Option<usize>>> {
    let fields: QwenWindow = document.read()?;
    let slides = fields.use_sliding_window.unwrap_or(false);
    let window = fields.sliding_window.map_or(Some(4096), |window| window.map(usize::from));
    let first = fields.max_window_layers.map_or(28, usize::from);
    windows(document, layers, window.filter(|_| slides), |layer| layer >= first)
}

/// The layers of SmolLM 3 in which queries and keys do not turn. Empty where all do.
fn unturned(document: &Document, layers: usize, fields: &SmolLm3Layers) -> Result<Vec<bool>> {
    check_layers(document, layers)?;
    let all: Vec<bool> = match (&fields.no_rope_layers, fields.no_rope_layer_interval) {
        // transformers takes a longer list, whose end is nobody's.
        (Some(list), _) if list.len() >= layers => {
            list.iter().take(layers).map(|Size(turns)| *turns == 0).collect()
        }
        (Some(list), _) => {
            let expected = format!("1 or 0 for each of {layers} layers in `no_rope_layers`");
            let found = format!("{} of them", list.len());
            return Err(Error::format(document.path(), expected, found));
        }
        (None, Some(Size(0))) => {
            return Err(document.wrong("no_rope_layer_interval", "a size from 1", 0));
        }
        (None, interval) => {
            let interval = interval.map_or(4, usize::from);
            (1..=layers).map(|number| number.is_multiple_of(interval)).collect()
        }
    };
    Ok(if all.contains(&true) { all } else { Vec::new() })
}

impl LlamaMember {
    /// The longest sequence in tokens, where a file says nothing of it.
    fn default_context(self) -> usize {
        match self {
            Self::Llama | Self::Granite => 2048,
            Self::Mistral => 131_072,
            Self::Qwen2 | Self::Qwen3 | Self::SmolLm3 => 32_768,
        }
    }

    /// The base of the rotary embedding, where a file says nothing of it.
    fn default_base(self) -> f64 {
        match self {
            Self::SmolLm3 => 2_000_000.,
            _ => 10_000.,
        }
    }
}

impl LlamaConfig {
    /// The number of heads of keys and values and the width of a head, where they are not what they
    /// usually are.
    pub(super) fn grouping(&self) -> (Option<usize>, Option<usize>) {
        let (Size(heads), Size(d_model)) = (self.num_attention_heads, self.hidden_size);
        let kv_heads = self.num_key_value_heads.map(usize::from).filter(|own| *own != heads);
        let d_head = self.head_dim.map(usize::from);
        (kv_heads, d_head.and_then(|width| unusual_head(width, heads, d_model)))
    }

    /// Width of a head.
    pub(super) fn d_head(&self) -> usize {
        let (Size(heads), Size(d_model)) = (self.num_attention_heads, self.hidden_size);
        self.head_dim.map_or(d_model / heads.max(1), usize::from)
    }

    /// Rotary embedding of whole heads, of base 10,000 where a file says nothing of it.
    pub(super) fn whole_rotary(&self, document: &mut Document) -> Result<Rotary> {
        self.whole_rotary_from(document, 10_000.)
    }

    fn whole_rotary_from(&self, document: &mut Document, base: f64) -> Result<Rotary> {
        let fields = RotaryFields { base, ..RotaryFields::new(self.d_head()) };
        fields.whole(document, RopeLayers::All, None)
    }
}

/// A model of this family from wherever `take` gets a tensor of a name and shape, under the names
/// of Hugging Face's files (`model.layers.0.self_attn.q_proj.weight`); `config` as
/// [`Config::llama`] with what differs.
///
/// # Errors
/// Sizes that make no model; a tensor that `take` does not give.
pub(in crate::model) fn build(
    config: Config,
    origin: ModelOrigin,
    take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Decoder> {
    config.check()?;
    let parameters = parameters(&config, take)?;
    let device = parameters.embed.device().clone();
    Ok(Decoder::from_parameters(config, parameters, &device, origin))
}

pub(super) fn load(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = parameters(config, |name, shape| weights.take(name, shape))?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    ignore_angles(config, weights);
    Ok(parameters)
}

/// Leaves frequencies aside, and their cosines and sines, which the sizes tell.
pub(super) fn ignore_angles(config: &Config, weights: &mut Weights) {
    weights.ignore("model.rotary_emb.inv_freq");
    for layer in 0..config.layers {
        for name in ["inv_freq", "cos_cached", "sin_cached"] {
            weights.ignore(&format!("model.layers.{layer}.self_attn.rotary_emb.{name}"));
        }
    }
}

/// The weights, under the names that Gemma and OLMo have too.
pub(super) fn parameters(
    config: &Config,
    mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Parameters> {
    Parameters::build(config, |layer, part, shape| weight(config, layer, part, shape, &mut take))
}

/// A weight of the model, which is one here and may be several in files.
pub(super) fn weight(
    config: &Config,
    layer: Option<usize>,
    part: ModelParameter,
    shape: &[usize],
    take: &mut impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Var> {
    let mut all = Vec::new();
    for (name, rows) in names(config, layer, part, shape[0]) {
        let shape: Vec<usize> = std::iter::once(rows).chain(shape[1..].iter().copied()).collect();
        all.push(take(&name, &shape)?);
    }
    match &all[..] {
        [one] => var(one),
        several => var(&Tensor::cat(several, 0)?),
    }
}

/// The names under which files have a weight of so many rows, each with its own rows: queries, keys
/// and values are one weight here and three there.
pub(super) fn names(
    config: &Config,
    layer: Option<usize>,
    part: ModelParameter,
    rows: usize,
) -> Vec<(String, usize)> {
    let own = match layer {
        Some(layer) => format!("model.layers.{layer}."),
        None => String::new(),
    };
    let (q, kv, h) = (config.q_width(), config.kv_width(), config.d_hidden);
    let gated = matches!(config.mlp, Mlp::Gated(_));
    let before_mlp = match config.post_norms {
        true => "pre_feedforward_layernorm.weight",
        false => "post_attention_layernorm.weight",
    };
    let several = |parts: &[(&str, usize)], end: &str| {
        parts.iter().map(|(name, rows)| (format!("{own}{name}.{end}"), *rows)).collect()
    };
    let attention = [("self_attn.q_proj", q), ("self_attn.k_proj", kv), ("self_attn.v_proj", kv)];
    let mlp = [("mlp.gate_proj", h), ("mlp.up_proj", h)];
    let one = match part {
        ModelParameter::Qkv => return several(&attention, "weight"),
        ModelParameter::QkvBias => return several(&attention, "bias"),
        ModelParameter::MlpIn if gated => return several(&mlp, "weight"),
        ModelParameter::MlpInBias if gated => return several(&mlp, "bias"),
        ModelParameter::QGain => "self_attn.q_norm.weight",
        ModelParameter::KGain => "self_attn.k_norm.weight",
        ModelParameter::MlpIn => "mlp.up_proj.weight",
        ModelParameter::MlpInBias => "mlp.up_proj.bias",
        ModelParameter::MlpNormGain => "mlp.norm.weight",
        ModelParameter::MlpNormShift => "mlp.norm.bias",
        ModelParameter::MlpOut => "mlp.down_proj.weight",
        ModelParameter::MlpOutBias => "mlp.down_proj.bias",
        ModelParameter::AttentionOut => "self_attn.o_proj.weight",
        ModelParameter::AttentionOutBias => "self_attn.o_proj.bias",
        ModelParameter::Gain(NormPlace::Ln1) => "input_layernorm.weight",
        ModelParameter::Gain(NormPlace::Ln1Post) => "post_attention_layernorm.weight",
        ModelParameter::Gain(NormPlace::Ln2) => before_mlp,
        ModelParameter::Gain(NormPlace::Ln2Post) => "post_feedforward_layernorm.weight",
        ModelParameter::Gain(NormPlace::Final) => "model.norm.weight",
        ModelParameter::Embed => "model.embed_tokens.weight",
        ModelParameter::Unembed => "lm_head.weight",
        ModelParameter::UnembedBias => "lm_head.bias",
        ModelParameter::Positions => "model.embed_positions.weight",
        ModelParameter::Shift(NormPlace::Ln1) => "input_layernorm.bias",
        ModelParameter::Shift(NormPlace::Ln2) => "post_attention_layernorm.bias",
        ModelParameter::Shift(_) => "model.norm.bias",
    };
    vec![(format!("{own}{one}"), rows)]
}
