//! GPT-2.

use super::{Fields, Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{Parameters, Part, Place};
use crate::model::{Config, Mlp, Norm};

pub(super) fn config(fields: &mut Fields<'_>) -> Result<Config> {
    // transformers reads the sizes under either name.
    let layers = fields.size_of(["n_layer", "num_hidden_layers"])?;
    let heads = fields.size_of(["n_head", "num_attention_heads"])?;
    let d_model = fields.size_of(["n_embd", "hidden_size"])?;
    let d_hidden = fields.size_or("n_inner", 4 * d_model)?;
    let context = fields.context("n_positions", 1024)?;
    let scaled = fields.flag_or("scale_attn_weights", true)?;
    Ok(Config {
        context,
        vocab: fields.size("vocab_size")?,
        norm: Norm::LayerNorm { eps: fields.number_or("layer_norm_epsilon", 1e-5)? },
        score_scale: (!scaled).then_some(1.),
        inverse_layer_scale: fields.flag_or("scale_attn_by_inverse_layer_idx", false)?,
        mlp: Mlp::Plain(Some(fields.activation("activation_function", "gelu_new")?)),
        tied: fields.flag_or("tie_word_embeddings", true)?,
        ..Config::gpt2(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    // The published file was saved without the unembedding's wrapper.
    let wrapped = weights.shape("transformer.wte.weight").is_some();
    let prefix = if wrapped { "transformer." } else { "" };
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = match layer {
            Some(layer) => format!("{prefix}h.{layer}."),
            None => prefix.to_owned(),
        };
        let name = match part {
            Part::Embed => "wte.weight",
            Part::Positions => "wpe.weight",
            Part::Gain(Place::Ln1) => "ln_1.weight",
            Part::Shift(Place::Ln1) => "ln_1.bias",
            Part::Gain(Place::Ln2) => "ln_2.weight",
            Part::Shift(Place::Ln2) => "ln_2.bias",
            Part::Gain(Place::Final) => "ln_f.weight",
            Part::Shift(Place::Final) => "ln_f.bias",
            Part::Qkv => "attn.c_attn.weight",
            Part::QkvBias => "attn.c_attn.bias",
            Part::AttentionOut => "attn.c_proj.weight",
            Part::AttentionOutBias => "attn.c_proj.bias",
            Part::MlpIn => "mlp.c_fc.weight",
            Part::MlpInBias => "mlp.c_fc.bias",
            Part::MlpOut => "mlp.c_proj.weight",
            Part::MlpOutBias => "mlp.c_proj.bias",
            Part::Unembed => return var(&weights.take("lm_head.weight", shape)?),
            Part::Gain(_) | Part::Shift(_) => unreachable!("GPT-2 has no norms of outputs"),
        };
        let name = format!("{own}{name}");
        match (part, shape) {
            // Stored [inputs, outputs].
            (Part::Qkv | Part::AttentionOut | Part::MlpIn | Part::MlpOut, [outputs, inputs]) => {
                var(&weights.take(&name, &[*inputs, *outputs])?.t()?)
            }
            _ => var(&weights.take(&name, shape)?),
        }
    })?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    for layer in 0..config.layers {
        // Causal masks.
        weights.ignore(&format!("{prefix}h.{layer}.attn.bias"));
        weights.ignore(&format!("{prefix}h.{layer}.attn.masked_bias"));
    }
    Ok(parameters)
}
