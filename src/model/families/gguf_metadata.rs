//! The metadata of a llama model in a GGUF file, as llama.cpp's converter writes it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Value as Json};

use crate::gguf::{Gguf, Value};
use crate::model::Scaling;
use crate::store::{Document, UnknownFields};

use super::LOADER;

/// Values of an array that are looked at: as many as layers of the largest models, and more.
const MOST_VALUES: usize = 4096;

/// The keys of the architecture.
#[derive(Debug, Deserialize)]
pub(super) struct LlamaMetadata {
    /// Number of layers.
    #[serde(rename = "llama.block_count")]
    pub(super) layers: LayerSize,
    /// Width of the residual stream.
    #[serde(rename = "llama.embedding_length")]
    pub(super) d_model: LayerSize,
    /// Heads per layer.
    #[serde(rename = "llama.attention.head_count")]
    pub(super) heads: LayerSize,
    /// Heads of keys and values: as many as of queries if left out.
    #[serde(rename = "llama.attention.head_count_kv")]
    pub(super) kv_heads: Option<LayerSize>,
    /// Width of a head's keys: that of the stream over the number of heads if left out.
    #[serde(rename = "llama.attention.key_length")]
    pub(super) key_length: Option<LayerSize>,
    /// Width of a head's values, which must be that of its keys.
    #[serde(rename = "llama.attention.value_length")]
    pub(super) value_length: Option<LayerSize>,
    /// Entries of a head that turn, which must be all.
    #[serde(rename = "llama.rope.dimension_count")]
    pub(super) rope_dimensions: Option<LayerSize>,
    /// Width of the MLPs' hidden layer.
    #[serde(rename = "llama.feed_forward_length")]
    pub(super) d_hidden: LayerSize,
    /// Tokens of the longest sequence.
    #[serde(rename = "llama.context_length")]
    pub(super) context: LayerSize,
    /// Number of tokens: the rows of the embedding if left out.
    #[serde(rename = "llama.vocab_size")]
    pub(super) vocab: Option<LayerSize>,
    /// What is added to the mean square in norms.
    #[serde(rename = "llama.attention.layer_norm_rms_epsilon")]
    pub(super) eps: Positive,
    /// The base of the rotary embedding's frequencies, θ: 10000 if left out.
    #[serde(rename = "llama.rope.freq_base")]
    pub(super) rope_base: Option<Positive>,
}

/// The scaling of the rotary embedding's frequencies.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what speaks of training is known, and not used")]
struct ScalingMetadata {
    /// The kind: linear if it is left out and there is a factor.
    #[serde(rename = "llama.rope.scaling.type")]
    kind: Option<GgufScaling>,
    /// What divides frequencies.
    #[serde(rename = "llama.rope.scaling.factor")]
    factor: Option<Positive>,
    /// The same, in older files.
    #[serde(rename = "llama.rope.scale_linear")]
    scale_linear: Option<Positive>,
    /// The context of training before the scaling, in tokens: of kinds that are refused.
    #[serde(rename = "llama.rope.scaling.original_context_length")]
    original_context: Option<Json>,
    /// Whether the model was trained with the scaling.
    #[serde(rename = "llama.rope.scaling.finetuned")]
    finetuned: Option<Json>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum GgufScaling {
    None,
    Linear,
}

/// A size from 1, so small that products of two are sizes too. An array of sizes, one per layer, is
/// one size if they are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerSize(pub(super) usize);

impl<'de> Deserialize<'de> for LayerSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SameSize;
        impl<'de> Visitor<'de> for SameSize {
            type Value = LayerSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, the same in every layer,")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<LayerSize, E> {
                let size = usize::try_from(number).ok().filter(|size| (1..1 << 31).contains(size));
                let size = size.map(LayerSize);
                size.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sizes: A) -> Result<LayerSize, A::Error> {
                let first: Option<LayerSize> = sizes.next_element()?;
                let mut same = true;
                while let Some(size) = sizes.next_element::<LayerSize>()? {
                    same &= Some(size) == first;
                }
                let first = first.filter(|_| same);
                first.ok_or_else(|| A::Error::invalid_value(Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(SameSize)
    }
}

/// A number above zero, with a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Positive(pub(super) f64);

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsPositive;
        impl Visitor<'_> for AsPositive {
            type Value = Positive;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a positive number")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Positive, E> {
                match number > 0. && number.is_finite() {
                    true => Ok(Positive(number)),
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(AsPositive)
    }
}

/// The keys that begin with `llama.`, to be read as types.
pub(super) fn document(gguf: &Gguf) -> Document {
    let keys = gguf.metadata().filter(|(key, _)| key.starts_with("llama."));
    let fields: Map<String, Json> =
        keys.map(|(key, value)| (key.to_owned(), json(value))).collect();
    Document::new(gguf.path(), fields)
}

/// The value as JSON has it. Where JSON has none, it is the value in words, which is not what any
/// field expects.
fn json(value: &Value) -> Json {
    match value {
        Value::Bool(truth) => Json::from(*truth),
        Value::String(text) => Json::from(text.as_str()),
        Value::Array(array) if array.len() <= MOST_VALUES => {
            array.values().map(|value| json(&value)).collect()
        }
        Value::I8(number) => Json::from(*number),
        Value::I16(number) => Json::from(*number),
        Value::I32(number) => Json::from(*number),
        Value::I64(number) => Json::from(*number),
        other => match (other.as_u64(), other.as_f64().filter(|number| number.is_finite())) {
            (Some(number), _) => Json::from(number),
            (None, Some(number)) => Json::from(number),
            (None, None) => Json::from(other.to_string()),
        },
    }
}

/// The scaling that the metadata says.
pub(super) fn scaling(document: &mut Document) -> crate::Result<Scaling> {
    let fields: ScalingMetadata = document.read()?;
    let factor = fields.factor.or(fields.scale_linear).map(|Positive(factor)| factor);
    match (fields.kind, factor) {
        (Some(GgufScaling::None), _) | (None, None | Some(1.)) => Ok(Scaling::None),
        (None | Some(GgufScaling::Linear), Some(factor)) => Ok(Scaling::Linear { factor }),
        (Some(GgufScaling::Linear), None) => {
            let expected = "`none`, or `linear` with a factor,";
            Err(document.wrong("llama.rope.scaling.type", expected, "linear"))
        }
    }
}

/// The keys that nothing here knows, if the user allows them, as `key: value`. Zero means that there
/// is no such thing.
///
/// # Errors
/// All of them in one error, if they are not allowed.
pub(super) fn ignored(
    document: Document,
    gguf: &Gguf,
    unknown: UnknownFields,
) -> crate::Result<Vec<String>> {
    let harmless = |key: &str| {
        let zero = gguf.get(key).and_then(Value::as_u64) == Some(0);
        // What interleaving the weights of the first releases had; files are alike.
        zero || key == "llama.tensor_data_layout"
    };
    document.finish(harmless, unknown, LOADER)
}
