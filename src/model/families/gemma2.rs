//! Gemma 2.

use super::llama::{self, grouping, whole_rotary};
use super::{Fields, Weights};
use crate::Result;
use crate::model::parameters::Parameters;
use crate::model::{Config, Mlp, Norm, Position};

pub(super) fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let (layers, heads) = (fields.size("num_hidden_layers")?, fields.size("num_attention_heads")?);
    let (d_model, d_hidden) = (fields.size("hidden_size")?, fields.size("intermediate_size")?);
    if fields.peek("head_dim").is_none_or(serde_json::Value::is_null) {
        return Err(fields.unusable("the field `head_dim`, a size", "no such field"));
    }
    let (kv_heads, d_head) = grouping(fields, heads, d_model)?;
    let width = d_head.unwrap_or(d_model / heads.max(1));
    let bias = fields.flag_or("attention_bias", false)?;
    let window = match fields.peek("sliding_window") {
        None => Some(4096),
        Some(_) => fields.optional_size("sliding_window")?,
    };
    // The first files name it twice.
    let same = fields.optional_size("sliding_window_size")?;
    if same.is_some() && same != window {
        let expected = "the same in `sliding_window` and `sliding_window_size`";
        return Err(fields.unusable(expected, &format!("{window:?} and {same:?}")));
    }
    // Early files have `hidden_act` too, which counts for nothing beside `hidden_activation`.
    let activation = match fields.peek("hidden_activation").is_some_and(|name| !name.is_null()) {
        true => {
            fields.take("hidden_act");
            fields.activation("hidden_activation", "gelu_pytorch_tanh")?
        }
        false => {
            fields.take("hidden_activation");
            fields.activation("hidden_act", "gelu_pytorch_tanh")?
        }
    };
    let cap = |fields: &mut Fields<'_>, name: &str, default: f64| match fields.peek(name) {
        None => Ok(Some(default)),
        Some(_) => fields.optional_number(name),
    };
    Ok(Config {
        kv_heads,
        d_head,
        context: fields.context("max_position_embeddings", 8192)?,
        vocab: fields.size("vocab_size")?,
        norm: Norm::RmsOnePlusGain { eps: fields.number_or("rms_norm_eps", 1e-6)? },
        position: Position::Rotary(whole_rotary(fields, width)?),
        qkv_bias: bias,
        attention_bias: bias,
        score_scale: Some(fields.number_or("query_pre_attn_scalar", 256.)?.powf(-0.5)),
        score_cap: cap(fields, "attn_logit_softcapping", 50.)?,
        windows: fields.windows(layers, window, |layer| layer % 2 == 0)?,
        mlp: Mlp::Gated(Some(activation)),
        logit_cap: cap(fields, "final_logit_softcapping", 30.)?,
        tied: fields.flag_or("tie_word_embeddings", true)?,
        ..Config::gemma2(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    llama::load(config, weights)
}
