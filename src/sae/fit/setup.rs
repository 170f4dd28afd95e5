//! First weights, and the autoencoder that comes of the last.

use candle_core::{Device, Tensor};

use super::shape::{FitShape, Widths};
use super::source::FitSource;
use super::weights::{KindWeights, SmallWeights, WeightArray};
use crate::Result;
use crate::linalg::unit_rows;
use crate::random::Rng;
use crate::sae::kind::extras::ExtraWeights;
use crate::sae::kind::training::{Learned, SaeKind};
use crate::sae::{Architecture, Sae, SaeWeights};

impl FitShape {
    /// The first numbers of a fit: a decoder of random directions, an encoder that is its transpose (a
    /// transcoder's is drawn too), and the mean for a bias.
    pub(super) fn start(&self, source: &dyn FitSource, seed: u64) -> Result<FirstNumbers> {
        let (Widths { input: d, output }, m) = (self.widths, self.m);
        let mut rng = Rng::stream(seed, 0);
        let rows = |matrix: &Tensor| -> Result<Vec<f32>> {
            Ok(unit_rows(matrix)?.flatten_all()?.to_vec1()?)
        };
        let decoder = rows(&rng.normal((output, m), &Device::Cpu)?.t()?.contiguous()?)?;
        let [input, bias] = source.means();
        let (encoder, offset) = if self.transcoder {
            let encoder = rows(&rng.normal((m, d), &Device::Cpu)?)?;
            let offset = encoder.chunks(d).map(|row| {
                let products = row.iter().zip(&input).map(|(e, x)| f64::from(e * x));
                -products.sum::<f64>() as f32
            });
            let offset = offset.collect();
            (encoder, offset)
        } else {
            (decoder.clone(), vec![0.0; m])
        };
        Ok(FirstNumbers { encoder: Some(encoder), decoder, bias: Some(bias), offset })
    }

    /// The first weights of a kind.
    pub(super) fn weights<K: SaeKind>(
        &self,
        kind: &K,
        start: FirstNumbers,
    ) -> KindWeights<K, WeightArray> {
        let FirstNumbers { encoder, decoder, bias, offset } = start;
        let extras = K::Extras::map(kind.start(&offset), WeightArray::vector);
        KindWeights {
            encoder: encoder.map(|encoder| WeightArray::matrix(encoder, self.widths.input)),
            decoder: WeightArray::matrix(decoder, self.widths.output),
            small: SmallWeights {
                bias: bias.map(WeightArray::vector),
                encoder_bias: self.has_encoder_bias.then(|| WeightArray::vector(offset)),
                extras,
            },
        }
    }

    /// The autoencoder, of weights on a device.
    pub(super) fn finish<K: SaeKind>(
        &self,
        kind: &K,
        weights: KindWeights<K, Tensor>,
        units: Units,
    ) -> Result<Sae> {
        let device = weights.decoder.device().clone();
        let scale = f64::from(units.output);
        let learned =
            Learned { scale, threshold: units.threshold, features: self.m, device: &device };
        let encoder = weights.reading();
        let by = scale / f64::from(units.input);
        let encoder = if by == 1.0 { encoder.clone() } else { (encoder * by)? };
        let decoder = weights.decoder.t()?.contiguous()?;
        let SmallWeights { bias, encoder_bias, extras } = weights.small;
        let bias = match bias {
            Some(bias) => learned.scaled(bias)?,
            None => Tensor::zeros(self.widths.output, encoder.dtype(), &device)?,
        };
        let mut own = SaeWeights::new(encoder, decoder, bias);
        own.encoder_bias = encoder_bias.map(|bias| learned.scaled(bias)).transpose()?;
        let activation = kind.finish(extras, &learned, &mut own)?;
        let (centred, transcoder) = (self.is_centred(), self.transcoder);
        let architecture =
            Architecture { activation, centred, transcoder, ..Architecture::standard() };
        Sae::new(architecture, own)
    }
}

/// First numbers, of which each kind makes its weights.
#[derive(Debug, Clone)]
pub(super) struct FirstNumbers {
    /// None if the encoder is tied.
    pub(super) encoder: Option<Vec<f32>>,
    pub(super) decoder: Vec<f32>,
    pub(super) bias: Option<Vec<f32>>,
    /// What, added to h, makes each feature's mean 0.
    pub(super) offset: Vec<f32>,
}

/// What turns weights in training into those of an autoencoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    /// What the activations read were divided by.
    pub(super) input: f32,
    /// What the activations predicted were divided by.
    pub(super) output: f32,
    /// The threshold of codes that were chosen from a batch together.
    pub(super) threshold: f64,
}
