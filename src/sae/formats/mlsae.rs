//! Multi-layer autoencoders: a folder with `config.json` and `model.safetensors`; one for the
//! residual stream after every layer of a model.
//!
//! Files whose names end in `-tfm` carry the language model too, and `autoencoder.` before every
//! name. There is no encoder's bias.

use serde::Deserialize;

use super::{
    Architecture, Draft, Request, SaePlace, SaeWeights, check_expansion, check_size, checked_k,
    ignored,
};
use crate::Result;
use crate::sae::{ExcludedTokens, Normalization, TrainingRecord};
use crate::store::{MustBe, Size};

/// `config.json` of a multi-layer autoencoder.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct MlsaeConfig {
    /// Width of the inputs, d.
    n_inputs: Option<Size>,
    /// Number of features, m.
    n_latents: Option<Size>,
    /// Features per dimension of the inputs.
    expansion_factor: Option<f64>,
    /// Features that a code keeps.
    k: Size,
    /// Whether inputs are standardised. False if left out.
    standardize: Option<bool>,
    /// Whether inputs are mapped by a tuned lens first.
    tuned_lens: Option<MustBe<false>>,
    /// The repository of the model.
    model_name: Option<String>,
    /// Tokens per context in training.
    max_length: Option<Size>,
    /// Whether special tokens were left out of training. False if left out.
    skip_special_tokens: Option<bool>,
}

/// Fields of `config.json` that tell of the training.
const HARMLESS: [&str; 11] = [
    "auxk",
    "auxk_coef",
    "dead_steps_threshold",
    "dead_threshold",
    "dead_tokens_threshold",
    "accumulate_grad_batches",
    "batch_size",
    "layers",
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
    let normalization = match config.standardize.unwrap_or_default() {
        true => Normalization::LayerNorm,
        false => Normalization::None,
    };
    let skips = config.skip_special_tokens.unwrap_or_default();
    let training = TrainingRecord {
        context_size: config.max_length.map(usize::from),
        excluded_tokens: skips.then_some(ExcludedTokens::Special),
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
    let hook = Some("hook_resid_post of every layer".to_owned());
    Ok(Draft::new(architecture, weights)
        .at(hook, None)
        .of_model(config.model_name)
        .ignoring(ignored)
        .trained(training))
}
