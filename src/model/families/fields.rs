//! The fields of a `config.json`, each to be asked for once.

use std::path::Path;

use serde_json::{Map, Value};

use super::Family;
use super::foreign::UNQUANTISED;
use super::inert::changes_nothing;
use crate::model::{Activation, Rotary, Scaling};
use crate::store::{UnknownFields, is_off, parse_json, unknown_fields};
use crate::{Error, Result};

/// Names under which files give the longest sequence beside the family's own. They count only where
/// that is left out, because no formula has them.
const CONTEXT: [&str; 7] = [
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_sequence_length",
    "max_seq_len",
    "model_max_length",
    "seq_length",
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

    /// What was not asked for and could change what the model computes, as `name: value`.
    ///
    /// # Errors
    /// All of it in one error, if it is not allowed.
    pub(super) fn finish(mut self, family: Family, unknown: UnknownFields) -> Result<Vec<String>> {
        self.fields.retain(|name, _| !changes_nothing(family, name));
        let left = unknown_fields(self.path, "", &self.fields, &[], UnknownFields::Allow)?;
        if left.is_empty() || unknown == UnknownFields::Allow {
            return Ok(left);
        }
        let named = left.iter().map(|field| match field.split_once(": ") {
            Some((name, value)) => format!("`{name}`: {value}"),
            None => field.clone(),
        });
        let found = format!("also {}", named.collect::<Vec<_>>().join(", "));
        let expected = "only fields whose meaning is known here, because others may change numbers \
                        (`DecoderLoader::new().allow_unknown_fields().load(…)` goes on without them)";
        Err(self.unusable(expected, &found))
    }

    /// Fails if the weights are quantised in a way that is not read here.
    pub(super) fn check_precision(&mut self) -> Result<()> {
        for name in ["quantization_config", "compression_config"] {
            let Some(settings) = self.take(name).filter(|value| !is_off(name, value)) else {
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
            return Err(self.unusable("weights in f32, f16 or bf16", &found));
        }
        Ok(())
    }

    /// Notes on what the file says that is true, but not followed here.
    pub(super) fn notes(&self) -> Vec<String> {
        let code = self.peek("auto_map").and_then(Value::as_object);
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

    /// A size that must be there under one of two names, and the same where it is under both.
    pub(super) fn size_of(&mut self, [name, other]: [&str; 2]) -> Result<usize> {
        match (self.optional_size(name)?, self.optional_size(other)?) {
            (Some(size), Some(second)) if size != second => {
                let expected = format!("the same in `{name}` and `{other}`");
                Err(self.unusable(&expected, &format!("{size} and {second}")))
            }
            (Some(size), _) | (None, Some(size)) => Ok(size),
            (None, None) => {
                Err(self.unusable(&format!("the field `{name}`, a size"), "no such field"))
            }
        }
    }

    /// The longest sequence: `name`, else one of the other names that files have for it.
    pub(super) fn context(&mut self, name: &str, default: usize) -> Result<usize> {
        let own = self.optional_size(name)?;
        let others = CONTEXT.iter().filter_map(|other| self.fields.remove(*other));
        let sizes: Vec<u64> = others.filter_map(|value| value.as_u64()).collect();
        let other = sizes.into_iter().find(|size| *size > 0);
        Ok(own.or(other.and_then(|size| usize::try_from(size).ok())).unwrap_or(default))
    }

    fn as_size(&self, name: &str, value: &Value) -> Result<usize> {
        // Some programs write 4.0 for 4.
        let whole = value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..1e15).contains(x));
        let size = value.as_u64().or(whole.map(|x| x as u64));
        let size = size.and_then(|size| usize::try_from(size).ok());
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
        let (mut settings, mut place) = (Map::new(), "rope_scaling");
        for name in ["rope_scaling", "rope_parameters"] {
            match self.take(name) {
                None => {}
                Some(off) if is_off(name, &off) => {}
                Some(Value::Object(own)) if settings.is_empty() || settings == own => {
                    (settings, place) = (own, name);
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
        let Fields { fields: left, .. } = inner;
        // What is unknown is told with the other unknown fields.
        self.fields
            .extend(left.into_iter().map(|(name, value)| (format!("{place}.{name}"), value)));
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
            Some("default") => {
                self.take("original_max_position_embeddings");
                Ok(Scaling::None)
            }
            // It changes the frequencies of longer texts than the context, which are refused.
            Some("dynamic") => {
                self.take("factor");
                Ok(Scaling::None)
            }
            Some("linear") => {
                self.take("original_max_position_embeddings");
                Ok(Scaling::Linear { factor: self.number("factor")? })
            }
            Some("llama3") => Ok(Scaling::Llama3 {
                factor: self.number("factor")?,
                low: self.number("low_freq_factor")?,
                high: self.number("high_freq_factor")?,
                original: self.number("original_max_position_embeddings")?,
            }),
            _ => {
                let expected = "default, linear, dynamic or llama3 as the type of rotary embedding";
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
