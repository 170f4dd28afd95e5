//! OPT.

use serde::Deserialize;

use super::shared::{HiddenActivation, context};
use super::{Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Mlp};
use crate::store::{Document, MustBe, Size};

/// `config.json` of OPT. The epsilon of its norms is in none: it is 1e-5.
#[derive(Debug, Deserialize)]
struct OptConfig {
    /// Number of layers.
    num_hidden_layers: Size,
    /// Heads per layer.
    num_attention_heads: Size,
    /// Width of the residual stream.
    hidden_size: Size,
    /// Width of the embeddings: that of the stream if left out.
    word_embed_proj_dim: Option<Size>,
    /// Width of the MLPs' hidden layer.
    ffn_dim: Size,
    /// Number of learned positions that tokens can stand at: 2048 if left out.
    max_position_embeddings: Option<Size>,
    /// Number of tokens.
    vocab_size: Size,
    /// The MLPs' activation: `relu` if left out.
    activation_function: Option<HiddenActivation>,
    /// Whether the maps of attention and MLP have biases. True if left out.
    enable_bias: Option<bool>,
    /// Whether the unembedding is the embedding. True if left out.
    tie_word_embeddings: Option<bool>,
}

/// Parts that some of OPT's relatives have otherwise.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct OptUnsupported {
    /// Whether norms come before attention and MLP, and not after them as in OPT-350M.
    do_layer_norm_before: Option<MustBe<true>>,
    /// Whether norms have a gain and a bias.
    layer_norm_elementwise_affine: Option<MustBe<true>>,
    /// Whether there is no norm before the unembedding, as in the first files.
    #[serde(rename = "_remove_final_layer_norm")]
    remove_final_layer_norm: Option<MustBe<false>>,
    /// Whether positions are learned, as Galactica's files say.
    learned_embeddings: Option<MustBe<true>>,
    /// Whether embeddings are multiplied by the root of their width.
    scale_embeddings: Option<MustBe<false>>,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: OptConfig = document.read()?;
    document.read::<OptUnsupported>()?;
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.ffn_dim);
    if let Some(Size(width)) = config.word_embed_proj_dim.filter(|Size(width)| *width != d_model) {
        let expected = format!("{d_model}, as `hidden_size` is,");
        return Err(document.wrong("word_embed_proj_dim", &expected, width));
    }
    let bias = config.enable_bias.unwrap_or(true);
    let activation = config.activation_function.unwrap_or(HiddenActivation::Relu);
    Ok(Config {
        context: context(document, config.max_position_embeddings, 2048)?,
        vocab: config.vocab_size.into(),
        qkv_bias: bias,
        attention_bias: bias,
        mlp: Mlp::Plain(Some(activation.into())),
        mlp_bias: bias,
        tied: config.tie_word_embeddings.unwrap_or(true),
        ..Config::opt(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let prefixes = ["model.decoder.", "decoder.", ""];
    let holds = |prefix: &&str| weights.shape(&format!("{prefix}embed_tokens.weight")).is_some();
    let prefix = prefixes.into_iter().find(holds).unwrap_or(prefixes[0]);
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = match layer {
            Some(layer) => format!("{prefix}layers.{layer}."),
            None => prefix.to_owned(),
        };
        let name = match part {
            ModelParameter::Embed => "embed_tokens.weight",
            ModelParameter::Positions => "embed_positions.weight",
            ModelParameter::Gain(NormPlace::Ln1) => "self_attn_layer_norm.weight",
            ModelParameter::Shift(NormPlace::Ln1) => "self_attn_layer_norm.bias",
            // That of the model, or of a layer.
            ModelParameter::Gain(NormPlace::Ln2 | NormPlace::Final) => "final_layer_norm.weight",
            ModelParameter::Shift(NormPlace::Ln2 | NormPlace::Final) => "final_layer_norm.bias",
            ModelParameter::AttentionOut => "self_attn.out_proj.weight",
            ModelParameter::AttentionOutBias => "self_attn.out_proj.bias",
            ModelParameter::MlpIn => "fc1.weight",
            ModelParameter::MlpInBias => "fc1.bias",
            ModelParameter::MlpOut => "fc2.weight",
            ModelParameter::MlpOutBias => "fc2.bias",
            ModelParameter::Unembed => return var(&weights.take("lm_head.weight", shape)?),
            ModelParameter::Qkv | ModelParameter::QkvBias => {
                let attention = format!("{own}self_attn");
                return var(&weights.take_qkv(config, &attention, part, shape)?);
            }
            other => unreachable!("OPT has no {other:?}"),
        };
        var(&weights.take(&format!("{own}{name}"), shape)?)
    })?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    // A number of the program that the first files were made with.
    weights.ignore(&format!("{prefix}version"));
    Ok(parameters)
}
