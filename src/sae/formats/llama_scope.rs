//! Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`; and its autoencoders of
//! distilled R1, `config.json` and `sae_weights.safetensors`.
//!
//! Encoders work on inputs times s = √d over the data set's mean length; nothing is subtracted. The
//! first release has one threshold in unscaled units, the second one for each feature, as
//! logarithms and in scaled units, and says s nowhere.

use super::llamascopium::HARMLESS;
use super::{Architecture, Draft, Place, Request, check_expansion, check_size, output_first};
use crate::Result;
use crate::sae::Normalization;
use crate::sae::origin::Note;
use crate::store::Fields;
use candle_core::Tensor;

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("hyperparams.json")?;
    let mut tensors = place.tensors("checkpoints/final.safetensors", &request.device)?;
    let mut weights = output_first(&mut tensors, "decoder.bias")?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    tensors.finish("only the tensors of a Llama Scope autoencoder")?;
    check_size(&mut fields, "d_model", d, "encoder.weight")?;
    check_size(&mut fields, "d_sae", m, "encoder.weight")?;
    let threshold = fields.number_if("jump_relu_threshold")?;
    let threshold = threshold.ok_or_else(|| fields.missing("jump_relu_threshold", "a number"))?;
    fields.expect("act_fn", "jumprelu")?;
    fields.expect("norm_activation", "dataset-wise")?;
    fields.expect("use_decoder_bias", true)?;
    fields.expect("apply_decoder_bias_to_pre_encoder", false)?;
    fields.expect("use_glu_encoder", false)?;
    const NORM: &str = "dataset_average_activation_norm";
    let norms = fields.any(NORM).ok_or_else(|| fields.missing(NORM, "an object with `in`"))?;
    let scale = norms.get("in").and_then(serde_json::Value::as_f64).filter(|norm| *norm > 0.0);
    let norm = scale.ok_or_else(|| fields.wrong(NORM, "an `in` above 0", &norms))?;
    if norms.get("out").is_some_and(|out| Some(out) != norms.get("in")) {
        return Err(fields.wrong(NORM, "`in` and `out` alike (transcoders are not read)", &norms));
    }
    let scale = (d as f64).sqrt() / norm;
    weights.thresholds = Some(Tensor::full((threshold * scale) as f32, m, &request.device)?);
    let hook = hook(&mut fields)?;
    let weighed = fields.flag_if("sparsity_include_decoder_norm")?.unwrap_or_default();
    fields.any("expansion_factor");
    fields.expect_off(&["force_unit_decoder_norm"])?;
    let ignored = fields.finish(&HARMLESS, request.unknown)?;
    let lengths = weights.decoder.sqr()?.sum(0)?.sqrt()?;
    let off = (lengths - 1.0)?.abs()?.max_all()?.to_scalar::<f32>()?;
    let architecture = Architecture {
        normalization: Normalization::Scale(scale),
        centred: false,
        ..Architecture::jump_relu()
    };
    let draft = Draft::new(architecture, weights).at(hook, None).ignoring(ignored);
    Ok(match weighed && off > 1e-2 {
        true => draft.note(
            "it was trained with decoder lengths weighing in, and they are not one: SAELens leaves \
             them out, and so is it done here",
        ),
        false => draft,
    })
}

pub(super) fn read_r1(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("config.json")?;
    let mut tensors = place.tensors("sae_weights.safetensors", &request.device)?;
    let mut weights = output_first(&mut tensors, "decoder.bias")?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    weights.thresholds = Some(tensors.take("log_jumprelu_threshold", &[m])?.exp()?);
    tensors.finish("only the tensors of a Llama Scope R1 autoencoder")?;
    check_size(&mut fields, "d_model", d, "encoder.weight")?;
    check_expansion(&mut fields, d, m, "encoder.weight")?;
    fields.expect("act_fn", "jumprelu")?;
    fields.expect("norm_activation", "dataset-wise")?;
    let hook = hook(&mut fields)?;
    // What would change numbers, at the values that do not.
    fields.expect("use_decoder_bias", true)?;
    fields.expect_off(&[
        "use_glu_encoder",
        "apply_decoder_bias_to_pre_encoder",
        "force_unit_decoder_norm",
        "sparsity_include_decoder_norm",
    ])?;
    check_size(&mut fields, "d_sae", m, "encoder.weight")?;
    let ignored = fields.finish(&HARMLESS, request.unknown)?;
    let architecture = Architecture { centred: false, ..Architecture::jump_relu() };
    let mut draft = Draft::new(architecture, weights).at(hook, None).ignoring(ignored);
    if request.scale.is_none() {
        draft.origin.notes.push(Note::ScaleMissing(
            "its inputs must be scaled by √d over the data set's mean length, which is in no \
             file: its numbers are wrong until Sae::with_input_scale gives that factor"
                .to_owned(),
        ));
    }
    Ok(draft)
}

/// The place that it reads and predicts.
fn hook(fields: &mut Fields) -> Result<Option<String>> {
    let hook = fields.text_if("hook_point_in")?;
    match fields.text_if("hook_point_out")? {
        Some(out) if Some(&out) != hook.as_ref() => {
            Err(fields.wrong("hook_point_out", "the same as `hook_point_in`", &out.into()))
        }
        _ => Ok(hook),
    }
}
