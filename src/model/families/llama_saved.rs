//! What Llama and its relatives have words for, as their files have it.

use candle_core::Tensor;
use serde_json::{Value, json};

use super::llama::{LlamaMember, names};
use super::shared::HiddenActivation;
use super::{FAMILIES, ModelFamily};
use crate::Result;
use crate::model::parameters::{ModelParameter, Parameters};
use crate::model::{Config, Mlp, Norm, Position, QkNorm, Rotary};

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

/// The member of the family that has a model's windows, biases, norms of queries and keys, layers
/// that do not turn, and scales.
fn member(config: &Config) -> Option<LlamaMember> {
    let window = config.windows.iter().flatten().next();
    let is_one = config.windows.iter().flatten().all(|own| Some(own) == window);
    let everywhere = config.windows.iter().all(Option::is_some);
    let alike = config.qkv_bias == config.attention_bias;
    let normed = config.qk_norm == Some(QkNorm::PerHead);
    let unturned = config.unturned.contains(&true);
    let scaled = config.score_scale.is_some()
        || [config.embed_scale, config.residual_scale, config.logit_scale] != [1.; 3];
    match (normed, unturned, scaled) {
        (true, false, false) if alike && !config.mlp_bias && is_one => {
            return Some(LlamaMember::Qwen3);
        }
        (false, true, false) if alike && is_one => return Some(LlamaMember::SmolLm3),
        (false, false, true) if alike && window.is_none() => return Some(LlamaMember::Granite),
        (false, false, false) => {}
        _ => return None,
    }
    match (window, config.qkv_bias, config.attention_bias || config.mlp_bias) {
        (None, ..) if alike => Some(LlamaMember::Llama),
        (Some(_), false, false) if is_one && everywhere => Some(LlamaMember::Mistral),
        (Some(_), _, false) if is_one => Some(LlamaMember::Qwen2),
        _ => None,
    }
}

/// What `config.json` says of a model, if a member of the family has words for it: Llama without
/// windows, Mistral with one in every layer, Qwen-2 with one in some, Qwen 3 with norms of queries and
/// keys, SmolLM 3 with layers that do not turn, Granite with scales.
pub(super) fn fields(config: &Config) -> Option<Value> {
    let (Norm::RmsGain { eps }, Position::Rotary(rotary)) = (config.norm, &config.position) else {
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
        qk_norm: config.qk_norm,
        position: Position::Rotary(Rotary::new(rotary.base)),
        unturned: config.unturned.clone(),
        qkv_bias: config.qkv_bias,
        attention_bias: config.attention_bias,
        score_scale: config.score_scale,
        windows: config.windows.clone(),
        residual_scale: config.residual_scale,
        mlp: config.mlp,
        mlp_bias: config.mlp_bias,
        embed_scale: config.embed_scale,
        logit_scale: config.logit_scale,
        tied: config.tied,
        ..Config::llama(layers, heads, d_model, d_hidden)
    };
    if usual != *config {
        return None;
    }
    let member = member(config)?;
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
        "hidden_act": HiddenActivation::name(activation)?,
        "tie_word_embeddings": config.tied,
    });
    let (attention_bias, mlp_bias) = (config.attention_bias, config.mlp_bias);
    match member {
        LlamaMember::Llama | LlamaMember::SmolLm3 | LlamaMember::Granite => {
            fields["attention_bias"] = attention_bias.into();
            fields["mlp_bias"] = mlp_bias.into();
        }
        LlamaMember::Qwen3 => fields["attention_bias"] = attention_bias.into(),
        LlamaMember::Mistral | LlamaMember::Qwen2 => {}
    }
    let window = config.windows.iter().flatten().next().copied();
    match member {
        LlamaMember::Llama => {}
        LlamaMember::Mistral => fields["sliding_window"] = window.into(),
        LlamaMember::Qwen2 | LlamaMember::Qwen3 => add_windows(&mut fields, config, window),
        LlamaMember::SmolLm3 => {
            let turned = config.unturned.iter().map(|unturned| u8::from(!unturned));
            fields["no_rope_layers"] = turned.collect();
            add_windows(&mut fields, config, window);
        }
        LlamaMember::Granite => {
            fields["embedding_multiplier"] = config.embed_scale.into();
            fields["attention_multiplier"] = config.score_scale().into();
            fields["residual_multiplier"] = config.residual_scale.into();
            fields["logits_scaling"] = (1. / config.logit_scale).into();
        }
    }
    Some(fields)
}

/// Windows of one size in some layers, if there are any.
fn add_windows(fields: &mut Value, config: &Config, window: Option<usize>) {
    let kind = |window: &Option<usize>| match window {
        Some(_) => "sliding_attention",
        None => "full_attention",
    };
    fields["use_sliding_window"] = window.is_some().into();
    fields["sliding_window"] = window.into();
    if window.is_some() {
        fields["layer_types"] = config.windows.iter().map(kind).collect();
    }
}
