//! The same autoencoder in other words.

use candle_core::Tensor;

use super::{Architecture, Encoder, Gate, Rescale, Sae, SaeActivation, SaeWeights};
use crate::{Error, Result};

impl Sae {
    /// The same autoencoder with decoder columns of length one: its features' activations, encoder
    /// rows, biases and thresholds are multiplied by the lengths that the columns had. SAELens's
    /// `fold_W_dec_norm`.
    ///
    /// # Errors
    /// Selections that would then keep other features: top-k and its like without
    /// [`Rescale::Kept`]; a column of zeros; matching pursuit.
    pub fn fold_w_dec_norm(&self) -> Result<Self> {
        let Architecture { activation, rescale, encoder, .. } = *self.architecture();
        if !activation.is_free_of_lengths(rescale) {
            let expected = "one that keeps the same features with other lengths of its columns";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        let lengths = self.w_dec().sqr()?.sum(0)?.sqrt()?;
        if lengths.min_all()?.to_scalar::<f32>()? == 0.0 {
            let expected = "of no length zero, by which they are divided";
            return Err(Error::invalid("the decoder's columns", expected, "one of zeros"));
        }
        // Of two maps that are multiplied, one takes the factor.
        let factors = match encoder {
            Encoder::Linear => lengths.clone(),
            _ => Tensor::cat(&[&lengths, &lengths.ones_like()?], 0)?,
        };
        let weights = self.weights();
        let times = |tensor: &Tensor| tensor * &lengths;
        // A gate weighs h + g: both take the factor. Its gains stay.
        let gate = weights.gate.as_ref().map(|Gate { bias, log_gains, magnitude }| {
            let (bias, magnitude) = (times(bias)?, times(magnitude)?);
            Ok::<_, Error>(Gate { bias, log_gains: log_gains.clone(), magnitude })
        });
        let thresholds = match (&weights.thresholds, rescale) {
            (Some(own), Rescale::None) => Some(times(own)?),
            (own, _) => own.clone(),
        };
        let folded = SaeWeights {
            encoder: weights.encoder.broadcast_mul(&factors.unsqueeze(1)?)?,
            encoder_bias: weights.encoder_bias.as_ref().map(|e| e * &factors).transpose()?,
            decoder: weights.decoder.broadcast_div(&lengths)?,
            bias: weights.bias.clone(),
            thresholds,
            gate: gate.transpose()?,
            skip: weights.skip.clone(),
        };
        let architecture = Architecture { rescale: Rescale::None, ..self.architecture().clone() };
        Ok(Self::new(architecture, folded)?.with_origin(self.origin().clone()))
    }

    /// The same autoencoder with the learned threshold that its file holds beside k: a code keeps
    /// the values above it, however many they are.
    ///
    /// # Errors
    /// An autoencoder without a threshold.
    pub fn by_threshold(&self) -> Result<Self> {
        if self.weights().thresholds.is_none() {
            let expected = "one whose file holds a threshold beside k";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        let activation = SaeActivation::JumpRelu;
        let architecture = Architecture { activation, ..self.architecture().clone() };
        let own = Self::new(architecture, self.weights().clone())?;
        Ok(own.with_origin(self.origin().clone()))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    fn close(a: &Tensor, b: &Tensor) {
        let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(gap < 2e-4, "{gap}");
    }

    #[test]
    fn folded_lengths_change_activations_and_nothing_else() {
        let mut rng = Rng::seed(4);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let x = normal(&[9, 5]);
        for (activation, rescale, encoder) in [
            (SaeActivation::Relu, Rescale::None, Encoder::Linear),
            (SaeActivation::Relu, Rescale::None, Encoder::Glu),
            (SaeActivation::JumpRelu, Rescale::None, Encoder::Linear),
            (SaeActivation::JumpRelu, Rescale::Undone, Encoder::Linear),
            (SaeActivation::TopK { k: 3, relu: true }, Rescale::Kept, Encoder::Linear),
            (SaeActivation::Gated, Rescale::None, Encoder::Linear),
        ] {
            let architecture =
                Architecture { activation, rescale, encoder, ..Architecture::standard() };
            let rows = 8 * encoder.maps();
            let mut weights = SaeWeights::new(normal(&[rows, 5]), normal(&[5, 8]), normal(&[5]));
            match activation {
                SaeActivation::Gated => {
                    let [bias, log_gains, magnitude] = [(); 3].map(|()| normal(&[8]));
                    weights.gate = Some(Gate { bias, log_gains, magnitude });
                }
                _ => weights.encoder_bias = Some(normal(&[rows])),
            }
            weights.thresholds = (activation == SaeActivation::JumpRelu).then(|| normal(&[8]));
            let sae = Sae::new(architecture, weights).unwrap();
            let folded = sae.fold_w_dec_norm().unwrap();
            close(&sae.reconstruct(&x).unwrap(), &folded.reconstruct(&x).unwrap());
            let dense = |sae: &Sae| sae.encode(&x).unwrap().to_dense(&Device::Cpu).unwrap();
            let lengths = sae.w_dec().sqr().unwrap().sum(0).unwrap().sqrt().unwrap();
            let expected = match rescale {
                Rescale::Kept => dense(&sae),
                _ => dense(&sae).broadcast_mul(&lengths).unwrap(),
            };
            close(&dense(&folded), &expected);
        }
        let plain = Sae::new(
            Architecture::top_k(2),
            SaeWeights::new(normal(&[8, 5]), normal(&[5, 8]), normal(&[5])),
        );
        assert!(
            plain.unwrap().fold_w_dec_norm().unwrap_err().to_string().contains("same features")
        );
    }
}
