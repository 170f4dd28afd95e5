//! An autoencoder as a handle.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::columns::Columns;
use super::origin::Origin;
use super::record::CENTRED;
use super::{Architecture, Encoder, Gate, Normalization, Rescale, SaeWeights, TrainingRecord};
use crate::check::check_finite;
use crate::display::show_as_text;
use crate::model::HookPoint;
use crate::{Error, Result};

/// A sparse autoencoder with m features of a d-dimensional activation, or a transcoder: what it
/// computes is its [`Architecture`]. A cheap handle: clones share weights.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae::{Architecture, SaeWeights};
/// # fn main() -> Result<()> {
/// let matrix = |rows, columns| Tensor::randn(0f32, 1., (rows, columns), &Device::Cpu);
/// let bias = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
/// let weights = SaeWeights::new(matrix(16, 4)?, matrix(4, 16)?, bias);
/// let sae = Sae::new(Architecture::top_k(3), weights)?;
/// let codes = sae.encode(&matrix(5, 4)?)?;
/// assert!(codes.rows() == 5 && codes.row(0).len() <= 3);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Sae(Arc<SaeData>);

#[derive(Debug, Clone)]
pub(super) struct SaeData {
    pub(super) architecture: Architecture,
    pub(super) weights: SaeWeights,
    /// The decoder's columns on the host, for sparse sums.
    pub(super) columns: Columns,
    /// Their lengths, where they weigh in.
    pub(super) lengths: Vec<f32>,
    pub(super) thresholds: Vec<f32>,
    pub(super) gate: Option<HostGate>,
    pub(super) origin: Origin,
}

/// A [`Gate`] on the host.
#[derive(Debug, Clone)]
pub(super) struct HostGate {
    pub(super) bias: Vec<f32>,
    pub(super) gains: Vec<f32>,
    pub(super) magnitude: Vec<f32>,
}

impl Sae {
    /// An autoencoder of these weights, f32; f16 and bf16 are widened. Where in a model it belongs is
    /// said by [`Sae::at`].
    ///
    /// # Errors
    /// Shapes that do not match, weights that the architecture needs and are not there or the other
    /// way round, a k that cannot be, weights that hold NaN or are of another type.
    pub fn new(architecture: Architecture, weights: SaeWeights) -> Result<Self> {
        let weights = weights.widened()?;
        for (what, tensor, shape) in weights.shapes(&architecture)? {
            if tensor.dims() != shape {
                return Err(Error::shape(what, format!("{shape:?}"), tensor.dims()));
            }
            if tensor.dtype() != DType::F32 {
                let what = format!("the dtype of {what}");
                let expected = "f32, or f16 or bf16 (`.to_dtype(DType::F32)?` makes it so)";
                return Err(Error::invalid(what, expected, tensor.dtype().as_str()));
            }
            check_finite(what, tensor)?;
        }
        if let Some(missing) = architecture.activation.missing(&weights) {
            return Err(Error::invalid("the weights", format!("with {missing}"), "none"));
        }
        if architecture.centred && weights.encoder.dims()[1] != weights.decoder.dims()[0] {
            let expected = "not centred: its bias has another width than its input";
            return Err(Error::invalid("this transcoder", expected, "centred"));
        }
        architecture.activation.check(weights.decoder.dims()[1])?;
        let host = |tensor: &Tensor| -> Result<Vec<f32>> {
            Ok(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        let (columns, d) = (host(&weights.decoder.t()?)?, weights.decoder.dims()[0]);
        let lengths = match architecture.rescale {
            Rescale::None => Vec::new(),
            _ => {
                let columns = columns.chunks(d);
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                columns.map(|own| own.iter().map(square).sum::<f64>().sqrt() as f32).collect()
            }
        };
        if architecture.rescale == Rescale::Kept && lengths.contains(&0.0) {
            let expected = "of no length zero, by which decoding divides";
            return Err(Error::invalid("the decoder's columns", expected, "one of zeros"));
        }
        let thresholds = weights.thresholds.as_ref().map(host).transpose()?.unwrap_or_default();
        let gate = weights.gate.as_ref().map(|Gate { bias, log_gains, magnitude }| {
            let (bias, gains) = (host(bias)?, host(&log_gains.exp()?)?);
            Ok::<_, Error>(HostGate { bias, gains, magnitude: host(magnitude)? })
        });
        let gate = gate.transpose()?;
        let (columns, origin) = (Columns::new(&columns, d), Origin::default());
        let inner = SaeData { architecture, weights, columns, lengths, thresholds, gate, origin };
        Ok(Self(Arc::new(inner)))
    }

    /// The same autoencoder, for activations at `point`; by default the point that its files name.
    #[must_use]
    pub fn at(&self, point: HookPoint) -> Self {
        let mut inner = SaeData::clone(&self.0);
        inner.origin.point = Some(point);
        Self(Arc::new(inner))
    }

    /// The same autoencoder, with what is known of how the activations it was trained on were made; by
    /// default what its files say.
    #[must_use]
    pub fn with_training_record(&self, training: TrainingRecord) -> Self {
        let mut inner = SaeData::clone(&self.0);
        inner.origin.training = training;
        Self(Arc::new(inner))
    }

    /// The same autoencoder, with activations multiplied by `scale` on the way in and divided by it
    /// on the way out: for files that say they expect scaled inputs, but not by how much.
    ///
    /// # Errors
    /// A scale that is not above zero; an autoencoder with a normalisation of its own.
    pub fn with_input_scale(&self, scale: f64) -> Result<Self> {
        if !scale.is_finite() || scale <= 0.0 {
            return Err(Error::invalid("the scale", "a number above 0", scale));
        }
        if self.architecture().normalization != Normalization::None {
            let expected = "of an autoencoder that has no normalisation of its own";
            return Err(Error::invalid("the scale", expected, self.architecture()));
        }
        let mut inner = SaeData::clone(&self.0);
        inner.architecture.normalization = Normalization::Scale(scale);
        inner.origin.notes.retain(|note| !note.about_scale());
        Ok(Self(Arc::new(inner)))
    }

    /// The same autoencoder, for activations of the model as it is published where it was trained on
    /// one whose weights were centred (`center_writing_weights` in its
    /// [record](super::TrainingRecord)): the mean of each activation over its dimensions is taken
    /// off before encoding and put back after decoding.
    ///
    /// In a model with LayerNorms this is exact for `resid_pre`, `resid_mid`, `resid_post`,
    /// `attn_out` and `mlp_out`, because centring the weights changes nothing but that mean.
    ///
    /// # Errors
    /// A transcoder; an autoencoder with a normalisation of its own.
    pub fn with_centred_inputs(&self) -> Result<Self> {
        let own = self.architecture();
        if own.transcoder || own.normalization != Normalization::None {
            let expected = "one that writes where it reads, with no normalisation of its own";
            return Err(Error::invalid("the autoencoder", expected, own));
        }
        let mut inner = SaeData::clone(&self.0);
        inner.architecture.normalization = Normalization::Centre;
        inner.origin.notes.retain(|note| !note.to_string().contains(CENTRED));
        let options = &mut inner.origin.training.model_options;
        options.insert(CENTRED.to_owned(), "true".to_owned());
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) fn with_origin(mut self, origin: Origin) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => inner.origin = origin,
            None => self = Self(Arc::new(SaeData { origin, ..SaeData::clone(&self.0) })),
        }
        self
    }

    pub(super) fn inner(&self) -> &SaeData {
        &self.0
    }

    /// Where it comes from, what it belongs to, and what is to be known about it.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// What it computes.
    pub fn architecture(&self) -> &Architecture {
        &self.0.architecture
    }

    /// Its weights.
    pub fn weights(&self) -> &SaeWeights {
        &self.0.weights
    }

    /// Number of features, m.
    pub fn features(&self) -> usize {
        self.0.weights.decoder.dims()[1]
    }

    /// Width of the activations, d.
    pub fn d_model(&self) -> usize {
        self.0.weights.encoder.dims()[1]
    }

    /// Width of what it predicts: d, but for some transcoders.
    pub fn d_out(&self) -> usize {
        self.0.weights.decoder.dims()[0]
    }

    /// How many features a code keeps at most, where that is fixed.
    pub fn k(&self) -> Option<usize> {
        self.architecture().activation.k()
    }

    /// Where in the model its activations come from.
    ///
    /// # Errors
    /// A file that does not say it: [`Sae::at`] does.
    pub fn point(&self) -> Result<HookPoint> {
        self.0.origin.point.ok_or_else(|| Error::NotFound {
            what: "the hook point of this autoencoder".to_owned(),
            hint: match &self.0.origin.hook {
                Some(hook) => format!(
                    "Its file says `{hook}`; say which point that is: sae.at(HookPoint::ResidPost(3))."
                ),
                None => "Its file does not say it: sae.at(HookPoint::ResidPost(3)).".to_owned(),
            },
        })
    }

    /// The encoder E `[m, d]`: row i is what feature i looks for. Where the encoder has two maps they
    /// lie above each other, `[2m, d]`.
    pub fn w_enc(&self) -> &Tensor {
        &self.0.weights.encoder
    }

    /// Whether the encoder multiplies two maps.
    pub fn is_bilinear(&self) -> bool {
        self.architecture().encoder == Encoder::Bilinear
    }

    /// The decoder D `[d, m]`: column i is what feature i adds.
    pub fn w_dec(&self) -> &Tensor {
        &self.0.weights.decoder
    }

    /// The bias b `[d]`, added after decoding, and taken off before encoding if the architecture is
    /// centred.
    pub fn b_dec(&self) -> &Tensor {
        &self.0.weights.bias
    }

    /// The encoder's bias e `[m]`, if it has one.
    pub fn encoder_bias(&self) -> Option<&Tensor> {
        self.0.weights.encoder_bias.as_ref()
    }
}

show_as_text!(Sae);

impl fmt::Display for Sae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, d) = (self.features(), self.d_model());
        write!(f, "{}: {m} features of {d} dimensions", self.architecture())?;
        if self.d_out() != d {
            write!(f, " for {}", self.d_out())?;
        }
        write!(f, "{}", self.origin())
    }
}
