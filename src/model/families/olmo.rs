//! OLMo 2 and 3.

use serde::Deserialize;
use serde_json::Value;

use super::llama::{AttentionBias, HiddenAct, LlamaConfig};
use super::rope_places::is_by_layer;
use super::rotary::RotaryFields;
use super::shared::{HiddenActivation, context, fixed_windows};
use crate::Result;
use crate::model::{Config, Mlp, Norm, Position, QkNorm};
use crate::store::{Document, Size, nullable};

/// The base of OLMo 3's rotary embedding where a file says nothing of it.
const OLMO3_BASE: f64 = 500_000.;

/// A member of the family: OLMo 3 has windows, and rotary embedding of its own in layers with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OlmoMember {
    Olmo2,
    Olmo3,
}

/// Of OLMo 3 alone.
#[derive(Debug, Deserialize)]
struct Olmo3Window {
    /// Positions that attention sees in three of four layers: 4096 if left out.
    #[serde(default, deserialize_with = "nullable")]
    sliding_window: Option<Option<Size>>,
}

pub(super) fn config(document: &mut Document, member: OlmoMember) -> Result<Config> {
    let config: LlamaConfig = document.read()?;
    let HiddenAct { hidden_act } = document.read()?;
    let AttentionBias { attention_bias } = document.read()?;
    let bias = attention_bias.unwrap_or(false);
    let (Size(layers), Size(heads)) = (config.num_hidden_layers, config.num_attention_heads);
    let (Size(d_model), Size(d_hidden)) = (config.hidden_size, config.intermediate_size);
    let (kv_heads, d_head) = config.grouping();
    let (windows, rotary, local) = match member {
        OlmoMember::Olmo2 => (Vec::new(), config.whole_rotary(document)?, None),
        OlmoMember::Olmo3 => {
            let Olmo3Window { sliding_window } = document.read()?;
            let window = sliding_window.map_or(Some(4096), |window| window.map(usize::from));
            let slides = |layer: usize| !(layer + 1).is_multiple_of(4);
            let windows = fixed_windows(document, layers, window, slides)?;
            let fields = RotaryFields { base: OLMO3_BASE, ..RotaryFields::new(config.d_head()) };
            let (rotary, local) = fields.by_layer(document, None, OLMO3_BASE)?;
            let local = local.filter(|_| !windows.is_empty());
            (windows, rotary, local)
        }
    };
    Ok(Config {
        kv_heads,
        d_head,
        context: context(document, config.max_position_embeddings, 2048)?,
        vocab: config.vocab_size.into(),
        norm: Norm::RmsGain { eps: config.rms_norm_eps.unwrap_or(1e-5) },
        pre_norms: false,
        post_norms: true,
        qk_norm: Some(QkNorm::Whole),
        position: Position::Rotary(rotary),
        local_rotary: local,
        qkv_bias: bias,
        attention_bias: bias,
        windows,
        mlp: Mlp::Gated(Some(hidden_act.unwrap_or(HiddenActivation::Silu).into())),
        tied: config.tie_word_embeddings.unwrap_or(false),
        ..Config::olmo2(layers, heads, d_model, d_hidden)
    })
}

/// A note on a base that is said of no kind of layers: versions of transformers differ in which it
/// is for.
pub(super) fn note(document: &Document) -> Option<String> {
    let within = |place: &str| document.get(place)?.get("rope_theta");
    let places = [document.get("rope_theta"), within("rope_parameters"), within("rope_scaling")];
    let base = places.into_iter().flatten().find_map(Value::as_f64)?;
    let said = !is_by_layer(document) && base != OLMO3_BASE;
    said.then(|| {
        format!(
            "`rope_theta`: {base} is the rotary base of the layers that see everything, and that of \
             the layers with a window is {OLMO3_BASE}, as in transformers 5; version 4 had {base} in \
             all layers"
        )
    })
}
