//! The model as a handle.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};

use super::origin::ModelOrigin;
use super::parameters::Parameters;
use super::{Config, HookPoint, Position};
use crate::{Error, Result};

/// A decoder-only transformer. A cheap handle: clones share weights.
#[derive(Debug, Clone)]
pub struct Decoder(Arc<DecoderData>);

#[derive(Debug)]
struct DecoderData {
    config: Config,
    parameters: Parameters,
    device: Device,
    origin: ModelOrigin,
}

impl Decoder {
    /// A model with random weights: maps and embeddings normal with standard deviation 0.02, gains
    /// one, biases zero.
    ///
    /// # Errors
    /// A size of zero; sizes or numbers that do not make a model, such as heads that do not share
    /// out `d_model` in even parts.
    pub fn random(config: Config, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let parameters = Parameters::random(&config, seed, device)?;
        Ok(Self::from_parameters(config, parameters, device, ModelOrigin::default()))
    }

    pub(super) fn from_parameters(
        config: Config,
        parameters: Parameters,
        device: &Device,
        origin: ModelOrigin,
    ) -> Self {
        Self(Arc::new(DecoderData { config, parameters, device: device.clone(), origin }))
    }

    pub(super) fn origin(&self) -> &ModelOrigin {
        &self.0.origin
    }

    /// What to know before trusting its numbers, such as fields of `config.json` that were ignored
    /// because [`DecoderLoader::allow_unknown_fields`](super::DecoderLoader::allow_unknown_fields)
    /// asked for it.
    pub fn notes(&self) -> &[String] {
        &self.0.origin.notes
    }

    /// Sizes and parts.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The dtype of weights and activations. Logits and losses are at least f32.
    pub fn dtype(&self) -> DType {
        self.0.parameters.embed.dtype()
    }

    pub(super) fn parameters(&self) -> &Parameters {
        &self.0.parameters
    }

    /// Every point that a pass reaches, in its order.
    pub fn points(&self) -> Vec<HookPoint> {
        self.config().points()
    }

    /// Every weight, under the names of the published bilinear checkpoints whatever the model was
    /// loaded from: queries, keys and values in one matrix, the halves of a gated MLP in another.
    pub fn weights(&self) -> Vec<(String, Tensor)> {
        let named = self.parameters().named().into_iter();
        named.map(|(name, var)| (name, var.as_detached_tensor())).collect()
    }

    /// Every weight, for an optimiser.
    pub fn variables(&self) -> Vec<Var> {
        self.parameters().named().into_iter().map(|(_, var)| var.clone()).collect()
    }

    /// The same model in f64, to tell rounding from a mistake.
    ///
    /// # Errors
    /// Memory.
    pub fn widened(&self) -> Result<Self> {
        self.to_dtype(DType::F64)
    }

    /// The same model with weights and activations in another floating point type.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let config = Config { vocab: 11, ..Config::llama(1, 2, 8, 16) };
    /// let half = Decoder::random(config, 0, &Device::Cpu)?.to_dtype(DType::BF16)?;
    /// assert_eq!(half.dtype(), DType::BF16);
    /// let logits = half.logits(&Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?)?;
    /// assert_eq!(logits.dtype(), DType::F32);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A type that is not floating point; memory.
    pub fn to_dtype(&self, dtype: DType) -> Result<Self> {
        check_float(dtype)?;
        let parameters = self.parameters().to_dtype(self.config(), dtype)?;
        let origin = self.origin().clone();
        Ok(Self::from_parameters(self.config().clone(), parameters, self.device(), origin))
    }

    /// The same model, in which every token of a pass from a residual stream stands at position 0:
    /// rotary embedding turns nothing, what layers read of positions is the first vector, and
    /// attention stays causal.
    pub(crate) fn at_one_position(&self) -> Result<Self> {
        let (mut config, mut parameters) = (self.config().clone(), self.parameters().clone());
        let d_head = config.d_head();
        if let Position::Rotary(rotary) = &mut config.position {
            *rotary = rotary.at_rest(d_head);
        }
        config.local_rotary = config.local_rotary.map(|rotary| rotary.at_rest(d_head));
        if let (Position::Shortformer, Some(vectors)) = (&config.position, &parameters.positions) {
            let first = vectors.as_detached_tensor().narrow(0, config.position_offset, 1)?;
            let all = first.broadcast_as(vectors.shape())?.contiguous()?;
            parameters.positions = Some(Var::from_tensor(&all)?);
        }
        Ok(Self::from_parameters(config, parameters, self.device(), self.origin().clone()))
    }
}

/// Fails for a dtype that is not floating point.
pub(super) fn check_float(dtype: DType) -> Result<()> {
    match dtype.is_float() && !matches!(dtype, DType::F8E4M3) {
        true => Ok(()),
        false => {
            let expected = "a floating point type: f32, f16, bf16 or f64";
            Err(Error::invalid("the type of weights", expected, dtype.as_str()))
        }
    }
}

impl fmt::Display for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { layers, heads, d_model, context, vocab, .. } = self.config();
        write!(
            f,
            "transformer of {layers} layers, {heads} heads, d_model {d_model}, context {context}, \
             {vocab} tokens, from {}",
            self.source()
        )?;
        if self.dtype() != DType::F32 {
            write!(f, ", in {}", self.dtype().as_str())?;
        }
        self.notes().iter().try_for_each(|note| write!(f, "\nnote: {note}"))
    }
}
