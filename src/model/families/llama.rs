//! Llama, and what is built like it: SmolLM2, Mistral, Qwen-2.

use candle_core::Tensor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rotary::rotary;
use super::shared::{HiddenActivation, context, windows};
use super::{FAMILIES, ModelFamily, Weights, check_tied, var};
use crate::model::origin::ModelOrigin;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Decoder, Mlp, Norm, Position, Rotary};
use crate::store::{Document, Size, nullable};
use crate::{Error, Result};

/// A member of the family: they differ in what `config.json` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LlamaMember {
    Llama,
    Mistral,
    Qwen2,
}

/// What all members have in `config.json`, and Gemma 2 too.
#[derive(Debug, Deserialize)]
pub(super) struct LlamaConfig {
    /// Number of layers.
    pub(super) num_hidden_layers: Size,
    /// Heads per layer.
    pub(super) num_attention_heads: Size,
    /// Heads of keys and values: as many as of queries if left out.
    pub(super) num_key_value_heads: Option<Size>,
    /// Width of a head: that of the stream over the number of heads if left out.
    pub(super) head_dim: Option<Size>,
    /// Width of the residual stream.
    pub(super) hidden_size: Size,
    /// Width of the MLPs' hidden layer.
    pub(super) intermediate_size: Size,
    /// Number of tokens.
    pub(super) vocab_size: Size,
    /// Tokens of the longest sequence.
    pub(super) max_position_embeddings: Option<Size>,
    /// What is added to the mean square in norms: 1e-6 if left out.
    pub(super) rms_norm_eps: Option<f64>,
    /// Whether the unembedding is the embedding.
    pub(super) tie_word_embeddings: Option<bool>,
}

/// The MLPs' activation, but for Gemma 2.
#[derive(Debug, Deserialize)]
pub(super) struct HiddenAct {
    /// `silu` if left out.
    pub(super) hidden_act: Option<HiddenActivation>,
}

/// Of Llama alone.
#[derive(Debug, Default, Deserialize)]
struct LlamaBiases {
    /// Whether the attention's maps have biases. False if left out.
    attention_bias: Option<bool>,
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

/// Of Qwen-2 alone.
#[derive(Debug, Deserialize)]
struct Qwen2Window {
    /// Whether there is a window. False if left out.
    use_sliding_window: Option<bool>,
    /// Positions that attention sees in layers with a window.
    sliding_window: Option<Size>,
    /// The first layer with a window: 28 if left out.
    max_window_layers: Option<Size>,
}

pub(super) fn config(document: &mut Document, kind: LlamaMember) -> Result<Config> {
    let config: LlamaConfig = document.read()?;
    let HiddenAct { hidden_act } = document.read()?;
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = config.grouping();
    let windows = match kind {
        LlamaMember::Llama => windows(document, layers, None, |_| false)?,
        LlamaMember::Mistral => {
            let MistralWindow { sliding_window } = document.read()?;
            let window = sliding_window.map_or(Some(4096), |window| window.map(usize::from));
            windows(document, layers, window, |_| true)?
        }
        LlamaMember::Qwen2 => {
            let fields: Qwen2Window = document.read()?;
            let slides = fields.use_sliding_window.unwrap_or(false);
            let window = fields.sliding_window.map(usize::from).filter(|_| slides);
            let first = fields.max_window_layers.map_or(28, usize::from);
            windows(document, layers, window, |layer| layer >= first)?
        }
    };
    let biases = match kind {
        LlamaMember::Llama => document.read()?,
        LlamaMember::Mistral | LlamaMember::Qwen2 => LlamaBiases::default(),
    };
    let bias = biases.attention_bias.unwrap_or(false);
    let default_context = match kind {
        LlamaMember::Llama => 2048,
        LlamaMember::Mistral => 131_072,
        LlamaMember::Qwen2 => 32_768,
    };
    Ok(Config {
        kv_heads,
        d_head,
        context: context(document, config.max_position_embeddings, default_context)?,
        vocab: config.vocab_size.into(),
        norm: Norm::RmsGain { eps: config.rms_norm_eps.unwrap_or(1e-6) },
        position: Position::Rotary(config.whole_rotary(document)?),
        qkv_bias: bias || kind == LlamaMember::Qwen2,
        attention_bias: bias,
        windows,
        mlp: Mlp::Gated(Some(hidden_act.unwrap_or(HiddenActivation::Silu).into())),
        mlp_bias: biases.mlp_bias.unwrap_or(false),
        tied: config.tie_word_embeddings.unwrap_or(false),
        ..Config::llama(layers, heads, d_model, d_hidden)
    })
}

impl LlamaConfig {
    /// The number of heads of keys and values and the width of a head, where they are not what they
    /// usually are.
    pub(super) fn grouping(&self) -> (Option<usize>, Option<usize>) {
        let (Size(heads), Size(d_model)) = (self.num_attention_heads, self.hidden_size);
        let kv_heads = self.num_key_value_heads.map(usize::from).filter(|own| *own != heads);
        let d_head = self.head_dim.map(usize::from);
        (kv_heads, d_head.filter(|width| width.checked_mul(heads) != Some(d_model)))
    }

    /// Rotary embedding of whole heads.
    pub(super) fn whole_rotary(&self, document: &mut Document) -> Result<Rotary> {
        let (Size(heads), Size(d_model)) = (self.num_attention_heads, self.hidden_size);
        let d_head = self.head_dim.map_or(d_model / heads.max(1), usize::from);
        let rotary = rotary(document, d_head, [None, None], 1.)?;
        match rotary.dims {
            None => Ok(rotary),
            Some(dims) => {
                let expected = format!("rotary embedding of all {d_head} entries of a head");
                Err(Error::format(document.path(), expected, dims.to_string()))
            }
        }
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
    // Frequencies, and their cosines and sines, which the sizes tell.
    weights.ignore("model.rotary_emb.inv_freq");
    for layer in 0..config.layers {
        for name in ["inv_freq", "cos_cached", "sin_cached"] {
            weights.ignore(&format!("model.layers.{layer}.self_attn.rotary_emb.{name}"));
        }
    }
    Ok(parameters)
}

/// The weights, as Gemma 2 calls them too where it has norms of outputs.
pub(super) fn parameters(
    config: &Config,
    mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Parameters> {
    Parameters::build(config, |layer, part, shape| {
        let mut all = Vec::new();
        for (name, rows) in names(config, layer, part, shape[0]) {
            let shape: Vec<usize> =
                std::iter::once(rows).chain(shape[1..].iter().copied()).collect();
            all.push(take(&name, &shape)?);
        }
        match &all[..] {
            [one] => var(one),
            several => var(&Tensor::cat(several, 0)?),
        }
    })
}

/// The names under which files have a weight of so many rows, each with its own rows: queries, keys
/// and values are one weight here and three there.
fn names(
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
        ModelParameter::MlpIn => "mlp.up_proj.weight",
        ModelParameter::MlpInBias => "mlp.up_proj.bias",
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
        ModelParameter::Positions => "model.embed_positions.weight",
        ModelParameter::Shift(NormPlace::Ln1) => "input_layernorm.bias",
        ModelParameter::Shift(NormPlace::Ln2) => "post_attention_layernorm.bias",
        ModelParameter::Shift(_) => "model.norm.bias",
    };
    vec![(format!("{own}{one}"), rows)]
}

/// Every weight under the names of files. A Qwen-2 without biases gets biases of zero.
pub(super) fn tensors(config: &Config, parameters: &Parameters) -> Result<Vec<(String, Tensor)>> {
    let mut all = Vec::new();
    let adds_biases = member(config) == Some(LlamaMember::Qwen2) && !config.qkv_bias;
    for (layer, part, var) in parameters.all() {
        let weight = var.as_detached_tensor();
        let mut first = 0;
        for (name, rows) in names(config, layer, part, weight.dims()[0]) {
            all.push((name, weight.narrow(0, first, rows)?.contiguous()?));
            first += rows;
        }
        if part == ModelParameter::Qkv && adds_biases {
            for (name, rows) in names(config, layer, ModelParameter::QkvBias, first) {
                all.push((name, Tensor::zeros(rows, weight.dtype(), weight.device())?));
            }
        }
    }
    Ok(all)
}

/// The member of the family that has a model's windows and biases.
fn member(config: &Config) -> Option<LlamaMember> {
    let window = config.windows.iter().flatten().next();
    let is_one = config.windows.iter().flatten().all(|own| Some(own) == window);
    let everywhere = config.windows.iter().all(Option::is_some);
    match (window, config.qkv_bias, config.attention_bias || config.mlp_bias) {
        (None, ..) if config.qkv_bias == config.attention_bias => Some(LlamaMember::Llama),
        (Some(_), false, false) if is_one && everywhere => Some(LlamaMember::Mistral),
        (Some(_), _, false) if is_one => Some(LlamaMember::Qwen2),
        _ => None,
    }
}

/// What `config.json` says of a model, if a member of the family has words for it: Llama without
/// windows, Mistral with one in every layer, Qwen-2 with one in some.
pub(super) fn fields(config: &Config) -> Option<Value> {
    let (Norm::RmsGain { eps }, Position::Rotary(rotary)) = (config.norm, config.position) else {
        return None;
    };
    let Mlp::Gated(Some(activation)) = config.mlp else { return None };
    let Config { layers, heads, kv_heads, d_model, d_hidden, context, vocab, .. } = *config;
    let usual = Config {
        kv_heads,
        d_head: config.d_head,
        context,
        vocab,
        norm: config.norm,
        position: Position::Rotary(Rotary::new(rotary.base)),
        qkv_bias: config.qkv_bias,
        attention_bias: config.attention_bias,
        windows: config.windows.clone(),
        mlp: config.mlp,
        mlp_bias: config.mlp_bias,
        tied: config.tied,
        ..Config::llama(layers, heads, d_model, d_hidden)
    };
    if usual != *config {
        return None;
    }
    let member = member(config)?;
    let window = config.windows.iter().flatten().next().copied();
    let (model_type, architecture, _) =
        FAMILIES.iter().find(|(.., own)| *own == ModelFamily::Llama(member))?;
    let mut fields = json!({
        "architectures": [architecture],
        "model_type": model_type,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads.unwrap_or(heads),
        "head_dim": config.d_head(),
        "hidden_size": d_model,
        "intermediate_size": d_hidden,
        "vocab_size": vocab,
        "max_position_embeddings": context,
        "rms_norm_eps": eps,
        "rope_theta": rotary.base,
        "hidden_act": HiddenActivation::name(activation),
        "tie_word_embeddings": config.tied,
    });
    match member {
        LlamaMember::Llama => {
            fields["attention_bias"] = config.attention_bias.into();
            fields["mlp_bias"] = config.mlp_bias.into();
        }
        LlamaMember::Mistral => fields["sliding_window"] = window.into(),
        LlamaMember::Qwen2 => {
            let kind = |window: &Option<usize>| match window {
                Some(_) => "sliding_attention",
                None => "full_attention",
            };
            fields["use_sliding_window"] = true.into();
            fields["sliding_window"] = window.into();
            fields["layer_types"] = config.windows.iter().map(kind).collect();
        }
    }
    Some(fields)
}
