//! Reading and writing models: `config.json` and `model.safetensors`, in the Hugging Face layout of
//! their family.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::families::{self, CONFIG};
use super::origin::ModelOrigin;
use super::{Config, Decoder, DecoderLoader};
use crate::data::text::Tokenizer;
use crate::hub::Repository;
use crate::store::{replace, save};
use crate::{Error, Result};

const WEIGHTS: &str = "model.safetensors";

impl Decoder {
    /// The model `name`: embedded (`eigenlens/classics`), in a folder, or of the hub, such as
    /// `tdooms/fw-medium` or `openai-community/gpt2`; `@` after it chooses a branch, tag or commit,
    /// as in `EleutherAI/pythia-70m@step1000`. [`Decoder::source`] says which. Its weights are f32,
    /// whatever type the file has.
    ///
    /// `smollm2-135m-instruct` and `gemma-3-270m` are the models that `cargo run --bin eigenlens --
    /// fetch smollm2` and `fetch gemma3-270m` have put into [`home`](crate::data::home), both
    /// quantised: `google/gemma-3-270m` is the hub's, in bf16. A path that ends in `.gguf`, and a folder
    /// with such a file and no `config.json`, are read by [`Decoder::from_gguf`].
    ///
    /// Families: GPT-2, GPT-Neo and TinyStories, GPT-NeoX and Pythia, OPT, StarCoder 2, Llama 2 and
    /// 3, SmolLM 2 and 3, Mistral, Qwen 2 and 3, Granite 3, Phi-3, OLMo 2 and 3, Gemma 2 and 3,
    /// TransformerLens's own small models, and the bilinear transformers. Weights are in one file or
    /// in several with an index: `.safetensors`, or else the `pytorch_model.bin` of older
    /// repositories and the `model_final.pth` of TransformerLens's, of which nothing is executed.
    ///
    /// # Errors
    /// A repository that is neither in the cache nor reachable; files that are damaged, do not fit
    /// each other, or say something of the model that is unknown here and could change its numbers
    /// ([`DecoderLoader`] goes on without such fields); quantised weights; an adapter without its
    /// model.
    pub fn from_pretrained(name: &str, device: &Device) -> Result<Self> {
        Self::from_pretrained_as(name, device, DType::F32)
    }

    /// [`Decoder::from_pretrained`] with weights and activations in another floating point type:
    /// bf16 or f16 halve the memory and cost digits, f64 doubles it. Such a model works with
    /// autoencoders, hooks and losses as one in f32 does: [`Sae::encode`](crate::sae::Sae::encode)
    /// widens what it reads, and what is put back has the model's type.
    ///
    /// # Errors
    /// As [`Decoder::from_pretrained`]; a type that is not floating point.
    pub fn from_pretrained_as(name: &str, device: &Device, dtype: DType) -> Result<Self> {
        DecoderLoader::new().dtype(dtype).load(name, device)
    }

    /// [`Decoder::from_pretrained`], from a repository.
    ///
    /// # Errors
    /// As [`Decoder::from_pretrained`].
    pub fn from_repository(repository: &Repository, device: &Device) -> Result<Self> {
        Self::from_repository_as(repository, device, DType::F32)
    }

    /// [`Decoder::from_pretrained_as`], from a repository.
    ///
    /// # Errors
    /// As [`Decoder::from_pretrained_as`].
    pub fn from_repository_as(
        repository: &Repository,
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        DecoderLoader::new().dtype(dtype).from_repository(repository, device)
    }

    /// A model of the Llama family from tensors of your own: `config` as [`Config::llama`] with what
    /// differs, `take(name, shape)` gives each tensor under Hugging Face's name
    /// (`model.layers.0.self_attn.q_proj.weight`). The first, the embedding, says on which device
    /// the model is.
    ///
    /// # Errors
    /// Sizes that make no model; what `take` fails with.
    pub fn from_llama_tensors(
        config: Config,
        take: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<Self> {
        families::llama::build(config, ModelOrigin::default(), take)
    }

    /// Writes the model to the folder `path`, which is made if need be, as
    /// [`Decoder::from_pretrained`] reads it, in f32: bilinear transformers and their relatives in
    /// their own layout, and what Llama, Mistral, Qwen-2 and 3, SmolLM 3 and Granite have words for in
    /// Hugging Face's, which `transformers` reads too. A model without biases that has windows in some
    /// layers is written as Qwen-2's with biases of zero, which change no number.
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
        let (mut fields, weights) = families::written(self.config(), self.parameters())?;
        let tokenizer = self.origin().tokenizer.get();
        for (key, ids) in tokenizer.map(Tokenizer::fields_for_config).unwrap_or_default() {
            fields[key] = ids;
        }
        let config = serde_json::to_vec_pretty(&fields).map_err(std::io::Error::other);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        save(&folder.join(WEIGHTS), weights, dtype)?;
        if let Some(tokenizer) = tokenizer {
            tokenizer.save_in(folder)?;
        }
        replace(&folder.join(CONFIG), |place| fs::write(place, config?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, Mlp, Position, Rotary};

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
            #[cfg(unix)]
            {
                let rights = |name| fs::metadata(folder.path().join(name)).unwrap().permissions();
                assert_eq!(rights(WEIGHTS), rights(CONFIG), "whoever reads one reads the other");
            }
            let loaded = Decoder::from_pretrained(path, &Device::Cpu).unwrap();
            assert_eq!(loaded.config(), model.config());
            for ((name, a), (_, b)) in model.weights().iter().zip(loaded.weights()) {
                let gap = (a - b).unwrap().abs().unwrap().max_all().unwrap();
                assert_eq!(gap.to_scalar::<f32>().unwrap(), 0.0, "{name}");
            }
        }
    }

    #[test]
    fn a_saved_llama_comes_back_under_the_name_that_has_words_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let usual = || Config { vocab: 7, context: 16, ..Config::llama(3, 4, 8, 6) };
        let position = Position::Rotary(Rotary::new(5e4));
        let windows = |of: [usize; 3]| of.map(|size| (size > 0).then_some(size)).to_vec();
        for (config, name) in [
            (Config { kv_heads: Some(2), position, tied: true, ..usual() }, "llama"),
            (Config { qkv_bias: true, attention_bias: true, mlp_bias: true, ..usual() }, "llama"),
            (Config { d_head: Some(4), windows: windows([2; 3]), ..usual() }, "mistral"),
            (Config { qkv_bias: true, windows: windows([1, 0, 0]), ..usual() }, "qwen2"),
            (Config { windows: windows([0, 3, 3]), ..usual() }, "qwen2"),
        ] {
            let model = Decoder::random(config.clone(), 3, &Device::Cpu).unwrap();
            model.save(path).unwrap();
            let text = fs::read_to_string(folder.path().join(CONFIG)).unwrap();
            assert!(text.contains(&format!("\"model_type\": \"{name}\"")), "{text}");
            let loaded = Decoder::from_pretrained(path, &Device::Cpu).unwrap();
            let added = name == "qwen2" && !config.qkv_bias;
            assert_eq!(*loaded.config(), Config { qkv_bias: config.qkv_bias || added, ..config });
            let tokens = Tensor::new(&[[1u32, 2, 3, 4, 5]], &Device::Cpu).unwrap();
            let gap = (model.logits(&tokens).unwrap() - loaded.logits(&tokens).unwrap()).unwrap();
            assert_eq!(gap.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap(), 0.0);
        }
        for config in [
            Config { windows: windows([1, 2, 0]), qkv_bias: true, ..usual() },
            Config { mlp_bias: true, windows: windows([1, 0, 0]), ..usual() },
            Config { score_cap: Some(30.0), ..usual() },
        ] {
            let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
            let message = model.save(path).unwrap_err().to_string();
            assert!(message.contains("Qwen-2"), "{message}");
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
        assert!(message().contains("truncated or incomplete"), "{}", message());
        let nan = model(Mlp::Gated(None));
        let mlp = nan.parameters().blocks[1].mlp.clone().unwrap();
        let bias = mlp.output_bias.unwrap();
        bias.set(&(bias.as_tensor() / 0.0).unwrap()).unwrap();
        nan.save(path).unwrap();
        assert!(message().contains("transformer.h.1.mlp.p.bias"), "{}", message());
    }
}
