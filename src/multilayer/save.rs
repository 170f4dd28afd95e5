//! Files of multi-layer autoencoders, in the layout of the original.

use std::path::Path;

use candle_core::DType;
use serde_json::json;

use super::mlsae::Mlsae;
use crate::model::TunedLens;
use crate::sae::{Normalization, SaeActivation};
use crate::store::{replace, save};
use crate::{Error, Result};

impl Mlsae {
    /// Writes the autoencoder to the folder `path`, which is made if need be, as
    /// [`Mlsae::from_pretrained`] and the original read it: `config.json`, and `model.safetensors` in
    /// the floating point type `dtype`. The language model is not written: the configuration has its
    /// name. A tuned lens is, with the names of the original's `-lens-tfm` files, but not its
    /// [variant](crate::model::LensVariant).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an autoencoder that is not top-k with a ReLU, or that has an encoder's
    /// bias, for which the layout has no words; a folder or file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, dtype: DType) -> Result<()> {
        let (path, sae) = (path.as_ref(), self.sae());
        let (own, weights) = (sae.architecture(), sae.weights());
        let standardize = match own.normalization {
            Normalization::LayerNorm => Some(true),
            Normalization::None => Some(false),
            _ => None,
        };
        let (SaeActivation::TopK { k, relu: true }, Some(standardize), None) =
            (own.activation, standardize, &weights.encoder_bias)
        else {
            let expected = "a top-k with a ReLU and without an encoder's bias: the layout of \
                            multi-layer autoencoders has no words for others";
            return Err(Error::invalid("the autoencoder to be saved", expected, own));
        };
        let config = json!({
            "model_name": sae.origin().model,
            "layers": self.layers(),
            "expansion_factor": sae.features() as f64 / sae.d_model() as f64,
            "k": k,
            "standardize": standardize,
            "skip_special_tokens": !self.skipped().is_empty(),
            "tuned_lens": self.lens().is_some() || sae.origin().training.tuned_lens,
        });
        std::fs::create_dir_all(path).map_err(Error::io("make", path))?;
        let tensors = [
            ("encoder.weight", &weights.encoder),
            ("decoder.weight", &weights.decoder),
            ("pre_encoder_bias", &weights.bias),
        ];
        let prefix = if self.lens().is_some() { "autoencoder." } else { "" };
        let tensors = tensors.map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()));
        let lens = self.lens().into_iter().flat_map(TunedLens::checkpoint_tensors);
        let tensors = tensors.into_iter().chain(lens);
        save(&path.join("model.safetensors"), tensors, dtype)?;
        let text = format!("{config:#}\n");
        replace(&path.join("config.json"), |place| std::fs::write(place, text))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::super::lens::tests::{gap, lens};
    use super::super::mlsae::tests::small;
    use super::*;
    use crate::sae::{Architecture, Sae};

    #[test]
    fn what_was_saved_is_read_with_its_layers() {
        let folder = tempfile::tempdir().unwrap();
        let signed = small();
        let relu =
            Architecture { normalization: Normalization::LayerNorm, ..Architecture::top_k(3) };
        let sae = Sae::new(relu, signed.sae().weights().clone()).unwrap();
        let mlsae = Mlsae::new(signed.model(), &sae, &[1]).unwrap();
        mlsae.save(folder.path(), DType::F32).unwrap();
        let read = Sae::load(folder.path(), &Device::Cpu).unwrap();
        assert_eq!(read.architecture(), mlsae.sae().architecture());
        assert_eq!(read.origin().training.layers, Some(vec![1]));
        let x = Tensor::randn(0f32, 1., (5, 8), &Device::Cpu).unwrap();
        let of = |sae: &Sae| sae.reconstruct(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(of(&read), of(mlsae.sae()));
        let none = TunedLens::from_checkpoint(folder.path().to_str().unwrap(), &Device::Cpu);
        assert!(none.unwrap_err().to_string().contains("holds no translators"));
        let lens = lens();
        let behind = mlsae.with_lens(&lens).unwrap();
        behind.save(folder.path(), DType::F32).unwrap();
        let again = Mlsae::load(folder.path(), mlsae.model()).unwrap();
        let of = |own: &Mlsae| own.reconstruct(std::slice::from_ref(&x)).unwrap().remove(0);
        assert_eq!(gap(&of(&again), &of(&behind)), 0.0);
        assert_eq!(again.lens().unwrap().layers(), 2);
        let error = signed.save(folder.path(), DType::F32).unwrap_err().to_string();
        assert!(error.contains("no words"), "{error}");
    }
}
