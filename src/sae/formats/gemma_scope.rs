//! Gemma Scope: JumpReLU autoencoders and transcoders, `params.npz`; and its second edition,
//! `params.safetensors`.
//!
//! Nothing is subtracted from the input and nothing normalised. Matrices are stored with the
//! product's input first, under `W_enc` or `w_enc`. The first edition has no configuration: layer
//! and site stand in the names of folders and repository. The skip connection of the second,
//! `affine_skip_connection`, is stored with the input first too.

use super::{Architecture, Draft, Place, Request, SaeWeights, check_size, turned};
use crate::model::HookPoint;
use crate::store::Tensors;
use crate::{Error, Result};

const ARRAYS: &str = "params.npz";
const PARAMETERS: &str = "params.safetensors";
const CONFIG: &str = "config.json";
/// Of transcoders.
const INPUT: &str = "it reads what the MLP reads, after the norm with its gain (mlp_in), which is \
                     not TransformerLens's hook_normalized unless gains are folded into weights";

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let file = place.file.as_deref().unwrap_or(ARRAYS);
    let mut tensors = place.arrays(file, &request.device)?;
    let mut draft = jump_relu(&mut tensors)?;
    tensors.finish("only the arrays of a JumpReLU autoencoder")?;
    let words = place.words();
    let layer = place.number_after(&["layer_"]);
    let site = |name: &str| words.contains(name);
    draft.architecture.transcoder = site("transcoder");
    if site("embedding") {
        // These were trained on embeddings as Gemma multiplies them, by √d.
        let root = (draft.weights.encoder.dims()[1] as f64).sqrt();
        draft.weights.encoder = (&draft.weights.encoder / root)?;
        draft.weights.decoder = (&draft.weights.decoder * root)?;
        return Ok(draft.at(Some("hook_embed".to_owned()), None));
    }
    let hook = |name: &str| layer.map(|layer| format!("blocks.{layer}.{name}"));
    let hook = match () {
        () if site("transcoder") => {
            draft.origin.hook_out = hook("hook_mlp_out");
            return Ok(draft
                .at(hook("ln2.hook_normalized"), layer.map(HookPoint::MlpIn))
                .note(INPUT));
        }
        () if site("-res") => hook("hook_resid_post"),
        () if site("-mlp") => hook("hook_mlp_out"),
        () if site("-att") => hook("attn.hook_z"),
        () => None,
    };
    let draft = match hook.is_none() {
        true => draft.note(
            "neither folder nor repository names its site (-res, -mlp, -att or -transcoders); say \
             it with Sae::at",
        ),
        false => draft,
    };
    Ok(draft.at(hook, None))
}

pub(super) fn read_2(place: &Place, request: &Request) -> Result<Draft> {
    let mut tensors = place.tensors(PARAMETERS, &request.device)?;
    let mut draft = jump_relu(&mut tensors)?;
    let (d, out) = (draft.weights.encoder.dims()[1], draft.weights.decoder.dims()[0]);
    let skip = tensors.take_if("affine_skip_connection", &[d, out])?;
    draft.weights.skip = skip.as_ref().map(turned).transpose()?;
    tensors.finish("only the tensors of a JumpReLU autoencoder")?;
    draft.architecture.transcoder =
        place.words().contains("transcoder") || draft.weights.skip.is_some() || d != out;
    let (mut hook, mut hook_out, mut model) = (None, None, None);
    let mut ignored = Vec::new();
    if place.has(CONFIG)? {
        let mut fields = place.fields(CONFIG)?;
        (hook, hook_out) =
            (fields.text_if("hf_hook_point_in")?, fields.text_if("hf_hook_point_out")?);
        model = fields.text_if("model_name")?;
        check_size(&mut fields, "width", draft.weights.decoder.dims()[1], "w_dec")?;
        fields.expect("architecture", "jump_relu")?;
        fields.expect("affine_connection", draft.weights.skip.is_some())?;
        match fields.text_if("type")?.as_deref() {
            None | Some("sae") => {}
            Some("transcoder") => draft.architecture.transcoder = true,
            Some(other) => return Err(fields.wrong("type", "sae or transcoder", &other.into())),
        }
        ignored = fields.finish(&["l0"], request.unknown)?;
    }
    let transcoder = draft.architecture.transcoder;
    let point = place.number_after(&["layer_"]).and_then(|layer| match place.words() {
        _ if transcoder => Some(HookPoint::MlpIn(layer)),
        words if words.contains("resid_post") => Some(HookPoint::ResidPost(layer)),
        words if words.contains("mlp_out") => Some(HookPoint::MlpOut(layer)),
        words if words.contains("attn_out") => Some(HookPoint::Z(layer)),
        _ => None,
    });
    draft.origin.hook_out = hook_out.filter(|_| transcoder);
    let draft = draft.at(hook, point).of_model(model).ignoring(ignored);
    Ok(if transcoder { draft.note(INPUT) } else { draft })
}

/// Weights under their names in either edition, in either case.
fn jump_relu(tensors: &mut Tensors) -> Result<Draft> {
    let name = |upper: &'static str, lower: &'static str, tensors: &Tensors| {
        if tensors.shape(lower).is_some() { lower } else { upper }
    };
    let (w_enc, w_dec) = (name("W_enc", "w_enc", tensors), name("W_dec", "w_dec", tensors));
    let [d, m] = tensors.matrix(w_enc)?;
    let [rows, out] = tensors.matrix(w_dec)?;
    if rows != m {
        let expected = format!("`{w_dec}` of {m} features, as `{w_enc}` has them");
        return Err(Error::format(tensors.path(), expected, format!("{rows}")));
    }
    let mut weights = SaeWeights::new(
        turned(&tensors.take(w_enc, &[d, m])?)?,
        turned(&tensors.take(w_dec, &[m, out])?)?,
        tensors.take("b_dec", &[out])?,
    );
    weights.encoder_bias = Some(tensors.take("b_enc", &[m])?);
    weights.thresholds = Some(tensors.take("threshold", &[m])?);
    let architecture = Architecture { centred: false, ..Architecture::jump_relu() };
    Ok(Draft::new(architecture, weights))
}
