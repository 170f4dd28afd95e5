//! The published bilinear transformers, whose `config.json` has fields of its own.

use candle_core::DType;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Weights, var};
use crate::Result;
use crate::model::parameters::{ModelParameter, Parameters};
use crate::model::{Activation, Config, Mlp, Norm, Rotary};
use crate::store::{Document, Size};

/// `config.json` of a bilinear transformer.
#[derive(Debug, Deserialize)]
struct BilinearConfig {
    /// Number of layers.
    n_layer: Size,
    /// Heads per layer.
    n_head: Size,
    /// Tokens of the longest sequence.
    n_ctx: Size,
    /// Width of the residual stream.
    d_model: Size,
    /// Width of the MLPs' hidden layer.
    d_hidden: Size,
    /// Whether the MLPs multiply two maps of their input.
    bilinear: bool,
    /// The activation of the MLPs' first map, or null.
    #[serde(deserialize_with = "Option::deserialize")]
    gate: Option<String>,
    /// Whether the MLPs have biases.
    bias: bool,
    /// Whether there are norms.
    normalization: bool,
}

/// The base of the rotary embedding.
const BASE: f64 = 10_000.;

const ACTIVATIONS: [(&str, Activation); 3] =
    [("relu", Activation::Relu), ("silu", Activation::Silu), ("gelu", Activation::Gelu)];

/// The rows of the embedding, as these files do not state the size of the vocabulary.
pub(super) fn vocab(weights: &Weights) -> usize {
    let embed = weights.shape(&ModelParameter::Embed.name(None));
    embed.and_then(|shape| shape.first()).copied().unwrap_or_default()
}

pub(super) fn config(document: &mut Document) -> Result<Config> {
    let config: BilinearConfig = document.read()?;
    let activation = match config.gate {
        None => None,
        Some(name) => {
            let found = ACTIVATIONS.iter().find(|(own, _)| *own == name);
            let (_, activation) = found.ok_or_else(|| {
                document.wrong("gate", "null, \"relu\", \"silu\" or \"gelu\"", name)
            })?;
            Some(*activation)
        }
    };
    let mlp = if config.bilinear { Mlp::Gated(activation) } else { Mlp::Plain(activation) };
    let usual = Config::bilinear(
        config.n_layer.into(),
        config.n_head.into(),
        config.d_model.into(),
        config.d_hidden.into(),
    );
    let norm = if config.normalization { usual.norm } else { Norm::None };
    Ok(Config { context: config.n_ctx.into(), mlp, mlp_bias: config.bias, norm, ..usual })
}

pub(super) fn parameters(config: &Config, weights: &mut Weights) -> Result<Parameters> {
    let parameters = Parameters::build(config, |layer, part, shape| {
        var(&weights.take(&part.name(layer), shape)?)
    })?;
    check_rotation(config, weights)?;
    Ok(parameters)
}

/// Checkpoints carry the frequencies of their rotary embedding: they must be the ones that are
/// computed here.
fn check_rotation(config: &Config, weights: &mut Weights) -> Result<()> {
    let half = config.d_head() / 2;
    let expected = Rotary::new(BASE).frequencies(config.d_head(), config.context);
    for layer in 0..config.layers {
        let name = format!("transformer.h.{layer}.attn.rotary.inv_freq");
        if weights.shape(&name).is_none() {
            continue;
        }
        let stored: Vec<f64> = weights.take(&name, &[half])?.to_dtype(DType::F64)?.to_vec1()?;
        for (i, (stored, expected)) in stored.iter().zip(&expected).enumerate() {
            // A checkpoint in bfloat16 has three digits.
            if (stored - expected).abs() > 1e-2 * expected {
                let what = format!("{expected} at `{name}`[{i}], for rotary base {BASE}");
                return Err(weights.unusable(&what, &stored.to_string()));
            }
        }
    }
    Ok(())
}

/// What `config.json` says of a model, if it has words for it.
pub(super) fn fields(config: &Config) -> Option<Value> {
    let usual = Config::bilinear(config.layers, config.heads, config.d_model, config.d_hidden);
    let norm = if config.norm == Norm::None { Norm::None } else { usual.norm };
    let Config { context, vocab, mlp, mlp_bias, .. } = *config;
    let (bilinear, activation) = match mlp {
        Mlp::Gated(activation) => (true, activation),
        Mlp::Plain(activation) => (false, activation),
        Mlp::None => return None,
    };
    let gate = match activation {
        None => None,
        Some(activation) => Some(ACTIVATIONS.iter().find(|(_, own)| *own == activation)?.0),
    };
    if (Config { context, vocab, mlp, mlp_bias, norm, ..usual }) != *config {
        return None;
    }
    Some(json!({
        "architectures": ["Transformer"],
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_ctx": config.context,
        "d_model": config.d_model,
        "d_hidden": config.d_hidden,
        "bilinear": bilinear,
        "gate": gate,
        "bias": config.mlp_bias,
        "normalization": config.norm != Norm::None,
    }))
}
