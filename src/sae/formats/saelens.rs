//! SAELens: a folder with `cfg.json` and `sae_weights.safetensors`.
//!
//! Matrices are stored with the product's input first: `W_enc` `[d_in, d_sae]`, `W_dec`
//! `[d_sae, d_out]`; only `W_skip` `[d_out, d_in]` is the other way round. Version 6 names its
//! architecture; before, it follows from the activation function, and fields had other names.

use candle_core::Device;
use serde_json::Value;

use super::saelens_fields::HARMLESS;
use super::{Architecture, Draft, Place, Request, SaeWeights, turned};
use crate::sae::origin::Note;
use crate::sae::record::CENTRED;
use crate::sae::{Activation, Gate, Normalization, Rescale, TrainingRecord};
use crate::store::{Fields, Tensors, named_dtype};
use crate::{Error, Result};

pub(super) const CONFIG: &str = "cfg.json";
/// A field of `metadata` that [`Sae::save`](crate::sae::Sae::save) adds where it takes the mean off
/// inputs, for which SAELens has no name.
pub(super) const CENTRED_INPUTS: &str = "centred_inputs";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

/// What the configuration says, of whichever version.
struct Config {
    kind: String,
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    k: Option<Value>,
    centred: Option<bool>,
    rescale: bool,
    normalization: Normalization,
    /// Whether fine-tuned factors multiply the codes before they are decoded.
    factors: bool,
    notes: Vec<Note>,
}

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields(CONFIG)?;
    // The weights first: without them nothing else matters.
    let mut tensors = place.tensors(WEIGHTS, &request.device)?;
    let mut metadata = fields.object("metadata")?;
    let mut named = |fields: &mut Fields, name: &str| -> Result<Option<String>> {
        let own = fields.text_if(name)?;
        let below = metadata.as_mut().map(|metadata| metadata.text_if(name)).transpose()?;
        Ok(own.or(below.flatten()))
    };
    let model = named(&mut fields, "model_name")?;
    let hook = match named(&mut fields, "hook_name")? {
        Some(hook) => Some(hook),
        None => named(&mut fields, "hook_point")?,
    };
    let hook_out = named(&mut fields, "hook_name_out")?;
    // The oldest versions name the layer apart: `blocks.{layer}.hook_mlp_out`.
    let layer = match fields.any("hook_point_layer") {
        Some(layer) => Some(layer),
        None => fields.any("hook_layer"),
    };
    let hook = hook.map(|hook| match layer.as_ref().and_then(Value::as_u64) {
        Some(layer) => hook.replace("{layer}", &layer.to_string()),
        None => hook,
    });
    let mut config = config(&mut fields)?;
    let training = TrainingRecord::take(&mut fields, metadata.as_mut())?;
    let mut centred = None;
    if let Some(metadata) = &mut metadata {
        centred = metadata.flag_if(CENTRED_INPUTS)?;
    }
    if centred == Some(true) && config.normalization == Normalization::None {
        config.normalization = Normalization::Centre;
    }
    let mut chat = fields.flag_if("use_chat_formatting")?;
    if let Some(metadata) = &mut metadata {
        chat = metadata.flag_if("use_chat_formatting")?.or(chat);
    }
    if let Some(normalization) = request.normalization {
        (config.normalization, config.notes) = (normalization, Vec::new());
    }
    let architecture = architecture(&mut fields, &config)?;
    // SAELens reads these for top-k alone.
    if architecture.activation.k().is_none() {
        let unused = [("k", config.k.is_some()), ("rescale_acts_by_decoder_norm", config.rescale)];
        let unused = unused.into_iter().filter(|(_, there)| *there);
        config.notes.extend(unused.map(|(name, _)| {
            Note::Other(format!(
                "its configuration has `{name}`, which the architecture `{}` does not use",
                config.kind
            ))
        }));
    }
    let path = fields.path().to_owned();
    let ignored = fields.finish(&HARMLESS, request.unknown)?;

    let (d, m, out, kind) = (config.d_in, config.d_sae, config.d_out, config.kind.clone());
    if let Some(&[_, found]) = tensors.shape("W_enc")
        && found != m
        && tensors.shape("W_dec").is_some_and(|shape| shape.first() == Some(&found))
    {
        let expected = format!("`d_sae` {found}, as `W_enc` has it");
        return Err(Error::format(&path, expected, m.to_string()));
    }
    let decoder = tensors.take("W_dec", &[m, out])?;
    let pursuit = matches!(architecture.activation, Activation::MatchingPursuit { .. });
    let encoder = match pursuit {
        true => decoder.clone(),
        false => turned(&tensors.take("W_enc", &[d, m])?)?,
    };
    let mut weights = SaeWeights::new(encoder, turned(&decoder)?, tensors.take("b_dec", &[out])?);
    match architecture.activation {
        Activation::Gated => {
            weights.gate = Some(Gate {
                bias: tensors.take("b_gate", &[m])?,
                log_gains: tensors.take("r_mag", &[m])?,
                magnitude: tensors.take("b_mag", &[m])?,
            });
        }
        Activation::MatchingPursuit { .. } if !architecture.centred => {
            weights.bias = weights.bias.zeros_like()?;
        }
        Activation::MatchingPursuit { .. } => {}
        _ => weights.encoder_bias = Some(tensors.take("b_enc", &[m])?),
    }
    if architecture.activation == Activation::JumpRelu {
        weights.thresholds = Some(thresholds(&mut tensors, m)?);
    }
    if kind.contains("skip") {
        weights.skip = Some(tensors.take("W_skip", &[out, d])?);
    }
    if let Some(factors) = factors(&mut tensors, config.factors, m)? {
        if architecture.rescale != Rescale::None || pursuit {
            let expected = "no `finetuning_scaling_factor` with this architecture";
            return Err(Error::format(&path, expected, "one"));
        }
        weights.decoder = weights.decoder.broadcast_mul(&factors)?;
        config.notes.push(Note::Other(
            "its decoder's columns were multiplied by its fine-tuned scaling factors, as the \
             original does with the codes when it decodes them"
                .to_owned(),
        ));
    }
    tensors.finish(&format!("only the tensors of the architecture `{kind}`"))?;

    let mut draft = Draft::new(architecture, weights).at(hook, None).of_model(model);
    draft.origin.hook_out = hook_out;
    draft.origin.notes = config.notes;
    let centred = draft.architecture.normalization == Normalization::Centre;
    let processing = training.processing().into_iter();
    let processing = processing.filter(|own| !(centred && own.contains(CENTRED)));
    draft.origin.notes.extend(processing.map(Note::Other));
    if let Some(head) = training.head {
        draft.origin.notes.push(Note::Other(format!(
            "it reads head {head} alone, {d} dimensions: give it that head's activations"
        )));
    }
    if chat == Some(true) {
        let note = "it was trained on texts in the model's chat format";
        draft.origin.notes.push(Note::Other(note.to_owned()));
    }
    draft.origin.training = training;
    Ok(draft.ignoring(ignored))
}

fn config(fields: &mut Fields) -> Result<Config> {
    let d_in = fields.size("d_in")?;
    let d_sae = match (fields.size_if("d_sae")?, fields.any("expansion_factor")) {
        (Some(d_sae), _) => d_sae,
        (None, Some(factor)) if factor.as_u64().is_some() => {
            d_in * factor.as_u64().unwrap_or_default() as usize
        }
        (None, _) => return Err(fields.missing("d_sae", "a size")),
    };
    let d_out = fields.size_if("d_out")?.unwrap_or(d_in);
    // It is taken with the record of the training.
    if let Some(dtype) = fields.peek("dtype")
        && dtype.as_str().and_then(named_dtype).is_none()
    {
        return Err(fields.wrong("dtype", "a floating point type", dtype));
    }
    let mut notes = Vec::new();
    let normalization = match fields.any("normalize_activations") {
        None | Some(Value::Bool(false)) => Normalization::None,
        Some(Value::Bool(true)) => unscaled(&mut notes),
        Some(Value::String(name)) => match name.as_str() {
            "none" => Normalization::None,
            "layer_norm" => Normalization::LayerNorm,
            "constant_norm_rescale" => Normalization::UnitNorm,
            "expected_average_only_in" => unscaled(&mut notes),
            _ => {
                let known = "none, layer_norm, constant_norm_rescale or expected_average_only_in";
                return Err(fields.wrong("normalize_activations", known, &name.into()));
            }
        },
        Some(other) => return Err(fields.wrong("normalize_activations", "a name", &other)),
    };
    match fields.text_if("reshape_activations")?.as_deref() {
        None | Some("none" | "hook_z") => {}
        Some(other) => {
            return Err(fields.wrong("reshape_activations", "none or hook_z", &other.into()));
        }
    }
    let (kind, k) = kind(fields)?;
    // Before version 3 the flag had another name.
    let factors = fields.flag_if("finetuning_scaling_factor")?.unwrap_or_default();
    let factors = factors | fields.flag_if("uses_scaling_factor")?.unwrap_or_default();
    Ok(Config {
        kind,
        d_in,
        d_sae,
        d_out,
        k,
        centred: fields.flag_if("apply_b_dec_to_input")?,
        rescale: fields.flag_if("rescale_acts_by_decoder_norm")?.unwrap_or_default(),
        normalization,
        factors,
        notes,
    })
}

fn unscaled(notes: &mut Vec<Note>) -> Normalization {
    notes.push(Note::ScaleMissing(
        "its inputs were scaled by one number in training (expected_average_only_in) that is in no \
         file; unless it is folded into the weights, give it with Sae::with_input_scale"
            .to_owned(),
    ));
    Normalization::None
}

/// The architecture's name and k. Before version 6, the activation function says it is top-k, and
/// the architecture may not be named, or be named wrongly.
fn kind(fields: &mut Fields) -> Result<(String, Option<Value>)> {
    let architecture = fields.text_if("architecture")?.unwrap_or_else(|| "standard".to_owned());
    let function = match fields.text_if("activation_fn")? {
        Some(function) => Some(function),
        None => fields.text_if("activation_fn_str")?,
    };
    let mut parameters = fields.object("activation_fn_kwargs")?;
    let k = fields.any("k").or_else(|| parameters.as_mut().and_then(|own| own.any("k")));
    let kind = match (architecture.as_str(), function.as_deref()) {
        ("standard", Some("topk")) => "topk".to_owned(),
        (_, None | Some("relu" | "topk")) => architecture,
        (_, Some(other)) => {
            return Err(fields.wrong("activation_fn", "relu or topk", &other.into()));
        }
    };
    fields.absorb(parameters, &[]);
    Ok((kind, k))
}

fn architecture(fields: &mut Fields, config: &Config) -> Result<Architecture> {
    let Config { kind, d_in, d_sae, d_out, normalization, .. } = config;
    let transcoder = kind.ends_with("transcoder");
    if transcoder && config.centred != Some(false) {
        let found = config.centred.map_or(Value::Null, Value::Bool);
        return Err(fields.wrong("apply_b_dec_to_input", "false, for a transcoder", &found));
    }
    if !transcoder && d_out != d_in {
        return Err(fields.wrong("d_out", &format!("{d_in}, `d_in`"), &(*d_out).into()));
    }
    let k = || -> Result<usize> {
        let value = config.k.clone().ok_or_else(|| fields.missing("k", "a size"))?;
        let whole = value.as_f64().filter(|k| k.fract() == 0.0).map(|k| k as usize);
        match whole.filter(|k| (1..=*d_sae).contains(k)) {
            Some(k) => Ok(k),
            None => {
                Err(fields.wrong("k", &format!("a number from 1 to {d_sae}, the features"), &value))
            }
        }
    };
    let activation = match kind.as_str() {
        "standard" | "transcoder" | "skip_transcoder" => Activation::Relu,
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => Activation::JumpRelu,
        "topk" => Activation::TopK { k: k()?, relu: true },
        "abstopk" => Activation::AbsTopK { k: k()? },
        "gated" => Activation::Gated,
        "matching_pursuit" => Activation::MatchingPursuit {
            threshold: fields
                .number_if("residual_threshold")?
                .ok_or_else(|| fields.missing("residual_threshold", "a length"))?
                as f32,
            steps: fields.size_if("max_iterations")?.unwrap_or(*d_sae),
            stop_on_repeat: fields.flag_if("stop_on_duplicate_support")?.unwrap_or(true),
        },
        other => {
            let known = "an architecture that is known here";
            return Err(fields.wrong("architecture", known, &other.into()));
        }
    };
    Ok(Architecture {
        normalization: *normalization,
        centred: !transcoder && config.centred.unwrap_or(true),
        rescale: match activation {
            Activation::TopK { .. } | Activation::AbsTopK { .. } if config.rescale => Rescale::Kept,
            _ => Rescale::None,
        },
        activation,
        transcoder,
        ..Architecture::standard()
    })
}

/// The thresholds; checkpoints of some versions hold their logarithms.
fn thresholds(tensors: &mut Tensors, m: usize) -> Result<candle_core::Tensor> {
    match tensors.take_if("log_threshold", &[m])? {
        Some(logarithms) => Ok(logarithms.exp()?),
        None => tensors.take("threshold", &[m]),
    }
}

/// The fine-tuned factors of the features, if there are any; old versions store ones without using
/// them.
fn factors(tensors: &mut Tensors, used: bool, m: usize) -> Result<Option<candle_core::Tensor>> {
    let path = tensors.path().to_owned();
    let mut found = None;
    for name in ["finetuning_scaling_factor", "scaling_factor"] {
        let Some(factors) = tensors.take_if(name, &[m])? else { continue };
        let values: Vec<f32> = factors.to_device(&Device::Cpu)?.to_vec1()?;
        match values.iter().find(|factor| **factor != 1.0) {
            Some(other) if !used => {
                let expected = format!(
                    "nothing but ones in `{name}`, because `finetuning_scaling_factor` is off"
                );
                return Err(Error::format(&path, expected, other.to_string()));
            }
            Some(_) => found = Some(factors),
            None => {}
        }
    }
    Ok(found)
}
