//! Multi-layer autoencoders: a folder with `config.json` and `model.safetensors`; one for the
//! residual stream after every layer of a model, or after those that `layers` names.
//!
//! Files whose names end in `-tfm` carry the language model too, and `autoencoder.` before every
//! name. There is no encoder's bias. With `tuned_lens`, or if that is left out and the name ends in
//! `-lens` or `-lens-tfm`, the autoencoder reads what a tuned lens makes of the stream; the lens
//! itself is read by [`TunedLens::from_checkpoint`](crate::model::TunedLens::from_checkpoint).

use serde::Deserialize;

use super::{
    Architecture, Draft, Request, SaePlace, SaeWeights, check_expansion, check_size, checked_k,
    ignored,
};
use crate::Result;
use crate::model::HookPoint;
use crate::sae::origin::Note;
use crate::sae::{ExcludedTokens, Normalization, TrainingRecord};
use crate::store::Size;

/// `config.json` of a multi-layer autoencoder.
#[derive(Debug, Deserialize)]
struct MlsaeConfig {
    /// Width of the inputs, d.
    n_inputs: Option<Size>,
    /// Number of features, m.
    n_latents: Option<Size>,
    /// Features per dimension of the inputs.
    expansion_factor: Option<f64>,
    /// Features that a code keeps.
    k: Size,
    /// Whether inputs are standardised. True if left out, as in the class that wrote it.
    standardize: Option<bool>,
    /// Whether inputs are mapped by a tuned lens first.
    tuned_lens: Option<bool>,
    /// The repository of the model.
    model_name: Option<String>,
    /// The layers whose activations it was trained on. All if left out.
    layers: Option<Vec<Size>>,
    /// Tokens per context in training.
    max_length: Option<Size>,
    /// Whether special tokens were left out of training. False if left out.
    skip_special_tokens: Option<bool>,
}

/// Fields of `config.json` that tell of the training.
const HARMLESS: [&str; 10] = [
    "auxk",
    "auxk_coef",
    "dead_steps_threshold",
    "dead_threshold",
    "dead_tokens_threshold",
    "accumulate_grad_batches",
    "batch_size",
    "lr",
    "num_tokens",
    "num_workers",
];

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document("config.json")?;
    let tensors = place.tensors("model.safetensors", &request.device)?;
    let prefixed = tensors.names().any(|name| name.starts_with("autoencoder."));
    let mut tensors = match prefixed {
        true => tensors.rename(|name| Some(name.strip_prefix("autoencoder.")?.to_owned())),
        false => tensors,
    };
    tensors.forget(|name| name == "last_nonzero");
    let [m, d] = tensors.matrix("encoder.weight")?;
    let config: MlsaeConfig = document.read()?;
    check_size(&document, ("n_inputs", config.n_inputs), d, "encoder.weight")?;
    check_size(&document, ("n_latents", config.n_latents), m, "encoder.weight")?;
    check_expansion(&document, config.expansion_factor, (d, m), "encoder.weight")?;
    let k = checked_k(&document, "k", config.k, m)?;
    let normalization = match config.standardize.unwrap_or(true) {
        true => Normalization::LayerNorm,
        false => Normalization::None,
    };
    let skips = config.skip_special_tokens.unwrap_or_default();
    let layers = config.layers.map(|layers| layers.into_iter().map(usize::from).collect());
    let layers: Option<Vec<usize>> = layers;
    let named = lens_name(place);
    let tuned_lens = config.tuned_lens.unwrap_or(named.is_some());
    let training = TrainingRecord {
        context_size: config.max_length.map(usize::from),
        excluded_tokens: skips.then_some(ExcludedTokens::Special),
        layers: layers.clone(),
        tuned_lens,
        ..TrainingRecord::default()
    };
    let ignored = ignored(document, &HARMLESS, request)?;
    let weights = SaeWeights::new(
        tensors.take("encoder.weight", &[m, d])?,
        tensors.take("decoder.weight", &[d, m])?,
        tensors.take("pre_encoder_bias", &[d])?,
    );
    tensors.finish("only the tensors of a multi-layer autoencoder")?;
    let architecture = Architecture { normalization, ..Architecture::top_k(k) };
    let (hook, point) = match layers.as_deref() {
        None => (Some("hook_resid_post of every layer".to_owned()), None),
        Some([layer]) => (None, Some(HookPoint::ResidPost(*layer))),
        Some(layers) => (Some(format!("hook_resid_post of the layers {layers:?}")), None),
    };
    // What a lens makes of a stream is at no place of the model.
    let (hook, point) = match (tuned_lens, point) {
        (true, Some(point)) => (Some(format!("{point} through a tuned lens")), None),
        (true, None) => (hook.map(|hook| format!("{hook} through a tuned lens")), None),
        (false, point) => (hook, point),
    };
    let notes = training.processing().into_iter().map(Note::Other).collect::<Vec<_>>();
    let mut draft = Draft::new(architecture, weights)
        .at(hook, point)
        .of_model(config.model_name)
        .ignoring(ignored)
        .trained(training);
    if let Some(name) = named.filter(|_| config.tuned_lens.is_none()) {
        draft = draft.note_place(format!(
            "that it reads through a tuned lens was read from the name `{name}`, because no file \
             says it"
        ));
    }
    draft.origin.notes.extend(notes);
    Ok(draft)
}

/// The name of the place, if it is one of an autoencoder with a tuned lens.
fn lens_name(place: &SaePlace) -> Option<String> {
    let last = place.names().pop()?;
    ["-lens", "-lens-tfm"].iter().any(|end| last.ends_with(end)).then_some(last)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use candle_core::{DType, Device, Tensor};
    use serde_json::{Value, json};

    use crate::model::HookPoint;
    use crate::sae::{Normalization, Sae};
    use crate::store::save_exactly;

    fn written(folder: &Path, more: Value) -> crate::Result<Sae> {
        let zeros = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu).unwrap();
        let tensors = [
            ("encoder.weight", zeros(&[6, 4])),
            ("decoder.weight", zeros(&[4, 6])),
            ("pre_encoder_bias", zeros(&[4])),
        ];
        let tensors: HashMap<String, Tensor> =
            tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        save_exactly(&folder.join("model.safetensors"), &tensors).unwrap();
        let mut config = json!({"auxk": 2, "k": 3, "n_inputs": 4, "n_latents": 6});
        let fields = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(fields);
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        Sae::load(folder, &Device::Cpu)
    }

    #[test]
    fn layers_are_read_and_inputs_standardised_unless_it_says_otherwise() {
        let folder = tempfile::tempdir().unwrap();
        let load = |more: Value| written(folder.path(), more);
        let every = load(json!({"layers": null})).unwrap();
        assert_eq!(every.architecture().normalization, Normalization::LayerNorm);
        assert!(every.origin().training.layers.is_none() && every.origin().point.is_none());
        let some = load(json!({"layers": [0, 3], "standardize": false})).unwrap();
        assert_eq!(some.architecture().normalization, Normalization::None);
        assert_eq!(some.origin().training.layers.as_deref(), Some(&[0, 3][..]));
        assert!(some.point().unwrap_err().to_string().contains("layers [0, 3]"));
        let one = load(json!({"layers": [2]})).unwrap();
        assert_eq!(one.point().unwrap(), HookPoint::ResidPost(2));
        let lens = load(json!({"layers": [2], "tuned_lens": true})).unwrap();
        assert!(lens.origin().training.tuned_lens && lens.origin().point.is_none());
        let told = lens.origin().to_string();
        assert!(told.contains("Mlsae::from_pretrained") && told.contains("through a tuned lens"));
        let named = folder.path().join("mlsae-model-x4-k3-lens");
        std::fs::create_dir(&named).unwrap();
        let told = written(&named, json!({"tuned_lens": false})).unwrap();
        assert!(!told.origin().training.tuned_lens);
        let named = written(&named, json!({"layers": null})).unwrap();
        assert!(named.origin().training.tuned_lens && named.origin().notes.len() == 2);
        let error = load(json!({"layers": [-1]})).unwrap_err().to_string();
        assert!(error.contains("layers"), "{error}");
    }
}
