//! Language-Model-SAEs of today: `config.json` and `sae_weights.safetensors` with `W_E` `[d, m]` and
//! `W_D` `[m, d]`.
//!
//! Nothing is subtracted. Where the decoder's lengths weigh in, values times lengths are compared,
//! and the values are the codes.

use candle_core::Tensor;

use super::{
    Architecture, Draft, Place, Request, SaeWeights, check_expansion, check_size, checked_k, turned,
};
use crate::sae::{Activation, Encoder, Normalization, Rescale};
use crate::{Error, Result};

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

pub(super) fn read(place: &Place, request: &Request) -> Result<Draft> {
    let mut fields = place.fields("config.json")?;
    let mut tensors = place.tensors("sae_weights.safetensors", &request.device)?;
    let [d, m] = tensors.matrix("W_E")?;
    check_size(&mut fields, "d_model", d, "W_E")?;
    check_expansion(&mut fields, d, m, "W_E")?;
    fields.expect("sae_type", "sae")?;
    let hook = fields.text_if("hook_point_in")?;
    let out = fields.text_if("hook_point_out")?;
    let activation = match fields.text_if("act_fn")?.as_deref() {
        Some("relu") => Activation::Relu,
        Some("jumprelu") => Activation::JumpRelu,
        Some("topk") => Activation::TopK { k: checked_k(&mut fields, "top_k", m)?, relu: true },
        other => {
            let found = other.into();
            return Err(fields.wrong("act_fn", "relu, jumprelu or topk", &found));
        }
    };
    let glu = fields.flag_if("use_glu_encoder")?.unwrap_or_default();
    let rescale = match fields.flag_if("sparsity_include_decoder_norm")?.unwrap_or(true) {
        true => Rescale::Undone,
        false => Rescale::None,
    };
    let normalization = match fields.text_if("norm_activation")?.as_deref() {
        // "inference": the scale is folded into the weights.
        None | Some("none" | "inference") => Normalization::None,
        Some("dataset-wise") => {
            let name = format!("{NORM}{}", hook.as_deref().unwrap_or_default());
            let norm = tensors.take(&name, &[])?.to_scalar::<f32>()?;
            if norm <= 0.0 {
                let expected = format!("`{name}` above 0");
                return Err(Error::format(tensors.path(), expected, norm.to_string()));
            }
            Normalization::Scale((d as f64).sqrt() / f64::from(norm))
        }
        Some("token-wise") => Normalization::UnitNorm,
        Some(other) => {
            let known = "none, inference, dataset-wise or token-wise";
            return Err(fields.wrong("norm_activation", known, &other.into()));
        }
    };
    let decoder_bias = fields.flag_if("use_decoder_bias")?.unwrap_or(true);
    fields.expect_off(&["apply_decoder_bias_to_pre_encoder", "force_unit_decoder_norm"])?;
    let ignored = fields.finish(&HARMLESS, request.unknown)?;

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
    if activation == Activation::JumpRelu {
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
