//! A multi-layer sparse autoencoder as a handle.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::codes::LayerCodes;
use crate::display::show_as_text;
use crate::model::{Decoder, HookPoint, TunedLens};
use crate::sae::{Architecture, ExcludedTokens, Sae, SaeActivation, SaeLoader};
use crate::{Error, Result};

/// A model, one sparse autoencoder, and the layers after which it reads the residual stream: a
/// multi-layer SAE. A cheap handle.
///
/// [`Mlsae::at`] gives the autoencoder at one layer, with which everything works that works with an
/// [`Sae`]. Positions of special tokens take no part in statistics; [`Mlsae::skipping`] says which
/// those are. With a [tuned lens](Mlsae::with_lens) the autoencoder reads what the lens makes of the
/// stream.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae::{Architecture, SaeWeights};
/// # fn main() -> Result<()> {
/// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
/// // A random dictionary; `Mlsae::from_pretrained` loads a trained one with its model.
/// let decoder = Rng::seed(0).normal((192, 384), &Device::Cpu)?;
/// let bias = Tensor::zeros(192, DType::F32, &Device::Cpu)?;
/// let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
/// let sae = Sae::new(Architecture::top_k(8), weights)?;
/// let mlsae = Mlsae::new(&model, &sae, &[0, 1, 2, 3])?;
/// let prompt = mlsae.prompt("She had been very happy")?;
/// assert_eq!((prompt.codes().layers(), prompt.codes().width()), (4, 384));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Mlsae {
    model: Decoder,
    sae: Sae,
    layers: Arc<[usize]>,
    skipped: Arc<[u32]>,
    lens: LensUse,
    /// What it was loaded by.
    name: Option<Arc<str>>,
}

/// What comes before the autoencoder.
#[derive(Debug, Clone)]
pub(super) enum LensUse {
    /// Nothing.
    None,
    /// A lens should, by the autoencoder's record, and is not there.
    Missing,
    /// A lens.
    Lens(TunedLens),
}

impl Mlsae {
    /// Of a model and an autoencoder for its residual stream after each of `layers`, in their order.
    /// Tokens that are skipped are those its record names; else the beginning and end tokens of the
    /// model. An autoencoder whose record has a tuned lens reads nothing until
    /// [`with_lens`](Mlsae::with_lens) brings one, or [`without_lens`](Mlsae::without_lens) says that
    /// streams are what a lens made already.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers, one that is named twice or that the model does not have, an
    /// autoencoder of another width, or a transcoder.
    pub fn new(model: &Decoder, sae: &Sae, layers: &[usize]) -> Result<Self> {
        Self::check_layers(model, layers)?;
        if sae.architecture().transcoder {
            let expected = "one that writes where it reads";
            return Err(Error::invalid("the autoencoder", expected, "a transcoder"));
        }
        let width = model.config().d_model;
        if sae.d_model() != width {
            let expected = format!("of {width} dimensions, as the model has");
            return Err(Error::invalid("the autoencoder", expected, sae.d_model()));
        }
        let mut skipped = match &sae.origin().training.excluded_tokens {
            Some(ExcludedTokens::Ids(ids)) => ids.clone(),
            Some(ExcludedTokens::Special) | None => {
                let mut special = model.end_tokens()?;
                // A model can speak in numbers without a tokenizer.
                special.extend(model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos()));
                special
            }
        };
        skipped.sort_unstable();
        skipped.dedup();
        let (model, sae) = (model.clone(), sae.clone());
        let lens = match sae.origin().training.tuned_lens {
            true => LensUse::Missing,
            false => LensUse::None,
        };
        Ok(Self { model, sae, layers: layers.into(), skipped: skipped.into(), lens, name: None })
    }

    /// Fails for no layers, and for one that is named twice or that the model does not have.
    pub(super) fn check_layers(model: &Decoder, layers: &[usize]) -> Result<()> {
        if layers.is_empty() {
            return Err(Error::invalid("the layers", "at least one", "none"));
        }
        let all = model.config().layers;
        if let Some(beyond) = layers.iter().find(|layer| **layer >= all) {
            let expected = format!("below {all}, the layers of the model");
            return Err(Error::invalid("the layer", expected, beyond));
        }
        match (1..layers.len()).find(|at| layers[..*at].contains(&layers[*at])) {
            Some(twice) => Err(Error::invalid("the layers", "named once each", layers[twice])),
            None => Ok(()),
        }
    }

    /// The multi-layer autoencoder at `name` (embedded, a folder, or of the hub, such as
    /// `tim-lawson/mlsae-pythia-70m-deduped-x64-k32`) with the model and the layers that its
    /// configuration names. Without layers there it is at all, unless its files name one place. If it
    /// reads through a tuned lens
    /// (`-lens-tfm`, `-lens`), that is the one in its files, else the published one of the model.
    ///
    /// # Errors
    /// As [`Sae::load`], [`Decoder::from_pretrained`] and [`TunedLens::from_pretrained`];
    /// [`Error::NotFound`] if no file names the model: [`Mlsae::load`] takes one.
    pub fn from_pretrained(name: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let name = name.as_ref();
        let sae = SaeLoader::new().load(name, device)?;
        let model = sae.origin().model.clone().ok_or_else(|| Error::NotFound {
            what: format!("the model of {}", name.display()),
            hint: "Its config.json has no `model_name`: give the model to Mlsae::load.".to_owned(),
        })?;
        Self::of_files(name, sae, &Decoder::from_pretrained(&model, device)?)
    }

    /// [`Mlsae::from_pretrained`] of a model that is here already.
    ///
    /// # Errors
    /// As [`Sae::load`] and [`Mlsae::new`]; a lens that is not found or of another model.
    pub fn load(name: impl AsRef<Path>, model: &Decoder) -> Result<Self> {
        let name = name.as_ref();
        Self::of_files(name, SaeLoader::new().load(name, model.device())?, model)
    }

    fn of_files(name: &Path, sae: Sae, model: &Decoder) -> Result<Self> {
        let origin = sae.origin();
        let layers = match (&origin.training.layers, origin.point) {
            (Some(layers), _) => layers.clone(),
            (None, None) => (0..model.config().layers).collect(),
            (None, Some(HookPoint::ResidPost(layer))) => vec![layer],
            // What goes into a layer is what came out of the one before.
            (None, Some(HookPoint::ResidPre(layer))) if layer > 0 => vec![layer - 1],
            (None, Some(other)) => {
                let expected = "at the residual stream after a layer";
                return Err(Error::invalid("the autoencoder", expected, format!("at {other}")));
            }
        };
        let own = Self::new(model, &sae, &layers)?;
        let own = Self { name: Some(name.to_string_lossy().into()), ..own };
        if !origin.training.tuned_lens {
            return Ok(own);
        }
        let within = TunedLens::from_checkpoint(&name.to_string_lossy(), model.device());
        let lens = match (within, &origin.model) {
            (Err(Error::NotFound { .. }), Some(published)) => {
                TunedLens::from_pretrained(published, model.device())?
            }
            (within, _) => within?,
        };
        own.with_lens(&lens)
    }

    /// The same, where `tokens` take no part in statistics; by default as [`Mlsae::new`] says.
    #[must_use]
    pub fn skipping(&self, tokens: &[u32]) -> Self {
        Self { skipped: tokens.into(), ..self.clone() }
    }

    /// The same with codes before the ReLU: of the k largest also those that are not above zero, as the
    /// original's statistics have them. Reconstructions would be others.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an autoencoder that is no top-k.
    pub fn before_relu(&self) -> Result<Self> {
        let own = self.sae.architecture();
        let SaeActivation::TopK { k, .. } = own.activation else {
            return Err(Error::invalid("the autoencoder", "a top-k", own));
        };
        let activation = SaeActivation::TopK { k, relu: false };
        let architecture = Architecture { activation, ..own.clone() };
        let sae = Sae::new(architecture, self.sae.weights().clone())?;
        Ok(Self { sae, ..self.clone() })
    }

    /// What comes before the autoencoder.
    pub(super) fn lens_use(&self) -> &LensUse {
        &self.lens
    }

    /// The same with something else before the autoencoder.
    pub(super) fn through(&self, lens: LensUse) -> Self {
        Self { lens, ..self.clone() }
    }

    /// The name or folder that it was loaded by, if it was.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The model.
    pub fn model(&self) -> &Decoder {
        &self.model
    }

    /// The autoencoder, at no particular layer.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }

    /// The layers, by their numbers in the model.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// Tokens whose positions take no part in statistics.
    pub fn skipped(&self) -> &[u32] {
        &self.skipped
    }

    /// The autoencoder at the residual stream after `layer`, a number of the model's.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that is none of [`layers`](Self::layers), or with a tuned lens,
    /// of which an [`Sae`] knows nothing.
    pub fn at(&self, layer: usize) -> Result<Sae> {
        self.place_of(layer)?;
        match self.lens {
            LensUse::None => Ok(self.sae.at(HookPoint::ResidPost(layer))),
            LensUse::Missing | LensUse::Lens(_) => {
                let expected = "without a tuned lens to be used as an Sae, which would read the raw \
                                stream: Mlsae::encode, reconstruct and steer go through the lens";
                Err(Error::invalid("the multi-layer autoencoder", expected, "one with a lens"))
            }
        }
    }

    /// The place of `layer` among the layers.
    pub(super) fn place_of(&self, layer: usize) -> Result<usize> {
        self.layers
            .iter()
            .position(|own| *own == layer)
            .ok_or_else(|| Error::invalid("the layer", format!("one of {:?}", self.layers), layer))
    }

    /// The last of the layers in the model.
    pub(super) fn last_layer(&self) -> usize {
        self.layers.iter().copied().max().unwrap_or_default()
    }

    /// The places it reads, in the order of the layers.
    pub(super) fn points(&self) -> Vec<HookPoint> {
        self.layers.iter().map(|layer| HookPoint::ResidPost(*layer)).collect()
    }

    /// Codes of streams `[…, d]` after each of the layers, raw ones also where there is a tuned lens.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of streams or different numbers of positions, or where a
    /// lens is missing; as [`Sae::encode`].
    pub fn encode(&self, streams: &[Tensor]) -> Result<LayerCodes> {
        let codes = self.seen(streams)?.into_iter().map(|stream| self.sae.encode(&stream));
        LayerCodes::new(codes.collect::<Result<Vec<_>>>()?)
    }
}

show_as_text!(Mlsae);

impl fmt::Display for Mlsae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (layers, all) = (&*self.layers, self.model.config().layers);
        let sae = self.sae.architecture();
        let (m, d) = (self.sae.features(), self.sae.d_model());
        write!(f, "{sae}: {m} latents of {d} dimensions, after ")?;
        match layers.len() == all {
            true => write!(f, "all {all} layers")?,
            false => write!(f, "layers {layers:?} of {all}")?,
        }
        match &self.lens {
            LensUse::None => Ok(()),
            LensUse::Missing => write!(f, ", through a tuned lens that is not there"),
            LensUse::Lens(lens) => write!(f, ", through a {lens}"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::DType;

    use super::*;
    use crate::harvest::tests::{model, sae};
    use crate::sae::TrainingRecord;

    /// Both layers of a small random model, without tokens that are skipped.
    pub(crate) fn small() -> Mlsae {
        let sae = sae(HookPoint::ResidPost(0), 1);
        Mlsae::new(&model(), &sae, &[0, 1]).unwrap().skipping(&[])
    }

    #[test]
    fn it_is_one_autoencoder_at_every_layer() {
        let mlsae = small();
        assert_eq!(mlsae.layers(), [0, 1]);
        assert_eq!(mlsae.at(1).unwrap().point().unwrap(), HookPoint::ResidPost(1));
        assert!(mlsae.at(2).unwrap_err().to_string().contains("one of [0, 1]"));
        assert!(mlsae.to_string().ends_with("after all 2 layers"), "{mlsae}");
        let second = Mlsae::new(mlsae.model(), mlsae.sae(), &[1]).unwrap();
        assert!(second.to_string().contains("layers [1] of 2"), "{second}");
        let x = Tensor::randn(0f32, 1., (3, 8), &Device::Cpu).unwrap();
        assert!(
            mlsae.encode(std::slice::from_ref(&x)).unwrap_err().to_string().contains("one a layer")
        );
        assert_eq!(mlsae.encode(&[x.clone(), x]).unwrap().rows(), 3);
    }

    #[test]
    fn tokens_of_the_record_are_skipped() {
        let (model, sae) = (model(), sae(HookPoint::ResidPost(0), 1));
        let excluded_tokens = Some(ExcludedTokens::Ids(vec![5, 2, 5]));
        let record = TrainingRecord { excluded_tokens, ..TrainingRecord::default() };
        let mlsae = Mlsae::new(&model, &sae.with_training_record(record), &[0]).unwrap();
        assert_eq!(mlsae.skipped(), [2, 5]);
        assert_eq!(mlsae.skipping(&[9]).skipped(), [9]);
        let ends = model.with_end_tokens(&[7]).unwrap();
        assert_eq!(Mlsae::new(&ends, &sae, &[0]).unwrap().skipped(), [7]);
    }

    #[test]
    fn codes_before_the_relu_are_those_of_a_signed_top_k() {
        let signed = small();
        let relu = Architecture::top_k(3);
        let sae = Sae::new(relu, signed.sae().weights().clone()).unwrap();
        let mlsae = Mlsae::new(signed.model(), &sae, &[0]).unwrap();
        let x = Tensor::randn(0f32, 1., (9, 8), &Device::Cpu).unwrap();
        let codes = mlsae.before_relu().unwrap().encode(std::slice::from_ref(&x)).unwrap();
        let expected = signed.sae().encode(&x).unwrap();
        for row in 0..9 {
            assert!(codes.layer(0).unwrap().row(row).eq(expected.row(row)));
        }
        let standard = Architecture::jump_relu();
        let thresholds = Tensor::zeros(24, DType::F32, &Device::Cpu).unwrap();
        let mut weights = signed.sae().weights().clone();
        weights.thresholds = Some(thresholds);
        let other = Sae::new(standard, weights).unwrap();
        let other = Mlsae::new(signed.model(), &other, &[0]).unwrap();
        assert!(other.before_relu().unwrap_err().to_string().contains("a top-k"));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let (model, sae) = (model(), sae(HookPoint::ResidPost(0), 1));
        let message = |layers: &[usize]| Mlsae::new(&model, &sae, layers).unwrap_err().to_string();
        assert!(message(&[]).contains("at least one"));
        assert!(message(&[0, 2]).contains("below 2"));
        assert!(message(&[1, 0, 1]).contains("named once each, found 1"));
        let error = Mlsae::from_pretrained("/no/such/place", &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }
}
