//! Language-Model-SAEs of today: `config.json` and `sae_weights.safetensors` with `W_E` `[d, m]` and
//! `W_D` `[m, d]`.
//!
//! Nothing is subtracted. Where the decoder's lengths weigh in, values times lengths are compared,
//! and the values are the codes.

use candle_core::Tensor;
use serde::Deserialize;

use super::{
    Architecture, Draft, Request, SaePlace, SaeWeights, check_expansion, check_size, checked_k,
    ignored, turned,
};
use crate::sae::{Encoder, Normalization, Rescale, SaeActivation};
use crate::store::{Off, Size};
use crate::{Error, Result};

/// `config.json` of Language-Model-SAEs.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct LlamascopiumConfig {
    /// The only kind that is read here: `sae`.
    sae_type: Option<LlamascopiumKind>,
    /// Width of the inputs, d.
    d_model: Option<Size>,
    /// Features per dimension of the inputs.
    expansion_factor: Option<f64>,
    /// The place whose activations it reads, as TransformerLens names it.
    hook_point_in: Option<String>,
    /// The place whose activations it predicts.
    hook_point_out: Option<String>,
    /// What makes codes of the encoder's results.
    act_fn: LlamascopiumActivation,
    /// Whether a second encoder's results multiply those of the first. False if left out.
    use_glu_encoder: Option<bool>,
    /// Whether values times decoder lengths are compared. True if left out.
    sparsity_include_decoder_norm: Option<bool>,
    /// How inputs are scaled: `none` if left out.
    norm_activation: Option<LlamascopiumNorm>,
    /// Whether `b_D` is added to what is decoded. True if left out.
    use_decoder_bias: Option<bool>,
    /// Whether `b_D` is taken off inputs.
    apply_decoder_bias_to_pre_encoder: Option<Off>,
    /// Whether the decoder's columns are normalised.
    force_unit_decoder_norm: Option<Off>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LlamascopiumKind {
    Sae,
}

/// Activation functions, as Language-Model-SAEs names them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LlamascopiumActivation {
    Relu,
    JumpRelu,
    TopK,
}

/// Scalings of the inputs, as Language-Model-SAEs names them.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LlamascopiumNorm {
    None,
    /// The scale is folded into the weights.
    Inference,
    /// √d over the data set's mean length, which is among the tensors.
    DatasetWise,
    /// Each row to length √d.
    TokenWise,
}

/// Of the activation `topk` alone: others write it too, and do not use it.
#[derive(Debug, Deserialize)]
struct LlamascopiumTopK {
    /// Features that a code keeps.
    top_k: Size,
}

const NORM: &str = "dataset_average_activation_norm.";

/// Fields of Language-Model-SAEs that tell of the training or the machine, over its versions.
pub(super) const HARMLESS: [&str; 16] = [
    "top_k",
    "use_triton_kernel",
    "sparsity_threshold_for_triton_spmm_kernel",
    "sparsity_threshold_for_csr",
    "jumprelu_threshold_window",
    "promote_act_fn_dtype",
    "dtype",
    "device",
    "seed",
    "lp",
    "l1_coefficient",
    "use_ghost_grads",
    "sae_pretrained_name_or_path",
    "strict_loading",
    "decoder_bias_init_method",
    "geometric_median_max_iter",
];

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document("config.json")?;
    let mut tensors = place.tensors("sae_weights.safetensors", &request.device)?;
    let [d, m] = tensors.matrix("W_E")?;
    let config: LlamascopiumConfig = document.read()?;
    check_size(&document, ("d_model", config.d_model), d, "W_E")?;
    check_expansion(&document, config.expansion_factor, (d, m), "W_E")?;
    let activation = match config.act_fn {
        LlamascopiumActivation::Relu => SaeActivation::Relu,
        LlamascopiumActivation::JumpRelu => SaeActivation::JumpRelu,
        LlamascopiumActivation::TopK => {
            let LlamascopiumTopK { top_k } = document.read()?;
            SaeActivation::TopK { k: checked_k(&document, "top_k", top_k, m)?, relu: true }
        }
    };
    let glu = config.use_glu_encoder.unwrap_or_default();
    let rescale = match config.sparsity_include_decoder_norm.unwrap_or(true) {
        true => Rescale::Undone,
        false => Rescale::None,
    };
    let (hook, out) = (config.hook_point_in, config.hook_point_out);
    let normalization = match config.norm_activation.unwrap_or(LlamascopiumNorm::None) {
        LlamascopiumNorm::None | LlamascopiumNorm::Inference => Normalization::None,
        LlamascopiumNorm::DatasetWise => {
            let name = format!("{NORM}{}", hook.as_deref().unwrap_or_default());
            let norm = tensors.take(&name, &[])?.to_scalar::<f32>()?;
            if norm <= 0.0 {
                let expected = format!("`{name}` above 0");
                return Err(Error::format(tensors.path(), expected, norm.to_string()));
            }
            Normalization::Scale((d as f64).sqrt() / f64::from(norm))
        }
        LlamascopiumNorm::TokenWise => Normalization::UnitNorm,
    };
    let decoder_bias = config.use_decoder_bias.unwrap_or(true);
    let ignored = ignored(document, &HARMLESS, request)?;

    let [_, d_out] = tensors.matrix("W_D")?;
    let mut encoder = vec![turned(&tensors.take("W_E", &[d, m])?)?];
    let mut bias = vec![tensors.take("b_E", &[m])?];
    if glu {
        encoder.push(turned(&tensors.take("W_E_glu", &[d, m])?)?);
        bias.push(tensors.take("b_E_glu", &[m])?);
    }
    let decoder = turned(&tensors.take("W_D", &[m, d_out])?)?;
    let b_dec = match decoder_bias {
        true => tensors.take("b_D", &[d_out])?,
        false => Tensor::zeros(d_out, decoder.dtype(), &request.device)?,
    };
    let mut weights = SaeWeights::new(Tensor::cat(&encoder, 0)?, decoder, b_dec);
    weights.encoder_bias = Some(Tensor::cat(&bias, 0)?);
    if activation == SaeActivation::JumpRelu {
        let logarithms = tensors.take("activation_function.log_jumprelu_threshold", &[m])?;
        weights.thresholds = Some(logarithms.exp()?);
    }
    tensors.forget(|name| name.starts_with(NORM));
    tensors.finish("only the tensors that config.json speaks of")?;
    let transcoder = out.is_some() && out != hook;
    let architecture = Architecture {
        normalization,
        centred: false,
        encoder: if glu { Encoder::Glu } else { Encoder::Linear },
        rescale,
        activation,
        transcoder,
    };
    let mut draft = Draft::new(architecture, weights).at(hook, None);
    draft.origin.hook_out = out.filter(|_| transcoder);
    Ok(draft.ignoring(ignored))
}
