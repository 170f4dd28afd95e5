//! Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`; and its autoencoders of
//! distilled R1, `config.json` and `sae_weights.safetensors`.
//!
//! Encoders work on inputs times s = √d over the data set's mean length; nothing is subtracted. The
//! first release has one threshold in unscaled units, the second one for each feature, as
//! logarithms and in scaled units, and says s nowhere.

use candle_core::Tensor;
use serde_json::json;

use super::{Architecture, Draft, Place, Request, SaeWeights, check_size};
use crate::Result;
use crate::sae::Normalization;
use crate::sae::origin::Note;
use crate::store::Tensors;

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("hyperparams.json")?;
    let mut tensors = place.tensors("checkpoints/final.safetensors", &request.device)?;
    let (d, m, mut weights) = linear(&mut tensors)?;
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
    let hook = fields.text_if("hook_point_in")?;
    let out = fields.text_if("hook_point_out")?;
    if out.is_some() && out != hook {
        let found = json!(out);
        return Err(fields.wrong("hook_point_out", "the same as `hook_point_in`", &found));
    }
    fields.finish(&["expansion_factor", "sparsity_include_decoder_norm", "top_k"])?;
    let architecture = Architecture {
        normalization: Normalization::Scale(scale),
        centred: false,
        ..Architecture::jump_relu()
    };
    Ok(Draft::new(architecture, weights).at(hook, None))
}

pub(super) fn read_r1(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("config.json")?;
    let mut tensors = place.tensors("sae_weights.safetensors", &request.device)?;
    let (d, m, mut weights) = linear(&mut tensors)?;
    weights.thresholds = Some(tensors.take("log_jumprelu_threshold", &[m])?.exp()?);
    tensors.finish("only the tensors of a Llama Scope R1 autoencoder")?;
    check_size(&mut fields, "d_model", d, "encoder.weight")?;
    if let Some(expansion) = fields.size_if("expansion_factor")?
        && expansion * d != m
    {
        let expected = format!("one for {m} features, as `encoder.weight` has them,");
        return Err(fields.wrong("expansion_factor", &expected, &expansion.into()));
    }
    fields.expect("act_fn", "jumprelu")?;
    fields.expect("norm_activation", "dataset-wise")?;
    let hook = fields.text_if("hook_point_in")?;
    let out = fields.text_if("hook_point_out")?;
    if out.is_some() && out != hook {
        let found = json!(out);
        return Err(fields.wrong("hook_point_out", "the same as `hook_point_in`", &found));
    }
    fields.finish(&[])?;
    let architecture = Architecture { centred: false, ..Architecture::jump_relu() };
    let draft = Draft::new(architecture, weights).at(hook, None);
    Ok(match request.scale {
        Some(_) => draft,
        None => {
            let mut draft = draft;
            draft.origin.notes.push(Note::ScaleMissing(
                "its inputs must be scaled by √d over the data set's mean length, which is in no \
                 file: its numbers are wrong until Sae::with_input_scale gives that factor"
                    .to_owned(),
            ));
            draft
        }
    })
}

/// d, m, and the weights, stored with the output first.
pub(super) fn linear(tensors: &mut Tensors) -> Result<(usize, usize, SaeWeights)> {
    let [m, d] = tensors.matrix("encoder.weight")?;
    let mut weights = SaeWeights::new(
        tensors.take("encoder.weight", &[m, d])?,
        tensors.take("decoder.weight", &[d, m])?,
        tensors.take("decoder.bias", &[d])?,
    );
    weights.encoder_bias = Some(tensors.take("encoder.bias", &[m])?);
    Ok((d, m, weights))
}
