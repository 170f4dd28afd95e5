//! SAELens: a folder with `cfg.json` and `sae_weights.safetensors`.
//!
//! Matrices are stored with the product's input first: `W_enc` `[d_in, d_sae]`, `W_dec`
//! `[d_sae, d_out]`; only `W_skip` `[d_out, d_in]` is the other way round. Version 6 names its
//! architecture; before, it follows from the activation function, and fields had other names.

use candle_core::Device;
use serde_json::Value;

use super::saelens_fields::{
    CentredInputs, HARMLESS, InMetadata, InputNormalization, MatchingPursuitConfig,
    NamedNormalization, SaeLensActivation, SaeLensConfig,
};
use super::saelens_record::SaeLensRecord;
use super::{Architecture, Draft, LOADER, Request, SaePlace, SaeWeights, turned};
use crate::sae::origin::Note;
use crate::sae::record::CENTRED;
use crate::sae::{Gate, Normalization, Rescale, SaeActivation};
use crate::store::{Document, Size, Tensors, named_dtype};
use crate::{Error, Result};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

/// What the configuration says of the architecture, of whichever version.
struct Said {
    /// SAELens's name of the architecture.
    kind: String,
    d_in: usize,
    d_sae: usize,
    d_out: usize,
    k: Option<usize>,
    centred: Option<bool>,
    rescale: bool,
    normalization: Normalization,
    /// Whether fine-tuned factors multiply the codes before they are decoded.
    factors: bool,
    notes: Vec<Note>,
}

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document(CONFIG)?;
    // The weights first: without them nothing else matters.
    let mut tensors = place.tensors(WEIGHTS, &request.device)?;
    let fields: SaeLensConfig = document.read()?;
    let record = SaeLensRecord::read(&mut document)?;
    let names = ["hook_name", "hook_point"].map(|name| match document.get(name) {
        Some(_) => name.to_owned(),
        None => format!("metadata.{name}"),
    });
    let hook = document
        .agreed((&names[0], record.hook_name.clone()), (&names[1], record.hook_point.clone()))?;
    // The oldest versions name the layer apart: `blocks.{layer}.hook_mlp_out`.
    let layer = fields.hook_point_layer.as_ref().or(fields.hook_layer.as_ref());
    let hook = hook.map(|hook| match layer.and_then(Value::as_u64) {
        Some(layer) => hook.replace("{layer}", &layer.to_string()),
        None => hook,
    });
    let mut config = said(&document, fields)?;
    let centred: InMetadata<CentredInputs> = document.read()?;
    let centred = centred.metadata.and_then(|metadata| metadata.centred_inputs);
    if centred == Some(true) && config.normalization == Normalization::None {
        config.normalization = Normalization::Centre;
    }
    if let Some(normalization) = request.normalization {
        (config.normalization, config.notes) = (normalization, Vec::new());
    }
    let architecture = architecture(&mut document, &config)?;
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
    let path = document.path().to_owned();
    let harmless = |name: &str| name.starts_with("metadata.") || HARMLESS.contains(&name);
    let ignored = document.finish(harmless, request.unknown, LOADER)?;

    let (d, m, out, kind) = (config.d_in, config.d_sae, config.d_out, config.kind.clone());
    if let Some(&[_, found]) = tensors.shape("W_enc")
        && found != m
        && tensors.shape("W_dec").is_some_and(|shape| shape.first() == Some(&found))
    {
        let expected = format!("`d_sae` {found}, as `W_enc` has it");
        return Err(Error::format(&path, expected, m.to_string()));
    }
    let decoder = tensors.take("W_dec", &[m, out])?;
    let pursuit = matches!(architecture.activation, SaeActivation::MatchingPursuit { .. });
    let encoder = match pursuit {
        true => decoder.clone(),
        false => turned(&tensors.take("W_enc", &[d, m])?)?,
    };
    let mut weights = SaeWeights::new(encoder, turned(&decoder)?, tensors.take("b_dec", &[out])?);
    match architecture.activation {
        SaeActivation::Gated => {
            weights.gate = Some(Gate {
                bias: tensors.take("b_gate", &[m])?,
                log_gains: tensors.take("r_mag", &[m])?,
                magnitude: tensors.take("b_mag", &[m])?,
            });
        }
        SaeActivation::MatchingPursuit { .. } if !architecture.centred => {
            weights.bias = weights.bias.zeros_like()?;
        }
        SaeActivation::MatchingPursuit { .. } => {}
        _ => weights.encoder_bias = Some(tensors.take("b_enc", &[m])?),
    }
    if architecture.activation == SaeActivation::JumpRelu {
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

    let mut draft = Draft::new(architecture, weights).at(hook, None);
    draft = draft.of_model(record.model_name.clone());
    draft.origin.hook_out = record.hook_name_out.clone();
    draft.origin.notes = config.notes;
    let chat = record.use_chat_formatting;
    let training = record.training();
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

fn said(document: &Document, fields: SaeLensConfig) -> Result<Said> {
    let Size(d_in) = fields.d_in;
    let expanded = fields.expansion_factor.as_ref().and_then(Value::as_u64);
    let d_sae = match (fields.d_sae, expanded) {
        (Some(Size(d_sae)), _) => d_sae,
        (None, Some(factor)) => d_in.saturating_mul(factor as usize),
        (None, None) => return Err(document.missing("d_sae", "a size")),
    };
    let dtype = document.get("dtype").filter(|dtype| !dtype.is_null());
    if let Some(dtype) = dtype.filter(|dtype| dtype.as_str().and_then(named_dtype).is_none()) {
        return Err(document.wrong("dtype", "a floating point type", dtype.clone()));
    }
    let mut notes = Vec::new();
    let normalization = match fields.normalize_activations {
        None | Some(InputNormalization::Flag(false)) => Normalization::None,
        Some(InputNormalization::Flag(true)) => unscaled(&mut notes),
        Some(InputNormalization::Named(name)) => match name {
            NamedNormalization::None => Normalization::None,
            NamedNormalization::LayerNorm => Normalization::LayerNorm,
            NamedNormalization::ConstantNormRescale => Normalization::UnitNorm,
            NamedNormalization::ExpectedAverageOnlyIn => unscaled(&mut notes),
        },
    };
    let function = document.agreed(
        ("activation_fn", fields.activation_fn),
        ("activation_fn_str", fields.activation_fn_str),
    )?;
    let kind = match (fields.architecture, function) {
        (None, Some(SaeLensActivation::TopK)) => "topk".to_owned(),
        (None, _) => "standard".to_owned(),
        (Some(kind), Some(SaeLensActivation::TopK)) if kind == "standard" => "topk".to_owned(),
        (Some(kind), _) => kind,
    };
    let inner = fields.activation_fn_kwargs.and_then(|arguments| arguments.k);
    let k = document.agreed(
        ("k", fields.k.map(usize::from)),
        ("activation_fn_kwargs.k", inner.map(usize::from)),
    )?;
    Ok(Said {
        kind,
        d_in,
        d_sae,
        d_out: fields.d_out.map_or(d_in, usize::from),
        k,
        centred: fields.apply_b_dec_to_input,
        rescale: fields.rescale_acts_by_decoder_norm.unwrap_or_default(),
        normalization,
        factors: fields.finetuning_scaling_factor.unwrap_or_default()
            | fields.uses_scaling_factor.unwrap_or_default(),
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

fn architecture(document: &mut Document, said: &Said) -> Result<Architecture> {
    let Said { kind, d_in, d_sae, d_out, normalization, .. } = said;
    let transcoder = kind.ends_with("transcoder");
    if transcoder && said.centred != Some(false) {
        let found = said.centred.map_or(Value::Null, Value::Bool);
        return Err(document.wrong("apply_b_dec_to_input", "false, for a transcoder", found));
    }
    if !transcoder && d_out != d_in {
        return Err(document.wrong("d_out", &format!("{d_in}, `d_in`"), *d_out));
    }
    let k = || match said.k {
        None => Err(document.missing("k", "a size")),
        Some(k) if (1..=*d_sae).contains(&k) => Ok(k),
        Some(k) => {
            Err(document.wrong("k", &format!("a number from 1 to {d_sae}, the features"), k))
        }
    };
    let activation = match kind.as_str() {
        "standard" | "transcoder" | "skip_transcoder" => SaeActivation::Relu,
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => SaeActivation::JumpRelu,
        "topk" => SaeActivation::TopK { k: k()?, relu: true },
        "abstopk" => SaeActivation::AbsTopK { k: k()? },
        "gated" => SaeActivation::Gated,
        "matching_pursuit" => {
            let own: MatchingPursuitConfig = document.read()?;
            SaeActivation::MatchingPursuit {
                threshold: own.residual_threshold as f32,
                steps: own.max_iterations.map_or(*d_sae, usize::from),
                stop_on_repeat: own.stop_on_duplicate_support.unwrap_or(true),
            }
        }
        other => {
            return Err(document.wrong(
                "architecture",
                "an architecture that is known here",
                other,
            ));
        }
    };
    Ok(Architecture {
        normalization: *normalization,
        centred: !transcoder && said.centred.unwrap_or(true),
        rescale: match activation {
            SaeActivation::TopK { .. } | SaeActivation::AbsTopK { .. } if said.rescale => {
                Rescale::Kept
            }
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
