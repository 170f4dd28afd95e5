//! EleutherAI's sparsify: a folder named by the place in the model, with `cfg.json` and
//! `sae.safetensors`.
//!
//! The encoder is stored with its output first, the decoder `W_dec` `[m, d]` is not. b is taken off
//! the input unless it is a transcoder; ReLU comes before the selection. `W_skip` is stored with its
//! output first.

use super::{Architecture, Draft, Place, Request, SaeWeights, check_size, checked_k, turned};
use crate::Result;
use crate::model::HookPoint;
use crate::sae::Activation;

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("cfg.json")?;
    let mut tensors = place.tensors("sae.safetensors", &request.device)?;
    let [m, d] = tensors.matrix("encoder.weight")?;
    check_size(&mut fields, "d_in", d, "encoder.weight")?;
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
    let activation = match fields.text_if("activation")?.as_deref() {
        None | Some("topk") => Activation::TopK { k, relu: true },
        Some("groupmax") => Activation::GroupMax { k },
        Some(other) => return Err(fields.wrong("activation", "topk or groupmax", &other.into())),
    };
    let transcoder = fields.flag_if("transcode")?.unwrap_or_default();
    let skip = fields.flag_if("skip_connection")?.unwrap_or_default();
    let ignored = fields
        .finish(&["normalize_decoder", "multi_topk", "signed", "init_loc"], request.unknown)?;

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
    let words = place.words();
    let layer = place.number_after(&["layers.", "h."]);
    let mlp = words.trim_end_matches('/').ends_with(".mlp");
    let mut draft = Draft::new(architecture, weights);
    let point = match (layer, transcoder, mlp) {
        (Some(layer), true, _) => {
            draft.origin.hook_out = Some(format!("blocks.{layer}.hook_mlp_out"));
            Some(HookPoint::MlpIn(layer))
        }
        (Some(layer), false, true) => Some(HookPoint::MlpOut(layer)),
        (Some(layer), false, false) => Some(HookPoint::ResidPost(layer)),
        (None, ..) => None,
    };
    let hook = words.trim_end_matches('/').rsplit('/').next().map(ToOwned::to_owned);
    Ok(draft.at(hook, point).ignoring(ignored))
}
