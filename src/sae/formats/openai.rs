//! OpenAI's autoencoders of GPT-2: `{location}/autoencoders/{layer}.pt`, a pickled state that also
//! holds the activation function and its parameters.
//!
//! Where the activation is TopK the inputs are standardised; no file says so.

use super::place::number_in;
use super::{Architecture, Draft, Point, Request, SaePlace, SaeWeights};
use crate::model::HookPoint;
use crate::sae::{Normalization, SaeActivation};
use crate::store::Loaded;
use crate::store::pickle::{Id, PickleValue};
use crate::{Error, Result};

/// Counters of the training, and entries that some versions repeat.
const HARMLESS: [&str; 3] =
    ["stats_last_nonzero", "latents_activation_frequency", "latents_mean_square"];

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let Some(file) = &place.file else {
        let expected = "a file such as 8.pt for OpenAI's autoencoder of layer 8";
        return Err(Error::format(&place.path(), expected, "a folder"));
    };
    let loaded = place.torch(file)?;
    let root = loaded.pickle().root();
    let mut tensors = loaded.tensors(root, &request.device)?;
    tensors.forget(|name| HARMLESS.contains(&name));
    let [m, d] = tensors.matrix("encoder.weight")?;
    let architecture = architecture(place, &loaded, root, m)?;
    let mut weights = SaeWeights::new(
        tensors.take("encoder.weight", &[m, d])?,
        tensors.take("decoder.weight", &[d, m])?,
        tensors.take("pre_bias", &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("latent_bias", &[m])?);
    tensors.finish("only the tensors of OpenAI's autoencoders")?;
    let draft = Draft::new(architecture, weights).of_model(Some("gpt2".to_owned()));
    Ok(match point(&place.names()) {
        Some((point, name)) => draft.at_name(point, &name),
        None => draft.nowhere("resid_post_mlp_v5_32k/autoencoders/8.pt"),
    })
}

fn architecture(place: &SaePlace, loaded: &Loaded, root: Id, m: usize) -> Result<Architecture> {
    let pickle = loaded.pickle();
    let wrong = |expected: String, found: String| Error::format(&place.path(), expected, found);
    let text = |id: Option<Id>| match id.map(|id| pickle.value(id)) {
        Some(PickleValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    let state = pickle.field(root, "activation_state_dict");
    match text(pickle.field(root, "activation")) {
        None | Some("ReLU") => Ok(Architecture::standard()),
        Some("TopK") => {
            let k = state.and_then(|state| pickle.field(state, "k")).map(|k| pickle.value(k));
            let k = match k {
                Some(PickleValue::Int(k)) => {
                    usize::try_from(*k).ok().filter(|k| (1..=m).contains(k))
                }
                Some(_) => None,
                None => {
                    let expected = "`k` in `activation_state_dict`, for TopK".to_owned();
                    return Err(wrong(expected, "no such entry".to_owned()));
                }
            };
            let k = k.ok_or_else(|| {
                wrong(format!("`k` between 1 and {m}, the features"), "another".to_owned())
            })?;
            let after = state.and_then(|state| pickle.field(state, "postact_fn"));
            let relu = match text(after) {
                None | Some("ReLU") => true,
                Some("Identity") => false,
                Some(other) => {
                    let expected = "`postact_fn` ReLU or Identity".to_owned();
                    return Err(wrong(expected, format!("`{other:.40}`")));
                }
            };
            Ok(Architecture {
                normalization: Normalization::LayerNorm,
                activation: SaeActivation::TopK { k, relu },
                ..Architecture::standard()
            })
        }
        Some(other) => Err(wrong("`activation` ReLU or TopK".to_owned(), format!("`{other:.40}`"))),
    }
}

/// The place that names of the published layout, `{location}/autoencoders/{layer}.pt`, stand for, and
/// those names. A location's version ends in `_v4`, `_v5_32k` or `_v5_128k`.
fn point(names: &[String]) -> Option<(HookPoint, String)> {
    let [.., folder, middle, file] = names else { return None };
    let layer = number_in(file, "", ".pt").filter(|_| middle == "autoencoders")?;
    let location = ["_v5_32k", "_v5_128k", "_v4"].iter().find_map(|end| folder.strip_suffix(end));
    let location = location.unwrap_or(folder);
    let kinds: [(&str, Point); 5] = [
        ("resid_post_mlp", HookPoint::ResidPost),
        ("resid_post_attn", HookPoint::ResidMid),
        ("resid_delta_mlp", HookPoint::MlpOut),
        ("resid_delta_attn", HookPoint::AttnOut),
        ("mlp_post_act", HookPoint::MlpPost),
    ];
    let (_, point) = kinds.iter().find(|(name, _)| *name == location)?;
    Some((point(layer), format!("{folder}/{middle}/{file}")))
}
