//! Files of tuned lenses.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::json;

use super::TunedLens;
use crate::hub::Repository;
use crate::store::{self, Document, Size, Tensors, UnknownFields};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
/// What this library writes.
const SAFETENSORS: &str = "lens.safetensors";
/// The file of a multi-layer autoencoder with its lens.
const CHECKPOINT: &str = "model.safetensors";
/// What translators are called there.
const WITHIN: &str = "lens.layer_translators.";
/// What the package tuned-lens writes.
const TORCH: &str = "params.pt";
/// Where the published lenses are, unless `TUNED_LENS_REPO_ID` says otherwise.
const PUBLISHED: &str = "AlignmentResearch/tuned-lens";
/// What `lens_type` says of an affine map for each layer.
const KIND: &str = "linear_tuned_lens";

/// `config.json` of a tuned lens.
#[derive(Debug, Deserialize)]
struct LensConfig {
    /// Width of the stream.
    d_model: Size,
    /// Layers of the model, one translator each.
    num_hidden_layers: Size,
    /// Whether translators have biases. True if left out.
    bias: Option<bool>,
    /// What the translators are.
    lens_type: Option<String>,
}

/// Fields of `config.json` that change no number.
const HARMLESS: [&str; 4] =
    ["base_model_name_or_path", "base_model_revision", "unembed_hash", "_name_or_path"];

impl TunedLens {
    /// Reads the lens `name`: a folder that [`TunedLens::save`] or the package tuned-lens wrote, or
    /// the name of a model that has a published one, such as `EleutherAI/pythia-70m-deduped`, from
    /// the space AlignmentResearch/tuned-lens (or `TUNED_LENS_REPO_ID`, of the kind
    /// `TUNED_LENS_REPO_TYPE`) through the hub's cache.
    ///
    /// # Errors
    /// Files that are missing or broken, or not of a linear lens; no network.
    pub fn from_pretrained(name: &str, device: &Device) -> Result<Self> {
        let here = Repository::find(name)?;
        if [SAFETENSORS, TORCH].iter().any(|file| here.has_here(file)) {
            return Self::read(&here, "", device);
        }
        if here.is_on_hub() {
            let set = |variable: &str| std::env::var(variable).ok().filter(|it| !it.is_empty());
            let owner = set("TUNED_LENS_REPO_ID").unwrap_or_else(|| PUBLISHED.to_owned());
            let kind = set("TUNED_LENS_REPO_TYPE").unwrap_or_else(|| "space".to_owned());
            let published = here.neighbour(&format!("{kind}s/{owner}"))?;
            return Self::read(&published, &format!("lens/{name}/"), device);
        }
        let expected = format!("a folder with {SAFETENSORS} or {TORCH}");
        Err(Error::invalid(format!("the tuned lens {name:?}"), expected, "none of them"))
    }

    /// Reads the lens in the checkpoint `name` of a multi-layer autoencoder, a folder or of the hub,
    /// such as one whose name ends in `-lens-tfm`: the tensors `lens.layer_translators.{i}.weight` and
    /// `.bias` in its `model.safetensors`, one pair for each layer of the model.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a checkpoint without translators; files that are missing or broken; no
    /// network.
    pub fn from_checkpoint(name: &str, device: &Device) -> Result<Self> {
        let place = Repository::find(name)?;
        let content = place.open(CHECKPOINT)?;
        let tensors = Tensors::parse(&content.path, &content.bytes, device)?;
        let tensors = tensors.rename(|name| Some(name.strip_prefix(WITHIN)?.to_owned()));
        let layers = tensors.names().filter(|name| name.ends_with(".bias")).count();
        let Some(&[d]) = tensors.shape("0.bias") else {
            return Err(Error::NotFound {
                what: format!("a tuned lens in {}", content.path.display()),
                hint: format!("It holds no translators, `{WITHIN}0.weight` and so on."),
            });
        };
        let lens = Self::of_tensors(tensors, layers, d, true, |name| name)?;
        Ok(Self { origin: format!("{place}").into(), ..lens })
    }

    /// Weights and biases under the names of a checkpoint.
    pub(crate) fn checkpoint_tensors(&self) -> impl Iterator<Item = (String, Tensor)> {
        self.translators().into_iter().enumerate().flat_map(|(i, (weight, bias))| {
            [(format!("{WITHIN}{i}.weight"), weight), (format!("{WITHIN}{i}.bias"), bias)]
        })
    }

    /// [`TunedLens::from_pretrained`] of a repository that is known.
    pub(super) fn read(place: &Repository, folder: &str, device: &Device) -> Result<Self> {
        let content = place.read(&format!("{folder}{CONFIG}"))?;
        let mut document = Document::parse(&content.path, &content.bytes)?;
        let config: LensConfig = document.read()?;
        let name = format!("{folder}{SAFETENSORS}");
        let tensors = match place.has(&name)? {
            true => {
                let content = place.open(&name)?;
                Tensors::parse(&content.path, &content.bytes, device)?
            }
            false => {
                let content = place.read(&format!("{folder}{TORCH}"))?;
                let loaded = store::read_torch(&content.path, &content.bytes)?;
                loaded.tensors(loaded.pickle().root(), device)?
            }
        };
        if let Some(kind) = config.lens_type.as_ref().filter(|kind| *kind != KIND) {
            return Err(document.wrong("lens_type", KIND, kind.as_str()));
        }
        document.finish(
            |name| HARMLESS.contains(&name),
            UnknownFields::Refuse,
            "tuned lenses have no such call",
        )?;
        let (d, layers) = (usize::from(config.d_model), usize::from(config.num_hidden_layers));
        let has_bias = config.bias != Some(false);
        let lens = Self::of_tensors(tensors, layers, d, has_bias, |name| name)?;
        Ok(Self { origin: format!("{place}").into(), ..lens })
    }

    /// The lens whose tensors `i.weight` and `i.bias` are called as `named` says.
    pub(crate) fn of_tensors(
        mut tensors: Tensors,
        layers: usize,
        d: usize,
        has_bias: bool,
        named: impl Fn(String) -> String,
    ) -> Result<Self> {
        let mut pairs = Vec::with_capacity(layers);
        for i in 0..layers {
            let weight = tensors.take(&named(format!("{i}.weight")), &[d, d])?;
            let bias = match has_bias {
                true => tensors.take(&named(format!("{i}.bias")), &[d])?,
                false => Tensor::zeros(d, DType::F32, weight.device())?,
            };
            pairs.push((weight, bias));
        }
        tensors.finish("only weights and biases of translators, one pair for each layer")?;
        Self::of_translators(pairs)
    }

    /// Writes the lens to the folder `path`, which is made if need be: `config.json` as the package
    /// tuned-lens writes it, and `lens.safetensors` with its names, in the floating point type
    /// `dtype`.
    ///
    /// # Errors
    /// A folder or file that cannot be written; a type that is not floating point.
    pub fn save(&self, path: impl AsRef<Path>, dtype: DType) -> Result<()> {
        let path = path.as_ref();
        std::fs::create_dir_all(path).map_err(Error::io("make", path))?;
        let mut tensors = HashMap::new();
        for (i, (weight, bias)) in self.translators().into_iter().enumerate() {
            tensors.insert(format!("{i}.weight"), weight);
            tensors.insert(format!("{i}.bias"), bias);
        }
        store::save(&path.join(SAFETENSORS), tensors, dtype)?;
        let config = json!({
            "d_model": self.width(),
            "num_hidden_layers": self.layers(),
            "bias": true,
            "lens_type": KIND,
        });
        let text = format!("{config:#}\n");
        store::replace(&path.join(CONFIG), |place| std::fs::write(place, text))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::random;
    use super::*;
    use crate::hub::tests::Server;
    use crate::model::HookPoint;

    fn same(a: &TunedLens, b: &TunedLens) {
        let h = Tensor::ones((2, a.width()), DType::F32, &Device::Cpu).unwrap();
        for layer in 0..a.layers() {
            let of = |lens: &TunedLens| {
                let there = lens.transform(&h, HookPoint::ResidPre(layer)).unwrap();
                there.to_vec2::<f32>().unwrap()
            };
            assert_eq!(of(a), of(b));
        }
    }

    #[test]
    fn what_was_saved_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lens");
        let lens = random(3, 6);
        lens.save(&path, DType::F32).unwrap();
        same(&TunedLens::from_pretrained(path.to_str().unwrap(), &Device::Cpu).unwrap(), &lens);
        let config = std::fs::read_to_string(path.join(CONFIG)).unwrap();
        let broken = |from: &str, to: &str| {
            assert!(config.contains(from));
            std::fs::write(path.join(CONFIG), config.replace(from, to)).unwrap();
            let read = TunedLens::from_pretrained(path.to_str().unwrap(), &Device::Cpu);
            read.unwrap_err().to_string()
        };
        assert!(broken(KIND, "mlp_lens").contains("`lens_type`"));
        assert!(
            broken("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4").contains("3.weight")
        );
        let two = broken("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2");
        assert!(two.contains("`2.bias`"), "{two}");
        assert!(broken("\"bias\"", "\"heads\": 2, \"bias\"").contains("`heads`"));
        let none = TunedLens::from_pretrained(folder.path().to_str().unwrap(), &Device::Cpu);
        assert!(none.unwrap_err().to_string().contains("params.pt"));
    }

    #[test]
    fn published_lenses_come_from_their_space() {
        let folder = tempfile::tempdir().unwrap();
        let lens = random(2, 6);
        lens.save(folder.path().join("lens/owner/model"), DType::F32).unwrap();
        let server = Server::start();
        server.serve("spaces/AlignmentResearch/tuned-lens", folder.path());
        let place = Repository::on(server.hub.clone(), "spaces/AlignmentResearch/tuned-lens");
        let read = TunedLens::read(&place, "lens/owner/model/", &Device::Cpu).unwrap();
        same(&read, &lens);
        assert!(read.to_string().contains("spaces/AlignmentResearch/tuned-lens"), "{read}");
        let error = TunedLens::read(&place, "lens/owner/other/", &Device::Cpu).unwrap_err();
        assert!(error.to_string().contains("lens/owner/other/config.json"), "{error}");
    }
}
