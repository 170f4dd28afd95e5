//! GPT-2.

use candle_core::Tensor;
use serde::Deserialize;

use super::shared::{HiddenActivation, context};
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
    let size = |name: &str, value: Option<Size>, other: (&str, Option<Size>)| {
        let (name, value) = (name, value.map(usize::from));
        let size = document.agreed((name, value), (other.0, other.1.map(usize::from)))?;
        size.ok_or_else(|| document.missing(name, "a size"))
    };
    let layers = size("n_layer", config.n_layer, ("num_hidden_layers", config.num_hidden_layers))?;
    let heads = size("n_head", config.n_head, ("num_attention_heads", config.num_attention_heads))?;
    let d_model = size("n_embd", config.n_embd, ("hidden_size", config.hidden_size))?;
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
    // The published file was saved without the unembedding's wrapper.
    let wrapped = weights.shape("transformer.wte.weight").is_some();
    let prefix = if wrapped { "transformer." } else { "" };
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
    for layer in 0..config.layers {
        // Causal masks.
        weights.ignore(&format!("{prefix}h.{layer}.attn.bias"));
        weights.ignore(&format!("{prefix}h.{layer}.attn.masked_bias"));
    }
    Ok(parameters)
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
    let own = match layer {
        Some(layer) => format!("{prefix}h.{layer}."),
        None => prefix.to_owned(),
    };
    let name = match part {
        ModelParameter::Embed => "wte.weight",
        ModelParameter::Positions => "wpe.weight",
        ModelParameter::Gain(NormPlace::Ln1) => "ln_1.weight",
        ModelParameter::Shift(NormPlace::Ln1) => "ln_1.bias",
        ModelParameter::Gain(NormPlace::Ln2) => "ln_2.weight",
        ModelParameter::Shift(NormPlace::Ln2) => "ln_2.bias",
        ModelParameter::Gain(NormPlace::Final) => "ln_f.weight",
        ModelParameter::Shift(NormPlace::Final) => "ln_f.bias",
        ModelParameter::Qkv => "attn.c_attn.weight",
        ModelParameter::QkvBias => "attn.c_attn.bias",
        ModelParameter::AttentionOut => "attn.c_proj.weight",
        ModelParameter::AttentionOutBias => "attn.c_proj.bias",
        ModelParameter::MlpIn => "mlp.c_fc.weight",
        ModelParameter::MlpInBias => "mlp.c_fc.bias",
        ModelParameter::MlpOut => "mlp.c_proj.weight",
        ModelParameter::MlpOutBias => "mlp.c_proj.bias",
        ModelParameter::Unembed => return "lm_head.weight".to_owned(),
        other => unreachable!("GPT-2 has no {other:?}"),
    };
    format!("{own}{name}")
}
