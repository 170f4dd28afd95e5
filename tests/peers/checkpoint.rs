//! Small checkpoints of random weights, as files.

use std::collections::HashMap;
use std::fs;

use candle_nn::VarBuilder;
use eigenlens::candle::{DType, Tensor, safetensors};
use eigenlens::model::Decoder;
use eigenlens::random::Rng;
use serde_json::{Value, json};

use crate::CPU;

/// Width of a head.
pub(crate) const HEAD: usize = 8;

/// `config.json`, and the tensors of `model.safetensors`.
#[derive(Clone)]
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    pub(crate) weights: HashMap<String, Tensor>,
}

impl Checkpoint {
    /// A model of this type with `more` in its config, and random weights.
    pub(crate) fn new(model_type: &str, more: Value) -> Self {
        let config = json!({
            "model_type": model_type, "num_hidden_layers": 3, "num_attention_heads": 4,
            "num_key_value_heads": 2, "hidden_size": 32, "intermediate_size": 24, "vocab_size": 17,
            "max_position_embeddings": 32, "rms_norm_eps": 0.02, "rope_theta": 100.0,
            "hidden_act": "silu", "tie_word_embeddings": false,
        });
        let config = with(config, more);
        let mut rng = Rng::seed(7);
        let mut random = |name: &str, shape: &[usize]| {
            let normal = rng.normal(shape, CPU).unwrap();
            let centre = if name.ends_with("norm.weight") { 1.0 } else { 0.0 };
            (normal * 0.3).and_then(|normal| normal + centre).unwrap()
        };
        let weights = shapes(&config).into_iter();
        let weights = weights.map(|(name, shape)| (name.clone(), random(&name, &shape))).collect();
        Self { config, weights }
    }

    /// The same with `more` in its config.
    pub(crate) fn with(&self, more: Value) -> Self {
        Self { config: with(self.config.clone(), more), weights: self.weights.clone() }
    }

    /// The same with each tensor whose name ends with `end` multiplied and then shifted.
    pub(crate) fn scaled(mut self, end: &str, factor: f64, shift: f64) -> Self {
        let mut found = false;
        for (_, tensor) in self.weights.iter_mut().filter(|(name, _)| name.ends_with(end)) {
            *tensor = tensor.affine(factor, shift).unwrap();
            found = true;
        }
        assert!(found, "{end}");
        self
    }

    /// The model, read from the two files.
    pub(crate) fn decoder(&self) -> Decoder {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        safetensors::save(&self.weights, folder.path().join("model.safetensors")).unwrap();
        Decoder::from_pretrained(folder.path().to_str().unwrap(), CPU).unwrap()
    }

    /// The same weights as candle-transformers reads them, from the bytes of the file.
    pub(crate) fn builder(&self) -> VarBuilder<'static> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        safetensors::save(&self.weights, &path).unwrap();
        VarBuilder::from_buffered_safetensors(fs::read(path).unwrap(), DType::F32, CPU).unwrap()
    }
}

/// The fields with `more`, in which null takes a field away.
fn with(mut config: Value, more: Value) -> Value {
    let fields = config.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    config
}

/// Names and shapes of the tensors that such a config speaks of.
fn shapes(config: &Value) -> Vec<(String, Vec<usize>)> {
    let size = |name: &str| config[name].as_u64().unwrap() as usize;
    let on = |name: &str| config[name].as_bool().unwrap_or(false);
    let family = config["model_type"].as_str().unwrap();
    let (d, m, vocab) = (size("hidden_size"), size("intermediate_size"), size("vocab_size"));
    let (q, kv) = (HEAD * size("num_attention_heads"), HEAD * size("num_key_value_heads"));
    let starcoder = family == "starcoder2";
    let norms: &[&str] = match family {
        "gemma2" | "gemma3_text" => &[
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ],
        "olmo2" => &["post_attention_layernorm", "post_feedforward_layernorm"],
        _ => &["input_layernorm", "post_attention_layernorm"],
    };
    let qk_norms = match family {
        "qwen3" | "gemma3_text" => Some([HEAD, HEAD]),
        "olmo2" => Some([q, kv]),
        _ => None,
    };
    let maps: Vec<(&str, usize, usize)> = match family {
        "phi3" => vec![
            ("self_attn.qkv_proj", q + 2 * kv, d),
            ("self_attn.o_proj", d, q),
            ("mlp.gate_up_proj", 2 * m, d),
            ("mlp.down_proj", d, m),
        ],
        _ => {
            let attention = [
                ("self_attn.q_proj", q, d),
                ("self_attn.k_proj", kv, d),
                ("self_attn.v_proj", kv, d),
                ("self_attn.o_proj", d, q),
            ];
            let mlp = match starcoder {
                true => vec![("mlp.c_fc", m, d), ("mlp.c_proj", d, m)],
                false => {
                    vec![("mlp.gate_proj", m, d), ("mlp.up_proj", m, d), ("mlp.down_proj", d, m)]
                }
            };
            attention.into_iter().chain(mlp).collect()
        }
    };
    let biased = |name: &str| match family {
        "qwen2" => ["q_proj", "k_proj", "v_proj"].iter().any(|end| name.ends_with(end)),
        _ => starcoder || on("attention_bias") && name.starts_with("self_attn"),
    };
    let mut all = vec![("model.embed_tokens.weight".to_owned(), vec![vocab, d])];
    let mut norm = |name: String, width: usize| {
        all.push((format!("{name}.weight"), vec![width]));
        if starcoder {
            all.push((format!("{name}.bias"), vec![width]));
        }
    };
    norm("model.norm".to_owned(), d);
    for layer in 0..size("num_hidden_layers") {
        norms.iter().for_each(|name| norm(format!("model.layers.{layer}.{name}"), d));
        if let Some([of_q, of_k]) = qk_norms {
            norm(format!("model.layers.{layer}.self_attn.q_norm"), of_q);
            norm(format!("model.layers.{layer}.self_attn.k_norm"), of_k);
        }
    }
    for layer in 0..size("num_hidden_layers") {
        for (name, outputs, inputs) in &maps {
            let own = format!("model.layers.{layer}.{name}");
            all.push((format!("{own}.weight"), vec![*outputs, *inputs]));
            if biased(name) {
                all.push((format!("{own}.bias"), vec![*outputs]));
            }
        }
    }
    if !on("tie_word_embeddings") {
        all.push(("lm_head.weight".to_owned(), vec![vocab, d]));
    }
    all
}
