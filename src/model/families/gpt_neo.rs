//! GPT-Neo, and with it the TinyStories models.

use serde::Deserialize;

use super::shared::{HiddenActivation, context, size_of_two_names};
use super::{Weights, check_tied, gpt2, var};
use crate::model::parameters::{ModelParameter, Parameters};
use crate::model::{Config, Mlp, Norm};
use crate::store::{Document, Size};
use crate::{Error, Result};

/// Kinds of layers that are written out of lists with how often each comes.
const MOST_KINDS: usize = 1 << 16;

/// `config.json` of GPT-Neo. transformers reads two of the sizes under either of two names.
#[derive(Debug, Deserialize)]
struct GptNeoConfig {
    /// Number of layers.
    num_layers: Option<Size>,
    num_hidden_layers: Option<Size>,
    /// Heads per layer.
    num_heads: Option<Size>,
    num_attention_heads: Option<Size>,
    /// Width of the residual stream.
    hidden_size: Size,
    /// Width of the MLPs' hidden layer: four times that of the stream if left out or null.
    intermediate_size: Option<Size>,
    /// Number of learned positions: 2048 if left out.
    max_position_embeddings: Option<Size>,
    /// Number of tokens.
    vocab_size: Size,
    /// What is added to the variance in norms: 1e-5 if left out.
    layer_norm_epsilon: Option<f64>,
    /// The MLPs' activation: `gelu_new` if left out.
    activation_function: Option<HiddenActivation>,
    /// What attention sees, layer by layer: lists of kinds, and how often each list is repeated.
    attention_types: Option<Vec<(Vec<GptNeoAttention>, Size)>>,
    /// The same written out, which transformers adds when it saves a model.
    attention_layers: Option<Vec<GptNeoAttention>>,
    /// Keys that a query of a local layer sees, itself the last of them: 256 if left out.
    window_size: Option<Size>,
    /// Whether the unembedding is the embedding. True if left out.
    tie_word_embeddings: Option<bool>,
}

/// What the attention of a layer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GptNeoAttention {
    /// All keys that are not ahead.
    Global,
    /// The last of them.
    Local,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: GptNeoConfig = document.read()?;
    let layers = size_of_two_names(
        document,
        ("num_layers", config.num_layers),
        ("num_hidden_layers", config.num_hidden_layers),
    )?;
    let heads = size_of_two_names(
        document,
        ("num_heads", config.num_heads),
        ("num_attention_heads", config.num_attention_heads),
    )?;
    let Size(d_model) = config.hidden_size;
    let d_hidden = config.intermediate_size.map_or(d_model.saturating_mul(4), usize::from);
    let kinds = attention(document, layers, config.attention_types, config.attention_layers)?;
    let window = config.window_size.map_or(256, usize::from);
    let windows = match kinds.contains(&GptNeoAttention::Local) {
        true => kinds
            .into_iter()
            .map(|kind| (kind == GptNeoAttention::Local).then_some(window))
            .collect(),
        false => Vec::new(),
    };
    let activation = config.activation_function.unwrap_or(HiddenActivation::GeluTanh);
    Ok(Config {
        context: context(document, config.max_position_embeddings, 2048)?,
        vocab: config.vocab_size.into(),
        norm: Norm::LayerNorm { eps: config.layer_norm_epsilon.unwrap_or(1e-5) },
        windows,
        mlp: Mlp::Plain(Some(activation.into())),
        tied: config.tie_word_embeddings.unwrap_or(true),
        ..Config::gpt_neo(layers, heads, d_model, d_hidden)
    })
}

/// The kind of each layer, which a file says in one of two ways or in both.
fn attention(
    document: &Document,
    layers: usize,
    types: Option<Vec<(Vec<GptNeoAttention>, Size)>>,
    written: Option<Vec<GptNeoAttention>>,
) -> Result<Vec<GptNeoAttention>> {
    let each = |name: &str, kinds: Vec<GptNeoAttention>| match kinds.len() {
        found if found == layers => Ok(kinds),
        found => {
            let expected = format!("`global` or `local` for each of {layers} layers in `{name}`");
            let more = if found > MOST_KINDS { "or more " } else { "" };
            Err(Error::format(document.path(), expected, format!("{found} {more}of them")))
        }
    };
    let types = types.map(|types| {
        // A list without kinds could be repeated for ever.
        let repeated = types.iter().filter(|(kinds, _)| !kinds.is_empty());
        let repeated = repeated.flat_map(|(kinds, Size(times))| std::iter::repeat_n(kinds, *times));
        each("attention_types", repeated.flatten().copied().take(MOST_KINDS + 1).collect())
    });
    let written = written.map(|kinds| each("attention_layers", kinds));
    let names =
        (("attention_types", types.transpose()?), ("attention_layers", written.transpose()?));
    let kinds = document.agreed(names.0, names.1)?;
    kinds.ok_or_else(|| {
        document
            .missing("attention_types", "lists of `global` and `local` with how often each comes")
    })
}

/// The weights: those of GPT-2, but for the attention.
pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let prefix = gpt2::prefix(weights);
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = gpt2::place(prefix, layer);
        let name = match part {
            ModelParameter::AttentionOut => "attn.attention.out_proj.weight",
            ModelParameter::AttentionOutBias => "attn.attention.out_proj.bias",
            ModelParameter::Unembed => return var(&weights.take("lm_head.weight", shape)?),
            ModelParameter::Qkv => {
                let attention = format!("{own}attn.attention");
                return var(&weights.take_qkv(config, &attention, part, shape)?);
            }
            other => gpt2::name_beside_attention(other),
        };
        var(&weights.take(&format!("{own}{name}"), shape)?)
    })?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    gpt2::ignore_masks(config, weights, prefix, "attn.attention");
    Ok(parameters)
}
