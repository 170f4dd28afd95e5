//! TransformerLens's own checkpoints: small models that were trained to be looked into (GELU and
//! SoLU models, attention only, shortformers).
//!
//! `config.json` has no `model_type`, and says how the model was trained beside what it is. Weights
//! multiply from the right, `x W + b`, each head's apart: `W_Q`, `W_K`, `W_V` `[heads, d_model,
//! d_head]` and `W_O` `[heads, d_head, d_model]`.

use candle_core::Tensor;
use serde::Deserialize;

use super::shared::unusual_head;
use super::{Weights, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, NormPlace, Parameters};
use crate::model::{Activation, Config, Mlp, Norm, Position};
use crate::store::{Document, Size, nullable};

/// The epsilon of norms where none is given, and of the norm over an MLP's neurons always.
const EPS: f64 = 1e-5;

/// Fields that change no logit: of the training script, and of TransformerLens's configurations how
/// a model is run, and what belongs to other kinds of positions.
pub(super) const INERT: [&str; 57] = [
    // Training.
    "batch_size",
    "batch_size_per_device",
    "batches_per_step",
    "betas",
    "debug",
    "debug_batch",
    "fixed_init",
    "grad_norm_clip",
    "initializer_scale_embed",
    "initializer_scale_global",
    "initializer_scale_hidden",
    "initializer_scale_unembed",
    "log_interval",
    "lr_hidden",
    "lr_schedule",
    "lr_vector",
    "max_steps",
    "max_tokens",
    "n_devices",
    "n_params",
    "save_checkpoints",
    "seed",
    "store_init",
    "tokens_per_step",
    "train_loss_ewma_beta",
    "truncate_tokens",
    "use_bfloat16_matmul",
    "version",
    "warmup_steps",
    "warmup_tokens",
    "weight_decay",
    "weight_init_scheme",
    // How TransformerLens runs a model.
    "checkpoint_index",
    "checkpoint_label_type",
    "checkpoint_value",
    "default_prepend_bos",
    "device",
    "from_checkpoint",
    "init_mode",
    "init_weights",
    "original_architecture",
    "tokenizer_prepends_bos",
    "trust_remote_code",
    "ungroup_grouped_query_attention",
    "use_attn_in",
    "use_attn_result",
    "use_hook_mlp_in",
    "use_hook_tokens",
    "use_split_qkv_input",
    // Positions of other kinds.
    "NTK_by_parts_factor",
    "NTK_by_parts_high_freq_factor",
    "NTK_by_parts_low_freq_factor",
    "NTK_original_ctx_len",
    "relative_attention_max_distance",
    "relative_attention_num_buckets",
    "rotary_base",
    "rotary_dim",
];

/// `config.json` of TransformerLens's own checkpoints, as the training script and as the library
/// spell it.
#[derive(Debug, Deserialize)]
struct TransformerLensConfig {
    /// Number of layers.
    n_layers: Size,
    /// Heads per layer.
    n_heads: Size,
    /// Width of a head.
    d_head: Size,
    /// Width of the residual stream.
    d_model: Size,
    /// Width of the MLPs' hidden layer: four times that of the stream if left out.
    d_mlp: Option<Size>,
    /// Number of learned positions.
    n_ctx: Size,
    /// Number of tokens.
    d_vocab: Size,
    /// Number of tokens that are predicted: that of tokens if left out or -1.
    d_vocab_out: Option<i64>,
    /// Whether there are no MLPs. False if left out.
    attn_only: Option<bool>,
    /// The MLPs' activation.
    act_fn: Option<TransformerLensActivation>,
    /// The norms, none if null; under one of two names.
    #[serde(default, deserialize_with = "nullable")]
    normalization: Option<Option<TransformerLensNorm>>,
    #[serde(default, deserialize_with = "nullable")]
    normalization_type: Option<Option<TransformerLensNorm>>,
    /// What is added to the variance in norms, under one of two names: 1e-5 if left out.
    ln_eps: Option<f64>,
    eps: Option<f64>,
    /// Whether queries and keys read the positions, and the stream does not. False if left out.
    shortformer_pos: Option<bool>,
    /// The same by its name.
    positional_embedding_type: Option<TransformerLensPosition>,
    /// Whether scores are divided by `attn_scale`. True if left out.
    use_attn_scale: Option<bool>,
    /// The root of a head's width if left out or not positive.
    attn_scale: Option<f64>,
    /// Whether scores of layer l are divided by l + 1. False if left out.
    scale_attn_by_inverse_layer_idx: Option<bool>,
    /// c of c·tanh(score / c): none if left out or not positive.
    attn_scores_soft_cap: Option<f64>,
    /// c of c·tanh(logit / c): none if left out or not positive.
    output_logits_soft_cap: Option<f64>,
    /// Factors that the training script could put before and within SoLU, and one of its
    /// experiments: 1 in all that was published.
    neuron_scale: Option<f64>,
    neuron_temp: Option<f64>,
    control: Option<f64>,
}

/// Which keys a query sees.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct TransformerLensDirection {
    attention_dir: Option<TransformerLensCausal>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransformerLensCausal {
    Causal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum TransformerLensActivation {
    #[serde(rename = "relu")]
    Relu,
    #[serde(rename = "silu")]
    Silu,
    #[serde(rename = "gelu")]
    Gelu,
    #[serde(rename = "gelu_new", alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    #[serde(rename = "solu")]
    Solu,
    /// SoLU, and a LayerNorm over the neurons after it.
    #[serde(rename = "solu_ln")]
    SoluLayerNorm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum TransformerLensNorm {
    #[serde(rename = "LN")]
    LayerNorm,
    #[serde(rename = "RMS")]
    Rms,
    /// Without a gain.
    #[serde(rename = "RMSPre")]
    RmsPre,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TransformerLensPosition {
    Standard,
    Shortformer,
}

impl TransformerLensActivation {
    /// The activation, and whether a norm follows it.
    fn parts(self) -> (Activation, bool) {
        match self {
            Self::Relu => (Activation::Relu, false),
            Self::Silu => (Activation::Silu, false),
            Self::Gelu => (Activation::Gelu, false),
            Self::GeluTanh => (Activation::GeluTanh, false),
            Self::Solu => (Activation::Solu, false),
            Self::SoluLayerNorm => (Activation::Solu, true),
        }
    }
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: TransformerLensConfig = document.read()?;
    document.read::<TransformerLensDirection>()?;
    let (Size(layers), Size(heads)) = (config.n_layers, config.n_heads);
    let (Size(d_model), Size(d_head)) = (config.d_model, config.d_head);
    let (Size(vocab), Size(context)) = (config.d_vocab, config.n_ctx);
    let d_hidden = config.d_mlp.map_or(d_model.saturating_mul(4), usize::from);
    if let Some(other) = config.d_vocab_out.filter(|out| *out >= 0 && *out as u64 != vocab as u64) {
        let expected = format!("{vocab}, as `d_vocab` is,");
        return Err(document.wrong("d_vocab_out", &expected, other));
    }
    for (name, factor) in [
        ("neuron_scale", config.neuron_scale),
        ("neuron_temp", config.neuron_temp),
        ("control", config.control),
    ] {
        if let Some(factor) = factor.filter(|factor| *factor != 1.) {
            return Err(document.wrong(name, "1", factor));
        }
    }
    let eps = document.agreed(("ln_eps", config.ln_eps), ("eps", config.eps))?.unwrap_or(EPS);
    let names = ["normalization", "normalization_type"];
    let norms =
        document.agreed((names[0], config.normalization), (names[1], config.normalization_type))?;
    let norm = match norms {
        None => return Err(document.missing(names[0], "a text or null")),
        Some(None) => Norm::None,
        Some(Some(TransformerLensNorm::LayerNorm)) => Norm::LayerNorm { eps },
        Some(Some(TransformerLensNorm::Rms)) => Norm::RmsGain { eps },
        Some(Some(TransformerLensNorm::RmsPre)) => Norm::Rms { eps },
    };
    let activation = match (config.attn_only.unwrap_or(false), config.act_fn) {
        (true, _) => None,
        (false, Some(activation)) => Some(activation.parts()),
        (false, None) => return Err(document.missing("act_fn", "a name")),
    };
    let mlp_norm = activation.is_some_and(|(_, normed)| normed);
    if mlp_norm && eps != EPS {
        let expected = "1e-5, which is that of the norm over the neurons of `solu_ln`,";
        return Err(document.wrong("ln_eps", expected, eps));
    }
    let by_flag = config.shortformer_pos.map(|on| match on {
        true => TransformerLensPosition::Shortformer,
        false => TransformerLensPosition::Standard,
    });
    let by_name = config.positional_embedding_type;
    let position = document
        .agreed(("shortformer_pos", by_flag), ("positional_embedding_type", by_name))?
        .unwrap_or(TransformerLensPosition::Standard);
    let bound = |cap: Option<f64>| cap.filter(|cap| *cap > 0.);
    let score_scale = match config.use_attn_scale.unwrap_or(true) {
        true => bound(config.attn_scale).map(|scale| 1. / scale),
        false => Some(1.),
    };
    Ok(Config {
        d_head: unusual_head(d_head, heads, d_model),
        context,
        vocab,
        norm,
        position: match position {
            TransformerLensPosition::Standard => Position::Learned,
            TransformerLensPosition::Shortformer => Position::Shortformer,
        },
        score_scale,
        inverse_layer_scale: config.scale_attn_by_inverse_layer_idx.unwrap_or(false),
        score_cap: bound(config.attn_scores_soft_cap),
        mlp: match activation {
            None => Mlp::None,
            Some((activation, _)) => Mlp::Plain(Some(activation)),
        },
        mlp_bias: activation.is_some(),
        mlp_norm,
        logit_cap: bound(config.output_logits_soft_cap),
        tied: false,
        ..Config::gpt2(layers, heads, d_model, d_hidden)
    })
}

/// Whether the unembedding has a bias, which only the weights tell.
pub(super) fn has_unembed_bias(weights: &Weights) -> bool {
    weights.shape("unembed.b_U").is_some()
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = Parameters::build(config, |layer, part, shape| {
        let own = layer.map_or(String::new(), |layer| format!("blocks.{layer}."));
        var(&tensor(config, weights, &own, part, shape)?)
    })?;
    for layer in 0..config.layers {
        // Causal masks, and what stands for minus infinity.
        weights.ignore(&format!("blocks.{layer}.attn.mask"));
        weights.ignore(&format!("blocks.{layer}.attn.IGNORE"));
    }
    Ok(parameters)
}

/// A weight in the shape that the model has it in.
fn tensor(
    config: &Config,
    weights: &mut Weights,
    own: &str,
    part: ModelParameter,
    shape: &[usize],
) -> Result<Tensor> {
    let (heads, d_model, d_head) = (config.heads, config.d_model, config.d_head());
    let norm = |place: NormPlace| match place {
        NormPlace::Ln1 => "ln1",
        NormPlace::Ln2 => "ln2",
        NormPlace::Final => "ln_final",
        NormPlace::Ln1Post | NormPlace::Ln2Post => unreachable!("no norms of outputs"),
    };
    let mut take = |name: &str, shape: &[usize]| weights.take(&format!("{own}{name}"), shape);
    // Files have matrices [inputs, outputs].
    let turned = |shape: &[usize]| -> Vec<usize> { shape.iter().rev().copied().collect() };
    match part {
        ModelParameter::Embed => take("embed.W_E", shape),
        ModelParameter::Positions => take("pos_embed.W_pos", shape),
        ModelParameter::Gain(place) => take(&format!("{}.w", norm(place)), shape),
        ModelParameter::Shift(place) => take(&format!("{}.b", norm(place)), shape),
        ModelParameter::Qkv => {
            let mut all = Vec::with_capacity(3);
            for name in ["attn.W_Q", "attn.W_K", "attn.W_V"] {
                let maps = take(name, &[heads, d_model, d_head])?.transpose(1, 2)?;
                all.push(maps.reshape((heads * d_head, d_model))?);
            }
            Ok(Tensor::cat(&all, 0)?)
        }
        ModelParameter::QkvBias => {
            let mut all = Vec::with_capacity(3);
            for name in ["attn.b_Q", "attn.b_K", "attn.b_V"] {
                all.push(take(name, &[heads, d_head])?.flatten_all()?);
            }
            Ok(Tensor::cat(&all, 0)?)
        }
        ModelParameter::AttentionOut => {
            let maps = take("attn.W_O", &[heads, d_head, d_model])?;
            Ok(maps.reshape((heads * d_head, d_model))?.t()?)
        }
        ModelParameter::AttentionOutBias => take("attn.b_O", shape),
        ModelParameter::MlpIn => Ok(take("mlp.W_in", &turned(shape))?.t()?),
        ModelParameter::MlpInBias => take("mlp.b_in", shape),
        ModelParameter::MlpNormGain => take("mlp.ln.w", shape),
        ModelParameter::MlpNormShift => take("mlp.ln.b", shape),
        ModelParameter::MlpOut => Ok(take("mlp.W_out", &turned(shape))?.t()?),
        ModelParameter::MlpOutBias => take("mlp.b_out", shape),
        ModelParameter::Unembed => Ok(take("unembed.W_U", &turned(shape))?.t()?),
        ModelParameter::UnembedBias => take("unembed.b_U", shape),
        ModelParameter::QGain | ModelParameter::KGain => {
            unreachable!("TransformerLens's own checkpoints have no norms of queries and keys")
        }
    }
}
