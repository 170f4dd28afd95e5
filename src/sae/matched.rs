//! The model that an autoencoder was trained on, made ready for it.

use std::fmt;

use candle_core::{Device, Tensor};

use super::check_model::has_layer_norms;
use super::record::{CENTRED, CHECKPOINT, FOLDED_NORMS, FOLDED_VALUE_BIASES, REVISION};
use super::{ExcludedTokens, Normalization, Sae, TrainingRecord};
use crate::display::show_as_text;
use crate::hub::similar;
use crate::model::{Decoder, DecoderLoader, HookPoint, KnownModel, ModelSupport, fetched_name};
use crate::store::named_dtype;
use crate::{Error, Result};

/// Options of loading a model that change no activation.
const INERT_OPTIONS: [&str; 12] = [
    // One number on all logits of a position.
    "center_unembed",
    "device",
    "device_map",
    "n_devices",
    "move_to_device",
    "default_padding_side",
    "attn_implementation",
    "low_cpu_mem_usage",
    "trust_remote_code",
    "local_files_only",
    "cache_dir",
    "token",
];

/// The model that `sae` was trained on, in f32, made as its files say that it was in training.
/// [`MatchedModel::load`] takes another floating point type.
///
/// ```no_run
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let device = best_device();
/// let sae = Sae::from_pretrained("gpt2-small-res-jb", "blocks.8.hook_resid_pre", &device)?;
/// let matched = model_for(&sae, &device)?; // GPT-2 with centred weights
/// let tokens = matched.tokens("She had been very happy")?; // a BOS token in front
/// let cache = matched.model().activations(&tokens, &[sae.point()?])?;
/// println!("{matched}\n{}", sae.check(&cache.tensor(sae.point()?)?)?);
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`MatchedModel::load`].
pub fn model_for(sae: &Sae, device: &Device) -> Result<MatchedModel> {
    MatchedModel::load(sae, &DecoderLoader::new(), device)
}

/// A model that was made ready for an autoencoder, and what is known of how the two fit.
///
/// What the autoencoder's files record of its training is applied where that can be done, and stands
/// in [`MatchedModel::notes`] in any case: nothing is assumed that no file says.
#[derive(Debug, Clone)]
pub struct MatchedModel {
    model: Decoder,
    prepend_bos: Option<bool>,
    notes: Vec<MatchNote>,
}

/// Something that the files of an autoencoder say of its model, or leave open.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MatchNote {
    /// The model was made so, or is so anyway.
    Applied(String),
    /// The model is otherwise: what to do about it.
    Differs(String),
    /// No file says it.
    NotRecorded(String),
}

use MatchNote::{Applied, Differs, NotRecorded};

impl MatchedModel {
    /// The model that the files of `sae` name, or the list of published autoencoders does, at the
    /// revision that they name, loaded by `loader`; then as [`MatchedModel::new`].
    ///
    /// A name is one of TransformerLens's (`gpt2-small`), a repository's, with or without its owner,
    /// or else that of a model which `eigenlens fetch` has fetched. See [`KnownModel`].
    ///
    /// # Errors
    /// - if nothing says which model it is, or its name is not known,
    /// - if the model is of a family that is not read,
    /// - as [`DecoderLoader::load`].
    pub fn load(sae: &Sae, loader: &DecoderLoader, device: &Device) -> Result<Self> {
        Self::loaded_by(sae, |name| loader.load(name, device))
    }

    /// [`MatchedModel::load`], with what loads the model of a repository.
    pub(super) fn loaded_by(sae: &Sae, load: impl Fn(&str) -> Result<Decoder>) -> Result<Self> {
        Self::new(sae, &load(&model_place(sae)?)?)
    }

    /// `model` as it was where `sae` was trained, as far as files say it:
    ///
    /// - weights that write to the residual stream are centred ([`Decoder::centred_writing`]) if they
    ///   were (`center_writing_weights`), unless the autoencoder takes the mean off itself,
    /// - norms folded into the next weights (`fold_ln`) leave all activations as they are but those
    ///   after a norm, which the hook points `ln1_normalized` and `ln2_normalized` give,
    /// - [`MatchedModel::tokens`] begins texts as those of the training began.
    ///
    /// What differs in name, revision, layers, width, heads, context length, floating point type and
    /// options is noted.
    ///
    /// # Errors
    /// Memory.
    pub fn new(sae: &Sae, model: &Decoder) -> Result<Self> {
        let (model, mut notes) = centred(sae, model)?;
        let training = &sae.origin().training;
        notes.extend(sae.check_place(&model).into_iter().map(Differs));
        notes.extend(place_notes(sae, &model));
        notes.extend(training.reading().into_iter().map(Differs));
        notes.extend(options(sae));
        notes.extend(dtype_note(training, &model));
        notes.extend(training.excluded_tokens.as_ref().map(excluded_note));
        notes.push(bos_note(training.prepend_bos, &model));
        Ok(Self { model, prepend_bos: training.prepend_bos, notes })
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        &self.model
    }

    /// What was applied, what differs, and what no file says.
    pub fn notes(&self) -> &[MatchNote] {
        &self.notes
    }

    /// What differs; empty if nothing is known to.
    pub fn differences(&self) -> Vec<&str> {
        let texts = self.notes.iter().filter_map(|note| match note {
            Differs(text) => Some(text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The tokens of a text `[1, positions]`, with or without a BOS token in front as in the
    /// training; as the model's tokenizer does it if no file says which.
    ///
    /// # Errors
    /// As [`Decoder::tokens`] and [`Decoder::tokens_with_bos`].
    pub fn tokens(&self, text: &str) -> Result<Tensor> {
        match self.prepend_bos {
            Some(true) => self.model.tokens_with_bos(text),
            Some(false) => self.model.tokens_without_bos(text),
            None => self.model.tokens(text),
        }
    }
}

/// The name under which the model of `sae` is loaded, with its revision.
fn model_place(sae: &Sae) -> Result<String> {
    let origin = sae.origin();
    let by_hand = "Load it with Decoder::from_pretrained, and give it to MatchedModel::new(&sae, \
                   &model).";
    let Some(name) = origin.model_at_revision() else {
        return Err(Error::NotFound {
            what: "the model of this autoencoder".to_owned(),
            hint: format!("No file says which it is. {by_hand}"),
        });
    };
    let (plain, revision) = match name.split_once('@') {
        Some((plain, revision)) => (plain, Some(revision)),
        None => (&*name, None),
    };
    // A fetched file has no revisions.
    if revision.is_none()
        && let Some(fetched) = fetched_name(plain)
    {
        return Ok(fetched.to_owned());
    }
    let repository = match KnownModel::find(plain) {
        Some(model) => {
            if let ModelSupport::Refused(reason) = model.support() {
                let expected = "of a family that is read (`Registry::all()?.loading()` lists \
                                autoencoders whose model is)";
                let found = format!("{}: {reason}", model.repository());
                return Err(Error::invalid("the model of this autoencoder", expected, found));
            }
            model.repository().to_owned()
        }
        None if is_repository(plain) => plain.to_owned(),
        None => {
            let close = similar(plain, KnownModel::names());
            let meant = match close.is_empty() {
                true => String::new(),
                false => format!(" Close to it: {}.", close.join(", ")),
            };
            return Err(Error::NotFound {
                what: format!("the model `{plain}` of this autoencoder"),
                hint: format!("No repository is known by this name.{meant} {by_hand}"),
            });
        }
    };
    Ok(match revision {
        Some(revision) => format!("{repository}@{revision}"),
        None => repository,
    })
}

/// Whether a name is `owner/name`: what a fetched file says must not lead out of this folder.
fn is_repository(name: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && !part.contains(['\\', ':', ' '])
    };
    name.split('/').count() == 2 && name.split('/').all(is_part)
}

/// The model, with centred weights if it had them in training.
fn centred(sae: &Sae, model: &Decoder) -> Result<(Decoder, Vec<MatchNote>)> {
    let unchanged = |note: MatchNote| Ok((model.clone(), vec![note]));
    if !sae.origin().training.is_on(CENTRED) {
        let text = "the model's weights are centred, and no file says that they were in training";
        let note = model.is_centred().then(|| Differs(format!("{text} ({CENTRED})")));
        return Ok((model.clone(), note.into_iter().collect()));
    }
    if sae.architecture().normalization == Normalization::Centre {
        return unchanged(Applied(format!(
            "the autoencoder takes the mean off itself ({CENTRED})"
        )));
    }
    let done = Applied(format!(
        "the mean is taken off the weights that write to the residual stream ({CENTRED})"
    ));
    if model.is_centred() {
        return unchanged(done);
    }
    if !has_layer_norms(model) {
        return unchanged(Applied(format!(
            "weights are as they are published, because TransformerLens takes the mean off those of \
             models with LayerNorms alone ({CENTRED})"
        )));
    }
    match model.centred_writing() {
        Ok(model) => Ok((model, vec![done])),
        Err(error @ Error::Invalid { .. }) => {
            unchanged(Differs(format!("the model's weights were not centred ({CENTRED}): {error}")))
        }
        Err(other) => Err(other),
    }
}

/// What is to be known of the hook point.
fn place_notes(sae: &Sae, model: &Decoder) -> Vec<MatchNote> {
    let (origin, training) = (sae.origin(), &sae.origin().training);
    let mut notes = Vec::new();
    match (origin.point, &origin.hook) {
        (None, Some(hook)) => notes.push(Differs(format!(
            "it reads `{hook}`, which is no hook point here: say which is meant with Sae::at"
        ))),
        (None, None) => {
            let text = "the hook point that it reads: say it with Sae::at";
            notes.push(NotRecorded(text.to_owned()));
        }
        (Some(point), _) => {
            let is_open = has_layer_norms(model) && !training.is_on(FOLDED_NORMS);
            let note = (is_open && is_normalized(point)).then(|| {
                NotRecorded(format!(
                    "whether {point} is meant before gain and bias, as it is here, or after them, \
                     as TransformerLens 2 has it where norms are not folded ({FOLDED_NORMS})"
                ))
            });
            notes.extend(note);
        }
    }
    notes.extend(training.head.map(|head| {
        let at = place_name(origin.point);
        Differs(format!("it reads head {head} of {at} alone: give it that head's activations"))
    }));
    notes
}

fn place_name(point: Option<HookPoint>) -> String {
    point.map_or_else(|| "its hook point".to_owned(), |point| point.to_string())
}

fn is_normalized(point: HookPoint) -> bool {
    matches!(
        point,
        HookPoint::Ln1Normalized(_) | HookPoint::Ln2Normalized(_) | HookPoint::LnFinalNormalized
    )
}

/// What the options say with which the model was loaded in training, but for those that other notes
/// are about.
fn options(sae: &Sae) -> Vec<MatchNote> {
    let (origin, point) = (sae.origin(), sae.origin().point);
    let at = place_name(point);
    let mut notes = Vec::new();
    for (name, value) in &origin.training.model_options {
        let is_off = matches!(value.as_str(), "false" | "null");
        let note = match name.as_str() {
            CENTRED => continue,
            _ if is_off || INERT_OPTIONS.contains(&name.as_str()) => continue,
            // `dtype_note` compares it.
            "dtype" | "torch_dtype" if origin.training.model_dtype().is_some() => continue,
            REVISION | CHECKPOINT if origin.model_at_revision() != origin.model => continue,
            FOLDED_NORMS => match point {
                None | Some(HookPoint::MlpIn(_)) => Differs(format!(
                    "norms were folded into the next weights ({name}): what it expects at {at} is \
                     the norm's result before gain and bias, which ln2_normalized gives"
                )),
                Some(point) if is_normalized(point) => Applied(format!(
                    "{at} is the norm's result before gain and bias, as in training ({name})"
                )),
                Some(_) => Applied(format!("folded norms change nothing at {at} ({name})")),
            },
            FOLDED_VALUE_BIASES => match point {
                None | Some(HookPoint::Z(_) | HookPoint::V(_)) => Differs(format!(
                    "biases of values were folded ({name}): it expects {at} without them"
                )),
                Some(_) => {
                    Applied(format!("folded biases of values change nothing at {at} ({name})"))
                }
            },
            _ => Differs(format!(
                "its model was loaded with {name}={value}, which is not applied here"
            )),
        };
        notes.push(note);
    }
    notes
}

/// Whether the model computes in the floating point type that it had in training, or else in that of
/// the training itself, if one is known.
fn dtype_note(training: &TrainingRecord, model: &Decoder) -> Option<MatchNote> {
    let (what, dtype) = match (training.model_dtype(), training.dtype.as_deref()) {
        (Some(dtype), _) => ("its model was", dtype),
        (None, Some(name)) => match named_dtype(name) {
            Some(dtype) => ("the SAE and its activations were", dtype),
            None => {
                let text = format!("it was trained in `{name}`, which is not known here");
                return Some(Differs(text));
            }
        },
        (None, None) => return None,
    };
    let own = model.dtype();
    (dtype != own).then(|| {
        Differs(format!(
            "{what} in {}, and the model computes in {}: MatchedModel::load takes a DecoderLoader \
             with another `dtype`",
            dtype.as_str(),
            own.as_str()
        ))
    })
}

fn excluded_note(excluded: &ExcludedTokens) -> MatchNote {
    let which = match excluded {
        ExcludedTokens::Special => "special tokens".to_owned(),
        ExcludedTokens::Ids(ids) => format!("the tokens {ids:?}"),
    };
    Differs(format!("it was trained without the activations at {which}: leave their positions out"))
}

/// How [`MatchedModel::tokens`] begins a text.
fn bos_note(prepend_bos: Option<bool>, model: &Decoder) -> MatchNote {
    let has_none = || model.tokenizer().is_ok_and(|tokenizer| tokenizer.bos().is_none());
    match prepend_bos {
        Some(true) if has_none() => Differs(
            "its training contexts began with a BOS token, and the model's tokenizer has none"
                .to_owned(),
        ),
        Some(true) => Applied("`tokens` puts a BOS token in front of a text".to_owned()),
        Some(false) => Applied("`tokens` puts no BOS token in front of a text".to_owned()),
        None => NotRecorded(
            "whether texts began with a BOS token: `tokens` does as the model's tokenizer"
                .to_owned(),
        ),
    }
}

impl fmt::Display for MatchNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Applied(text) => write!(f, "as in training: {text}"),
            Differs(text) => write!(f, "differs: {text}"),
            NotRecorded(text) => write!(f, "not recorded: {text}"),
        }
    }
}

show_as_text!(MatchedModel);

impl fmt::Display for MatchedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.model)?;
        self.notes.iter().try_for_each(|note| write!(f, "\n{note}"))
    }
}

#[cfg(test)]
mod tests;
