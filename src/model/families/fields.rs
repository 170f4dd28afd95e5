//! The fields of a `config.json`, each to be asked for once.

use std::path::Path;

use serde_json::{Map, Value};

use crate::model::{Activation, Rotary, Scaling};
use crate::store::parse_json;
use crate::{Error, Result};

/// Fields that do not change what a model computes for its tokens: names, training, tokens with a
/// meaning, generation, and what other programs note.
const HARMLESS: [&str; 81] = [
    "_attn_implementation_autoset",
    "_name_or_path",
    "_num_labels",
    "architectures",
    "attention_dropout",
    "attn_implementation",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "bos_token_id",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "eos_token_id",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "model_type",
    "n_special",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "pad_token_id",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "repo",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "vocab_size_note",
];

/// Fields that change nothing as long as they say this, or nothing.
const UNUSED: [(&str, Value); 7] = [
    ("add_cross_attention", Value::Bool(false)),
    ("is_encoder_decoder", Value::Bool(false)),
    ("rope_interleaved", Value::Bool(false)),
    ("scale_attn_by_inverse_layer_idx", Value::Bool(false)),
    ("tie_encoder_decoder", Value::Bool(false)),
    ("use_bidirectional_attention", Value::Bool(false)),
    ("use_mrope", Value::Bool(false)),
];

/// The fields that were not asked for yet.
pub(super) struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl<'a> Fields<'a> {
    pub(super) fn read(path: &'a Path, text: &[u8]) -> Result<Self> {
        match parse_json(path, text, "a JSON object")? {
            Value::Object(fields) => Ok(Self { path, fields }),
            _ => Err(Error::format(path, "a JSON object", "other JSON")),
        }
    }

    /// Fails if anything was not asked for that could change what the model computes.
    pub(super) fn finish(mut self) -> Result<()> {
        for name in HARMLESS {
            self.fields.remove(name);
        }
        for (name, value) in UNUSED {
            let same = |found: &Value| found.is_null() || *found == value;
            if self.fields.get(name).is_some_and(same) {
                self.fields.remove(name);
            }
        }
        match self.fields.iter().next() {
            Some((name, value)) => {
                let expected = "only fields whose meaning is known here";
                Err(self.unusable(expected, &format!("also `{name}`: {value}")))
            }
            None => Ok(()),
        }
    }

    /// An error that names the file.
    pub(super) fn unusable(&self, expected: &str, found: &str) -> Error {
        Error::format(self.path, expected, found)
    }

    /// A field, without taking it.
    pub(super) fn peek(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// A field, if it is there; it may be null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.fields.remove(name)
    }

    /// A field that must be there.
    pub(super) fn need(&mut self, name: &str, expected: &str) -> Result<Value> {
        let found = self.take(name);
        found.ok_or_else(|| {
            self.unusable(&format!("the field `{name}`, {expected}"), "no such field")
        })
    }

    /// A size that must be there.
    pub(super) fn size(&mut self, name: &str) -> Result<usize> {
        let value = self.need(name, "a size")?;
        self.as_size(name, &value)
    }

    /// A size, or `None` for null or nothing.
    pub(super) fn optional_size(&mut self, name: &str) -> Result<Option<usize>> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => self.as_size(name, &value).map(Some),
        }
    }

    /// A size, or the one that this family of files leaves out.
    pub(super) fn size_or(&mut self, name: &str, default: usize) -> Result<usize> {
        Ok(self.optional_size(name)?.unwrap_or(default))
    }

    fn as_size(&self, name: &str, value: &Value) -> Result<usize> {
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.unusable(&format!("a size in `{name}`"), &value.to_string()))
    }

    /// True or false, which must be there.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        let value = self.need(name, "true or false")?;
        self.as_flag(name, &value)
    }

    /// True or false, or the one that this family of files leaves out.
    pub(super) fn flag_or(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => self.as_flag(name, &value),
        }
    }

    fn as_flag(&self, name: &str, value: &Value) -> Result<bool> {
        let flag = value.as_bool();
        flag.ok_or_else(|| self.unusable(&format!("true or false in `{name}`"), &value.to_string()))
    }

    /// A number, or `None` for null or nothing.
    pub(super) fn optional_number(&mut self, name: &str) -> Result<Option<f64>> {
        match self.take(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value.as_f64();
                let error = || self.unusable(&format!("a number in `{name}`"), &value.to_string());
                number.map(Some).ok_or_else(error)
            }
        }
    }

    /// A number, or the one that this family of files leaves out.
    pub(super) fn number_or(&mut self, name: &str, default: f64) -> Result<f64> {
        Ok(self.optional_number(name)?.unwrap_or(default))
    }

    /// An activation, under Hugging Face's names.
    pub(super) fn activation(&mut self, name: &str, default: &str) -> Result<Activation> {
        let value = self.take(name).filter(|value| !value.is_null());
        let text = value.unwrap_or_else(|| Value::from(default));
        match text.as_str() {
            Some("relu") => Ok(Activation::Relu),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu" | "gelu_python") => Ok(Activation::Gelu),
            Some("gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate") => {
                Ok(Activation::GeluTanh)
            }
            _ => {
                let expected =
                    format!("relu, silu, gelu, gelu_new or gelu_pytorch_tanh in `{name}`");
                Err(self.unusable(&expected, &text.to_string()))
            }
        }
    }

    /// Rotary embedding of heads of width `d_head`: `rope_parameters` as transformers 5 writes it,
    /// or the fields of earlier files, whose names for base and share of a head are `base` and
    /// `share`.
    pub(super) fn rotary(
        &mut self,
        d_head: usize,
        [base, share]: [&str; 2],
        default_share: f64,
    ) -> Result<Rotary> {
        let mut settings = Map::new();
        for name in ["rope_scaling", "rope_parameters"] {
            match self.take(name) {
                None | Some(Value::Null) => {}
                Some(Value::Object(own)) if settings.is_empty() || settings == own => {
                    settings = own
                }
                Some(Value::Object(_)) => {
                    let expected = "the same in `rope_scaling` and `rope_parameters`";
                    return Err(self.unusable(expected, "two settings"));
                }
                Some(other) => {
                    let expected = format!("an object in `{name}`");
                    return Err(self.unusable(&expected, &other.to_string()));
                }
            }
        }
        let mut inner = Fields { path: self.path, fields: settings };
        // Some files say the same thing two or three times.
        let mut one = |older: &str, name: &str, default: f64| -> Result<f64> {
            let all = [
                self.optional_number(older)?,
                self.optional_number(name)?,
                inner.optional_number(name)?,
            ];
            let mut said = all.into_iter().flatten();
            let first = said.next().unwrap_or(default);
            match said.find(|value| *value != first) {
                Some(other) => {
                    let found = format!("{first} and {other}");
                    Err(inner.unusable(&format!("one value of `{name}`"), &found))
                }
                None => Ok(first),
            }
        };
        let base = one(base, "rope_theta", 10_000.)?;
        let share = one(share, "partial_rotary_factor", default_share)?;
        let scaling = inner.scaling()?;
        if let Some((name, value)) = inner.fields.iter().next() {
            let expected = "only settings of rotary embedding whose meaning is known here";
            return Err(self.unusable(expected, &format!("also `{name}`: {value}")));
        }
        if !(share > 0. && share <= 1.) {
            let expected = "a share of a head between 0 and 1 for rotary embedding";
            return Err(self.unusable(expected, &share.to_string()));
        }
        let dims = (d_head as f64 * share) as usize;
        Ok(Rotary { dims: (dims != d_head).then_some(dims), base, scaling })
    }

    /// The scaling among settings of rotary embedding.
    fn scaling(&mut self) -> Result<Scaling> {
        let names = [self.take("rope_type"), self.take("type")];
        let kind = names.into_iter().flatten().find(|kind| !kind.is_null());
        let kind = kind.unwrap_or_else(|| Value::from("default"));
        match kind.as_str() {
            Some("default") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear { factor: self.number("factor")? }),
            Some("llama3") => Ok(Scaling::Llama3 {
                factor: self.number("factor")?,
                low: self.number("low_freq_factor")?,
                high: self.number("high_freq_factor")?,
                original: self.number("original_max_position_embeddings")?,
            }),
            _ => {
                let expected = "default, linear or llama3 as the type of rotary embedding";
                Err(self.unusable(expected, &kind.to_string()))
            }
        }
    }

    fn number(&mut self, name: &str) -> Result<f64> {
        let found = self.optional_number(name)?;
        found.ok_or_else(|| {
            self.unusable(&format!("the number `{name}` of rotary embedding"), "no such field")
        })
    }

    /// The window of each layer: `window` where `layer_types` says so, or else where `slides` does.
    /// Empty where no layer has one.
    pub(super) fn windows(
        &mut self,
        layers: usize,
        window: Option<usize>,
        slides: impl Fn(usize) -> bool,
    ) -> Result<Vec<Option<usize>>> {
        let types = self.take("layer_types").filter(|types| !types.is_null());
        let sliding: Vec<bool> = match &types {
            None => (0..layers).map(|layer| window.is_some() && slides(layer)).collect(),
            Some(types) => {
                let kinds = types.as_array().filter(|kinds| kinds.len() == layers);
                let kind = |kind: &Value| match kind.as_str() {
                    Some("full_attention") => Some(false),
                    Some("sliding_attention") => Some(true),
                    _ => None,
                };
                let kinds = kinds.and_then(|kinds| kinds.iter().map(kind).collect());
                kinds.ok_or_else(|| {
                    let expected = format!(
                        "full_attention or sliding_attention for each of {layers} layers in \
                         `layer_types`"
                    );
                    self.unusable(&expected, &types.to_string())
                })?
            }
        };
        if !sliding.contains(&true) {
            return Ok(Vec::new());
        }
        if window.is_none() {
            let expected = "a window for the layers whose attention slides";
            return Err(self.unusable(expected, "none"));
        }
        Ok(sliding.into_iter().map(|slides| window.filter(|_| slides)).collect())
    }
}
