//! Gemma 2.

use serde::Deserialize;
use serde_json::Value;

use super::llama::{HiddenAct, LlamaConfig};
use super::shared::{HiddenActivation, context, windows};
use crate::Result;
use crate::model::{Config, Mlp, Norm, Position};
use crate::store::{Document, Size, nullable};

/// What Gemma 2 has in `config.json` besides [`LlamaConfig`].
#[derive(Debug, Deserialize)]
struct Gemma2Config {
    /// Whether the attention's maps have biases. False if left out.
    attention_bias: Option<bool>,
    /// The number over whose root scores are divided: 256 if left out.
    query_pre_attn_scalar: Option<f64>,
    /// c of c·tanh(score / c): 50 if left out, none if null.
    #[serde(default, deserialize_with = "nullable")]
    attn_logit_softcapping: Option<Option<f64>>,
    /// c of c·tanh(logit / c): 30 if left out, none if null.
    #[serde(default, deserialize_with = "nullable")]
    final_logit_softcapping: Option<Option<f64>>,
    /// Positions that attention sees in every second layer: 4096 if left out, all if null.
    #[serde(default, deserialize_with = "nullable")]
    sliding_window: Option<Option<Size>>,
    /// The same once more, in the first files.
    sliding_window_size: Option<Size>,
    /// The MLPs' activation: `gelu_pytorch_tanh` if left out.
    hidden_activation: Option<HiddenActivation>,
    /// It counts only where `hidden_activation` is left out; early files have another one in it.
    hidden_act: Option<Value>,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: LlamaConfig = document.read()?;
    let gemma: Gemma2Config = document.read()?;
    if config.head_dim.is_none() {
        return Err(document.missing("head_dim", "a size"));
    }
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = config.grouping();
    let bias = gemma.attention_bias.unwrap_or(false);
    let window = gemma.sliding_window.map_or(Some(4096), |window| window.map(usize::from));
    let window = match gemma.sliding_window_size.map(usize::from) {
        None => window,
        Some(same) if Some(same) == window => window,
        Some(other) => {
            let window = window.map_or("null".to_owned(), |window| window.to_string());
            let expected = format!("the same as in `sliding_window`, {window},");
            return Err(document.wrong("sliding_window_size", &expected, other));
        }
    };
    let activation = match (gemma.hidden_activation, gemma.hidden_act) {
        (None, Some(_)) => document.read::<HiddenAct>()?.hidden_act,
        (activation, _) => activation,
    };
    let activation = activation.unwrap_or(HiddenActivation::GeluTanh);
    Ok(Config {
        kv_heads,
        d_head,
        context: context(document, config.max_position_embeddings, 8192)?,
        vocab: config.vocab_size.into(),
        norm: Norm::RmsOnePlusGain { eps: config.rms_norm_eps.unwrap_or(1e-6) },
        position: Position::Rotary(config.whole_rotary(document)?),
        qkv_bias: bias,
        attention_bias: bias,
        score_scale: Some(gemma.query_pre_attn_scalar.unwrap_or(256.).powf(-0.5)),
        score_cap: gemma.attn_logit_softcapping.unwrap_or(Some(50.)),
        windows: windows(document, layers, window, |layer| layer % 2 == 0)?,
        mlp: Mlp::Gated(Some(activation.into())),
        logit_cap: gemma.final_logit_softcapping.unwrap_or(Some(30.)),
        tied: config.tie_word_embeddings.unwrap_or(true),
        ..Config::gemma2(layers, heads, d_model, d_hidden)
    })
}
