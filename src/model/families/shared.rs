//! Fields of `config.json` that several families have.

use serde::Deserialize;
use serde_json::Value;

use super::foreign::UNQUANTISED;
use crate::model::Activation;
use crate::store::{Document, Size, is_off};
use crate::{Error, Result};

/// The width of a head, if heads do not share out the width of the stream.
pub(super) fn unusual_head(d_head: usize, heads: usize, d_model: usize) -> Option<usize> {
    (d_head.checked_mul(heads) != Some(d_model)).then_some(d_head)
}

/// How weights are quantised. Only weights that are not are read.
#[derive(Debug, Deserialize)]
struct QuantizationConfig {
    quantization_config: Option<Value>,
    compression_config: Option<Value>,
}

/// Fails if the weights are quantised in a way that is not read here.
pub(super) fn check_precision(document: &mut Document) -> Result<()> {
    let config: QuantizationConfig = document.read()?;
    for (name, settings) in [
        ("quantization_config", config.quantization_config),
        ("compression_config", config.compression_config),
    ] {
        let Some(settings) = settings.filter(|value| !is_off(name, value)) else {
            continue;
        };
        let method = ["quant_method", "quant_type", "format"]
            .iter()
            .find_map(|name| settings.get(name)?.as_str().map(str::to_owned))
            .or_else(|| {
                let ways = ["load_in_8bit", "load_in_4bit"].into_iter();
                let mut ways = ways.filter(|way| settings.get(way) == Some(&Value::Bool(true)));
                Some(format!("bitsandbytes, {}", ways.next()?.trim_start_matches("load_in_")))
            });
        let bits = ["bits", "w_bit", "num_bits"]
            .iter()
            .find_map(|name| settings.get(name)?.as_u64())
            .map_or(String::new(), |bits| format!(", {bits} bits"));
        let method = method.unwrap_or_else(|| "a method it does not name".to_owned());
        let found = format!("`{name}`: {method}{bits}. {UNQUANTISED}");
        return Err(Error::format(document.path(), "weights in f32, f16 or bf16", found));
    }
    Ok(())
}

/// Notes on what the file says that is true, but not followed here.
pub(super) fn notes(document: &Document) -> Vec<String> {
    let code = document.get("auto_map").and_then(Value::as_object);
    let model = code.and_then(|code| {
        code.iter().find(|(name, _)| name.starts_with("AutoModel") || *name == "AutoConfig")
    });
    let note = |(name, value): (&String, &Value)| {
        format!(
            "config.json names Python code of its own ({name}: {value}), which is not run: the \
             model is read as its model_type says"
        )
    };
    model.map(note).into_iter().collect()
}

/// A size that files have under either of two names.
///
/// # Errors
/// Two sizes, or none.
pub(super) fn size_of_two_names(
    document: &Document,
    (name, size): (&str, Option<Size>),
    (other_name, other): (&str, Option<Size>),
) -> Result<usize> {
    let (size, other) = (size.map(usize::from), other.map(usize::from));
    let size = document.agreed((name, size), (other_name, other))?;
    size.ok_or_else(|| document.missing(name, "a size"))
}

/// Names under which files give the longest sequence beside the family's. They count only where that
/// is left out, because no formula has them.
#[derive(Debug, Deserialize)]
struct ContextNames {
    max_position_embeddings: Option<Value>,
    n_positions: Option<Value>,
    n_ctx: Option<Value>,
    max_sequence_length: Option<Value>,
    max_seq_len: Option<Value>,
    model_max_length: Option<Value>,
    seq_length: Option<Value>,
}

/// The longest sequence in tokens: under the family's name, else under one of the other names that
/// files have for it, else `default`.
pub(super) fn context(
    document: &mut Document,
    family: Option<Size>,
    default: usize,
) -> Result<usize> {
    let names: ContextNames = document.read()?;
    let others = [
        names.max_position_embeddings,
        names.n_positions,
        names.n_ctx,
        names.max_sequence_length,
        names.max_seq_len,
        names.model_max_length,
        names.seq_length,
    ];
    let mut sizes = others.into_iter().flatten().filter_map(|value| value.as_u64());
    let other = sizes.find(|size| *size > 0).and_then(|size| usize::try_from(size).ok());
    Ok(family.map(usize::from).or(other).unwrap_or(default))
}

/// Activations under Hugging Face's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HiddenActivation {
    Relu,
    #[serde(alias = "swish")]
    Silu,
    #[serde(alias = "gelu_python")]
    Gelu,
    #[serde(
        rename = "gelu_new",
        alias = "gelu_pytorch_tanh",
        alias = "gelu_fast",
        alias = "gelu_accurate"
    )]
    GeluTanh,
}

impl HiddenActivation {
    /// The name of an activation in files, if it has one.
    pub(super) fn name(activation: Activation) -> Option<&'static str> {
        match activation {
            Activation::Relu => Some("relu"),
            Activation::Silu => Some("silu"),
            Activation::Gelu => Some("gelu"),
            Activation::GeluTanh => Some("gelu_new"),
            Activation::Solu => None,
        }
    }
}

impl From<HiddenActivation> for Activation {
    fn from(activation: HiddenActivation) -> Self {
        match activation {
            HiddenActivation::Relu => Self::Relu,
            HiddenActivation::Silu => Self::Silu,
            HiddenActivation::Gelu => Self::Gelu,
            HiddenActivation::GeluTanh => Self::GeluTanh,
        }
    }
}

/// What the attention of each layer sees, as transformers has it since version 4.50.
#[derive(Debug, Deserialize)]
struct LayerTypes {
    layer_types: Option<Vec<AttentionType>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AttentionType {
    FullAttention,
    SlidingAttention,
}

/// Layers up to which lists of them are made.
const MOST_LAYERS: usize = 1 << 16;

/// Fails for a number of layers that no model has.
pub(super) fn check_layers(document: &Document, layers: usize) -> Result<()> {
    match layers <= MOST_LAYERS {
        true => Ok(()),
        false => {
            let expected = format!("a size up to {MOST_LAYERS}");
            Err(document.wrong("num_hidden_layers", &expected, layers))
        }
    }
}

/// The window of each layer: `window` where `layer_types` says so, or else where `slides` does if
/// there is one. Empty where no layer has one.
pub(super) fn windows(
    document: &mut Document,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    fixed_windows(document, layers, window, |layer| window.is_some() && slides(layer))
}

/// [`windows`] of a family in which layers slide whether there is a window or not, so that there must
/// be one.
pub(super) fn fixed_windows(
    document: &mut Document,
    layers: usize,
    window: Option<usize>,
    slides: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>> {
    check_layers(document, layers)?;
    let LayerTypes { layer_types } = document.read()?;
    let sliding: Vec<bool> = match layer_types {
        None => (0..layers).map(slides).collect(),
        Some(types) if types.len() == layers => {
            types.into_iter().map(|kind| kind == AttentionType::SlidingAttention).collect()
        }
        Some(types) => {
            let expected = format!(
                "full_attention or sliding_attention for each of {layers} layers in `{}`",
                document.named("layer_types")
            );
            let found = format!("{} of them", types.len());
            return Err(Error::format(document.path(), expected, found));
        }
    };
    if !sliding.contains(&true) {
        return Ok(Vec::new());
    }
    if window.is_none() {
        let name = document.named("sliding_window");
        let expected = format!("a window in `{name}` for the layers whose attention slides");
        return Err(Error::format(document.path(), expected, "none"));
    }
    Ok(sliding.into_iter().map(|slides| window.filter(|_| slides)).collect())
}

/// A number that must be positive, `default` where the field `name` is left out.
pub(super) fn positive(
    document: &Document,
    name: &str,
    number: Option<f64>,
    default: f64,
) -> Result<f64> {
    match number.unwrap_or(default) {
        number if number > 0. && number.is_finite() => Ok(number),
        number => Err(document.wrong(name, "a positive number", number)),
    }
}
