//! Multi-layer autoencoders: a folder with `config.json` and `model.safetensors`; one for the
//! residual stream after every layer of a model.
//!
//! Files whose names end in `-tfm` carry the language model too, and `autoencoder.` before every
//! name. There is no encoder's bias.

use super::{
    Architecture, Draft, Place, Request, SaeWeights, check_expansion, check_size, checked_k,
};
use crate::Result;
use crate::sae::{ExcludedTokens, Normalization, TrainingRecord};

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("config.json")?;
    let tensors = place.tensors("model.safetensors", &request.device)?;
    let prefixed = tensors.names().any(|name| name.starts_with("autoencoder."));
    let mut tensors = match prefixed {
        true => tensors.rename(|name| Some(name.strip_prefix("autoencoder.")?.to_owned())),
        false => tensors,
    };
    tensors.forget(|name| name == "last_nonzero");
    let [m, d] = tensors.matrix("encoder.weight")?;
    check_size(&mut fields, "n_inputs", d, "encoder.weight")?;
    check_size(&mut fields, "n_latents", m, "encoder.weight")?;
    check_expansion(&mut fields, d, m, "encoder.weight")?;
    let k = checked_k(&mut fields, "k", m)?;
    let normalization = match fields.flag_if("standardize")?.unwrap_or_default() {
        true => Normalization::LayerNorm,
        false => Normalization::None,
    };
    fields.expect("tuned_lens", false)?;
    let model = fields.text_if("model_name")?;
    let training = TrainingRecord {
        context_size: fields.size_if("max_length")?,
        excluded_tokens: fields
            .flag_if("skip_special_tokens")?
            .filter(|skip| *skip)
            .map(|_| ExcludedTokens::Special),
        ..TrainingRecord::default()
    };
    let ignored = fields.finish(
        &[
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
        ],
        request.unknown,
    )?;
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
        .of_model(model)
        .ignoring(ignored)
        .trained(training))
}
