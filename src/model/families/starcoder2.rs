//! StarCoder 2.

use serde::Deserialize;

use super::rope_places::RopeLayers;
use super::rotary::RotaryFields;
use super::shared::{HiddenActivation, context, unusual_head, windows};
use super::{Weights, check_tied, llama, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Config, Mlp, Norm, Position};
use crate::store::{Document, MustBe, Size};

/// Fields that change no logit. The published files have an activation and an epsilon that nothing
/// reads beside those that count, `hidden_act` and `norm_epsilon`, and say how scores in half
/// precision are computed.
pub(super) const INERT: [&str; 4] = [
    "activation_function",
    "attention_softmax_in_fp32",
    "layer_norm_epsilon",
    "scale_attention_softmax_in_fp32",
];

/// `config.json` of StarCoder 2.
#[derive(Debug, Deserialize)]
struct Starcoder2Config {
    /// Number of layers.
    num_hidden_layers: Size,
    /// Heads per layer.
    num_attention_heads: Size,
    /// Heads of keys and values: 2 if left out.
    num_key_value_heads: Option<Size>,
    /// Width of a head: that of the stream over the number of heads if left out.
    head_dim: Option<Size>,
    /// Width of the residual stream.
    hidden_size: Size,
    /// Width of the MLPs' hidden layer.
    intermediate_size: Size,
    /// Number of tokens.
    vocab_size: Size,
    /// Tokens of the longest sequence: 4096 if left out.
    max_position_embeddings: Option<Size>,
    /// What is added to the variance in norms: 1e-5 if left out.
    norm_epsilon: Option<f64>,
    /// The MLPs' activation: `gelu_pytorch_tanh` if left out.
    hidden_act: Option<HiddenActivation>,
    /// Whether the maps of attention and MLP have biases. True if left out.
    use_bias: Option<bool>,
    /// Keys that a query sees, itself the last of them: all if left out or null.
    sliding_window: Option<Size>,
    /// Whether the unembedding is the embedding. True if left out.
    tie_word_embeddings: Option<bool>,
}

/// What the published files say of parts that are always the same.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct Starcoder2Fixed {
    norm_type: Option<Starcoder2Norm>,
    mlp_type: Option<Starcoder2Mlp>,
    /// Whether scores are divided by the root of a head's width.
    scale_attn_weights: Option<MustBe<true>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Starcoder2Norm {
    LayerNorm,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Starcoder2Mlp {
    /// Two maps, with the activation between them.
    Default,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: Starcoder2Config = document.read()?;
    document.read::<Starcoder2Fixed>()?;
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let kv_heads = config.num_key_value_heads.map_or(2, usize::from);
    let d_head = config.head_dim.map_or(d_model / heads.max(1), usize::from);
    let rotary = RotaryFields::new(d_head).whole(document, RopeLayers::All, None)?;
    let window = config.sliding_window.map(usize::from);
    let bias = config.use_bias.unwrap_or(true);
    let activation = config.hidden_act.unwrap_or(HiddenActivation::GeluTanh);
    Ok(Config {
        kv_heads: (kv_heads != heads).then_some(kv_heads),
        d_head: unusual_head(d_head, heads, d_model),
        context: context(document, config.max_position_embeddings, 4096)?,
        vocab: config.vocab_size.into(),
        norm: Norm::LayerNorm { eps: config.norm_epsilon.unwrap_or(1e-5) },
        position: Position::Rotary(rotary),
        qkv_bias: bias,
        attention_bias: bias,
        windows: windows(document, layers, window, |_| true)?,
        mlp: Mlp::Plain(Some(activation.into())),
        mlp_bias: bias,
        tied: config.tie_word_embeddings.unwrap_or(true),
        ..Config::gpt2(layers, heads, d_model, d_hidden)
    })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = match layer {
            Some(layer) => format!("model.layers.{layer}."),
            None => "model.".to_owned(),
        };
        let name = match part {
            ModelParameter::Embed => "embed_tokens.weight",
            ModelParameter::Gain(NormPlace::Ln1) => "input_layernorm.weight",
            ModelParameter::Shift(NormPlace::Ln1) => "input_layernorm.bias",
            ModelParameter::Gain(NormPlace::Ln2) => "post_attention_layernorm.weight",
            ModelParameter::Shift(NormPlace::Ln2) => "post_attention_layernorm.bias",
            ModelParameter::Gain(NormPlace::Final) => "norm.weight",
            ModelParameter::Shift(NormPlace::Final) => "norm.bias",
            ModelParameter::AttentionOut => "self_attn.o_proj.weight",
            ModelParameter::AttentionOutBias => "self_attn.o_proj.bias",
            ModelParameter::MlpIn => "mlp.c_fc.weight",
            ModelParameter::MlpInBias => "mlp.c_fc.bias",
            ModelParameter::MlpOut => "mlp.c_proj.weight",
            ModelParameter::MlpOutBias => "mlp.c_proj.bias",
            ModelParameter::Unembed => return var(&weights.take("lm_head.weight", shape)?),
            ModelParameter::Qkv | ModelParameter::QkvBias => {
                let attention = format!("{own}self_attn");
                return var(&weights.take_qkv(config, &attention, part, shape)?);
            }
            other => unreachable!("StarCoder 2 has no {other:?}"),
        };
        var(&weights.take(&format!("{own}{name}"), shape)?)
    })?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    llama::ignore_angles(config, weights);
    Ok(parameters)
}
