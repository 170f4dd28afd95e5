//! What becomes of a prompt's predictions if the residual stream after a layer is changed.

use std::fmt;

use candle_core::{DType, Tensor};

use super::intervention::LatentIntervention;
use super::mlsae::Mlsae;
use super::prompt::LayerPrompt;
use super::ranked_logits::{LogitShift, RankedLogit};
use crate::data::text::Tokenizer;
use crate::display::show_as_text;
use crate::model::{Decoder, Hooks, lens_divergence};
use crate::{Error, Result};

/// Tokens that the text of a [`SteeredLogits`] shows.
const SHOWN: usize = 5;

/// Logits of a prompt before and after a change of its residual stream, at all T positions.
///
/// [`Mlsae::steer`] and [`Mlsae::logits_of_reconstruction`] make one. Its text shows the last
/// position.
#[derive(Debug, Clone)]
pub struct SteeredLogits {
    before: Tensor,
    after: Tensor,
    tokenizer: Option<Tokenizer>,
}

impl Mlsae {
    /// Logits `[T, vocabulary]` of the model as it is, at every position of a prompt.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a prompt at other layers.
    pub fn prompt_logits(&self, prompt: &LayerPrompt) -> Result<Tensor> {
        let last = self.last_layer();
        logits_after(self.model(), last, self.stream_after(prompt, last)?, &Hooks::new())
    }

    /// What becomes of the logits if the stream after `layer` is replaced by its reconstruction at
    /// every position, special tokens included; through the tuned lens and back if there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a layer that is none of [`layers`](Mlsae::layers), or a prompt at other
    /// layers; as [`Mlsae::reconstruct`].
    pub fn logits_of_reconstruction(
        &self,
        prompt: &LayerPrompt,
        layer: usize,
    ) -> Result<SteeredLogits> {
        let stream = self.reconstructed(layer, self.stream_after(prompt, layer)?)?;
        let after = logits_after(self.model(), layer, &stream, &Hooks::new())?;
        SteeredLogits::new(self.model(), self.prompt_logits(prompt)?, after)
    }

    /// What becomes of the logits if latents are changed. Interventions at one layer act one after the
    /// other, as on activations read before the first of them; those at a later layer act on the stream
    /// as earlier ones left it.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::multilayer::LatentIntervention;
    /// # use eigenlens::sae::{Architecture, SaeWeights};
    /// # fn main() -> Result<()> {
    /// # let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    /// # let decoder = Rng::seed(0).normal((192, 384), &Device::Cpu)?;
    /// # let bias = Tensor::zeros(192, DType::F32, &Device::Cpu)?;
    /// # let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
    /// # let sae = Sae::new(Architecture::top_k(8), weights)?;
    /// let mlsae = Mlsae::new(&model, &sae, &[0, 1, 2, 3])?;
    /// let prompt = mlsae.prompt("She had been very happy")?;
    /// let steered = mlsae.steer(&prompt, &[LatentIntervention::add(7, 3.0).from(1)])?;
    /// let best = steered.largest(3)?;
    /// assert_eq!(best.len(), prompt.tokens().len());
    /// assert!(steered.divergences()?.iter().all(|nats| *nats > 0.0));
    /// println!("{steered}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for no interventions, a latent or layer there is not, an amount that is not a
    /// number, or a prompt at other layers.
    pub fn steer(
        &self,
        prompt: &LayerPrompt,
        interventions: &[LatentIntervention],
    ) -> Result<SteeredLogits> {
        let mut changes = self.changes(interventions)?.into_iter();
        let before = self.prompt_logits(prompt)?;
        let Some((first, change)) = changes.next() else {
            return SteeredLogits::new(self.model(), before.clone(), before);
        };
        let stream = self.changed(first, self.stream_after(prompt, first)?, &change, 0)?;
        let after = logits_after(self.model(), first, &stream, &self.hooks_of(changes))?;
        SteeredLogits::new(self.model(), before, after)
    }

    /// A prompt's stream after `layer`, `[1, T, d]`.
    pub(super) fn stream_after<'a>(
        &self,
        prompt: &'a LayerPrompt,
        layer: usize,
    ) -> Result<&'a Tensor> {
        if prompt.layers() != self.layers() {
            let expected = format!("at the layers {:?}", self.layers());
            return Err(Error::invalid("the prompt", expected, format!("{:?}", prompt.layers())));
        }
        Ok(&prompt.raw_streams()[self.place_of(layer)?])
    }
}

/// Logits `[T, vocabulary]` of a stream `[1, T, d]` after `layer`.
pub(super) fn logits_after(
    model: &Decoder,
    layer: usize,
    stream: &Tensor,
    hooks: &Hooks,
) -> Result<Tensor> {
    Ok(model.run_from(layer + 1, stream, hooks)?.0.squeeze(0)?)
}

impl SteeredLogits {
    /// Of logits `[T, vocabulary]`.
    pub(super) fn new(model: &Decoder, before: Tensor, after: Tensor) -> Result<Self> {
        if before.dims() != after.dims() {
            let expected = format!("{:?}, that of those before", before.dims());
            return Err(Error::shape("the logits afterwards", expected, after.dims()));
        }
        Ok(Self { before, after, tokenizer: model.tokenizer().ok() })
    }

    /// Logits of the model as it is, `[T, vocabulary]`.
    pub fn before(&self) -> &Tensor {
        &self.before
    }

    /// Logits with the change, `[T, vocabulary]`.
    pub fn after(&self) -> &Tensor {
        &self.after
    }

    /// The `top` tokens with the largest logits afterwards at each position, the largest first.
    ///
    /// # Errors
    /// As [`RankedLogit::largest`].
    pub fn largest(&self, top: usize) -> Result<Vec<Vec<RankedLogit>>> {
        RankedLogit::largest(&self.after, top)
    }

    /// The `top` tokens whose logits rise most at each position, the largest rise first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `top` of 0 or above the vocabulary.
    pub fn rises(&self, top: usize) -> Result<Vec<Vec<LogitShift>>> {
        LogitShift::most([&self.before, &self.after], top, true)
    }

    /// The `top` tokens whose logits fall most at each position, the largest fall first.
    ///
    /// # Errors
    /// As [`SteeredLogits::rises`].
    pub fn falls(&self, top: usize) -> Result<Vec<Vec<LogitShift>>> {
        LogitShift::most([&self.before, &self.after], top, false)
    }

    /// `KL(before ‖ after)` of the next token's distribution at each position, nats.
    ///
    /// # Errors
    /// Memory.
    pub fn divergences(&self) -> Result<Vec<f64>> {
        let wide = |logits: &Tensor| logits.to_dtype(DType::F64);
        Ok(lens_divergence(&wide(&self.before)?, &wide(&self.after)?)?.to_vec1()?)
    }

    fn text_of(&self, token: u32) -> String {
        let text = self.tokenizer.as_ref().and_then(|own| own.visible(token).ok());
        text.unwrap_or_else(|| format!("[id {token}]"))
    }

    /// The last position.
    fn last(&self) -> Result<Self> {
        let last = |logits: &Tensor| logits.narrow(0, logits.dim(0)? - 1, 1);
        Ok(Self { before: last(&self.before)?, after: last(&self.after)?, ..self.clone() })
    }
}

show_as_text!(SteeredLogits);

impl fmt::Display for SteeredLogits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = |_| fmt::Error;
        let each = self.divergences().map_err(failed)?;
        let (positions, mean) = (each.len(), each.iter().sum::<f64>() / each.len() as f64);
        let last = self.last().map_err(failed)?;
        let top = SHOWN.min(last.after.dims()[1]);
        write!(f, "{positions} positions, KL {mean:.4} nats a token; after the last one:")?;
        for own in last.largest(top).map_err(failed)?.iter().flatten() {
            let (text, p) = (self.text_of(own.token), 100.0 * own.probability);
            write!(f, "\n{text:>16} {p:6.2} %   logit {:.3}", own.logit)?;
        }
        for (name, rows) in [("rises", last.rises(top)), ("falls", last.falls(top))] {
            write!(f, "\n{name}:")?;
            for own in rows.map_err(failed)?.iter().flatten() {
                write!(f, " {} {:+.3}", self.text_of(own.token), own.change)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
