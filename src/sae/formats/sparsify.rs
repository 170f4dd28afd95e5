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
use super::{Architecture, Draft, Place, Request, SaeWeights, check_size, checked_k, turned};
use crate::Result;
use crate::model::HookPoint;
use crate::sae::Activation;

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("cfg.json")?;
    let mut tensors = place.tensors("sae.safetensors", &request.device)?;
    let [m, d] = tensors.matrix("encoder.weight")?;
    check_size(&mut fields, "d_in", d, "encoder.weight")?;
    check_size(&mut fields, "d_sae", m, "encoder.weight")?;
    let expansion = fields.size_if("expansion_factor")?;
    match fields.size_if("num_latents")?.filter(|latents| *latents > 0) {
        Some(latents) if latents != m => {
            let expected = format!("{m}, as `encoder.weight` has them,");
            return Err(fields.wrong("num_latents", &expected, &latents.into()));
        }
        None if expansion.is_some_and(|expansion| expansion * d != m) => {
            let expected = format!("one for {m} features, as `encoder.weight` has them,");
            return Err(fields.wrong("expansion_factor", &expected, &expansion.into()));
        }
        _ => {}
    }
    let k = checked_k(&mut fields, "k", m)?;
    // The first versions kept negative values under this flag; today's sparsify does not know it.
    let signed = fields.flag_if("signed")?.unwrap_or_default();
    let activation = match fields.text_if("activation")?.as_deref() {
        None | Some("topk") if signed => Activation::AbsTopK { k },
        None | Some("topk") => Activation::TopK { k, relu: true },
        Some("groupmax") if signed => {
            return Err(fields.wrong("signed", "false, with groupmax", &true.into()));
        }
        Some("groupmax") => Activation::GroupMax { k },
        Some(other) => return Err(fields.wrong("activation", "topk or groupmax", &other.into())),
    };
    let transcoder = fields.flag_if("transcode")?.unwrap_or_default();
    let skip = fields.flag_if("skip_connection")?.unwrap_or_default();
    // These choose among the rows of a batch, or need more than a layer's activations.
    fields.expect_off(&["batch_topk", "sample_topk", "embed_skip", "gram_lookup"])?;
    let ignored = fields.finish(&HARMLESS, request.unknown)?;

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
        (Part::Layer, false) => (HookPoint::ResidPost(layer), None),
        (Part::Mlp, false) => (HookPoint::MlpOut(layer), None),
        (Part::Attention, false) => (HookPoint::AttnOut(layer), None),
        (Part::Layer, true) => (HookPoint::ResidPre(layer), Some("hook_resid_post")),
        (Part::Mlp, true) => (HookPoint::MlpIn(layer), Some("hook_mlp_out")),
        // What an attention reads is a norm's result with gain, for which there is no point here.
        (Part::Attention, true) => {
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
enum Part {
    Layer,
    Attention,
    Mlp,
}

/// The layer and the part that the path of a module names: `layers.5`, `h.5.attn` or
/// `gpt_neox.layers.5.mlp`, and nothing around it.
fn module(name: &str) -> Option<(usize, Part)> {
    let starts = ["model.layers.", "gpt_neox.layers.", "transformer.h.", "layers.", "h."];
    let rest = starts.iter().find_map(|start| name.strip_prefix(start))?;
    let (layer, part) = match rest.split_once('.') {
        None => (rest, Part::Layer),
        Some((layer, "mlp")) => (layer, Part::Mlp),
        Some((layer, "attn" | "attention" | "self_attn")) => (layer, Part::Attention),
        Some(_) => return None,
    };
    Some((number_in(layer, "", "")?, part))
}
