//! EleutherAI's sparsify: a folder named by the place in the model, with `cfg.json` and
//! `sae.safetensors`.
//!
//! The place in the model is in no file. It is read from the folder's name, if that is the path of a
//! module as sparsify writes it: `layers.5`, `h.5.attn`, `gpt_neox.layers.5.mlp`, `embed_tokens`.
//!
//! The encoder is stored with its output first, the decoder `W_dec` `[m, d]` is not. b is taken off
//! the input unless it is a transcoder; ReLU comes before the selection. `W_skip` is stored with its
//! output first.

use super::place::number_in;
use serde::Deserialize;

use super::{
    Architecture, Draft, Request, SaePlace, SaeWeights, check_size, checked_k, ignored, turned,
};
use crate::Result;
use crate::model::HookPoint;
use crate::sae::SaeActivation;
use crate::store::{Off, Size};

/// `cfg.json` of sparsify, and of `sae` before it, over all versions.
#[derive(Debug, Deserialize)]
struct SparsifyConfig {
    /// Width of the inputs, d.
    d_in: Option<Size>,
    /// Number of features, m.
    d_sae: Option<Size>,
    /// Features per dimension of the inputs, where `num_latents` is left out or zero.
    expansion_factor: Option<Size>,
    /// Number of features, m, or zero.
    num_latents: Option<Size>,
    /// Features that a code keeps.
    k: Size,
    /// Whether the k values largest in magnitude are kept with their signs. Only the first versions
    /// know it. False if left out.
    signed: Option<bool>,
    /// How features are selected: `topk` if left out.
    activation: Option<SparsifyActivation>,
    /// Whether it predicts the output of a module from its input. False if left out.
    transcode: Option<bool>,
    /// Whether `W_skip` times the input is added to the output. False if left out.
    skip_connection: Option<bool>,
}

/// Selections of features, as sparsify names them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SparsifyActivation {
    TopK,
    GroupMax,
}

/// Selections among the rows of a batch, and inputs beyond a layer's activations.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct SparsifyUnsupported {
    batch_topk: Option<Off>,
    sample_topk: Option<Off>,
    embed_skip: Option<Off>,
    gram_lookup: Option<Off>,
}

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document("cfg.json")?;
    let mut tensors = place.tensors("sae.safetensors", &request.device)?;
    let [m, d] = tensors.matrix("encoder.weight")?;
    let config: SparsifyConfig = document.read()?;
    document.read::<SparsifyUnsupported>()?;
    check_size(&document, ("d_in", config.d_in), d, "encoder.weight")?;
    check_size(&document, ("d_sae", config.d_sae), m, "encoder.weight")?;
    match (config.num_latents.filter(|Size(latents)| *latents > 0), config.expansion_factor) {
        (Some(Size(latents)), _) if latents != m => {
            let expected = format!("{m}, as `encoder.weight` has them,");
            return Err(document.wrong("num_latents", &expected, latents));
        }
        (None, Some(Size(expansion))) if expansion.checked_mul(d) != Some(m) => {
            let expected = format!("one for {m} features, as `encoder.weight` has them,");
            return Err(document.wrong("expansion_factor", &expected, expansion));
        }
        _ => {}
    }
    let k = checked_k(&document, "k", config.k, m)?;
    let signed = config.signed.unwrap_or_default();
    let activation = match config.activation.unwrap_or(SparsifyActivation::TopK) {
        SparsifyActivation::TopK if signed => SaeActivation::AbsTopK { k },
        SparsifyActivation::TopK => SaeActivation::TopK { k, relu: true },
        SparsifyActivation::GroupMax if signed => {
            return Err(document.wrong("signed", "false, with groupmax", true));
        }
        SparsifyActivation::GroupMax => SaeActivation::GroupMax { k },
    };
    let transcoder = config.transcode.unwrap_or_default();
    let skip = config.skip_connection.unwrap_or_default();
    let ignored = ignored(document, &HARMLESS, request)?;

    let mut weights = SaeWeights::new(
        tensors.take("encoder.weight", &[m, d])?,
        turned(&tensors.take("W_dec", &[m, d])?)?,
        tensors.take("b_dec", &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("encoder.bias", &[m])?);
    if skip {
        weights.skip = Some(tensors.take("W_skip", &[d, d])?);
    }
    tensors.finish("only the tensors that cfg.json speaks of")?;
    let architecture =
        Architecture { activation, centred: !transcoder, transcoder, ..Architecture::standard() };
    let mut draft = Draft::new(architecture, weights).ignoring(ignored);
    if signed {
        draft = draft.note(
            "its configuration says `signed`: the k values largest in magnitude are kept with their \
             signs, as the versions that wrote this field do; later versions of sparsify ignore it",
        );
    }
    let name = place.names().pop().unwrap_or_default();
    if name == "embed_tokens" {
        return Ok(draft.at_name(HookPoint::Embed, &name));
    }
    let Some((layer, part)) = module(&name) else {
        return Ok(draft.nowhere("layers.5 or layers.5.mlp"));
    };
    let (point, out) = match (part, transcoder) {
        (ModulePart::Layer, false) => (HookPoint::ResidPost(layer), None),
        (ModulePart::Mlp, false) => (HookPoint::MlpOut(layer), None),
        (ModulePart::Attention, false) => (HookPoint::AttnOut(layer), None),
        (ModulePart::Layer, true) => (HookPoint::ResidPre(layer), Some("hook_resid_post")),
        (ModulePart::Mlp, true) => (HookPoint::MlpIn(layer), Some("hook_mlp_out")),
        // What an attention reads is a norm's result with gain, for which there is no point here.
        (ModulePart::Attention, true) => {
            let note = format!("it reads what the module `{name}` reads, and predicts its output");
            return Ok(draft.note_place(note));
        }
    };
    draft.origin.hook_out = out.map(|out| format!("blocks.{layer}.{out}"));
    let draft = draft.at_name(point, &name);
    Ok(draft.at(Some(name), Some(point)))
}

/// Fields that tell of the training, over all versions of sparsify and of `sae` before it.
const HARMLESS: [&str; 9] = [
    "normalize_decoder",
    "multi_topk",
    "naive_decoder",
    "init_loc",
    "lookup_max_order",
    "gram_table_hash",
    "gram_table_path",
    "dtype",
    "device",
];

/// A part of a model, as a module of transformers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ModulePart {
    Layer,
    Attention,
    Mlp,
}

/// The layer and the part that the path of a module names: `layers.5`, `h.5.attn` or
/// `gpt_neox.layers.5.mlp`, and nothing around it.
fn module(name: &str) -> Option<(usize, ModulePart)> {
    let starts = ["model.layers.", "gpt_neox.layers.", "transformer.h.", "layers.", "h."];
    let rest = starts.iter().find_map(|start| name.strip_prefix(start))?;
    let (layer, part) = match rest.split_once('.') {
        None => (rest, ModulePart::Layer),
        Some((layer, "mlp")) => (layer, ModulePart::Mlp),
        Some((layer, "attn" | "attention" | "self_attn")) => (layer, ModulePart::Attention),
        Some(_) => return None,
    };
    Some((number_in(layer, "", "")?, part))
}
