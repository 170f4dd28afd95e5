//! What SAELens's `cfg.json` records of the activations that an autoencoder was trained on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::saelens_fields::InMetadata;
use crate::Result;
use crate::sae::{ExcludedTokens, PositionSlice, TrainingRecord};
use crate::store::{Document, Size};

/// Fields that stand at the top before version 6, and in `metadata` since.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SaeLensRecord {
    /// The model, as TransformerLens names it.
    pub(super) model_name: Option<String>,
    /// The place whose activations it reads, as TransformerLens names it.
    pub(super) hook_name: Option<String>,
    /// The place, under the oldest versions' name.
    pub(super) hook_point: Option<String>,
    /// The place whose activations a transcoder predicts.
    pub(super) hook_name_out: Option<String>,
    /// Whether texts were in the format of chats.
    pub(super) use_chat_formatting: Option<bool>,
    /// Whether each context began with a beginning-of-sequence token.
    prepend_bos: Option<bool>,
    /// Tokens per context; -1 where the data set decides.
    context_size: Option<Value>,
    /// The positions of a context that were used: Python's `slice(*seqpos_slice)`.
    seqpos_slice: Option<SliceArguments>,
    /// The only attention head that was used.
    hook_head_index: Option<Size>,
    /// The head, under the oldest versions' name.
    hook_point_head_index: Option<Size>,
    /// The layers of an autoencoder for several, where [`Sae::save`](crate::sae::Sae::save) wrote them.
    hook_layers: Option<Vec<Size>>,
    /// Whether a tuned lens came first, where [`Sae::save`](crate::sae::Sae::save) wrote it.
    tuned_lens: Option<bool>,
    /// What it reads in place of activations, where [`Sae::save`](crate::sae::Sae::save) wrote it.
    reads: Option<String>,
    /// Tokens that were left out.
    exclude_special_tokens: Option<SpecialTokens>,
    /// The data set of the texts.
    dataset_path: Option<Value>,
    /// The floating point type of the training, or that of the weights where `training_dtype` is.
    dtype: Option<Value>,
    /// The floating point type of the training, where [`Sae::save`](crate::sae::Sae::save) wrote it.
    training_dtype: Option<Value>,
    /// How the model was loaded.
    model_from_pretrained_kwargs: Option<Value>,
}

/// Up to three numbers or nulls; one alone is the end, as in Python.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "Vec<Option<i64>>")]
struct SliceArguments(PositionSlice);

impl TryFrom<Vec<Option<i64>>> for SliceArguments {
    type Error = &'static str;

    fn try_from(arguments: Vec<Option<i64>>) -> std::result::Result<Self, Self::Error> {
        let (start, stop, step) = match *arguments {
            [] => (None, None, None),
            [stop] => (None, stop, None),
            [start, stop] => (start, stop, None),
            [start, stop, step] => (start, stop, step),
            _ => return Err("more, expected up to three numbers"),
        };
        Ok(Self(PositionSlice { start, stop, step }))
    }
}

/// Whether all special tokens are meant, or which ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "true, false or a list of token ids")]
enum SpecialTokens {
    All(bool),
    Ids(Vec<u32>),
}

impl SaeLensRecord {
    /// The fields of a configuration, from wherever they stand.
    ///
    /// # Errors
    /// Values of another kind.
    pub(super) fn read(document: &mut Document) -> Result<Self> {
        let top: Self = document.read()?;
        let metadata: InMetadata<Self> = document.read()?;
        let below = metadata.metadata.unwrap_or_default();
        // `Sae::save` writes weights in f32 whatever the training was in.
        let keeps_dtype = document
            .get("metadata")
            .is_some_and(|metadata| metadata.get("training_dtype").is_some());
        let dtype = match keeps_dtype {
            true => below.training_dtype,
            false => top.dtype.or(below.dtype),
        };
        Ok(Self {
            model_name: top.model_name.or(below.model_name),
            hook_name: top.hook_name.or(below.hook_name),
            hook_point: top.hook_point.or(below.hook_point),
            hook_name_out: top.hook_name_out.or(below.hook_name_out),
            use_chat_formatting: below.use_chat_formatting.or(top.use_chat_formatting),
            prepend_bos: top.prepend_bos.or(below.prepend_bos),
            context_size: top.context_size.or(below.context_size),
            seqpos_slice: top.seqpos_slice.or(below.seqpos_slice),
            hook_head_index: top.hook_head_index.or(below.hook_head_index),
            hook_point_head_index: top.hook_point_head_index.or(below.hook_point_head_index),
            hook_layers: below.hook_layers,
            tuned_lens: below.tuned_lens,
            reads: below.reads,
            exclude_special_tokens: top.exclude_special_tokens.or(below.exclude_special_tokens),
            dataset_path: top.dataset_path.or(below.dataset_path),
            dtype,
            training_dtype: None,
            model_from_pretrained_kwargs: top
                .model_from_pretrained_kwargs
                .or(below.model_from_pretrained_kwargs),
        })
    }

    /// What it says of the training.
    pub(super) fn training(self) -> TrainingRecord {
        let text = |value: Value| value.as_str().map(ToOwned::to_owned);
        let size = |value: Value| usize::try_from(value.as_u64()?).ok();
        let options = match self.model_from_pretrained_kwargs {
            Some(Value::Object(options)) => {
                options.into_iter().map(|(name, value)| (name, value.to_string())).collect()
            }
            _ => BTreeMap::new(),
        };
        TrainingRecord {
            prepend_bos: self.prepend_bos,
            context_size: self.context_size.and_then(size),
            positions: self
                .seqpos_slice
                .map(|SliceArguments(slice)| slice)
                .filter(|slice| *slice != PositionSlice::default()),
            head: self.hook_point_head_index.or(self.hook_head_index).map(usize::from),
            tuned_lens: self.tuned_lens == Some(true),
            reads: self.reads,
            layers: self.hook_layers.map(|layers| layers.into_iter().map(usize::from).collect()),
            excluded_tokens: match self.exclude_special_tokens {
                None | Some(SpecialTokens::All(false)) => None,
                Some(SpecialTokens::All(true)) => Some(ExcludedTokens::Special),
                Some(SpecialTokens::Ids(ids)) if ids.is_empty() => None,
                Some(SpecialTokens::Ids(ids)) => Some(ExcludedTokens::Ids(ids)),
            },
            dtype: self.dtype.and_then(text),
            model_options: options,
            dataset: self.dataset_path.and_then(text).filter(|name| !name.is_empty()),
        }
    }
}
