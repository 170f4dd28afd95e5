//! SAELens: a folder with `cfg.json` and `sae_weights.safetensors`.
//!
//! Matrices are stored with the product's input first: `W_enc` `[d_in, d_sae]`, `W_dec`
//! `[d_sae, d_out]`; only `W_skip` `[d_out, d_in]` is the other way round. Version 6 names its
//! architecture; before, it follows from the activation function, and fields had other names.

use candle_core::Device;
use serde_json::Value;

use super::{Architecture, Draft, Place, Request, SaeWeights, turned};
use crate::sae::origin::Note;
use crate::sae::{Activation, Gate, Normalization, Rescale};
use crate::store::{Fields, Tensors, named_dtype};
use crate::{Error, Result};

pub(super) const CONFIG: &str = "cfg.json";
pub(super) const WEIGHTS: &str = "sae_weights.safetensors";

/// Fields that tell of the training, the data or the machine.
const HARMLESS: [&str; 44] = [
    "device",
    "metadata",
    "context_size",
    "dataset_path",
    "dataset_trust_remote_code",
    "finetuning_scaling_factor",
    "hook_layer",
    "hook_head_index",
    "hook_point_layer",
    "hook_point_head_index",
    "prepend_bos",
    "sae_lens_training_version",
    "sae_lens_version",
    "model_from_pretrained_kwargs",
    "is_dataset_tokenized",
    "expansion_factor",
    "seed",
    "l1_coefficient",
    "lp_norm",
    "lr",
    "neuronpedia_id",
    "seqpos_slice",
    "hook_head_index_out",
    "hook_layer_out",
    "l1_loss_type",
    "noise",
    "decoder_init_norm",
    "use_sparse_activations",
    "aux_loss_coefficient",
    "d_in_note",
    "training_tokens",
    "n_checkpoints",
    "from_pretrained_path",
    "mse_loss_normalization",
    "use_ghost_grads",
    "feature_sampling_window",
    "dead_feature_window",
    "dead_feature_threshold",
    "store_batch_size",
    "train_batch_size",
    "wandb_project",
    "log_to_wandb",
    "checkpoint_path",
    "verbose",
];

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
    let mut config = config(&mut fields)?;
    if let Some(normalization) = request.normalization {
        (config.normalization, config.notes) = (normalization, Vec::new());
    }
    let architecture = architecture(&mut fields, &config)?;
    let path = fields.path().to_owned();
    let ignored = fields.finish(&HARMLESS, request.unknown)?;

    let Config { d_in, d_sae, d_out, kind, .. } = &config;
    let (d, m, out) = (*d_in, *d_sae, *d_out);
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
    ones(&mut tensors, "scaling_factor", m)?;
    tensors.finish(&format!("only the tensors of the architecture `{kind}`"))?;

    let mut draft = Draft::new(architecture, weights).at(hook, None).of_model(model);
    draft.origin.hook_out = hook_out;
    draft.origin.notes = config.notes;
    Ok(draft.ignoring(ignored))
}

fn config(fields: &mut Fields) -> Result<Config> {
    let d_in = fields.size("d_in")?;
    let d_sae = fields.size("d_sae")?;
    let d_out = fields.size_if("d_out")?.unwrap_or(d_in);
    if let Some(dtype) = fields.text_if("dtype")?
        && named_dtype(&dtype).is_none()
    {
        return Err(fields.wrong("dtype", "a floating point type", &dtype.into()));
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
    Ok(Config {
        kind,
        d_in,
        d_sae,
        d_out,
        k,
        centred: fields.flag_if("apply_b_dec_to_input")?,
        rescale: fields.flag_if("rescale_acts_by_decoder_norm")?.unwrap_or_default(),
        normalization,
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
        let k = value.as_u64().and_then(|k| usize::try_from(k).ok());
        match k.filter(|k| (1..=*d_sae).contains(k)) {
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
        rescale: if config.rescale { Rescale::Kept } else { Rescale::None },
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

/// Drops a tensor that must hold nothing but ones, if it is there.
fn ones(tensors: &mut Tensors, name: &str, m: usize) -> Result<()> {
    let path = tensors.path().to_owned();
    if let Some(factors) = tensors.take_if(name, &[m])? {
        let factors: Vec<f32> = factors.to_device(&Device::Cpu)?.to_vec1()?;
        if let Some(other) = factors.iter().find(|factor| **factor != 1.0) {
            let expected = format!("nothing but ones in `{name}`: fine-tuned factors are not read");
            return Err(Error::format(&path, expected, other.to_string()));
        }
    }
    Ok(())
}
