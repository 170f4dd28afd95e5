//! GPT-2.

use candle_core::Tensor;
use serde::Deserialize;

use super::shared::{HiddenActivation, context, size_of_two_names};
use super::{Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Mlp, Norm};
use crate::store::{Document, Size};

/// `config.json` of GPT-2. transformers reads the sizes under either of two names.
#[derive(Debug, Deserialize)]
struct Gpt2Config {
    /// Number of layers.
    n_layer: Option<Size>,
    num_hidden_layers: Option<Size>,
    /// Heads per layer.
    n_head: Option<Size>,
    num_attention_heads: Option<Size>,
    /// Width of the residual stream.
    n_embd: Option<Size>,
    hidden_size: Option<Size>,
    /// Width of the MLPs' hidden layer: four times that of the stream if left out.
    n_inner: Option<Size>,
    /// Number of learned positions: 1024 if left out.
    n_positions: Option<Size>,
    /// Number of tokens.
    vocab_size: Size,
    /// What is added to the variance in norms: 1e-5 if left out.
    layer_norm_epsilon: Option<f64>,
    /// The MLPs' activation: `gelu_new` if left out.
    activation_function: Option<HiddenActivation>,
    /// Whether scores are divided by the root of a head's width. True if left out.
    scale_attn_weights: Option<bool>,
    /// Whether scores of layer l are divided by l + 1. False if left out.
    scale_attn_by_inverse_layer_idx: Option<bool>,
    /// Whether the unembedding is the embedding. True if left out.
    tie_word_embeddings: Option<bool>,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: Gpt2Config = document.read()?;
    let layers = size_of_two_names(
        document,
        ("n_layer", config.n_layer),
        ("num_hidden_layers", config.num_hidden_layers),
    )?;
    let heads = size_of_two_names(
        document,
        ("n_head", config.n_head),
        ("num_attention_heads", config.num_attention_heads),
    )?;
    let d_model = size_of_two_names(
        document,
        ("n_embd", config.n_embd),
        ("hidden_size", config.hidden_size),
    )?;
    let d_hidden = config.n_inner.map_or(4 * d_model, usize::from);
    let activation = config.activation_function.unwrap_or(HiddenActivation::GeluTanh);
    let scaled = config.scale_attn_weights.unwrap_or(true);
    Ok(Config {
        context: context(document, config.n_positions, 1024)?,
        vocab: config.vocab_size.into(),
        norm: Norm::LayerNorm { eps: config.layer_norm_epsilon.unwrap_or(1e-5) },
        score_scale: (!scaled).then_some(1.),
        inverse_layer_scale: config.scale_attn_by_inverse_layer_idx.unwrap_or(false),
        mlp: Mlp::Plain(Some(activation.into())),
        tied: config.tie_word_embeddings.unwrap_or(true),
        ..Config::gpt2(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let prefix = prefix(weights);
    let parameters = Parameters::build(config, |layer, part, shape| {
        let name = name(prefix, layer, part);
        match (part, shape) {
            // Stored [inputs, outputs].
            (
                ModelParameter::Qkv
                | ModelParameter::AttentionOut
                | ModelParameter::MlpIn
                | ModelParameter::MlpOut,
                [outputs, inputs],
            ) => var(&weights.take(&name, &[*inputs, *outputs])?.t()?),
            _ => var(&weights.take(&name, shape)?),
        }
    })?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    ignore_masks(config, weights, prefix, "attn");
    Ok(parameters)
}

/// What names begin with: nothing in files that were saved without the unembedding's wrapper, as
/// GPT-2's own was.
pub(super) fn prefix(weights: &Weights) -> &'static str {
    let wrapped = weights.shape("transformer.wte.weight").is_some();
    if wrapped { "transformer." } else { "" }
}

/// What the names of a layer's weights begin with, or those of the model's.
pub(super) fn place(prefix: &str, layer: Option<usize>) -> String {
    match layer {
        Some(layer) => format!("{prefix}h.{layer}."),
        None => prefix.to_owned(),
    }
}

/// The weights under Hugging Face's names, with matrices `[outputs, inputs]`, which its own files have
/// transposed.
pub(super) fn parameters_from(
    config: &Config,
    mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Parameters> {
    Parameters::build(config, |layer, part, shape| var(&take(&name("", layer, part), shape)?))
}

/// The name of a weight in files whose names begin with `prefix`, but for the unembedding's.
fn name(prefix: &str, layer: Option<usize>, part: ModelParameter) -> String {
    let name = match part {
        ModelParameter::Qkv => "attn.c_attn.weight",
        ModelParameter::QkvBias => "attn.c_attn.bias",
        ModelParameter::AttentionOut => "attn.c_proj.weight",
        ModelParameter::AttentionOutBias => "attn.c_proj.bias",
        ModelParameter::Unembed => return "lm_head.weight".to_owned(),
        other => name_beside_attention(other),
    };
    format!("{}{name}", place(prefix, layer))
}

/// The names that GPT-2 and GPT-Neo share.
pub(super) fn name_beside_attention(part: ModelParameter) -> &'static str {
    match part {
        ModelParameter::Embed => "wte.weight",
        ModelParameter::Positions => "wpe.weight",
        ModelParameter::Gain(NormPlace::Ln1) => "ln_1.weight",
        ModelParameter::Shift(NormPlace::Ln1) => "ln_1.bias",
        ModelParameter::Gain(NormPlace::Ln2) => "ln_2.weight",
        ModelParameter::Shift(NormPlace::Ln2) => "ln_2.bias",
        ModelParameter::Gain(NormPlace::Final) => "ln_f.weight",
        ModelParameter::Shift(NormPlace::Final) => "ln_f.bias",
        ModelParameter::MlpIn => "mlp.c_fc.weight",
        ModelParameter::MlpInBias => "mlp.c_fc.bias",
        ModelParameter::MlpOut => "mlp.c_proj.weight",
        ModelParameter::MlpOutBias => "mlp.c_proj.bias",
        other => unreachable!("GPT-2 and GPT-Neo have no {other:?}"),
    }
}

/// Leaves causal masks aside, those of layers with a window too.
pub(super) fn ignore_masks(config: &Config, weights: &mut Weights, prefix: &str, attention: &str) {
    for layer in 0..config.layers {
        let own = place(prefix, Some(layer));
        weights.ignore(&format!("{own}{attention}.bias"));
        weights.ignore(&format!("{own}{attention}.masked_bias"));
    }
}
