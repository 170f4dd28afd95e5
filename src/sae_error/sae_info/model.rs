//! The model whose activations an info is of, at hand or by name.

use std::sync::OnceLock;

use candle_core::Device;

use crate::harvest::{loadable, sum_of_model};
use crate::model::Decoder;
use crate::{Error, Result};

/// A model that is at hand, or can be loaded when it is needed.
#[derive(Debug)]
pub(super) struct InfoModel {
    /// What it is loaded by; none if it was made in memory.
    pub(super) name: Option<String>,
    decoder: OnceLock<Decoder>,
    sha256: OnceLock<String>,
}

impl InfoModel {
    /// One that is at hand.
    pub(super) fn new(model: &Decoder) -> Self {
        let repository = model.repository().map(|repository| repository.name().to_owned());
        let name = loadable(model.source(), repository.as_deref());
        Self { name, decoder: model.clone().into(), sha256: OnceLock::new() }
    }

    /// One that has to be loaded, whose weights have this sum.
    pub(super) fn by_name(name: Option<String>, sha256: String) -> Self {
        Self { name, decoder: OnceLock::new(), sha256: sha256.into() }
    }

    /// The model `given` in its place.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has other weights.
    pub(super) fn given(&self, given: &Decoder) -> Result<Self> {
        let (asked, found) = (self.sha256()?, sum_of_model(given)?);
        if asked != found {
            let expected = format!("the one whose activations these are, with SHA-256 {asked}");
            return Err(Error::invalid("the model", expected, found));
        }
        Ok(Self { sha256: found.into(), ..Self::new(given) })
    }

    /// SHA-256 of its weights.
    ///
    /// # Errors
    /// None for a model that there is.
    pub(super) fn sha256(&self) -> Result<String> {
        if let Some(sum) = self.sha256.get() {
            return Ok(sum.clone());
        }
        let sum = sum_of_model(&self.decoder(&Device::Cpu)?)?;
        Ok(self.sha256.get_or_init(|| sum).clone())
    }

    /// The model; loaded to `device` if it is not at hand.
    ///
    /// # Errors
    /// [`Error::NotFound`] for one that has no name; those of loading; [`Error::Invalid`] if another
    /// model has its name now.
    pub(super) fn decoder(&self, device: &Device) -> Result<Decoder> {
        if let Some(model) = self.decoder.get() {
            return Ok(model.clone());
        }
        let Some(name) = &self.name else {
            return Err(Error::NotFound {
                what: "the model of these activations".to_owned(),
                hint: "It was made in memory: give it with `info.with_model(&model)?`, or collect \
                       with KeepActivations::Memory or Disk before saving."
                    .to_owned(),
            });
        };
        let loaded = Decoder::from_pretrained(name, device)?;
        let (asked, found) = (self.sha256.get(), sum_of_model(&loaded)?);
        if asked.is_some_and(|asked| *asked != found) {
            let expected = "the one whose activations these are: other weights have that name now";
            return Err(Error::invalid("the model", expected, name));
        }
        Ok(self.decoder.get_or_init(|| loaded).clone())
    }
}
