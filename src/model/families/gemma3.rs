//! Gemma 3: text alone, and the text of models that also see.

use serde::Deserialize;
use serde_json::Value;

use super::rotary::RotaryFields;
use super::shared::{HiddenActivation, context, fixed_windows, positive, unusual_head};
use super::{Weights, check_tied, llama};
use crate::Result;
use crate::model::parameters::Parameters;
use crate::model::{Config, Mlp, Norm, Position, QkNorm};
use crate::store::{Document, Size, nullable};

/// The object that models of text and images have the text's fields in.
const TEXT: &str = "text_config";
/// Fields of models of text and images that change nothing where there are no images.
pub(super) const INERT: [&str; 5] = [
    "boi_token_index",
    "eoi_token_index",
    "image_token_index",
    "mm_tokens_per_image",
    "vision_config",
];
/// Beginnings of the names of the text's weights: alone, in published files of text and images, and
/// in those that transformers and other programs save.
const TEXT_PLACES: [&str; 4] =
    ["model.", "language_model.model.", "model.language_model.", "language_model."];
/// Names of an unembedding, which is the embedding once more.
const HEADS: [&str; 2] = ["lm_head.weight", "language_model.lm_head.weight"];
/// Beginnings of the names of weights that only images need.
const OF_IMAGES: [&str; 4] = [
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
];

/// `config.json` of Gemma 3. Published files leave much to these defaults.
#[derive(Debug, Deserialize)]
struct Gemma3Config {
    /// Number of layers.
    num_hidden_layers: Size,
    /// Width of the residual stream.
    hidden_size: Size,
    /// Width of the MLPs' hidden layer.
    intermediate_size: Size,
    /// Heads per layer: 8 if left out.
    num_attention_heads: Option<Size>,
    /// Heads of keys and values: 4 if left out.
    num_key_value_heads: Option<Size>,
    /// Width of a head: 256 if left out.
    head_dim: Option<Size>,
    /// Number of tokens: 262208 if left out.
    vocab_size: Option<Size>,
    /// Tokens of the longest sequence: 131072 if left out.
    max_position_embeddings: Option<Size>,
    /// What is added to the mean square in norms, those of queries and keys too: 1e-6 if left out.
    rms_norm_eps: Option<f64>,
    /// Whether the attention's maps have biases. False if left out.
    attention_bias: Option<bool>,
    /// The number over whose root scores are divided: 256 if left out.
    query_pre_attn_scalar: Option<f64>,
    /// c of c·tanh(score / c): none if left out.
    attn_logit_softcapping: Option<f64>,
    /// c of c·tanh(logit / c): none if left out.
    final_logit_softcapping: Option<f64>,
    /// The MLPs' activation: `gelu_pytorch_tanh` if left out.
    hidden_activation: Option<HiddenActivation>,
    /// The base of the rotary embedding in layers with a window, before transformers 5: 10000 if left
    /// out.
    rope_local_base_freq: Option<f64>,
}

/// Which layers have a window.
#[derive(Debug, Deserialize)]
struct Gemma3Window {
    /// Positions that attention sees there: 4096 if left out.
    #[serde(default, deserialize_with = "nullable")]
    sliding_window: Option<Option<Size>>,
    /// Where there are no `layer_types`, layers i with (i + 1) mod this = 0 have none: 6 if left out.
    sliding_window_pattern: Option<Size>,
    /// What transformers writes beside `layer_types`, which alone count.
    #[serde(rename = "_sliding_window_pattern")]
    written_pattern: Option<Size>,
}

/// Of text alone, or at the top level of a model of text and images.
#[derive(Debug, Deserialize)]
struct Gemma3Tie {
    /// Whether the unembedding is the embedding. True if left out.
    tie_word_embeddings: Option<bool>,
}

/// The model of a file of text alone.
pub(super) fn config(document: &mut Document) -> Result<Config> {
    let Gemma3Tie { tie_word_embeddings } = document.read()?;
    let config: Gemma3Config = document.read()?;
    let windows = sliding(document, config.num_hidden_layers.into())?;
    let size = |size: Option<Size>, default: usize| size.map_or(default, usize::from);
    let (Size(layers), heads) = (config.num_hidden_layers, size(config.num_attention_heads, 8));
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = (size(config.num_key_value_heads, 4), size(config.head_dim, 256));
    let fields = RotaryFields { base: 1_000_000., ..RotaryFields::new(d_head) };
    let (rotary, local) = fields.by_layer(document, config.rope_local_base_freq, 10_000.)?;
    let scalar = config.query_pre_attn_scalar;
    let scalar = positive(document, "query_pre_attn_scalar", scalar, 256.)?;
    let bias = config.attention_bias.unwrap_or(false);
    let activation = config.hidden_activation.unwrap_or(HiddenActivation::GeluTanh);
    Ok(Config {
        kv_heads: (kv_heads != heads).then_some(kv_heads),
        d_head: unusual_head(d_head, heads, d_model),
        context: context(document, config.max_position_embeddings, 131_072)?,
        vocab: size(config.vocab_size, 262_208),
        norm: Norm::RmsOnePlusGain { eps: config.rms_norm_eps.unwrap_or(1e-6) },
        qk_norm: Some(QkNorm::PerHead),
        position: Position::Rotary(rotary),
        local_rotary: local.filter(|_| !windows.is_empty()),
        qkv_bias: bias,
        attention_bias: bias,
        score_scale: Some(scalar.powf(-0.5)),
        score_cap: config.attn_logit_softcapping,
        windows,
        mlp: Mlp::Gated(Some(activation.into())),
        logit_cap: config.final_logit_softcapping,
        tied: tie_word_embeddings.unwrap_or(true),
        ..Config::gemma3(layers, heads, d_model, d_hidden)
    })
}

/// The model of text in a file of text and images.
pub(super) fn config_with_images(document: &mut Document) -> Result<Config> {
    let Gemma3Tie { tie_word_embeddings: outer } = document.read()?;
    let mut text = document.inner(TEXT)?;
    if let Some(other) = text.get("model_type").filter(|kind| *kind != "gemma3_text") {
        return Err(text.wrong("model_type", "gemma3_text", other.clone()));
    }
    let Gemma3Tie { tie_word_embeddings: inner } = text.read()?;
    let name = "tie_word_embeddings";
    let tied = document.agreed((name, outer), ("text_config.tie_word_embeddings", inner))?;
    let config = config(&mut text)?;
    document.join(TEXT, text);
    Ok(Config { tied: tied.unwrap_or(true), ..config })
}

/// The name of a field without that of the object that it is in.
pub(super) fn within(name: &str) -> &str {
    name.strip_prefix(TEXT).and_then(|name| name.strip_prefix('.')).unwrap_or(name)
}

/// The window of each layer.
fn sliding(document: &mut Document, layers: usize) -> Result<Vec<Option<usize>>> {
    let fields: Gemma3Window = document.read()?;
    let pattern = fields.sliding_window_pattern.map_or(6, usize::from);
    if document.get("layer_types").is_none_or(Value::is_null) {
        if pattern == 0 {
            return Err(document.wrong("sliding_window_pattern", "a size from 1", 0));
        }
        if let Some(Size(other)) = fields.written_pattern.filter(|Size(own)| *own != pattern) {
            let expected = format!("{pattern}, as in `sliding_window_pattern` or left out,");
            return Err(document.wrong("_sliding_window_pattern", &expected, other));
        }
    }
    let window = fields.sliding_window.map_or(Some(4096), |window| window.map(usize::from));
    fixed_windows(document, layers, window, |layer| !(layer + 1).is_multiple_of(pattern))
}

/// What a user of a model of text and images should know.
pub(super) fn note() -> String {
    "a model of text and images: its vision tower and projector are left out, and what is read is its \
     model of text"
        .to_owned()
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let holds = |place: &&str| weights.shape(&format!("{place}embed_tokens.weight")).is_some();
    let place = TEXT_PLACES.into_iter().find(holds).unwrap_or(TEXT_PLACES[0]);
    let head = HEADS.into_iter().find(|name| weights.shape(name).is_some()).unwrap_or(HEADS[0]);
    let parameters = llama::parameters(config, |name, shape| {
        let own = match name.strip_prefix("model.") {
            Some(rest) => format!("{place}{rest}"),
            None => head.to_owned(),
        };
        weights.take(&own, shape)
    })?;
    for head in HEADS {
        check_tied(head, config, &parameters, weights)?;
    }
    Ok(parameters)
}

/// The weights of text in a file that has those of images too.
pub(super) fn parameters_with_images(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    weights.forget(|name| OF_IMAGES.iter().any(|beginning| name.starts_with(beginning)));
    parameters(config, weights)
}
