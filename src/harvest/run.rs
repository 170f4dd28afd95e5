//! What a store holds, as its file `run.json` says: of which model, text and autoencoders.

use std::fmt;
use std::ops::Range;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::files::in_hexadecimal;
use super::folder::StoreFolder;
use super::native;
use super::options::Keep;
use crate::check::first_difference;
use crate::data::text::Contexts;
use crate::model::{Decoder, HookPoint};
use crate::provenance::Source;
use crate::sae::Sae;
use crate::store::parse_json;
use crate::{Error, Result};

pub(super) const FILE: &str = "run.json";
const FORMAT: u32 = 1;

/// What a harvest was asked to do. It is written once, before the first unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Version of the layout.
    pub format: u32,
    /// SHA-256 of everything below it but names, `sources` and `eigenlens`.
    pub identity: String,
    /// The model.
    pub model: RunModel,
    /// The text.
    pub dataset: RunDataset,
    /// The hook points whose activations are kept.
    pub points: Vec<RunPoint>,
    /// The autoencoders.
    pub saes: Vec<RunSae>,
    /// The type in which activations are kept, as safetensors calls it.
    pub dtype: String,
    /// Decides on the order of activations and on what a share keeps.
    pub seed: u64,
    /// Contexts per unit; the last unit may have fewer.
    pub unit_contexts: usize,
    /// Number of units.
    pub units: usize,
    /// Number of piles, in each of which the order of activations is random.
    pub piles: usize,
    /// Of how many contexts activations are kept.
    pub activations: Keep,
    /// Of how many contexts codes are kept.
    pub codes: Keep,
    /// Tokens of which nothing but their row in `tokens` is kept.
    pub skip_tokens: Vec<u32>,
    /// Contexts that are kept per feature and unit.
    pub examples: usize,
    /// Whether the loss at each token is kept.
    pub loss: bool,
    /// What another process loads to go on with the harvest.
    pub sources: RunSources,
    /// Version of the library.
    pub eigenlens: String,
}

/// The model of a [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunModel {
    /// What it is called, if it is called anything.
    pub name: Option<String>,
    /// Its configuration, in words.
    pub config: String,
    /// The sum of its weights.
    pub sha256: String,
}

/// The text of a [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunDataset {
    /// Where it came from, in words.
    pub name: String,
    /// The sum of its tokens.
    pub sha256: String,
    /// Number of contexts.
    pub contexts: usize,
    /// Tokens per context.
    pub length: usize,
}

/// A hook point of a [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPoint {
    /// Its name, such as `5.resid_post`.
    pub name: String,
    /// Width of its activations.
    pub width: usize,
}

/// An autoencoder of a [`Run`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSae {
    /// Its name in the store.
    pub key: String,
    /// What it computes.
    pub architecture: String,
    /// Where it reads.
    pub point: String,
    /// The layer of that, or -1.
    pub layer: i32,
    /// Number of features.
    pub features: usize,
    /// The sum of its weights.
    pub sha256: String,
}

/// Names under which the parts of a [`Run`] can be loaded again; none of what was made in memory.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunSources {
    /// Of the model.
    pub model: Option<String>,
    /// Of the text.
    pub dataset: Option<String>,
    /// Of each autoencoder.
    pub saes: Vec<Option<String>>,
}

impl Run {
    /// The record of a store.
    ///
    /// # Errors
    /// If there is none, or if it cannot be read.
    pub(super) fn open(place: &StoreFolder) -> Result<Self> {
        Self::find(place)?.ok_or_else(|| Error::NotFound {
            what: format!("a store in {}", place.root().display()),
            hint: format!("It has no {FILE}: `Store::harvest` makes one."),
        })
    }

    pub(super) fn find(place: &StoreFolder) -> Result<Option<Self>> {
        let Some(text) = place.read(FILE)? else {
            return Ok(None);
        };
        let path = place.path(FILE);
        let value = parse_json(&path, &text, "the record of a store")?;
        if value.get("format").is_some_and(|format| *format != FORMAT) {
            let found = format!("format {}, of another version of eigenlens", value["format"]);
            return Err(Error::format(&path, format!("a store of format {FORMAT}"), found));
        }
        let run: Self = serde_json::from_value(value).map_err(|reason| {
            Error::format(&path, "the record of a store", reason.to_string()).caused_by(reason)
        })?;
        if run.identity != run.computed_identity() {
            let expected = "the record as it was written (it was changed by hand or damaged)";
            return Err(Error::format(&path, expected, "another identity"));
        }
        Ok(Some(run))
    }

    /// Puts the record, or makes sure that the one there is of the same harvest. Returns what counts.
    ///
    /// # Errors
    /// If the folder holds something else, or cannot be written.
    pub(super) fn put(mut self, place: &StoreFolder) -> Result<Self> {
        self.format = FORMAT;
        self.eigenlens = env!("CARGO_PKG_VERSION").to_owned();
        self.identity = self.computed_identity();
        if Self::find(place)?.is_none() {
            let strangers = place.names("")?.into_iter().find(|name| !name.starts_with('.'));
            if let Some(stranger) = strangers {
                let expected = "an empty folder, a new one or a store";
                return Err(Error::format(place.root(), expected, format!("`{stranger}` in it")));
            }
            let text = serde_json::to_vec_pretty(&self)
                .map_err(|reason| Error::io("write", &place.path(FILE))(reason.into()))?;
            place.put_new(FILE, &text)?;
        }
        let there = Self::open(place)?;
        if there.identity == self.identity {
            return Ok(there);
        }
        let (what, asked, found) = self.difference(&there);
        let expected = format!(
            "the store of a harvest with the {what} of this call, {asked} (another folder, or \
             `Store::open` for what is there)"
        );
        Err(Error::format(place.root(), expected, found))
    }

    /// The first thing in which two runs differ, and how each has it.
    fn difference(&self, other: &Self) -> (&'static str, String, String) {
        let found = first_difference!(
            self, other,
            "model's configuration": model.config, "model's weights": model.sha256,
            "context length": dataset.length, "number of contexts": dataset.contexts,
            "text": dataset.sha256, "hook points": points, "autoencoders": saes, "`dtype`": dtype,
            "`seed`": seed, "`unit`": unit_contexts, "`pile`": piles, "`activations`": activations,
            "`codes`": codes, "`skip_tokens`": skip_tokens, "`examples`": examples, "`loss`": loss,
        );
        found.unwrap_or_else(|| ("identity", self.identity.clone(), other.identity.clone()))
    }

    fn computed_identity(&self) -> String {
        let plain = Self {
            identity: String::new(),
            // What a thing is called depends on the machine; what it is, its sum says.
            model: RunModel { name: None, ..self.model.clone() },
            dataset: RunDataset { name: String::new(), ..self.dataset.clone() },
            sources: RunSources::default(),
            eigenlens: String::new(),
            ..self.clone()
        };
        let text = serde_json::to_vec(&plain).unwrap_or_default();
        in_hexadecimal(&Sha256::digest(text))
    }

    /// The contexts of a unit.
    pub(super) fn unit_range(&self, unit: usize) -> Range<usize> {
        let start = unit * self.unit_contexts;
        start..(start + self.unit_contexts).min(self.dataset.contexts)
    }

    /// The autoencoder of a key.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn sae(&self, key: &str) -> Result<&RunSae> {
        self.saes.iter().find(|sae| sae.key == key).ok_or_else(|| {
            let keys: Vec<&str> = self.saes.iter().map(|sae| &*sae.key).collect();
            let expected = match keys.is_empty() {
                true => "in the store, which has none".to_owned(),
                false => format!("one of {}", keys.join(", ")),
            };
            Error::invalid("the autoencoder", expected, key)
        })
    }

    /// The hook point of that name among those whose activations are kept.
    ///
    /// # Errors
    /// If it is not among them.
    pub(super) fn point(&self, point: HookPoint) -> Result<&RunPoint> {
        let name = point.to_string();
        self.points.iter().find(|own| own.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.points.iter().map(|point| &*point.name).collect();
            let expected = match names.is_empty() {
                true => "in the store, which has no activations".to_owned(),
                false => format!("one of {}", names.join(", ")),
            };
            Error::invalid("the hook point", expected, name)
        })
    }
}

/// SHA-256 of the weights of a model, in their own type.
pub(crate) fn sum_of_model(model: &Decoder) -> Result<String> {
    let weights = model.weights();
    sum_of_tensors(weights.iter().map(|(name, weight)| (name, weight)))
}

/// SHA-256 of tensors with their names, in their own types.
pub(crate) fn sum_of_tensors<'a, N: fmt::Display>(
    tensors: impl IntoIterator<Item = (N, &'a Tensor)>,
) -> Result<String> {
    let mut hash = Sha256::new();
    for (name, tensor) in tensors {
        hash.update(format!("{name} {:?}", tensor.dims()));
        native::with_bytes(tensor, |bytes| hash.update(bytes))?;
    }
    Ok(in_hexadecimal(&hash.finalize()))
}

/// SHA-256 of the weights of an autoencoder and of what it computes.
pub(crate) fn sum_of_sae(sae: &Sae) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}", sae.architecture()));
    for weight in sae.weights().tensors() {
        hash.update(format!("{:?}", weight.dims()));
        native::with_bytes(weight, |bytes| hash.update(bytes))?;
    }
    Ok(in_hexadecimal(&hash.finalize()))
}

/// SHA-256 of a text.
pub(crate) fn sum_of_text(text: &str) -> String {
    in_hexadecimal(&Sha256::digest(text))
}

/// SHA-256 of tokens, as u32 in little-endian order.
pub(crate) fn sum_of_tokens(contexts: &Contexts) -> String {
    let mut hash = Sha256::new();
    hash.update(bytemuck::cast_slice(contexts.as_slice()));
    in_hexadecimal(&hash.finalize())
}

/// The name under which what came from `source` can be loaded again.
pub(crate) fn loadable(source: &Source, repository: Option<&str>) -> Option<String> {
    match source {
        Source::Memory => None,
        Source::Embedded { .. } => repository.map(str::to_owned),
        Source::Cache(name) | Source::Hub(name) => Some(name.clone()),
        Source::Folder(path) | Source::File(path) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            path.to_str().map(str::to_owned)
        }
    }
}
