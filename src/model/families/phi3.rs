//! Phi-3, and with it Phi-4 and Phi-4-mini.

use candle_core::Tensor;
use serde::Deserialize;

use super::llama::{self, HiddenAct, LlamaConfig};
use super::rope_places::RopeLayers;
use super::rotary::RotaryFields;
use super::shared::{HiddenActivation, context, windows};
use super::{Weights, check_tied, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, Parameters};
use crate::model::{Config, Mlp, Norm, Position};
use crate::store::{Document, Size};

/// Fields of Phi-4-mini's files that no model reads.
pub(super) const INERT: [&str; 2] = ["full_attn_mod", "interpolate_factor"];

/// What Phi-3 has in `config.json` besides [`LlamaConfig`].
#[derive(Debug, Deserialize)]
struct Phi3Window {
    /// Keys that a query sees in every layer, itself the last of them: all if left out or null.
    sliding_window: Option<Size>,
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: LlamaConfig = document.read()?;
    let HiddenAct { hidden_act } = document.read()?;
    let Phi3Window { sliding_window } = document.read()?;
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = config.grouping();
    let rotary = RotaryFields { original: Some(4096.), ..RotaryFields::new(config.d_head()) };
    Ok(Config {
        kv_heads,
        d_head,
        context: context(document, config.max_position_embeddings, 4096)?,
        vocab: config.vocab_size.into(),
        norm: Norm::RmsGain { eps: config.rms_norm_eps.unwrap_or(1e-5) },
        position: Position::Rotary(rotary.read(document, RopeLayers::All, [None, None])?),
        windows: windows(document, layers, sliding_window.map(usize::from), |_| true)?,
        mlp: Mlp::Gated(Some(hidden_act.unwrap_or(HiddenActivation::Silu).into())),
        tied: config.tie_word_embeddings.unwrap_or(false),
        ..Config::llama(layers, heads, d_model, d_hidden)
    })
}

/// The weights of a repository.
pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = parameters_from(config, |name, shape| weights.take(name, shape))?;
    check_tied("lm_head.weight", config, &parameters, weights)?;
    llama::ignore_angles(config, weights);
    Ok(parameters)
}

/// The weights, of which files have queries, keys and values in one matrix, as here, and the gate
/// above what it is multiplied by in another.
pub(super) fn parameters_from(
    config: &Config,
    mut take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
) -> Result<Parameters> {
    Parameters::build(config, |layer, part, shape| {
        let fused = match part {
            ModelParameter::Qkv => "self_attn.qkv_proj.weight",
            ModelParameter::MlpIn => "mlp.gate_up_proj.weight",
            _ => return llama::weight(config, layer, part, shape, &mut take),
        };
        let own = layer.map_or(String::new(), |layer| format!("model.layers.{layer}."));
        var(&take(&format!("{own}{fused}"), shape)?)
    })
}
