//! What a feature says about the next token.

use candle_core::Tensor;

use super::Sae;
use crate::model::Decoder;
use crate::{Error, Result};

impl Sae {
    /// How much a feature moves each logit when it writes straight to the end of the residual
    /// stream, per unit of activation, `[vocab]`: `W_u (γ ∘ c(D[:, feature]))`, with the final norm's
    /// gain γ (`1 + w` for Gemma) and, for a LayerNorm, the mean over the dimensions taken off (c);
    /// times the scale of logits where there is one (Granite). The norm's division by the length of the
    /// stream is left out, and so is everything in between.
    ///
    /// A model without a gain has γ = 1. See [`Decoder::direct_logits`].
    ///
    /// # Errors
    /// A feature there is not; a model of another width.
    pub fn logit_influence(&self, model: &Decoder, feature: usize) -> Result<Tensor> {
        self.check_features(&[feature])?;
        let (width, d) = (model.config().d_model, self.d_out());
        if width != d {
            let expected = format!("[vocab, {d}], as the autoencoder");
            return Err(Error::shape("the unembedding", expected, model.w_u().dims()));
        }
        let direction = self.w_dec().narrow(1, feature, 1)?.t()?.contiguous()?;
        Ok(model.direct_logits(&direction)?.squeeze(0)?)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::model::Config;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights};

    fn sae() -> Sae {
        let mut rng = Rng::seed(3);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(normal(&[12, 8]), normal(&[8, 12]), normal(&[8]));
        Sae::new(Architecture::top_k(2), weights).unwrap()
    }

    /// A model whose final gain is `gain`, as it is stored.
    fn model(config: Config, gain: &[f32]) -> Decoder {
        let model = Decoder::random(Config { vocab: 11, ..config }, 5, &Device::Cpu).unwrap();
        let name = model.weights().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let at = name.iter().position(|name| is_final_gain(name)).unwrap();
        let var: &Var = &model.variables()[at];
        var.set(&Tensor::new(gain, &Device::Cpu).unwrap()).unwrap();
        model
    }

    fn is_final_gain(name: &str) -> bool {
        ["ln_f.weight", "norm.weight", "final_layer_norm.weight"]
            .iter()
            .any(|own| name.ends_with(own) && !name.contains("layers.") && !name.contains("h.0"))
    }

    /// `W_u (γ ∘ (d − mean))` entry by entry in f64.
    fn expected(model: &Decoder, d: &[f32], factor: &[f64], centre: bool) -> Vec<f64> {
        let mean = if centre { d.iter().map(|x| f64::from(*x)).sum::<f64>() / 8.0 } else { 0.0 };
        let row = |row: Vec<f32>| {
            let terms = row.iter().zip(d).zip(factor);
            terms.map(|((u, x), gain)| f64::from(*u) * gain * (f64::from(*x) - mean)).sum()
        };
        model.w_u().to_vec2::<f32>().unwrap().into_iter().map(row).collect()
    }

    #[test]
    fn the_final_norms_gain_and_centring_are_in_it() {
        let gain = [1.0f32, -2.0, 0.5, 3.0, 0.25, 1.5, -1.0, 2.0];
        let plain = gain.map(f64::from);
        let sae = sae();
        let d: Vec<f32> =
            sae.w_dec().narrow(1, 3, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (config, factor, centre) in [
            (Config::llama(1, 2, 8, 12), plain, false),
            (Config::gpt2(1, 2, 8, 12), plain, true),
            (Config::gemma2(1, 2, 8, 12), plain.map(|w| 1.0 + w), false),
        ] {
            let model = model(config, &gain);
            let found = sae.logit_influence(&model, 3).unwrap();
            assert_eq!(found.dtype(), DType::F32);
            for (found, right) in
                found.to_vec1::<f32>().unwrap().iter().zip(expected(&model, &d, &factor, centre))
            {
                assert!((f64::from(*found) - right).abs() < 1e-6, "{found} {right}");
            }
        }
    }

    #[test]
    fn a_model_of_another_width_is_refused() {
        let config = Config { vocab: 11, ..Config::llama(1, 2, 12, 12) };
        let model = Decoder::random(config, 5, &Device::Cpu).unwrap();
        let message = sae().logit_influence(&model, 0).unwrap_err().to_string();
        assert!(message.contains("[vocab, 8]"), "{message}");
    }
}
