//! The `-scope` layout of the bilinear transformers' autoencoders.
//!
//! A folder `{layer}-{point}-x{expansion}-k{k}` with `config.json` and `model.safetensors`
//! (`w_enc.weight` `[m, d]`, `w_dec.weight` `[d, m]`, `b_dec` `[d]`, perhaps `w_enc.bias` `[m]`).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Sae, SaeWeights};
use crate::hub::Repository;
use crate::model::HookPoint;
use crate::store::{Tensors, replace, save};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// The fields of `config.json` that say what is computed. The others tell of the training.
#[derive(Debug, Serialize, Deserialize)]
struct Fields {
    point: (String, usize),
    expansion: usize,
    k: usize,
    d_model: usize,
    #[serde(default)]
    bilinear_encoder: bool,
    #[serde(default)]
    encoder_bias: bool,
    #[serde(default)]
    token_lookup: bool,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Fields that tell of the training, or that the original reads and does not use.
const TRAINING: [&str; 14] = [
    "target",
    "lr",
    "in_batch",
    "out_batch",
    "n_buffers",
    "n_batches",
    "n_ctx",
    "val_steps",
    "dead_thresh",
    "normalize",
    "init_scale",
    "decoder_decay",
    "normalize_decoder",
    "tag",
];

impl Sae {
    /// The autoencoder in the folder `path`, in the `-scope` layout.
    ///
    /// # Errors
    /// Files that are missing, damaged, do not fit each other, or say something unknown here.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let path = path.as_ref();
        read(&Repository::folder(path), "", device)
    }

    /// The autoencoder `{layer}-{point}-x{expansion}-k{k}` of a repository: embedded
    /// (`eigenlens/classics-scope`), a local folder, or of the hub, such as
    /// `tdooms/fw-medium-scope`.
    ///
    /// # Errors
    /// As [`Sae::load`]; a repository that is neither in the cache nor reachable.
    pub fn from_pretrained(repository: &str, name: &str, device: &Device) -> Result<Self> {
        Self::from_repository(&Repository::find(repository)?, name, device)
    }

    /// [`Sae::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`Sae::from_pretrained`].
    pub fn from_repository(repository: &Repository, name: &str, device: &Device) -> Result<Self> {
        read(repository, &format!("{name}/"), device)
    }

    /// Writes the autoencoder to the folder `path` in the `-scope` layout, in f32.
    ///
    /// # Errors
    /// A place that cannot be written; a hook point that the layout has no name for; features that
    /// are no multiple of d.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_as(path, DType::F32)
    }

    /// [`Sae::save`] in another floating point type: bf16 or f16 halve the file.
    ///
    /// # Errors
    /// As [`Sae::save`]; a type that is not floating point.
    pub fn save_as(&self, path: impl AsRef<Path>, dtype: DType) -> Result<()> {
        let folder = path.as_ref();
        let (m, d) = (self.features(), self.d_model());
        if !m.is_multiple_of(d) {
            return Err(Error::invalid("the features", format!("a multiple of d, {d}"), m));
        }
        let fields = Fields {
            point: point_name(self.point())?,
            expansion: m / d,
            k: self.k(),
            d_model: d,
            bilinear_encoder: self.is_bilinear(),
            encoder_bias: self.encoder_bias().is_some(),
            token_lookup: false,
            others: Map::new(),
        };
        let config = serde_json::to_vec_pretty(&fields).map_err(std::io::Error::other);
        let mut weights = HashMap::from([
            ("w_enc.weight".to_owned(), self.w_enc().clone()),
            ("w_dec.weight".to_owned(), self.w_dec().clone()),
            ("b_dec".to_owned(), self.b_dec().clone()),
        ]);
        weights.extend(self.encoder_bias().map(|bias| ("w_enc.bias".to_owned(), bias.clone())));
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        save(&folder.join(WEIGHTS), weights, dtype)?;
        replace(&folder.join(CONFIG), |place| fs::write(place, config?))
    }
}

/// The autoencoder whose files' names begin with `prefix`.
fn read(repository: &Repository, prefix: &str, device: &Device) -> Result<Sae> {
    let content = repository.read(&format!("{prefix}{CONFIG}"))?;
    let config = &*content.path;
    let fields: Fields = serde_json::from_slice(&content.bytes).map_err(|reason| {
        Error::format(config, "the fields of a -scope autoencoder", reason.to_string())
    })?;
    let known = |name: &str, value: &Value| {
        TRAINING.contains(&name)
            || (name == "kwargs" && value.as_object().is_some_and(Map::is_empty))
    };
    let other = fields.others.iter().find(|(name, value)| !known(name, value));
    if let Some((name, value)) = other {
        let expected = "only fields whose meaning is known here";
        return Err(Error::format(config, expected, format!("also `{name}`: {value}")));
    }
    if fields.token_lookup {
        return Err(Error::format(config, "`token_lookup` false", "true, which is not supported"));
    }
    let (d, m) = (fields.d_model, fields.d_model * fields.expansion);
    let point = point(config, &fields.point)?;
    let content = repository.map(&format!("{prefix}{WEIGHTS}"))?;
    let mut tensors = Tensors::parse(&content.path, content.bytes, device)?;
    let rows = if fields.bilinear_encoder { 2 * m } else { m };
    let weights = SaeWeights {
        encoder: tensors.take("w_enc.weight", &[rows, d])?,
        encoder_bias: fields
            .encoder_bias
            .then(|| tensors.take("w_enc.bias", &[rows]))
            .transpose()?,
        bilinear: fields.bilinear_encoder,
        decoder: tensors.take("w_dec.weight", &[d, m])?,
        bias: tensors.take("b_dec", &[d])?,
    };
    tensors.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
    Sae::from_weights(point, fields.k, weights)
        .map_err(|reason| Error::format(config, "an autoencoder", reason.to_string()))
}

type Point = fn(usize) -> HookPoint;

/// The layout's names of hook points in `config.json`; in names of folders, and in some older files,
/// underscores are hyphens.
const POINTS: [(&str, Point); 6] = [
    ("mlp_in", HookPoint::MlpIn),
    ("mlp_out", HookPoint::MlpOut),
    ("resid_pre", HookPoint::ResidPre),
    ("resid_mid", HookPoint::ResidMid),
    ("resid_post", HookPoint::ResidPost),
    ("attn_out", HookPoint::AttnOut),
];

fn point(config: &Path, (name, layer): &(String, usize)) -> Result<HookPoint> {
    let plain = name.replace('-', "_");
    let found = POINTS.iter().find(|(own, _)| *own == plain).map(|(_, point)| point(*layer));
    found.ok_or_else(|| {
        let names = POINTS.map(|(name, _)| name).join(", ");
        Error::format(config, format!("one of {names} in `point`"), format!("`{name}`"))
    })
}

/// A place in names of folders and tables, such as `7-mlp-in`.
pub(crate) fn folder_point(point: HookPoint) -> Result<String> {
    let (name, layer) = point_name(point)?;
    Ok(format!("{layer}-{}", name.replace('_', "-")))
}

fn point_name(point: HookPoint) -> Result<(String, usize)> {
    let found = point.layer().and_then(|layer| {
        let (name, _) = POINTS.iter().find(|(_, own)| own(layer) == point)?;
        Some(((*name).to_owned(), layer))
    });
    found.ok_or_else(|| {
        let names = POINTS.map(|(name, _)| name).join(", ");
        Error::invalid(
            "the hook point",
            format!("one of {names}, to be saved in this layout"),
            point,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn sae() -> Sae {
        let mut rng = Rng::seed(1);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let weights = SaeWeights {
            encoder: normal(&[8, 4]),
            encoder_bias: None,
            bilinear: false,
            decoder: normal(&[4, 8]),
            bias: normal(&[4]),
        };
        Sae::from_weights(HookPoint::MlpOut(3), 2, weights).unwrap()
    }

    #[test]
    fn a_saved_autoencoder_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        sae().save(folder.path().join("3-mlp-out-x2-k2")).unwrap();
        let repository = folder.path().to_str().unwrap();
        let loaded = Sae::from_pretrained(repository, "3-mlp-out-x2-k2", &Device::Cpu).unwrap();
        assert_eq!((loaded.point(), loaded.k()), (HookPoint::MlpOut(3), 2));
        let values = |sae: &Sae| sae.w_dec().to_vec2::<f32>().unwrap();
        assert_eq!(values(&loaded), values(&sae()));
    }

    #[test]
    fn what_is_missing_damaged_or_unknown_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || Sae::load(path, &Device::Cpu).unwrap_err().to_string();
        assert!(message().contains("could not read"));
        sae().save(path).unwrap();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        let cases = [
            ("\"k\": 2", "\"k\": 9", "between 1 and 8"),
            ("\"k\": 2", "\"kk\": 2", "missing field `k`"),
            ("\"k\": 2", "\"k\": 2, \"relu\": true", "also `relu`: true"),
            ("\"expansion\": 2", "\"expansion\": 3", "`w_enc.weight` of shape [12, 4]"),
            ("mlp_out", "mlp_middle", "mlp_middle"),
            ("\"bilinear_encoder\": false", "\"bilinear_encoder\": true", "of shape [16, 4]"),
            ("\"token_lookup\": false", "\"token_lookup\": true", "token_lookup"),
            ("\"encoder_bias\": false", "\"encoder_bias\": true", "w_enc.bias"),
        ];
        for (old, new, expected) in cases {
            assert!(config.contains(old), "{old} in {config}");
            fs::write(path.join(CONFIG), config.replace(old, new)).unwrap();
            assert!(message().contains(expected), "{}", message());
        }
    }
}
