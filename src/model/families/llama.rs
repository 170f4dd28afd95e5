//! Llama, and what is built like it: SmolLM2, Mistral, Qwen-2.

use candle_core::Tensor;

use super::{Fields, Weights, check_tied, var};
use crate::Result;
use crate::model::origin::ModelOrigin;
use crate::model::parameters::{Parameters, Part, Place};
use crate::model::{Config, Decoder, Mlp, Norm, Position};

/// A member of the family: they differ in what `config.json` leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Llama,
    Mistral,
    Qwen2,
}

pub(super) fn config(fields: &mut Fields<'_>, kind: Kind) -> Result<Config> {
    let (layers, heads) = (fields.size("num_hidden_layers")?, fields.size("num_attention_heads")?);
    let (d_model, d_hidden) = (fields.size("hidden_size")?, fields.size("intermediate_size")?);
    let (kv_heads, d_head) = grouping(fields, heads, d_model)?;
    let windows = match kind {
        Kind::Llama => fields.windows(layers, None, |_| false)?,
        Kind::Mistral => {
            let left_out = fields.peek("sliding_window").is_none().then_some(4096);
            let window = fields.optional_size("sliding_window")?.or(left_out);
            fields.windows(layers, window, |_| true)?
        }
        Kind::Qwen2 => {
            let slides = fields.flag_or("use_sliding_window", false)?;
            let window = fields.optional_size("sliding_window")?.filter(|_| slides);
            let first = fields.size_or("max_window_layers", 28)?;
            fields.windows(layers, window, |layer| layer >= first)?
        }
    };
    let bias = match kind {
        Kind::Llama => fields.flag_or("attention_bias", false)?,
        Kind::Mistral | Kind::Qwen2 => false,
    };
    let context = match kind {
        Kind::Llama => 2048,
        Kind::Mistral => 131_072,
        Kind::Qwen2 => 32_768,
    };
    let width = d_head.unwrap_or(d_model / heads.max(1));
    Ok(Config {
        kv_heads,
        d_head,
        context: fields.context("max_position_embeddings", context)?,
        vocab: fields.size("vocab_size")?,
        norm: Norm::RmsGain { eps: fields.number_or("rms_norm_eps", 1e-6)? },
        position: Position::Rotary(whole_rotary(fields, width)?),
        qkv_bias: bias || kind == Kind::Qwen2,
        attention_bias: bias,
        windows,
        mlp: Mlp::Gated(Some(fields.activation("hidden_act", "silu")?)),
        mlp_bias: kind == Kind::Llama && fields.flag_or("mlp_bias", false)?,
        tied: fields.flag_or("tie_word_embeddings", false)?,
        ..Config::llama(layers, heads, d_model, d_hidden)
    })
}

/// Heads with keys of their own and the width of a head, where they are not what they usually are.
pub(super) fn grouping(
    fields: &mut Fields<'_>,
    heads: usize,
    d_model: usize,
) -> Result<(Option<usize>, Option<usize>)> {
    let kv_heads = fields.optional_size("num_key_value_heads")?.filter(|own| *own != heads);
    let d_head = fields.optional_size("head_dim")?;
    Ok((kv_heads, d_head.filter(|own| Some(*own * heads) != Some(d_model))))
}

/// Rotary embedding of whole heads.
pub(super) fn whole_rotary(fields: &mut Fields<'_>, d_head: usize) -> Result<crate::model::Rotary> {
    let rotary = fields.rotary(d_head, ["rope_theta", "partial_rotary_factor"], 1.)?;
    match rotary.dims {
        None => Ok(rotary),
        Some(dims) => {
            let expected = format!("rotary embedding of all {d_head} entries of a head");
            Err(fields.unusable(&expected, &dims.to_string()))
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
    let (q, kv, h) = (config.q_width(), config.kv_width(), config.d_hidden);
    let gated = matches!(config.mlp, Mlp::Gated(_));
    Parameters::build(config, |layer, part, shape| {
        let own = match layer {
            Some(layer) => format!("model.layers.{layer}."),
            None => String::new(),
        };
        let before_mlp = match config.post_norms {
            true => "pre_feedforward_layernorm.weight",
            false => "post_attention_layernorm.weight",
        };
        // A bias has a row for each output, a map also columns.
        let mut rows = |parts: &[(&str, usize)]| -> Result<Tensor> {
            let end = if shape.len() == 1 { "bias" } else { "weight" };
            let mut all = Vec::with_capacity(parts.len());
            for (name, rows) in parts {
                let shape: Vec<usize> =
                    std::iter::once(*rows).chain(shape[1..].iter().copied()).collect();
                all.push(take(&format!("{own}{name}.{end}"), &shape)?);
            }
            Ok(Tensor::cat(&all, 0)?)
        };
        let one = match part {
            Part::Qkv | Part::QkvBias => {
                return var(&rows(&[
                    ("self_attn.q_proj", q),
                    ("self_attn.k_proj", kv),
                    ("self_attn.v_proj", kv),
                ])?);
            }
            Part::MlpIn | Part::MlpInBias if gated => {
                return var(&rows(&[("mlp.gate_proj", h), ("mlp.up_proj", h)])?);
            }
            Part::MlpIn => "mlp.up_proj.weight",
            Part::MlpInBias => "mlp.up_proj.bias",
            Part::MlpOut => "mlp.down_proj.weight",
            Part::MlpOutBias => "mlp.down_proj.bias",
            Part::AttentionOut => "self_attn.o_proj.weight",
            Part::AttentionOutBias => "self_attn.o_proj.bias",
            Part::Gain(Place::Ln1) => "input_layernorm.weight",
            Part::Gain(Place::Ln1Post) => "post_attention_layernorm.weight",
            Part::Gain(Place::Ln2) => before_mlp,
            Part::Gain(Place::Ln2Post) => "post_feedforward_layernorm.weight",
            Part::Gain(Place::Final) => "model.norm.weight",
            Part::Embed => "model.embed_tokens.weight",
            Part::Unembed => "lm_head.weight",
            Part::Positions => "model.embed_positions.weight",
            Part::Shift(Place::Ln1) => "input_layernorm.bias",
            Part::Shift(Place::Ln2) => "post_attention_layernorm.bias",
            Part::Shift(_) => "model.norm.bias",
        };
        var(&take(&format!("{own}{one}"), shape)?)
    })
}
