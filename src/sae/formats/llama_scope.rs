//! Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`; and its autoencoders of
//! distilled R1, `config.json` and `sae_weights.safetensors`.
//!
//! Encoders work on inputs times s = √d over the data set's mean length; nothing is subtracted. The
//! first release has one threshold in unscaled units, the second one for each feature, as
//! logarithms and in scaled units, and says s nowhere.

use super::llamascopium::HARMLESS;
use super::{
    Architecture, Draft, Request, SaePlace, check_expansion, check_size, ignored, output_first,
};
use crate::Result;
use crate::sae::Normalization;
use crate::sae::origin::Note;
use crate::store::{Document, MustBe, Off, Size};
use candle_core::Tensor;
use serde::Deserialize;
use serde_json::Value;

/// `hyperparams.json` of the first release.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct LlamaScopeConfig {
    /// Width of the inputs, d.
    d_model: Option<Size>,
    /// Number of features, m.
    d_sae: Option<Size>,
    /// Features per dimension of the inputs: `d_sae` says it.
    expansion_factor: Option<Value>,
    /// The activation function of all.
    act_fn: Option<OnlyJumpRelu>,
    /// The threshold of every feature, for inputs that are not scaled.
    jump_relu_threshold: f64,
    /// How inputs are scaled, in all.
    norm_activation: Option<OnlyDatasetWise>,
    /// Mean lengths of the activations of the data set.
    dataset_average_activation_norm: AverageNorms,
    /// The place whose activations it reads, as TransformerLens names it.
    hook_point_in: Option<String>,
    /// The place whose activations it predicts: the same.
    hook_point_out: Option<String>,
    /// Whether decoder lengths weighed in during training. False if left out.
    sparsity_include_decoder_norm: Option<bool>,
    /// Whether b is added to what is decoded.
    use_decoder_bias: Option<MustBe<true>>,
    /// Whether b is taken off inputs.
    apply_decoder_bias_to_pre_encoder: Option<MustBe<false>>,
    /// Whether a second encoder's results multiply those of the first.
    use_glu_encoder: Option<MustBe<false>>,
    /// Whether the decoder's columns are normalised.
    force_unit_decoder_norm: Option<Off>,
}

/// Mean lengths of the inputs and of what is predicted.
#[derive(Debug, Deserialize)]
struct AverageNorms {
    r#in: f64,
    out: Option<f64>,
}

/// `config.json` of the autoencoders of distilled R1.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct LlamaScopeR1Config {
    /// Width of the inputs, d.
    d_model: Option<Size>,
    /// Number of features, m.
    d_sae: Option<Size>,
    /// Features per dimension of the inputs.
    expansion_factor: Option<f64>,
    /// The activation function of all.
    act_fn: Option<OnlyJumpRelu>,
    /// How inputs are scaled, in all.
    norm_activation: Option<OnlyDatasetWise>,
    /// The place whose activations it reads, as TransformerLens names it.
    hook_point_in: Option<String>,
    /// The place whose activations it predicts: the same.
    hook_point_out: Option<String>,
    /// Whether b is added to what is decoded.
    use_decoder_bias: Option<MustBe<true>>,
    /// Whether a second encoder's results multiply those of the first.
    use_glu_encoder: Option<Off>,
    /// Whether b is taken off inputs.
    apply_decoder_bias_to_pre_encoder: Option<Off>,
    /// Whether the decoder's columns are normalised.
    force_unit_decoder_norm: Option<Off>,
    /// Whether decoder lengths weigh in.
    sparsity_include_decoder_norm: Option<Off>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnlyJumpRelu {
    JumpRelu,
}

/// √d over the data set's mean length.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OnlyDatasetWise {
    DatasetWise,
}

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document("hyperparams.json")?;
    let mut tensors = place.tensors("checkpoints/final.safetensors", &request.device)?;
    let mut weights = output_first(&mut tensors, "decoder.bias")?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    tensors.finish("only the tensors of a Llama Scope autoencoder")?;
    let config: LlamaScopeConfig = document.read()?;
    check_size(&document, ("d_model", config.d_model), d, "encoder.weight")?;
    check_size(&document, ("d_sae", config.d_sae), m, "encoder.weight")?;
    let AverageNorms { r#in: norm, out } = config.dataset_average_activation_norm;
    const NORM: &str = "dataset_average_activation_norm";
    if norm <= 0.0 {
        return Err(document.wrong(NORM, "an `in` above 0", norm));
    }
    if let Some(out) = out.filter(|out| *out != norm) {
        let expected = format!("`out` {norm}, as `in` (transcoders are not read),");
        return Err(document.wrong(NORM, &expected, out));
    }
    let scale = (d as f64).sqrt() / norm;
    let threshold = (config.jump_relu_threshold * scale) as f32;
    weights.thresholds = Some(Tensor::full(threshold, m, &request.device)?);
    let hook = hook(&document, config.hook_point_in, config.hook_point_out)?;
    let weighed = config.sparsity_include_decoder_norm.unwrap_or_default();
    let ignored = ignored(document, &HARMLESS, request)?;
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

pub(super) fn read_r1(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document("config.json")?;
    let mut tensors = place.tensors("sae_weights.safetensors", &request.device)?;
    let mut weights = output_first(&mut tensors, "decoder.bias")?;
    let (d, m) = (weights.encoder.dims()[1], weights.encoder.dims()[0]);
    weights.thresholds = Some(tensors.take("log_jumprelu_threshold", &[m])?.exp()?);
    tensors.finish("only the tensors of a Llama Scope R1 autoencoder")?;
    let config: LlamaScopeR1Config = document.read()?;
    check_size(&document, ("d_model", config.d_model), d, "encoder.weight")?;
    check_size(&document, ("d_sae", config.d_sae), m, "encoder.weight")?;
    check_expansion(&document, config.expansion_factor, (d, m), "encoder.weight")?;
    let hook = hook(&document, config.hook_point_in, config.hook_point_out)?;
    let ignored = ignored(document, &HARMLESS, request)?;
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
fn hook(document: &Document, hook: Option<String>, out: Option<String>) -> Result<Option<String>> {
    match out {
        Some(out) if Some(&out) != hook.as_ref() => {
            Err(document.wrong("hook_point_out", "the same as `hook_point_in`", out))
        }
        _ => Ok(hook),
    }
}
