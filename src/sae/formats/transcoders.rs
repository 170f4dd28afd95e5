//! Transcoders in single safetensors files: Hanna's, and a layer of a cross-layer transcoder.

use super::place::number_in;
use super::{Architecture, Draft, Request, SaePlace, SaeWeights, turned};
use crate::model::HookPoint;
use crate::{Error, Result};

/// ReLU, nothing subtracted.
fn plain() -> Architecture {
    Architecture { centred: false, transcoder: true, ..Architecture::standard() }
}

fn file(place: &SaePlace) -> Result<&str> {
    place.file.as_deref().ok_or_else(|| {
        let expected = "a file for a transcoder of this family, such as layer_6.safetensors";
        Error::format(&place.path(), expected, "a folder")
    })
}

/// Between an MLP's input and its output, in the layer that the file's name says.
fn at_mlp(draft: Draft, layer: usize, file: &str) -> Draft {
    let mut draft = draft.at_name(HookPoint::MlpIn(layer), file);
    draft.origin.hook_out = Some(format!("blocks.{layer}.hook_mlp_out"));
    draft
}

/// `layer_{n}.safetensors`: `W_enc` `[m, d]` with the output first, `W_dec` `[m, d]` not.
pub(super) fn read_hanna(place: &SaePlace, request: &Request) -> Result<Draft> {
    let file = file(place)?;
    let mut tensors = place.tensors(file, &request.device)?;
    let [m, d] = tensors.matrix("W_enc")?;
    let [_, out] = tensors.matrix("W_dec")?;
    let mut weights = SaeWeights::new(
        tensors.take("W_enc", &[m, d])?,
        turned(&tensors.take("W_dec", &[m, out])?)?,
        tensors.take("b_dec", &[out])?,
    );
    weights.encoder_bias = Some(tensors.take("b_enc", &[m])?);
    weights.skip = tensors.take_if("W_skip", &[out, d])?;
    tensors.finish("only the tensors of a transcoder")?;
    let draft = Draft::new(plain(), weights);
    let draft = match number_in(file, "layer_", ".safetensors") {
        Some(layer) => at_mlp(draft, layer, file),
        None => draft.nowhere("layer_6.safetensors"),
    };
    Ok(draft.note("its model must be run without folding norms into weights"))
}

/// `W_enc_{n}.safetensors` with `W_enc_{n}` `[m, d]` and biases, `W_dec_{n}.safetensors` with
/// `W_dec_{n}` `[m, layers, d]`, a decoder for each later layer. What comes out is their sum.
pub(super) fn read_cross_layer(place: &SaePlace, request: &Request) -> Result<Draft> {
    let file = file(place)?;
    let layer = number_in(file, "W_enc_", ".safetensors").ok_or_else(|| {
        Error::format(&place.path(), "a file called W_enc_{layer}.safetensors", file)
    })?;
    let mut tensors = place.tensors(file, &request.device)?;
    let mut decoders = place.tensors(&format!("W_dec_{layer}.safetensors"), &request.device)?;
    let name = |part: &str| format!("{part}_{layer}");
    let [m, d] = tensors.matrix(&name("W_enc"))?;
    let (layers, out) = match decoders.shape(&name("W_dec")) {
        Some(&[_, layers, out]) => (layers, out),
        found => {
            let expected = format!("`{}` [features, layers, d]", name("W_dec"));
            return Err(Error::format(decoders.path(), expected, format!("{found:?}")));
        }
    };
    let decoder = decoders.take(&name("W_dec"), &[m, layers, out])?;
    let mut weights = SaeWeights::new(
        tensors.take(&name("W_enc"), &[m, d])?,
        turned(&decoder.sum(1)?)?,
        tensors.take(&name("b_dec"), &[out])?,
    );
    weights.encoder_bias = Some(tensors.take(&name("b_enc"), &[m])?);
    tensors.finish("only the tensors of one layer")?;
    decoders.finish("only the decoders of one layer")?;
    let draft = at_mlp(Draft::new(plain(), weights), layer, file);
    Ok(draft.note(format!(
        "one layer of a cross-layer transcoder: its codes are right; what it decodes is the sum of \
         its {layers} decoders, and no layer's prediction"
    )))
}
