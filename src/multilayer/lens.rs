//! A tuned lens before a multi-layer autoencoder.

use candle_core::Tensor;

use super::mlsae::{LensUse, Mlsae};
use crate::harvest::sum_of_tensors;
use crate::model::{HookPoint, TunedLens};
use crate::sae::Codes;
use crate::{Error, Result};

impl Mlsae {
    /// The same behind a tuned lens: after layer l the stream h becomes
    ///
    /// ```text
    /// y = transform(h)    codes = encode(y)    ŷ = decode(codes)    ĥ = invert(ŷ)
    /// ```
    ///
    /// with the lens's translator of [`HookPoint::ResidPost`] l. So all layers speak of the stream
    /// after the last one, where nothing changes. The lens given may be in either
    /// [variant](crate::model::LensVariant).
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # use eigenlens::sae::{Architecture, SaeWeights};
    /// # fn main() -> Result<()> {
    /// # let config = Config { vocab: 9, ..Config::llama(2, 2, 8, 16) };
    /// # let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// # let decoder = Rng::seed(0).normal((8, 16), &Device::Cpu)?;
    /// # let bias = Tensor::zeros(8, DType::F32, &Device::Cpu)?;
    /// # let weights = SaeWeights::new(decoder.t()?.contiguous()?, decoder, bias);
    /// # let sae = Sae::new(Architecture::top_k(3), weights)?;
    /// let lens = TunedLens::identity(&model)?;
    /// let mlsae = Mlsae::new(&model, &sae, &[0, 1])?.with_lens(&lens)?;
    /// let streams = [0, 1].map(|seed| Rng::seed(seed).normal((5, 8), &Device::Cpu));
    /// let [first, second] = streams;
    /// let reconstructions = mlsae.reconstruct(&[first?, second?])?;
    /// assert_eq!(reconstructions[1].dims(), [5, 8]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] for a lens of other layers or another width than the model.
    pub fn with_lens(&self, lens: &TunedLens) -> Result<Self> {
        lens.check_model(self.model())?;
        Ok(self.through(LensUse::Lens(lens.clone())))
    }

    /// The same without a lens: the autoencoder reads streams as they are given. One that was trained
    /// behind a lens then takes rows that are in the lens's space already.
    #[must_use]
    pub fn without_lens(&self) -> Self {
        self.through(LensUse::None)
    }

    /// The lens, if there is one.
    pub fn lens(&self) -> Option<&TunedLens> {
        match self.lens_use() {
            LensUse::Lens(lens) => Some(lens),
            LensUse::None | LensUse::Missing => None,
        }
    }

    /// What the autoencoder makes of streams `[…, d]` after each of the layers, in their shapes and
    /// dtypes; with a lens, brought back through it.
    ///
    /// # Errors
    /// As [`Mlsae::encode`]; [`Error::Invalid`] for a translator that cannot be inverted.
    pub fn reconstruct(&self, streams: &[Tensor]) -> Result<Vec<Tensor>> {
        let codes = self.encode(streams)?;
        let each = streams.iter().zip(codes.iter()).zip(self.layers());
        each.map(|((stream, codes), layer)| self.decoded(*layer, codes, stream)).collect()
    }

    /// What the autoencoder makes of the stream after `layer`.
    pub(super) fn reconstructed(&self, layer: usize, stream: &Tensor) -> Result<Tensor> {
        self.decoded(layer, &self.sae().encode(&self.seen_after(layer, stream)?)?, stream)
    }

    /// What `codes` stand for after `layer`, in the shape and dtype of `stream`.
    pub(super) fn decoded(&self, layer: usize, codes: &Codes, stream: &Tensor) -> Result<Tensor> {
        let own = self.sae().decode(codes)?.reshape(stream.shape())?;
        let own = match self.lens() {
            Some(lens) => lens.invert(&own, HookPoint::ResidPost(layer))?,
            None => own,
        };
        Ok(own.to_dtype(stream.dtype())?)
    }

    /// The streams after each of the layers as the autoencoder reads them.
    pub(super) fn seen(&self, streams: &[Tensor]) -> Result<Vec<Tensor>> {
        if streams.len() != self.layers().len() {
            let expected = format!("{}, one a layer", self.layers().len());
            return Err(Error::invalid("the number of streams", expected, streams.len()));
        }
        let each = self.layers().iter().zip(streams);
        each.map(|(layer, stream)| self.seen_after(*layer, stream)).collect()
    }

    /// The stream after `layer` as the autoencoder reads it.
    pub(super) fn seen_after(&self, layer: usize, stream: &Tensor) -> Result<Tensor> {
        match self.lens_use() {
            LensUse::None => Ok(stream.clone()),
            LensUse::Lens(lens) => lens.transform(stream, HookPoint::ResidPost(layer)),
            LensUse::Missing => {
                let expected = "given its tuned lens by Mlsae::with_lens, because its files say that \
                                it reads what one makes of the stream; Mlsae::without_lens is for \
                                rows in the lens's space";
                Err(Error::invalid("the multi-layer autoencoder", expected, "none"))
            }
        }
    }
}

/// What tells a lens from others: its variant, and the sum of its translators.
pub(super) fn lens_identity(lens: &TunedLens) -> Result<String> {
    let tensors: Vec<(String, Tensor)> = lens.checkpoint_tensors().collect();
    let tensors = tensors.iter().map(|(name, tensor)| (name, tensor));
    Ok(format!("{:?} {}", lens.used_variant(), sum_of_tensors(tensors)?))
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::{DType, Device};

    use super::super::mlsae::tests::small;
    use super::*;
    use crate::model::LensVariant;
    use crate::random::Rng;
    use crate::sae::TrainingRecord;

    /// A lens of two layers of width 8 that moves every stream.
    pub(crate) fn lens() -> TunedLens {
        let mut rng = Rng::seed(4);
        let pairs: Vec<_> = (0..2)
            .map(|_| {
                let weight = (rng.normal((8, 8), &Device::Cpu).unwrap() * 0.1).unwrap();
                (weight, rng.normal(8, &Device::Cpu).unwrap())
            })
            .collect();
        TunedLens::of_translators(pairs).unwrap()
    }

    pub(crate) fn gap(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn the_lens_comes_before_encoding_and_its_inverse_after_decoding() {
        let plain = small();
        let x = Rng::seed(1).normal((2, 3, 8), &Device::Cpu).unwrap();
        let streams = [x.clone(), (&x * 2.0).unwrap()];
        for lens in [lens(), lens().variant(LensVariant::Original)] {
            let mlsae = plain.with_lens(&lens).unwrap();
            let codes = mlsae.encode(&streams).unwrap();
            let found = mlsae.reconstruct(&streams).unwrap();
            for layer in 0..2 {
                let point = HookPoint::ResidPost(layer);
                let there = lens.transform(&streams[layer], point).unwrap();
                let expected = plain.sae().encode(&there).unwrap();
                assert!(
                    (0..6).all(|row| expected.row(row).eq(codes.layer(layer).unwrap().row(row)))
                );
                let there = plain.sae().reconstruct(&there).unwrap();
                assert!(gap(&found[layer], &lens.invert(&there, point).unwrap()) < 1e-5);
            }
            let without = mlsae.without_lens().reconstruct(&streams).unwrap();
            assert_eq!(gap(&without[0], &plain.sae().reconstruct(&x).unwrap()), 0.0);
            assert!(gap(&without[0], &found[0]) > 0.1);
            assert!(mlsae.to_string().contains("through a tuned lens of 2 layers"), "{mlsae}");
            assert!(mlsae.at(0).unwrap_err().to_string().contains("without a tuned lens"));
            assert!(mlsae.lens().is_some() && mlsae.without_lens().at(0).is_ok());
        }
        let wide = TunedLens::of_translators([(
            Tensor::zeros((3, 3), DType::F32, &Device::Cpu).unwrap(),
            Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap(),
        )]);
        let error = plain.with_lens(&wide.unwrap()).unwrap_err().to_string();
        assert!(error.contains("2 layers of width 8"), "{error}");
    }

    #[test]
    fn an_autoencoder_of_a_lens_reads_nothing_without_one() {
        let plain = small();
        let record = TrainingRecord { tuned_lens: true, ..TrainingRecord::default() };
        let sae = plain.sae().with_training_record(record);
        let mlsae = Mlsae::new(plain.model(), &sae, &[1]).unwrap();
        let x = Rng::seed(1).normal((3, 8), &Device::Cpu).unwrap();
        let streams = std::slice::from_ref(&x);
        let error = mlsae.encode(streams).unwrap_err().to_string();
        assert!(error.contains("Mlsae::with_lens"), "{error}");
        assert!(mlsae.at(1).is_err() && mlsae.to_string().contains("not there"));
        assert!(mlsae.without_lens().encode(streams).is_ok());
        assert!(mlsae.with_lens(&lens()).unwrap().encode(streams).is_ok());
    }
}
