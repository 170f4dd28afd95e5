//! Changing what a model's features do.

use std::sync::Arc;

use candle_core::Tensor;

use super::{Codes, Sae};
use crate::model::precision::widened;
use crate::model::{HookPoint, Hooks};
use crate::{Error, Result};

impl Sae {
    /// Hooks that multiply the activations of some features by `factor` wherever they are active:
    /// `x + (factor − 1) Σ fᵢ(x) dᵢ`. What the autoencoder does not explain stays as it is.
    ///
    /// # Errors
    /// No feature, or one there is not; a factor that is not a number.
    pub fn scale_features(&self, features: &[usize], factor: f32) -> Result<Hooks> {
        self.check_features(features)?;
        if !factor.is_finite() {
            return Err(Error::invalid("the factor", "a finite number", factor));
        }
        let point = self.own_point()?;
        let chosen: Arc<[usize]> = features.into();
        let sae = self.clone();
        let change = move |x: &Tensor| {
            let codes = sae.encode(x)?;
            let added = codes.map(|feature, value| {
                chosen.contains(&(feature as usize)).then_some(value * (factor - 1.0))
            });
            let nothing = sae.decode(&codes.map(|_, _| None))?;
            plus(x, &(sae.decode(&added)? - nothing)?.reshape(x.shape())?)
        };
        Ok(Hooks::new().replace(point, change))
    }

    /// Hooks that take some features away: [`Sae::scale_features`] with 0.
    ///
    /// # Errors
    /// As [`Sae::scale_features`].
    pub fn ablate(&self, features: &[usize]) -> Result<Hooks> {
        self.scale_features(features, 0.0)
    }

    /// Hooks that add `strength` times a feature's direction at every position: `x + strength dᵢ`.
    ///
    /// # Errors
    /// A feature there is not; a strength that is not a number.
    pub fn steer(&self, feature: usize, strength: f32) -> Result<Hooks> {
        self.check_features(&[feature])?;
        if !strength.is_finite() {
            return Err(Error::invalid("the strength", "a finite number", strength));
        }
        let direction = self.w_dec().narrow(1, feature, 1)?.flatten_all()?;
        let direction = (direction * f64::from(strength))?;
        Ok(Hooks::new().replace(self.own_point()?, move |x| plus(x, &direction)))
    }

    /// What activations `added`, a row of them for each row of `x` `[…, d]`, write, in the shape of `x`
    /// and in f32: `Σ s aᵢ dᵢ`, with the factor s that undoes the row's normalisation.
    pub(crate) fn written(&self, x: &Tensor, added: &Codes) -> Result<Tensor> {
        let (_, restore) = self.normalized(x)?;
        let unshifted = |[scale, _]: [f32; 2]| [scale, 0.0];
        let scales: Option<Vec<_>> = restore.map(|own| own.into_iter().map(unshifted).collect());
        let decoded = |codes: Codes| self.decode(&codes.restoring(scales.clone()));
        let nothing = decoded(added.map(|_, _| None))?;
        Ok((decoded(added.clone())? - nothing)?.reshape(x.shape())?)
    }

    /// Where it reads and writes.
    ///
    /// # Errors
    /// A transcoder, which writes elsewhere; a place that is not known; an autoencoder of one head.
    pub(super) fn own_point(&self) -> Result<HookPoint> {
        if self.architecture().transcoder {
            let expected = "one that writes where it reads";
            return Err(Error::invalid("the autoencoder", expected, "a transcoder"));
        }
        let point = self.point()?;
        if let Some(head) = self.origin().training.head {
            let expected = format!("of all heads at {point}, to stand in for what is there");
            return Err(Error::invalid(
                "the autoencoder",
                expected,
                format!("of head {head} alone"),
            ));
        }
        Ok(point)
    }

    /// Fails unless there are `features`, and all of them are the autoencoder's.
    pub(super) fn check_features(&self, features: &[usize]) -> Result<()> {
        if features.is_empty() {
            return Err(Error::invalid("the features", "at least one", "none"));
        }
        match features.iter().find(|feature| **feature >= self.features()) {
            Some(feature) => {
                let expected = format!("below {}", self.features());
                Err(Error::invalid("the feature", expected, feature))
            }
            None => Ok(()),
        }
    }
}

/// `x + change` for a change in f32, in the dtype of `x`; of an f16 or bf16 activation the sum is
/// rounded once.
pub(crate) fn plus(x: &Tensor, change: &Tensor) -> Result<Tensor> {
    let wide = widened(x)?;
    let sum = wide.broadcast_add(&change.to_dtype(wide.dtype())?)?;
    Ok(sum.to_dtype(x.dtype())?)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::{Config, Decoder};
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights};

    fn sae() -> Sae {
        let eye = Tensor::eye(8, DType::F32, &Device::Cpu).unwrap();
        let bias = Rng::seed(1).normal(8, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(eye.clone(), eye, bias);
        Sae::new(Architecture::signed_top_k(8), weights).unwrap().at(HookPoint::MlpIn(0))
    }

    /// What the model's MLP reads with `hooks`, `[8]` of the last position, and the logits.
    fn run(hooks: Hooks) -> (Vec<f32>, Vec<f32>) {
        let config = Config { vocab: 9, ..Config::bilinear(1, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let tokens = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu).unwrap();
        let point = HookPoint::MlpIn(0);
        let (logits, cache) = model.run(&tokens, &hooks.capture(point)).unwrap();
        let last =
            |tensor: &Tensor| tensor.get(0).unwrap().get(2).unwrap().to_vec1::<f32>().unwrap();
        (last(cache.get(point).unwrap()), last(&logits))
    }

    #[test]
    fn features_are_scaled_taken_away_and_added() {
        let (clean, logits) = run(Hooks::new());
        let bias = sae().b_dec().to_vec1::<f32>().unwrap();
        // With unit vectors for features, feature i is entry i less the bias.
        let expect = |found: Vec<f32>, change: &dyn Fn(usize) -> f32| {
            for i in 0..8 {
                assert!((found[i] - clean[i] - change(i)).abs() < 1e-5);
            }
        };
        let (scaled, other) = run(sae().scale_features(&[2, 5], 3.0).unwrap());
        let only = |i: usize, value: f32| if i == 2 || i == 5 { value } else { 0.0 };
        expect(scaled, &|i| only(i, 2.0 * (clean[i] - bias[i])));
        assert_ne!(other, logits);
        let (ablated, _) = run(sae().ablate(&[2, 5]).unwrap());
        expect(ablated, &|i| only(i, bias[i] - clean[i]));
        let (steered, _) = run(sae().steer(3, -1.5).unwrap());
        expect(steered, &|i| if i == 3 { -1.5 } else { 0.0 });
        let (same, again) = run(sae().scale_features(&[1], 1.0).unwrap());
        expect(same, &|_| 0.0);
        assert_eq!(again, logits);
    }

    #[test]
    fn features_there_are_not_are_refused() {
        assert!(sae().ablate(&[8]).unwrap_err().to_string().contains("below 8"));
        assert!(sae().ablate(&[]).unwrap_err().to_string().contains("at least one"));
        assert!(sae().steer(1, f32::NAN).unwrap_err().to_string().contains("strength"));
        assert!(sae().scale_features(&[1], f32::INFINITY).is_err());
    }
}
