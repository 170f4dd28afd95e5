//! The weights of an autoencoder.

use candle_core::Tensor;

use super::Architecture;
use crate::model::precision::widened;
use crate::{Error, Result};

/// The weights of an [`Sae`](super::Sae) of m features of d-dimensional activations, all f32.
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// E `[m, d]`, or E₁ above E₂ `[2m, d]` where the encoder has two maps. Matching pursuit has
    /// the decoder's transpose here.
    pub encoder: Tensor,
    /// e, an entry a row of the encoder, if there is one.
    pub encoder_bias: Option<Tensor>,
    /// D `[d, m]`; a transcoder's may have another number of rows.
    pub decoder: Tensor,
    /// b, an entry a row of the decoder.
    pub bias: Tensor,
    /// What JumpReLU compares with, `[m]`; some top-k files hold a learned one too.
    pub thresholds: Option<Tensor>,
    /// What a gated autoencoder has beside.
    pub gate: Option<Gate>,
    /// S `[rows of D, d]`, of a transcoder with a skip connection.
    pub skip: Option<Tensor>,
}

/// The weights of a gated autoencoder beside its maps, `[m]` each.
#[derive(Debug, Clone)]
pub struct Gate {
    /// g: a feature is open where `hᵢ + gᵢ > 0`.
    pub bias: Tensor,
    /// r: an open feature's value is `hᵢ exp(rᵢ) + cᵢ`.
    pub log_gains: Tensor,
    /// c.
    pub magnitude: Tensor,
}

impl SaeWeights {
    /// Weights without an encoder's bias and other extras.
    pub fn new(encoder: Tensor, decoder: Tensor, bias: Tensor) -> Self {
        let (encoder_bias, thresholds, gate, skip) = (None, None, None, None);
        Self { encoder, encoder_bias, decoder, bias, thresholds, gate, skip }
    }

    /// The same weights with those in f16 or bf16 widened to f32, without loss.
    pub(super) fn widened(&self) -> Result<Self> {
        let some = |tensor: &Option<Tensor>| tensor.as_ref().map(widened).transpose();
        let gate = self.gate.as_ref().map(|Gate { bias, log_gains, magnitude }| {
            let (bias, log_gains) = (widened(bias)?, widened(log_gains)?);
            Ok::<_, Error>(Gate { bias, log_gains, magnitude: widened(magnitude)? })
        });
        Ok(Self {
            encoder: widened(&self.encoder)?,
            encoder_bias: some(&self.encoder_bias)?,
            decoder: widened(&self.decoder)?,
            bias: widened(&self.bias)?,
            thresholds: some(&self.thresholds)?,
            gate: gate.transpose()?,
            skip: some(&self.skip)?,
        })
    }

    /// Every tensor there is.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let gate = self.gate.iter().flat_map(|gate| [&gate.bias, &gate.log_gains, &gate.magnitude]);
        let extras = [&self.encoder_bias, &self.thresholds, &self.skip].into_iter().flatten();
        [&self.encoder, &self.decoder, &self.bias].into_iter().chain(extras).chain(gate).collect()
    }

    /// What there is, by name, with its shape for `architecture`.
    pub(super) fn shapes(
        &self,
        architecture: &Architecture,
    ) -> Result<Vec<(&'static str, &Tensor, Vec<usize>)>> {
        let (out, m) = match *self.decoder.dims() {
            [out, m] if m > 0 && out > 0 => (out, m),
            _ => return Err(Error::shape("the decoder", "[d, features]", self.decoder.dims())),
        };
        let d = match *self.encoder.dims() {
            [_, d] if architecture.transcoder => d,
            _ => out,
        };
        let rows = m * architecture.encoder.maps();
        let mut found = vec![
            ("the encoder", &self.encoder, vec![rows, d]),
            ("the decoder's bias", &self.bias, vec![out]),
            ("the decoder", &self.decoder, vec![out, m]),
        ];
        found.extend(self.encoder_bias.iter().map(|e| ("the encoder's bias", e, vec![rows])));
        found.extend(self.thresholds.iter().map(|t| ("the thresholds", t, vec![m])));
        found.extend(self.skip.iter().map(|s| ("the skip connection", s, vec![out, d])));
        if let Some(Gate { bias, log_gains, magnitude }) = &self.gate {
            found.push(("the gate's bias", bias, vec![m]));
            found.push(("the gate's log gains", log_gains, vec![m]));
            found.push(("the magnitudes' bias", magnitude, vec![m]));
        }
        Ok(found)
    }
}
