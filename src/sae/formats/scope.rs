//! The `-scope` layout of the bilinear transformers' autoencoders.
//!
//! A folder `{layer}-{point}-x{expansion}-k{k}` with `config.json` and `model.safetensors`
//! (`w_enc.weight` `[m, d]`, `w_dec.weight` `[d, m]`, `b_dec` `[d]`, perhaps `w_enc.bias` `[m]`).

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::DType;
use serde::Deserialize;
use serde_json::json;

use super::{Architecture, Draft, Point, Request, Sae, SaePlace, SaeWeights, checked_k, ignored};
use crate::model::HookPoint;
use crate::sae::{Encoder, TrainingRecord};
use crate::store::{MustBe, Off, Size, replace, save};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

/// `config.json` of the layout.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "what is not supported is refused while it is read")]
struct ScopeConfig {
    /// Width of the inputs, d.
    d_model: Size,
    /// Features per dimension of the inputs.
    expansion: Size,
    /// Features that a code keeps, with their signs.
    k: Size,
    /// The place in the model.
    point: NameAndLayer,
    /// Whether the codes are products of two maps. False if left out.
    bilinear_encoder: Option<bool>,
    /// Whether the encoder has a bias. False if left out.
    encoder_bias: Option<bool>,
    /// Whether a vector of each token is added.
    token_lookup: Option<MustBe<false>>,
    /// Options of the original's constructor.
    kwargs: Option<Off>,
    /// Tokens per context in training.
    n_ctx: Option<Size>,
}

/// A hook point in a layer: `["mlp_in", 3]`.
#[derive(Debug, Deserialize)]
#[serde(expecting = "a name and a layer")]
struct NameAndLayer(String, Size);

/// The fields of `config.json` that tell of the training, or that the original reads and does not
/// use.
const TRAINING: [&str; 13] = [
    "target",
    "lr",
    "in_batch",
    "out_batch",
    "n_buffers",
    "n_batches",
    "val_steps",
    "dead_thresh",
    "normalize",
    "init_scale",
    "decoder_decay",
    "normalize_decoder",
    "tag",
];

impl Sae {
    /// Writes the autoencoder to the folder `path` in the bilinear transformers' `-scope` layout, in
    /// the floating point type `dtype`: bf16 or f16 halve the file.
    ///
    /// # Errors
    /// A place that cannot be written; an architecture or a hook point that the layout has no name
    /// for; features that are no multiple of d; a type that is not floating point.
    pub fn save_scope(&self, path: impl AsRef<Path>, dtype: DType) -> Result<()> {
        let folder = path.as_ref();
        let (m, d) = (self.features(), self.d_model());
        let k = self.k().unwrap_or_default();
        let own =
            Architecture { encoder: self.architecture().encoder, ..Architecture::signed_top_k(k) };
        if *self.architecture() != own || own.encoder == Encoder::Glu {
            let expected = "a signed top-k autoencoder, to be saved in the -scope layout; \
                            Sae::save writes SAELens's";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        if !m.is_multiple_of(d) {
            return Err(Error::invalid("the features", format!("a multiple of d, {d}"), m));
        }
        let fields = json!({
            "point": point_name(self.point()?)?,
            "expansion": m / d,
            "k": k,
            "d_model": d,
            "n_ctx": self.origin().training.context_size,
            "bilinear_encoder": self.is_bilinear(),
            "encoder_bias": self.encoder_bias().is_some(),
            "token_lookup": false,
        });
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

pub(super) fn read(place: &SaePlace, request: &Request) -> Result<Draft> {
    let mut document = place.document(CONFIG)?;
    let config: ScopeConfig = document.read()?;
    let path = document.path().to_owned();
    let (Size(d), Size(expansion)) = (config.d_model, config.expansion);
    let m = d.checked_mul(expansion);
    let m = m.ok_or_else(|| document.wrong("expansion", "fewer features", expansion))?;
    let k = checked_k(&document, "k", config.k, m)?;
    let point = point(&path, &config.point)?;
    let bilinear = config.bilinear_encoder.unwrap_or_default();
    let encoder_bias = config.encoder_bias.unwrap_or_default();
    let context_size = config.n_ctx.map(usize::from);
    let ignored = ignored(document, &TRAINING, request)?;
    let mut tensors = place.tensors(WEIGHTS, &request.device)?;
    let encoder = if bilinear { Encoder::Bilinear } else { Encoder::Linear };
    let rows = m * encoder.maps();
    let [_, found] = tensors.matrix("w_dec.weight")?;
    if found != m {
        let expected = format!("`expansion` for {found} features, as `w_dec.weight` has them");
        return Err(Error::format(&path, expected, expansion.to_string()));
    }
    let mut weights = SaeWeights::new(
        tensors.take("w_enc.weight", &[rows, d])?,
        tensors.take("w_dec.weight", &[d, m])?,
        tensors.take("b_dec", &[d])?,
    );
    if encoder_bias {
        weights.encoder_bias = Some(tensors.take("w_enc.bias", &[rows])?);
    }
    tensors.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
    let architecture = Architecture { encoder, ..Architecture::signed_top_k(k) };
    Ok(Draft::new(architecture, weights)
        .at(None, Some(point))
        .ignoring(ignored)
        .trained(TrainingRecord { context_size, ..Default::default() }))
}

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

fn point(config: &Path, NameAndLayer(name, Size(layer)): &NameAndLayer) -> Result<HookPoint> {
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
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    fn sae() -> Sae {
        let mut rng = Rng::seed(1);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(normal(&[8, 4]), normal(&[4, 8]), normal(&[4]));
        Sae::new(Architecture::signed_top_k(2), weights).unwrap().at(HookPoint::MlpOut(3))
    }

    #[test]
    fn a_saved_autoencoder_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        sae().save_scope(folder.path().join("3-mlp-out-x2-k2"), DType::F32).unwrap();
        let repository = folder.path().to_str().unwrap();
        let loaded = Sae::from_pretrained(repository, "3-mlp-out-x2-k2", &Device::Cpu).unwrap();
        assert_eq!((loaded.point().unwrap(), loaded.k()), (HookPoint::MlpOut(3), Some(2)));
        let values = |sae: &Sae| sae.w_dec().to_vec2::<f32>().unwrap();
        assert_eq!(values(&loaded), values(&sae()));
    }

    #[test]
    fn what_is_missing_damaged_or_unknown_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || Sae::load(path, &Device::Cpu).unwrap_err().to_string();
        assert!(message().contains("of a family that is known here"));
        sae().save_scope(path, DType::F32).unwrap();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        let cases = [
            ("\"k\": 2", "\"k\": 9", "between 1 and 8"),
            ("\"k\": 2", "\"kk\": 2", "the field `k`"),
            ("\"k\": 2", "\"k\": 2, \"relu\": true", "also `relu`: true"),
            ("\"expansion\": 2", "\"expansion\": 3", "`expansion` for 8 features"),
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
