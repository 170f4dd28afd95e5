//! Reading and writing models: `config.json` and `model.safetensors`, as the published bilinear
//! transformers are stored.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use candle_core::{DType, Device, Var};
use serde_json::{Map, Value, json};

use super::forward::frequency;
use super::parameters::Parameters;
use super::text::{Origin, TOKENIZER};
use super::{Activation, Config, Decoder, Mlp, Norm};
use crate::hub::{Content, Repository};
use crate::store::{Tensors, replace, save};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Fields of `config.json` that do not change what the model computes.
const HARMLESS: [&str; 8] = [
    "repo",
    "architectures",
    "vocab_size_note",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "model_type",
    "_name_or_path",
];

impl Decoder {
    /// The model `name`: embedded (`eigenlens/classics`), in a folder, or of the hub, such as
    /// `tdooms/fw-medium`. [`Decoder::source`] says which.
    ///
    /// # Errors
    /// A repository that is neither in the cache nor reachable; files that are damaged, do not fit
    /// each other, or say something of the model that is unknown here.
    pub fn from_pretrained(name: &str, device: &Device) -> Result<Self> {
        Self::from_repository(&Repository::find(name)?, device)
    }

    /// [`Decoder::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`Decoder::from_pretrained`].
    pub fn from_repository(repository: &Repository, device: &Device) -> Result<Self> {
        let config = repository.read(CONFIG)?;
        let Content { path, bytes, source } = repository.map(WEIGHTS)?;
        let mut weights = Tensors::parse(&path, bytes, device)?;
        let vocab =
            weights.shape("transformer.wte.weight").and_then(|shape| shape.first()).copied();
        let mut fields = Fields::read(&config.path, &config.bytes)?;
        let tokenizer =
            fields.fields.remove("tokenizer").and_then(|name| Some(name.as_str()?.to_owned()));
        let config = fields.config(vocab.unwrap_or_default())?;
        let parameters = Parameters::build(&config, |name, shape| {
            Ok(Var::from_tensor(&weights.take(name, shape)?)?)
        })?;
        let origin = Origin {
            source,
            repository: Some(repository.clone()),
            tokenizer_name: tokenizer,
            tokenizer: OnceLock::new(),
        };
        let model = Self::from_parameters(config, parameters, device, origin);
        model.check_rotation(&mut weights, &path)?;
        weights.finish(&format!("only the tensors that {CONFIG} speaks of"))?;
        Ok(model)
    }

    /// Writes the model to the folder `path`, which is made if need be, as
    /// [`Decoder::from_pretrained`] reads it, in f32.
    ///
    /// # Errors
    /// A folder or file that cannot be written; a model that the format has no words for.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.save_as(path, DType::F32)
    }

    /// [`Decoder::save`] in another floating point type: bf16 or f16 halve the file.
    ///
    /// # Errors
    /// As [`Decoder::save`]; a type that is not floating point.
    pub fn save_as(&self, path: impl AsRef<Path>, dtype: DType) -> Result<()> {
        let folder = path.as_ref();
        let config = serde_json::to_vec_pretty(&self.fields()?).map_err(std::io::Error::other);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        save(&folder.join(WEIGHTS), self.weights(), dtype)?;
        if let Some(tokenizer) = self.origin().tokenizer.get() {
            tokenizer.save(folder.join(TOKENIZER))?;
        }
        replace(&folder.join(CONFIG), |place| fs::write(place, config?))
    }

    /// Checkpoints carry the frequencies of their rotary embedding: they must be the ones that are
    /// computed here.
    fn check_rotation(&self, weights: &mut Tensors, path: &Path) -> Result<()> {
        let half = self.config().d_head() / 2;
        for layer in 0..self.config().layers {
            let name = format!("transformer.h.{layer}.attn.rotary.inv_freq");
            if weights.shape(&name).is_none() {
                continue;
            }
            let stored: Vec<f64> = weights.take(&name, &[half])?.to_dtype(DType::F64)?.to_vec1()?;
            for (i, stored) in stored.iter().enumerate() {
                let expected = frequency(self, i);
                // A checkpoint in bfloat16 has three digits.
                if (stored - expected).abs() > 1e-2 * expected {
                    let what = format!("{expected} at `{name}`[{i}], for rotary base 10000");
                    return Err(Error::format(path, what, stored.to_string()));
                }
            }
        }
        Ok(())
    }

    fn fields(&self) -> Result<Value> {
        let config = self.config();
        let usual = Config::bilinear(config.layers, 1, 2, 1);
        let (bilinear, activation) = match config.mlp {
            Mlp::Gated(activation) => (true, activation),
            Mlp::Plain(activation) => (false, activation),
        };
        let same = config.rotary_base == usual.rotary_base
            && config.attention_scale == usual.attention_scale
            && [Norm::None, usual.norm].contains(&config.norm);
        if !same {
            let expected = "as in the published bilinear transformers, to be saved in their format";
            return Err(Error::invalid("norm, rotary base and scale", expected, "others"));
        }
        let gate = activation.map(|activation| match activation {
            Activation::Relu => "relu",
            Activation::Silu => "silu",
            Activation::Gelu => "gelu",
        });
        Ok(json!({
            "architectures": ["Transformer"],
            "n_layer": config.layers,
            "n_head": config.heads,
            "n_ctx": config.context,
            "d_model": config.d_model,
            "d_hidden": config.d_hidden,
            "bilinear": bilinear,
            "gate": gate,
            "bias": config.mlp_bias,
            "normalization": config.norm != Norm::None,
        }))
    }
}

/// The fields of `config.json`, each to be asked for once.
struct Fields<'a> {
    path: &'a Path,
    fields: Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn read(path: &'a Path, text: &[u8]) -> Result<Self> {
        match serde_json::from_slice(text) {
            Ok(Value::Object(fields)) => Ok(Self { path, fields }),
            Ok(_) => Err(Error::format(path, "a JSON object", "other JSON")),
            Err(reason) => Err(Error::format(path, "a JSON object", reason.to_string())),
        }
    }

    fn config(mut self, vocab: usize) -> Result<Config> {
        let layers = self.size("n_layer")?;
        let heads = self.size("n_head")?;
        let (d_model, d_hidden) = (self.size("d_model")?, self.size("d_hidden")?);
        let context = self.size("n_ctx")?;
        let activation = self.activation()?;
        let mlp =
            if self.flag("bilinear")? { Mlp::Gated(activation) } else { Mlp::Plain(activation) };
        let mlp_bias = self.flag("bias")?;
        let usual = Config::bilinear(layers, heads, d_model, d_hidden);
        let norm = if self.flag("normalization")? { usual.norm } else { Norm::None };
        for name in HARMLESS {
            self.fields.remove(name);
        }
        if let Some((name, value)) = self.fields.iter().next() {
            let expected = "only fields whose meaning is known here";
            return Err(Error::format(self.path, expected, format!("also `{name}`: {value}")));
        }
        let config = Config { context, vocab, mlp, mlp_bias, norm, ..usual };
        let path = self.path;
        config.check().map_err(|reason| {
            Error::format(path, "the sizes of a transformer", reason.to_string())
        })?;
        Ok(config)
    }

    fn take(&mut self, name: &str, expected: &str) -> Result<Value> {
        let found = self.fields.remove(name);
        found.ok_or_else(|| {
            Error::format(self.path, format!("the field `{name}`, {expected}"), "no such field")
        })
    }

    fn size(&mut self, name: &str) -> Result<usize> {
        let value = self.take(name, "a size")?;
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| {
            Error::format(self.path, format!("a size in `{name}`"), value.to_string())
        })
    }

    fn flag(&mut self, name: &str) -> Result<bool> {
        let value = self.take(name, "true or false")?;
        value.as_bool().ok_or_else(|| {
            Error::format(self.path, format!("true or false in `{name}`"), value.to_string())
        })
    }

    fn activation(&mut self) -> Result<Option<Activation>> {
        match self.take("gate", "null or an activation")? {
            Value::Null => Ok(None),
            Value::String(name) if name == "relu" => Ok(Some(Activation::Relu)),
            Value::String(name) if name == "silu" => Ok(Some(Activation::Silu)),
            Value::String(name) if name == "gelu" => Ok(Some(Activation::Gelu)),
            other => {
                let expected = "null, \"relu\", \"silu\" or \"gelu\" in `gate`";
                Err(Error::format(self.path, expected, other.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(mlp: Mlp) -> Decoder {
        let config = Config { vocab: 7, mlp, mlp_bias: true, ..Config::bilinear(2, 2, 8, 6) };
        Decoder::random(config, 3, &Device::Cpu).unwrap()
    }

    #[test]
    fn a_saved_model_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for mlp in [
            Mlp::Gated(None),
            Mlp::Gated(Some(Activation::Silu)),
            Mlp::Plain(Some(Activation::Relu)),
        ] {
            let model = model(mlp);
            model.save(path).unwrap();
            let loaded = Decoder::from_pretrained(path, &Device::Cpu).unwrap();
            assert_eq!(loaded.config(), model.config());
            for ((name, a), (_, b)) in model.weights().iter().zip(loaded.weights()) {
                let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap();
                assert_eq!(gap.to_scalar::<f32>().unwrap(), 0.0, "{name}");
            }
        }
    }

    #[test]
    fn what_is_missing_damaged_or_unknown_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let message = || {
            Decoder::from_pretrained(path.to_str().unwrap(), &Device::Cpu).unwrap_err().to_string()
        };
        assert!(message().contains("could not read") && message().contains(CONFIG));
        model(Mlp::Gated(None)).save(path).unwrap();
        let config = fs::read_to_string(path.join(CONFIG)).unwrap();
        let cases = [
            ("\"n_layer\": 2", "\"n_layer\": 3", "transformer.h.2.attn.qkv.weight"),
            ("\"n_layer\": 2", "\"n_layer\": 1", "also `transformer.h.1"),
            ("\"n_layer\": 2", "\"n_layer\": \"two\"", "a size in `n_layer`"),
            ("\"d_hidden\": 6", "\"d_hidden\": 5", "transformer.h.0.mlp.w.weight"),
            ("\"bias\": true,", "", "the field `bias`"),
            ("\"gate\": null", "\"gate\": \"tanh\"", "\"tanh\""),
            ("\"gate\": null", "\"gate\": null, \"tie\": true", "also `tie`: true"),
            ("\"n_head\": 2", "\"n_head\": 3", "twice the 3 heads"),
        ];
        for (old, new, expected) in cases {
            assert!(config.contains(old), "{old}");
            fs::write(path.join(CONFIG), config.replace(old, new)).unwrap();
            assert!(message().contains(expected), "{}", message());
        }
        fs::write(path.join(CONFIG), &config).unwrap();
        let weights = fs::read(path.join(WEIGHTS)).unwrap();
        fs::write(path.join(WEIGHTS), &weights[..weights.len() - 5]).unwrap();
        assert!(message().contains("a whole safetensors file"), "{}", message());
        let nan = model(Mlp::Gated(None));
        let bias = nan.parameters().blocks[1].mlp_out_bias.clone().unwrap();
        bias.set(&(bias.as_tensor() / 0.0).unwrap()).unwrap();
        nan.save(path).unwrap();
        assert!(message().contains("transformer.h.1.mlp.p.bias"), "{}", message());
    }
}
