//! How much of a model is left when an autoencoder stands in for an activation.

use std::fmt;

use super::Sae;
use crate::Result;
use crate::data::text::Tokens;
use crate::display::show_as_text;
use crate::model::{Decoder, Hooks};

/// A model's loss with and without an autoencoder in its place, in nats a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchedLoss {
    /// The model as it is.
    pub clean: f64,
    /// With reconstructions instead of the activations.
    pub patched: f64,
    /// With zeros instead of the activations.
    pub ablated: f64,
}

impl PatchedLoss {
    /// What the autoencoder costs, `patched − clean`.
    pub fn added(&self) -> f64 {
        self.patched - self.clean
    }

    /// The share of the activation's worth that is kept, `(ablated − patched)/(ablated − clean)`.
    pub fn recovered(&self) -> f64 {
        (self.ablated - self.patched) / (self.ablated - self.clean)
    }
}

show_as_text!(PatchedLoss);

impl fmt::Display for PatchedLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { clean, patched, ablated } = self;
        write!(
            f,
            "loss {clean:.4}, patched {patched:.4} (+{:.4}), ablated {ablated:.4}: {:.1} % recovered",
            self.added(),
            100. * self.recovered()
        )
    }
}

impl Sae {
    /// The model's loss on `windows` windows of `length` tokens of text, with its activations at
    /// the autoencoder's place as they are, reconstructed, and set to zero.
    ///
    /// # Errors
    /// A model that does not have the place, or of another width; windows that do not fit.
    pub fn patched_loss(
        &self,
        model: &Decoder,
        text: &Tokens,
        windows: usize,
        length: usize,
    ) -> Result<PatchedLoss> {
        let point = self.own_point()?;
        let loss = |hooks: &Hooks| model.mean_loss_with(text, windows, length, hooks);
        let sae = self.clone();
        Ok(PatchedLoss {
            clean: loss(&Hooks::new())?,
            patched: loss(&Hooks::new().replace(point, move |x| sae.reconstruct(x)))?,
            ablated: loss(&Hooks::new().replace(point, |x| Ok(x.zeros_like()?)))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Tensor};

    use super::*;
    use crate::model::{Config, HookPoint};
    use crate::sae::{Architecture, SaeWeights};

    #[test]
    fn a_perfect_autoencoder_costs_nothing_and_an_empty_one_everything() {
        let config = Config { vocab: 9, ..Config::bilinear(1, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
        }
        let text = Tokens::from((0..90).map(|i| (i * i % 9) as u32).collect::<Vec<_>>());
        let eye = Tensor::eye(8, DType::F32, &Device::Cpu).unwrap();
        let of = |decoder: Tensor| {
            let bias = Tensor::zeros(8, DType::F32, &Device::Cpu).unwrap();
            let weights = SaeWeights::new(eye.clone(), decoder, bias);
            let sae = Sae::new(Architecture::signed_top_k(8), weights).unwrap();
            let sae = sae.at(HookPoint::MlpOut(0));
            sae.patched_loss(&model, &text, 4, 10).unwrap()
        };
        let perfect = of(eye.clone());
        assert!(perfect.added().abs() < 1e-6 && (perfect.recovered() - 1.0).abs() < 1e-5);
        let empty = of(eye.zeros_like().unwrap());
        assert!(empty.recovered().abs() < 1e-6 && empty.ablated != empty.clean, "{empty}");
    }
}
