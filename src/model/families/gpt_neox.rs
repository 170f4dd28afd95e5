//! GPT-NeoX and Pythia.

use candle_core::Tensor;

use super::{Fields, Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{Parameters, Part, Place};
use crate::model::{Config, Mlp, Norm, Position};

pub(super) fn config(fields: &mut Fields<'_>) -> Result<Config> {
    let (layers, heads) = (fields.size("num_hidden_layers")?, fields.size("num_attention_heads")?);
    let (d_model, d_hidden) = (fields.size("hidden_size")?, fields.size("intermediate_size")?);
    let bias = fields.flag_or("attention_bias", true)?;
    let d_head = d_model / heads.max(1);
    Ok(Config {
        context: fields.context("max_position_embeddings", 2048)?,
        vocab: fields.size("vocab_size")?,
        norm: Norm::LayerNorm { eps: fields.number_or("layer_norm_eps", 1e-5)? },
        position: Position::Rotary(fields.rotary(
            d_head,
            ["rotary_emb_base", "rotary_pct"],
            0.25,
        )?),
        qkv_bias: bias,
        attention_bias: bias,
        parallel: fields.flag_or("use_parallel_residual", true)?,
        mlp: Mlp::Plain(Some(fields.activation("hidden_act", "gelu")?)),
        tied: fields.flag_or("tie_word_embeddings", false)?,
        ..Config::gpt_neox(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = match layer {
            Some(layer) => format!("gpt_neox.layers.{layer}."),
            None => "gpt_neox.".to_owned(),
        };
        let name = match part {
            Part::Embed => "embed_in.weight",
            Part::Gain(Place::Ln1) => "input_layernorm.weight",
            Part::Shift(Place::Ln1) => "input_layernorm.bias",
            Part::Gain(Place::Ln2) => "post_attention_layernorm.weight",
            Part::Shift(Place::Ln2) => "post_attention_layernorm.bias",
            Part::Gain(Place::Final) => "final_layer_norm.weight",
            Part::Shift(Place::Final) => "final_layer_norm.bias",
            Part::Qkv => "attention.query_key_value.weight",
            Part::QkvBias => "attention.query_key_value.bias",
            Part::AttentionOut => "attention.dense.weight",
            Part::AttentionOutBias => "attention.dense.bias",
            Part::MlpIn => "mlp.dense_h_to_4h.weight",
            Part::MlpInBias => "mlp.dense_h_to_4h.bias",
            Part::MlpOut => "mlp.dense_4h_to_h.weight",
            Part::MlpOutBias => "mlp.dense_4h_to_h.bias",
            Part::Unembed => return var(&weights.take("embed_out.weight", shape)?),
            Part::Positions | Part::Gain(_) | Part::Shift(_) => {
                unreachable!("GPT-NeoX has neither learned positions nor norms of outputs")
            }
        };
        let tensor = weights.take(&format!("{own}{name}"), shape)?;
        match part {
            Part::Qkv | Part::QkvBias => var(&apart(&tensor, config)?),
            _ => var(&tensor),
        }
    })?;
    check_tied("embed_out.weight", config, &parameters, weights)?;
    for layer in 0..config.layers {
        // Causal masks and angles, which the sizes tell.
        for name in [
            "bias",
            "masked_bias",
            "rotary_emb.inv_freq",
            "rotary_emb.cos_cached",
            "rotary_emb.sin_cached",
        ] {
            weights.ignore(&format!("gpt_neox.layers.{layer}.attention.{name}"));
        }
    }
    Ok(parameters)
}

/// From queries, keys and values of each head in a row to all queries, all keys, all values.
fn apart(tensor: &Tensor, config: &Config) -> Result<Tensor> {
    let parts = tensor.reshape((config.heads, 3, config.d_head(), ()))?;
    Ok(parts.transpose(0, 1)?.reshape(tensor.shape())?)
}
