//! Saving and loading.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor, Var};

use super::model::Layer;
use super::{ImageConfig, ImageModel};
use crate::store::{Tensors, replace, save_exactly};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

impl ImageModel {
    /// Writes the model to the folder `path`, which is made if need be: `config.json` and
    /// `model.safetensors`. Each file is written in full beside its place and then renamed, so that
    /// a full disk leaves an older model as it was.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let folder = path.as_ref();
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let weights: HashMap<String, Tensor> =
            self.named().into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect();
        save_exactly(&folder.join(WEIGHTS), &weights)?;
        let config = serde_json::to_string_pretty(&self.config).map_err(std::io::Error::other);
        replace(&folder.join(CONFIG), |place| fs::write(place, config?))
    }

    /// Reads a model that [`ImageModel::save`] wrote to the folder `path`.
    ///
    /// # Errors
    /// Files that are missing, damaged, or do not fit each other.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = path.as_ref();
        let (config_path, weights_path) = (folder.join(CONFIG), folder.join(WEIGHTS));
        let text = fs::read(&config_path).map_err(Error::io("read", &config_path))?;
        let config: ImageConfig = serde_json::from_slice(&text).map_err(|reason| {
            Error::format(&config_path, "the sizes of an image model", reason.to_string())
                .caused_by(reason)
        })?;
        config.check().map_err(|reason| {
            Error::format(&config_path, "the sizes of an image model", reason.to_string())
                .caused_by(reason)
        })?;
        let mut weights = Tensors::open(&weights_path, device)?;
        let mut take = |name: &str, shape: &[usize]| -> Result<Var> {
            Ok(Var::from_tensor(&weights.take(name, shape)?)?)
        };
        let d = config.d_hidden;
        let embed = take("embed.weight", &[d, config.pixels()])?;
        let mut layers = Vec::new();
        for i in 0..config.layers {
            let left = take(&format!("layers.{i}.left.weight"), &[d, d])?;
            let right = take(&format!("layers.{i}.right.weight"), &[d, d])?;
            let bias = match config.bias {
                true => Some((
                    take(&format!("layers.{i}.left.bias"), &[d])?,
                    take(&format!("layers.{i}.right.bias"), &[d])?,
                )),
                false => None,
            };
            layers.push(Layer { left, right, bias });
        }
        let head = take("head.weight", &[config.classes, d])?;
        weights.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
        Ok(Self { config, embed, layers, head })
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn model() -> ImageModel {
        let config = ImageConfig {
            height: 3,
            width: 3,
            classes: 2,
            d_hidden: 4,
            layers: 2,
            residual: true,
            bias: true,
        };
        ImageModel::new(config, 0, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_saved_model_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/model");
        let (model, x) = (model(), Tensor::ones((2, 9), candle_core::DType::F32, &Device::Cpu));
        model.save(&path).unwrap();
        model.save(&path).unwrap();
        let loaded = ImageModel::load(&path, &Device::Cpu).unwrap();
        let x = x.unwrap();
        let logits = |model: &ImageModel| model.logits(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!((loaded.config(), logits(&loaded)), (model.config(), logits(&model)));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn damaged_models_are_refused_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || ImageModel::load(path, &Device::Cpu).unwrap_err().to_string();
        assert!(message().contains("could not read") && message().contains(CONFIG));
        model().save(path).unwrap();
        let weights = fs::read(path.join(WEIGHTS)).unwrap();
        fs::write(path.join(WEIGHTS), &weights[..weights.len() / 2]).unwrap();
        assert!(message().contains("a whole safetensors file"), "{}", message());
        fs::write(path.join(WEIGHTS), weights).unwrap();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        fs::write(path.join(CONFIG), config.replace("\"d_hidden\": 4", "\"d_hidden\": 5")).unwrap();
        assert!(message().contains("embed.weight"), "{}", message());
        fs::write(path.join(CONFIG), config.replace("\"bias\": true", "\"bias\": false")).unwrap();
        assert!(message().contains("also `layers.0.left.bias`"), "{}", message());
        fs::write(path.join(CONFIG), "{").unwrap();
        assert!(message().contains("sizes of an image model"), "{}", message());
        fs::write(path.join(CONFIG), config.replace("\"d_hidden\": 4", "\"d_hidden\": 0")).unwrap();
        let error = ImageModel::load(path, &Device::Cpu).unwrap_err();
        let source = error.source().unwrap();
        assert!(source.is::<Error>() && error.to_string().ends_with(&source.to_string()));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let message = model().save(&file).unwrap_err().to_string();
        assert!(message.contains("could not create"), "{message}");
        // A folder in the place of a file: the rename fails, and nothing is left behind.
        fs::create_dir_all(folder.path().join("m").join(WEIGHTS).join("x")).unwrap();
        let message = model().save(folder.path().join("m")).unwrap_err().to_string();
        assert!(message.contains("could not write"), "{message}");
        assert_eq!(fs::read_dir(folder.path().join("m")).unwrap().count(), 1);
    }
}
