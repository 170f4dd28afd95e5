//! How the activations that an autoencoder was trained on were made.

use std::collections::BTreeMap;
use std::fmt;

use candle_core::DType;
use serde_json::{Map, Value};

use crate::model::{Decoder, KnownModel};
use crate::provenance::Source;
use crate::store::named_dtype;

/// TransformerLens's name for taking the mean off what writes to the residual stream.
pub(super) const CENTRED: &str = "center_writing_weights";

/// TransformerLens's name for multiplying the gains of norms into the weights behind them.
pub(super) const FOLDED_NORMS: &str = "fold_ln";

/// TransformerLens's name for adding what biases of values write to the biases of outputs.
pub(super) const FOLDED_VALUE_BIASES: &str = "fold_value_biases";

/// The names of the options that choose a revision: transformers', and TransformerLens's for a step.
pub(super) const REVISION: &str = "revision";
pub(super) const CHECKPOINT: &str = "checkpoint_value";

/// The name of [`TrainingRecord::tuned_lens`] in a file.
pub(super) const TUNED_LENS: &str = "tuned_lens";

/// The name of [`TrainingRecord::reads`] in a file.
const READS: &str = "reads";

/// What an autoencoder's files record about the activations it was trained on.
///
/// None of it changes what the autoencoder computes, but activations that are made otherwise lie
/// outside of what it knows. `None` means that no file says it. [`Sae::save`](super::Sae::save)
/// writes it and loading reads it back; [`Sae::check_model`](super::Sae::check_model) compares it
/// with a model.
///
/// ```
/// use eigenlens::sae::TrainingRecord;
/// let record =
///     TrainingRecord { prepend_bos: Some(true), context_size: Some(64), ..Default::default() };
/// assert_eq!(record.to_string(), "contexts of 64 tokens that begin with a BOS token");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrainingRecord {
    /// Whether each context began with a beginning-of-sequence token.
    pub prepend_bos: Option<bool>,
    /// Tokens per context.
    pub context_size: Option<usize>,
    /// The positions of each context whose activations were used.
    pub positions: Option<PositionSlice>,
    /// The only attention head whose activations were used.
    pub head: Option<usize>,
    /// The layers whose activations were used, of an autoencoder for several.
    pub layers: Option<Vec<usize>>,
    /// Whether a [tuned lens](crate::model::TunedLens) mapped the activations first: the autoencoder
    /// reads what the lens makes of the stream, and not the stream itself.
    pub tuned_lens: bool,
    /// What it reads, where that is not the activation at its place, but made of it: such as "the
    /// nonlinear part of the error".
    pub reads: Option<String>,
    /// Tokens whose activations were left out.
    pub excluded_tokens: Option<ExcludedTokens>,
    /// The floating point type of the training, as the files call it.
    pub dtype: Option<String>,
    /// How the model was loaded: SAELens's `model_from_pretrained_kwargs`, such as
    /// `center_writing_weights`, with each value as JSON.
    pub model_options: BTreeMap<String, String>,
    /// The data set of the texts, as the files call it.
    pub dataset: Option<String>,
}

/// Positions of a context, as Python's `slice(start, stop, step)` chooses them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PositionSlice {
    /// The first position; a negative number counts from the end.
    pub start: Option<i64>,
    /// The position after the last one; a negative number counts from the end.
    pub stop: Option<i64>,
    /// The distance of neighbours.
    pub step: Option<i64>,
}

/// Tokens whose activations were not used in training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExcludedTokens {
    /// All special tokens of the tokenizer.
    Special,
    /// The tokens of these ids.
    Ids(Vec<u32>),
}

impl TrainingRecord {
    /// What is true of a fit on contexts of `length` tokens, by a model in `dtype`. `prepend_bos` is
    /// false of windows from anywhere in a text, which begin with whatever token they begin with.
    pub(crate) fn of_fit(
        dtype: DType,
        length: usize,
        skipped: &[u32],
        prepend_bos: Option<bool>,
    ) -> Self {
        let dtype = match dtype {
            DType::F16 => "float16",
            DType::BF16 => "bfloat16",
            DType::F64 => "float64",
            _ => "float32",
        };
        Self {
            prepend_bos,
            context_size: Some(length),
            excluded_tokens: (!skipped.is_empty()).then(|| ExcludedTokens::Ids(skipped.to_vec())),
            dtype: Some(dtype.to_owned()),
            ..Self::default()
        }
    }

    /// Adds the fields that SAELens has for this to its `metadata`.
    pub(super) fn write(&self, metadata: &mut Map<String, Value>) {
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                metadata.insert(name.to_owned(), value);
            }
        };
        put("prepend_bos", self.prepend_bos.map(Value::from));
        put("context_size", self.context_size.map(Value::from));
        put(
            "seqpos_slice",
            self.positions.map(|PositionSlice { start, stop, step }| {
                Value::from(vec![Value::from(start), Value::from(stop), Value::from(step)])
            }),
        );
        put("hook_head_index", Some(Value::from(self.head)));
        put("hook_layers", self.layers.clone().map(Value::from));
        put(TUNED_LENS, self.tuned_lens.then(|| Value::from(true)));
        put(READS, self.reads.clone().map(Value::from));
        put(
            "exclude_special_tokens",
            self.excluded_tokens.as_ref().map(|excluded| match excluded {
                ExcludedTokens::Special => Value::from(true),
                ExcludedTokens::Ids(ids) => Value::from(ids.clone()),
            }),
        );
        put("dataset_path", self.dataset.clone().map(Value::from));
        put("training_dtype", Some(Value::from(self.dtype.clone())));
        let options = self.model_options.iter().map(|(name, value)| {
            let value = serde_json::from_str(value);
            (name.clone(), value.unwrap_or_else(|_| Value::from(self.model_options[name].as_str())))
        });
        let options: Map<String, Value> = options.collect();
        put(
            "model_from_pretrained_kwargs",
            (!options.is_empty()).then_some(Value::Object(options)),
        );
    }

    /// How the activations of training differ from those of a model as it is published.
    pub(super) fn processing(&self) -> Vec<String> {
        let mut differences = self.reading();
        if self.is_on(CENTRED) {
            differences.push(
                "its model's weights that write to the residual stream were centred \
                 (center_writing_weights): where the model has LayerNorms, it expects resid, \
                 attn_out and mlp_out less their mean over the dimensions; \
                 Decoder::centred_writing makes such a model, or Sae::with_centred_inputs takes it off"
                    .to_owned(),
            );
        }
        if self.is_on(FOLDED_NORMS) {
            differences.push(
                "its model's norms were folded into the next weights (fold_ln): what it expects \
                 after a norm is the norm's result before gain and bias"
                    .to_owned(),
            );
        }
        if self.is_on(FOLDED_VALUE_BIASES) {
            differences.push(
                "its model's value biases were folded (fold_value_biases): it expects z without them"
                    .to_owned(),
            );
        }
        differences
    }

    /// What it reads in place of the activation at its hook point.
    pub(super) fn reading(&self) -> Vec<String> {
        let lens = self.tuned_lens.then(|| {
            "it expects what a tuned lens makes of the residual stream, and makes that again: \
             multilayer::Mlsae::from_pretrained puts the lens before it and its inverse after \
             it, and TunedLens::transform makes such rows"
                .to_owned()
        });
        let reads = self.reads.as_ref();
        let reads = reads.map(|reads| format!("it reads {reads}, not the activation"));
        lens.into_iter().chain(reads).collect()
    }

    /// Whether the model was loaded with the option `name`, a truth value.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.model_options.get(name).is_some_and(|value| value == "true")
    }

    /// The floating point type of the model that the options name, if it is known here.
    pub(super) fn model_dtype(&self) -> Option<DType> {
        ["torch_dtype", "dtype"].into_iter().find_map(|name| {
            let value: Value = serde_json::from_str(self.model_options.get(name)?).ok()?;
            named_dtype(value.as_str()?)
        })
    }

    /// The revision of the repository of `model` that the options name: as it is, or by the step of a
    /// checkpoint as TransformerLens finds it.
    pub(super) fn revision(&self, model: &str) -> Option<String> {
        let value = |name: &str| -> Option<Value> {
            serde_json::from_str(self.model_options.get(name)?).ok()
        };
        if let Some(revision) = value(REVISION) {
            return revision.as_str().map(ToOwned::to_owned);
        }
        let step = value(CHECKPOINT)?.as_u64()?;
        let known = KnownModel::find(model);
        match known.as_ref().map_or(model, KnownModel::repository).split('/').next()? {
            "EleutherAI" => Some(format!("step{step}")),
            "stanford-crfm" => Some(format!("checkpoint-{step}")),
            _ => None,
        }
    }
}

/// What a model is called: the name of its repository, or of its folder or file.
pub(crate) fn model_name(model: &Decoder) -> Option<String> {
    match model.source() {
        Source::Memory => None,
        Source::Cache(name) | Source::Hub(name) => Some(name.clone()),
        Source::Folder(path) | Source::File(path) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            Some(path.file_name()?.to_string_lossy().into_owned())
        }
        Source::Embedded { .. } => Some(model.repository()?.name().to_owned()),
    }
}

impl fmt::Display for PositionSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: Option<i64>| part.map(|part| part.to_string()).unwrap_or_default();
        write!(f, "{}:{}", part(self.start), part(self.stop))?;
        self.step.map_or(Ok(()), |step| write!(f, ":{step}"))
    }
}

impl fmt::Display for TrainingRecord {
    /// One line, empty if nothing is recorded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let start = match self.prepend_bos {
            None => "",
            Some(true) => " that begin with a BOS token",
            Some(false) => " without a BOS token in front",
        };
        match self.context_size {
            Some(size) => parts.push(format!("contexts of {size} tokens{start}")),
            None if self.prepend_bos.is_some() => parts.push(format!("contexts{start}")),
            None => {}
        }
        parts.extend(self.positions.map(|positions| format!("positions {positions}")));
        parts.extend(self.head.map(|head| format!("head {head} alone")));
        parts.extend(self.layers.as_ref().map(|layers| format!("layers {layers:?}")));
        parts.extend(self.tuned_lens.then(|| "through a tuned lens".to_owned()));
        parts.extend(self.reads.as_ref().map(|reads| format!("{reads} in place of activations")));
        parts.extend(self.excluded_tokens.as_ref().map(|excluded| match excluded {
            ExcludedTokens::Special => "without special tokens".to_owned(),
            ExcludedTokens::Ids(ids) => format!("without the tokens {ids:?}"),
        }));
        let dtype = self.dtype.as_ref().map(|dtype| dtype.replace("torch.", ""));
        parts.extend(dtype.filter(|dtype| dtype != "float32"));
        let options = self.model_options.iter().map(|(name, value)| format!("{name}={value}"));
        let options: Vec<String> = options.collect();
        if !options.is_empty() {
            parts.push(format!("its model loaded with {}", options.join(", ")));
        }
        parts.extend(self.dataset.as_ref().map(|dataset| format!("texts of {dataset}")));
        f.write_str(&parts.join("; "))
    }
}
