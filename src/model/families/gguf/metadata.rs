//! The metadata of a model in a GGUF file, as llama.cpp's converter writes it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde_json::{Map, Value as Json};

use crate::gguf::{Gguf, Value};
use crate::store::{Document, UnknownFields};

use super::super::super::Config;
use super::super::LOADER;
use super::super::shared::unusual_head;

/// Values of an array that are looked at: as many as layers of the largest models, and more.
const MOST_VALUES: usize = 4096;

/// Sizes, under keys that all architectures have.
#[derive(Debug, Deserialize)]
struct SizeKeys {
    /// Number of layers.
    #[serde(rename = "block_count")]
    layers: LayerSize,
    /// Width of the residual stream.
    #[serde(rename = "embedding_length")]
    d_model: LayerSize,
    /// Heads per layer.
    #[serde(rename = "attention.head_count")]
    heads: LayerSize,
    /// Heads of keys and values: as many as of queries if left out.
    #[serde(rename = "attention.head_count_kv")]
    kv_heads: Option<LayerSize>,
    /// Width of a head's keys: that of the stream over the number of heads if left out.
    #[serde(rename = "attention.key_length")]
    key_length: Option<LayerSize>,
    /// Width of a head's values, which must be that of its keys.
    #[serde(rename = "attention.value_length")]
    value_length: Option<LayerSize>,
    /// Width of the MLPs' hidden layer.
    #[serde(rename = "feed_forward_length")]
    d_hidden: LayerSize,
    /// Tokens of the longest sequence.
    #[serde(rename = "context_length")]
    context: LayerSize,
    /// Number of tokens: the rows of the embedding if left out.
    #[serde(rename = "vocab_size")]
    vocab: Option<LayerSize>,
    /// Whether a position sees none after it: true if left out.
    #[serde(rename = "attention.causal")]
    causal: Option<bool>,
}

/// What is added to the mean square in norms.
#[derive(Debug, Deserialize)]
struct RmsKeys {
    #[serde(rename = "attention.layer_norm_rms_epsilon")]
    eps: Positive,
}

/// The sizes of a model.
#[derive(Debug)]
pub(super) struct GgufSizes {
    pub(super) layers: usize,
    pub(super) d_model: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) d_head: usize,
    pub(super) d_hidden: usize,
    pub(super) context: usize,
    pub(super) vocab: usize,
    /// Whether the unembedding is the embedding: a file that ties them has no other.
    pub(super) tied: bool,
}

impl GgufSizes {
    pub(super) fn read(document: &mut Document, gguf: &Gguf) -> crate::Result<Self> {
        let keys: SizeKeys = document.read()?;
        if keys.causal == Some(false) {
            let expected = "true, or no such field: every position sees those up to its own,";
            return Err(document.wrong("attention.causal", expected, false));
        }
        let LayerSize(layers) = keys.layers;
        if layers > gguf.tensors().len() {
            let found = format!("{layers}, with {} tensors", gguf.tensors().len());
            return Err(document.wrong("block_count", "a number of layers with tensors", found));
        }
        let (LayerSize(d_model), LayerSize(heads)) = (keys.d_model, keys.heads);
        let size = |key: Option<LayerSize>, default| key.map_or(default, |LayerSize(size)| size);
        let d_head = size(keys.key_length, d_model / heads);
        let d_value = size(keys.value_length, d_head);
        if d_value != d_head {
            let expected = format!("{d_head}, the width of a head's keys,");
            return Err(document.wrong("attention.value_length", &expected, d_value));
        }
        let Some(embedding) = gguf.info("token_embd.weight") else {
            return Err(gguf.wrong("`token_embd.weight`, the embedding", "no such tensor"));
        };
        let vocab = embedding.shape().first().copied().unwrap_or_default();
        let stated = size(keys.vocab, vocab);
        if stated != vocab {
            let expected = format!("{vocab}, the rows of `token_embd.weight`,");
            return Err(document.wrong("vocab_size", &expected, stated));
        }
        let (LayerSize(d_hidden), LayerSize(context)) = (keys.d_hidden, keys.context);
        let kv_heads = size(keys.kv_heads, heads);
        let tied = gguf.info("output.weight").is_none();
        Ok(Self { layers, d_model, heads, kv_heads, d_head, d_hidden, context, vocab, tied })
    }

    /// The config `family`, which has some of these sizes, with the others.
    pub(super) fn in_config(&self, family: Config) -> Config {
        Config {
            kv_heads: (self.kv_heads != self.heads).then_some(self.kv_heads),
            d_head: unusual_head(self.d_head, self.heads, self.d_model),
            context: self.context,
            vocab: self.vocab,
            tied: self.tied,
            ..family
        }
    }
}

/// The epsilon of RMS norms.
pub(super) fn rms_eps(document: &mut Document) -> crate::Result<f64> {
    let RmsKeys { eps: Positive(eps) } = document.read()?;
    Ok(eps)
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

/// The keys that begin with the name of the architecture, in an object of that name.
pub(super) fn outer(gguf: &Gguf, architecture: &str) -> Document {
    let own = |key: &str| Some(key.strip_prefix(architecture)?.strip_prefix('.')?.to_owned());
    let keys = gguf.metadata().filter_map(|(key, value)| Some((own(key)?, json(value))));
    let keys: Map<String, Json> = keys.collect();
    let all = std::iter::once((architecture.to_owned(), Json::Object(keys)));
    Document::new(gguf.path(), all.collect())
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
        zero || key.ends_with(".tensor_data_layout")
    };
    document.finish(harmless, unknown, LOADER)
}
