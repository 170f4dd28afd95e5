//! GPT-NeoX and Pythia.

use candle_core::Tensor;
use serde::Deserialize;

use super::rotary::rotary;
use super::shared::{HiddenActivation, context};
use super::{Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Mlp, Norm, Position};
use crate::store::{Document, Size};

/// `config.json` of GPT-NeoX.
#[derive(Debug, Deserialize)]
struct GptNeoxConfig {
    /// Number of layers.
    num_hidden_layers: Size,
    /// Heads per layer.
    num_attention_heads: Size,
    /// Width of the residual stream.
    hidden_size: Size,
    /// Width of the MLPs' hidden layer.
    intermediate_size: Size,
    /// Tokens of the longest sequence: 2048 if left out.
    max_position_embeddings: Option<Size>,
    /// Number of tokens.
    vocab_size: Size,
    /// What is added to the variance in norms: 1e-5 if left out.
    layer_norm_eps: Option<f64>,
    /// Whether the attention's maps have biases. True if left out.
    attention_bias: Option<bool>,
    /// The base of the rotary embedding's frequencies, θ, before transformers 5.
    rotary_emb_base: Option<f64>,
    /// The share of a head's entries that turn, before transformers 5: a quarter if left out.
    rotary_pct: Option<f64>,
    /// Whether attention and MLP read the same stream. True if left out.
    use_parallel_residual: Option<bool>,
    /// The MLPs' activation: `gelu` if left out.
    hidden_act: Option<HiddenActivation>,
    /// Whether the unembedding is the embedding. False if left out.
    tie_word_embeddings: Option<bool>,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: GptNeoxConfig = document.read()?;
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let bias = config.attention_bias.unwrap_or(true);
    let d_head = d_model / heads.max(1);
    let names = [config.rotary_emb_base, config.rotary_pct];
    Ok(Config {
        context: context(document, config.max_position_embeddings, 2048)?,
        vocab: config.vocab_size.into(),
        norm: Norm::LayerNorm { eps: config.layer_norm_eps.unwrap_or(1e-5) },
        position: Position::Rotary(rotary(document, d_head, names, 0.25)?),
        qkv_bias: bias,
        attention_bias: bias,
        parallel: config.use_parallel_residual.unwrap_or(true),
        mlp: Mlp::Plain(Some(config.hidden_act.unwrap_or(HiddenActivation::Gelu).into())),
        tied: config.tie_word_embeddings.unwrap_or(false),
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
            ModelParameter::Embed => "embed_in.weight",
            ModelParameter::Gain(NormPlace::Ln1) => "input_layernorm.weight",
            ModelParameter::Shift(NormPlace::Ln1) => "input_layernorm.bias",
            ModelParameter::Gain(NormPlace::Ln2) => "post_attention_layernorm.weight",
            ModelParameter::Shift(NormPlace::Ln2) => "post_attention_layernorm.bias",
            ModelParameter::Gain(NormPlace::Final) => "final_layer_norm.weight",
            ModelParameter::Shift(NormPlace::Final) => "final_layer_norm.bias",
            ModelParameter::Qkv => "attention.query_key_value.weight",
            ModelParameter::QkvBias => "attention.query_key_value.bias",
            ModelParameter::AttentionOut => "attention.dense.weight",
            ModelParameter::AttentionOutBias => "attention.dense.bias",
            ModelParameter::MlpIn => "mlp.dense_h_to_4h.weight",
            ModelParameter::MlpInBias => "mlp.dense_h_to_4h.bias",
            ModelParameter::MlpOut => "mlp.dense_4h_to_h.weight",
            ModelParameter::MlpOutBias => "mlp.dense_4h_to_h.bias",
            ModelParameter::Unembed => return var(&weights.take("embed_out.weight", shape)?),
            other => unreachable!("GPT-NeoX has no {other:?}"),
        };
        let tensor = weights.take(&format!("{own}{name}"), shape)?;
        match part {
            ModelParameter::Qkv | ModelParameter::QkvBias => var(&apart(&tensor, config)?),
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
