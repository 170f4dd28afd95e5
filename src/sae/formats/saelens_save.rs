//! Writing SAELens's version 6, so that Python tools read what was trained here.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::saelens::{CONFIG, WEIGHTS};
use super::turned;
use crate::model::HookPoint;
use crate::sae::{Encoder, Normalization, Rescale, Sae, SaeActivation};
use crate::store::{replace, save_exactly};
use crate::{Error, Result};

/// The version whose layout this is.
const VERSION: &str = "6.54.12";

impl Sae {
    /// Writes the autoencoder to the folder `path`, which is made if need be, in the layout of
    /// SAELens 6, in f32: `cfg.json` and `sae_weights.safetensors`. A constant input scale is folded
    /// into the weights. What is known of the training ([`Origin::training`](crate::sae::Origin)) is
    /// written as SAELens has it; what is not known is left out.
    ///
    /// # Errors
    /// A place that cannot be written; an architecture that SAELens does not have, such as a signed
    /// top-k, which [`Sae::save_scope`] writes.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let folder = path.as_ref();
        let kind = self.saelens_kind()?;
        let architecture = self.architecture();
        // Inputs times s: E x s, and D f/s + b/s; what is subtracted from x is b/s too.
        let (inner, outer) = match architecture.normalization {
            Normalization::Scale(scale) => (scale, 1.0 / scale),
            _ => (1.0, 1.0),
        };
        let scaled = |tensor: &Tensor, by: f64| -> Result<Tensor> {
            if by == 1.0 { Ok(tensor.clone()) } else { Ok((tensor * by)?) }
        };
        let weights = self.weights();
        let mut tensors = HashMap::from([
            ("W_dec", scaled(&turned(&weights.decoder)?, outer)?),
            ("b_dec", scaled(&weights.bias, outer)?),
        ]);
        let m = self.features();
        match (architecture.activation, &weights.gate) {
            (SaeActivation::MatchingPursuit { .. }, _) => {}
            (_, Some(gate)) => {
                tensors.insert("W_enc", scaled(&turned(&weights.encoder)?, inner)?);
                tensors.insert("b_gate", gate.bias.clone());
                tensors.insert("r_mag", gate.log_gains.clone());
                tensors.insert("b_mag", gate.magnitude.clone());
            }
            _ => {
                tensors.insert("W_enc", scaled(&turned(&weights.encoder)?, inner)?);
                let bias = match &weights.encoder_bias {
                    Some(bias) => bias.clone(),
                    None => Tensor::zeros(m, DType::F32, weights.encoder.device())?,
                };
                tensors.insert("b_enc", bias);
            }
        }
        tensors.extend(weights.thresholds.iter().map(|own| ("threshold", own.clone())));
        if let Some(skip) = &weights.skip {
            tensors.insert("W_skip", skip.clone());
        }
        let config =
            serde_json::to_vec_pretty(&self.saelens_config(kind)).map_err(std::io::Error::other);
        let tensors = tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        save_exactly(&folder.join(WEIGHTS), &tensors)?;
        replace(&folder.join(CONFIG), |place| fs::write(place, config?))
    }

    /// The name that SAELens has for what this computes.
    fn saelens_kind(&self) -> Result<&'static str> {
        let own = self.architecture();
        let skip = self.weights().skip.is_some();
        let named = match (own.activation, own.transcoder, skip) {
            (SaeActivation::Relu, false, false) => Some("standard"),
            (SaeActivation::Relu, true, false) => Some("transcoder"),
            (SaeActivation::Relu, true, true) => Some("skip_transcoder"),
            (SaeActivation::JumpRelu, false, false) => Some("jumprelu"),
            (SaeActivation::JumpRelu, true, false) => Some("jumprelu_transcoder"),
            (SaeActivation::JumpRelu, true, true) => Some("jumprelu_skip_transcoder"),
            (SaeActivation::TopK { relu: true, .. }, false, false) => Some("topk"),
            (SaeActivation::AbsTopK { .. }, false, false) => Some("abstopk"),
            (SaeActivation::Gated, false, false) => Some("gated"),
            (SaeActivation::MatchingPursuit { .. }, false, false) => Some("matching_pursuit"),
            _ => None,
        };
        let selects =
            matches!(own.activation, SaeActivation::TopK { .. } | SaeActivation::AbsTopK { .. });
        let sound = own.encoder == Encoder::Linear
            && match own.rescale {
                Rescale::None => true,
                Rescale::Kept => selects,
                Rescale::Undone => false,
            };
        let scaled_skip = skip && matches!(own.normalization, Normalization::Scale(_));
        named.filter(|_| sound && !scaled_skip).ok_or_else(|| {
            let expected = "of an architecture that SAELens has (Sae::save_scope writes bilinear \
                            and signed top-k autoencoders)";
            Error::invalid("the autoencoder", expected, own)
        })
    }

    fn saelens_config(&self, kind: &str) -> Value {
        let own = self.architecture();
        let origin = self.origin();
        let hook = origin.point.map(HookPoint::long_name).or_else(|| origin.hook.clone());
        let normalization = match own.normalization {
            // The record says how the model's weights were centred.
            Normalization::None | Normalization::Scale(_) | Normalization::Centre => "none",
            Normalization::LayerNorm => "layer_norm",
            Normalization::UnitNorm => "constant_norm_rescale",
        };
        let reshape = match hook.as_deref().is_some_and(|hook| hook.ends_with("hook_z")) {
            true => "hook_z",
            false => "none",
        };
        let mut config = json!({
            "architecture": kind,
            "d_in": self.d_model(),
            "d_sae": self.features(),
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": own.centred,
            "normalize_activations": normalization,
            "reshape_activations": reshape,
        });
        let mut metadata = Map::new();
        metadata.insert("sae_lens_version".to_owned(), json!(VERSION));
        metadata.insert("model_name".to_owned(), json!(origin.model));
        metadata.insert("hook_name".to_owned(), json!(hook));
        origin.training.write(&mut metadata);
        if own.normalization == Normalization::Centre {
            metadata.insert("centred_inputs".to_owned(), json!(true));
        }
        config["metadata"] = Value::Object(metadata);
        if own.transcoder {
            config["d_out"] = json!(self.d_out());
            config["metadata"]["hook_name_out"] = json!(origin.hook_out);
        }
        if let Some(k) = self.k() {
            config["k"] = json!(k);
            config["rescale_acts_by_decoder_norm"] = json!(own.rescale == Rescale::Kept);
        }
        if let SaeActivation::MatchingPursuit { threshold, steps, stop_on_repeat } = own.activation
        {
            config["residual_threshold"] = json!(threshold);
            config["max_iterations"] = json!(steps);
            config["stop_on_duplicate_support"] = json!(stop_on_repeat);
        }
        config
    }
}
