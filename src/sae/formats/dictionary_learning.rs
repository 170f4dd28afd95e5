//! dictionary_learning: a folder with `config.json` and `ae.pt`, a pickled dictionary of tensors.
//!
//! `trainer.dict_class` names the class. Biases were multiplied by the training's norm factor when
//! they were saved; the backup of a run that was cut off, under the same name, has them as they were
//! in training, and is refused.

use candle_core::Tensor;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Architecture, Draft, LOADER, Point, Request, SaePlace, SaeWeights, check_size, checked_k,
    input_first, output_first,
};
use crate::model::HookPoint;
use crate::sae::{Gate, PositionSlice, SaeActivation, TrainingRecord};
use crate::store::{Document, Size, Tensors};
use crate::{Error, Result};

/// `config.json` of dictionary_learning.
#[derive(Debug, Deserialize)]
struct DictionaryLearningConfig {
    /// What was trained, and how.
    trainer: Trainer,
    /// How the activations were made. Nothing in it changes what an autoencoder computes.
    buffer: Option<ActivationBuffer>,
}

#[derive(Debug, Deserialize)]
struct Trainer {
    /// The Python class of the autoencoder.
    dict_class: String,
    /// Width of the inputs, d.
    activation_dim: Option<Size>,
    /// Number of features, m.
    dict_size: Option<Size>,
    /// The layer of the model.
    layer: Option<Size>,
    /// The place in the layer, such as `resid_post_layer_8`.
    submodule_name: Option<String>,
    /// The repository of the model.
    lm_name: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ActivationBuffer {
    /// Tokens per context.
    ctx_len: Option<Size>,
    /// Whether the first position was left out. False if left out.
    remove_bos: Option<bool>,
}

/// `k` of the trainer, of those classes alone that have it.
#[derive(Debug, Deserialize)]
struct OfTrainer<T> {
    trainer: WithK<T>,
}

#[derive(Debug, Deserialize)]
struct WithK<T> {
    /// Features that a code keeps; of a batch on average.
    k: T,
}

const CONFIG: &str = "config.json";
const FILE: &str = "ae.pt";

/// Fields of `trainer` that tell of the training.
const HARMLESS: [&str; 40] = [
    "trainer_class",
    "lr",
    "steps",
    "auxk_alpha",
    "warmup_steps",
    "decay_start",
    "threshold_beta",
    "threshold_start_step",
    "top_k_aux",
    "seed",
    "device",
    "wandb_name",
    "l1_penalty",
    "sparsity_warmup_steps",
    "resample_steps",
    "bandwidth",
    "sparsity_penalty",
    "target_l0",
    "group_fractions",
    "group_weights",
    "group_sizes",
    "layer",
    "lm_name",
    "submodule_name",
    "k_anneal_steps",
    "norm_factor",
    "p_start",
    "p_end",
    "n_sparsity_updates",
    "sparsity_function",
    "sparsity_queue_length",
    "initial_sparsity_penalty",
    "anneal_start",
    "dead_feature_threshold",
    "anneal_end",
    "sparsity_update_steps",
    "max_grad_norm",
    "use_wandb",
    "wandb_project",
    "wandb_entity",
];

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document(CONFIG)?;
    let DictionaryLearningConfig { trainer, buffer } = document.read()?;
    let loaded = place.torch(FILE)?;
    let pickle = loaded.pickle();
    if let Some((name, _)) = pickle
        .fields(pickle.root())
        .into_iter()
        .find(|(name, _)| ["ae", "optimizer", "norm_factor"].contains(name))
    {
        let expected = "the saved weights of a finished run";
        let found = format!(
            "`{name}`: the backup of a run that was cut off, whose biases still lack the factor \
             `norm_factor`; finish the run or export it with dictionary_learning"
        );
        return Err(Error::format(&place.path().join(FILE), expected, found));
    }
    let mut tensors = loaded.tensors(pickle.root(), &request.device)?;
    let class = trainer.dict_class;
    let mut notes = Vec::new();
    let (architecture, weights) = match class.as_str() {
        // Trainers write the first name for both; the tensors tell.
        "AutoEncoder" | "AutoEncoderNew" if tensors.shape("decoder.bias").is_some() => {
            let weights = output_first(&mut tensors, "decoder.bias")?;
            (Architecture { centred: false, ..Architecture::standard() }, weights)
        }
        "AutoEncoder" => (Architecture::standard(), output_first(&mut tensors, "bias")?),
        "AutoEncoderTopK" => {
            let mut weights = output_first(&mut tensors, "b_dec")?;
            let m = weights.decoder.dims()[1];
            let k = top_k(&mut tensors, &mut document, m)?;
            // Its encoder uses the threshold only when it is asked to: Sae::by_threshold.
            let threshold = tensors.take_if("threshold", &[])?;
            weights.thresholds = threshold.map(|own| one_for_all(&own, m)).transpose()?;
            (Architecture::top_k(k), weights)
        }
        "BatchTopKSAE" => {
            let weights = output_first(&mut tensors, "b_dec")?;
            above_threshold(weights, &mut tensors, &mut document, &mut notes)?
        }
        "MatryoshkaBatchTopKSAE" => {
            let weights = input_first(&mut tensors)?;
            tensors.forget(|name| name == "group_sizes");
            above_threshold(weights, &mut tensors, &mut document, &mut notes)?
        }
        "JumpReluAutoEncoder" => {
            let mut weights = input_first(&mut tensors)?;
            weights.thresholds = Some(tensors.take("threshold", &[weights.decoder.dims()[1]])?);
            (Architecture { centred: false, ..Architecture::jump_relu() }, weights)
        }
        "GatedAutoEncoder" => {
            let [m, d] = tensors.matrix("encoder.weight")?;
            let mut weights = SaeWeights::new(
                tensors.take("encoder.weight", &[m, d])?,
                tensors.take("decoder.weight", &[d, m])?,
                tensors.take("decoder_bias", &[d])?,
            );
            weights.gate = Some(Gate {
                bias: tensors.take("gate_bias", &[m])?,
                log_gains: tensors.take("r_mag", &[m])?,
                magnitude: tensors.take("mag_bias", &[m])?,
            });
            (Architecture { activation: SaeActivation::Gated, ..Architecture::standard() }, weights)
        }
        other => {
            return Err(document.wrong("trainer.dict_class", "a class that is known here", other));
        }
    };
    tensors.finish(&format!("only the tensors of `{class}`"))?;
    let (d, m) = (weights.encoder.dims()[1], weights.decoder.dims()[1]);
    check_size(&document, ("activation_dim", trainer.activation_dim), d, "the encoder")?;
    check_size(&document, ("dict_size", trainer.dict_size), m, "the encoder")?;
    let (layer, hook) = (trainer.layer, trainer.submodule_name);
    let harmless = |name: &str| match name.strip_prefix("trainer.") {
        Some(name) => HARMLESS.contains(&name),
        None => true,
    };
    let ignored = document.finish(harmless, request.unknown, LOADER)?;
    let mut training = TrainingRecord::default();
    if let Some(buffer) = buffer {
        training.context_size = buffer.ctx_len.map(usize::from);
        if buffer.remove_bos == Some(true) {
            training.positions = Some(PositionSlice { start: Some(1), ..Default::default() });
        }
    }
    let point = layer.and_then(|Size(layer)| {
        let hook = hook.as_deref()?;
        let kinds: [(&str, Point); 3] = [
            ("resid_post", HookPoint::ResidPost),
            ("mlp_out", HookPoint::MlpOut),
            ("attn_out", HookPoint::AttnOut),
        ];
        kinds.iter().find(|(name, _)| hook.starts_with(name)).map(|(_, point)| point(layer))
    });
    let draft = Draft::new(architecture, weights)
        .at(hook, point)
        .of_model(trainer.lm_name)
        .ignoring(ignored)
        .trained(training);
    Ok(notes.into_iter().fold(draft, Draft::note))
}

/// k, which configuration and tensors must say alike.
fn top_k(tensors: &mut Tensors, document: &mut Document, m: usize) -> Result<usize> {
    let OfTrainer { trainer: WithK { k } } = document.read()?;
    let k = checked_k(document, "k", k, m)?;
    match tensors.integers("k").as_deref() {
        Some(&[found]) if found != k as i64 => {
            let expected = format!("{found}, as the tensor `k` has it,");
            Err(document.wrong("trainer.k", &expected, k))
        }
        _ => Ok(k),
    }
}

/// The same threshold for all features.
fn one_for_all(threshold: &Tensor, m: usize) -> Result<Tensor> {
    Ok(threshold.reshape(1)?.broadcast_as(m)?.contiguous()?)
}

/// At inference, the batch-wide selections of training keep what is above one learned threshold.
fn above_threshold(
    mut weights: SaeWeights,
    tensors: &mut Tensors,
    document: &mut Document,
    notes: &mut Vec<String>,
) -> Result<(Architecture, SaeWeights)> {
    document.read::<OfTrainer<Option<Value>>>()?;
    tensors.forget(|name| name == "k");
    let threshold = tensors.take("threshold", &[])?;
    if threshold.to_scalar::<f32>()? < 0.0 {
        notes.push(
            "its threshold was never learned (-1): every positive value is kept, as the original \
             does"
                .to_owned(),
        );
        return Ok((Architecture::standard(), weights));
    }
    let m = weights.decoder.dims()[1];
    weights.thresholds = Some(one_for_all(&threshold, m)?);
    Ok((Architecture { centred: true, ..Architecture::jump_relu() }, weights))
}
