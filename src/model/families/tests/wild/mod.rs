//! Configurations and files as people have them.

mod fields;
mod foreign;
mod torch;

use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor, safetensors};
use serde_json::{Value, json};

use crate::model::Decoder;
use crate::random::Rng;

const CPU: &Device = &Device::Cpu;

pub(super) type Weights = Vec<(String, Tensor)>;

fn normal(shapes: &[(String, Vec<usize>)]) -> Weights {
    let mut rng = Rng::seed(4);
    let mut tensor = |shape: &Vec<usize>| (rng.normal(&**shape, CPU).unwrap() * 0.3).unwrap();
    shapes.iter().map(|(name, shape)| (name.clone(), tensor(shape))).collect()
}

/// Vocabulary 11, width 8, 2 layers, 2 heads, context 16.
fn gpt2() -> (Value, Weights) {
    let mut shapes = vec![
        ("wte.weight".to_owned(), vec![11, 8]),
        ("wpe.weight".to_owned(), vec![16, 8]),
        ("ln_f.weight".to_owned(), vec![8]),
        ("ln_f.bias".to_owned(), vec![8]),
    ];
    for layer in 0..2 {
        for (name, shape) in [
            ("ln_1.weight", vec![8]),
            ("ln_1.bias", vec![8]),
            ("ln_2.weight", vec![8]),
            ("ln_2.bias", vec![8]),
            ("attn.c_attn.weight", vec![8, 24]),
            ("attn.c_attn.bias", vec![24]),
            ("attn.c_proj.weight", vec![8, 8]),
            ("attn.c_proj.bias", vec![8]),
            ("mlp.c_fc.weight", vec![8, 32]),
            ("mlp.c_fc.bias", vec![32]),
            ("mlp.c_proj.weight", vec![32, 8]),
            ("mlp.c_proj.bias", vec![8]),
        ] {
            shapes.push((format!("h.{layer}.{name}"), shape));
        }
    }
    let config = json!({
        "model_type": "gpt2", "n_layer": 2, "n_head": 2, "n_embd": 8, "n_positions": 16,
        "vocab_size": 11,
    });
    (config, normal(&shapes))
}

/// Llama or a relative, of vocabulary 11, width 8, 1 layer, 2 heads.
pub(super) fn llama(model_type: &str) -> (Value, Weights) {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![11, 8]),
        ("model.norm.weight".to_owned(), vec![8]),
        ("lm_head.weight".to_owned(), vec![11, 8]),
    ];
    let mut parts = vec![
        ("input_layernorm.weight", vec![8]),
        ("post_attention_layernorm.weight", vec![8]),
        ("self_attn.q_proj.weight", vec![8, 8]),
        ("self_attn.k_proj.weight", vec![8, 8]),
        ("self_attn.v_proj.weight", vec![8, 8]),
        ("self_attn.o_proj.weight", vec![8, 8]),
        ("mlp.gate_proj.weight", vec![12, 8]),
        ("mlp.up_proj.weight", vec![12, 8]),
        ("mlp.down_proj.weight", vec![8, 12]),
    ];
    match model_type {
        "qwen2" => parts.extend([
            ("self_attn.q_proj.bias", vec![8]),
            ("self_attn.k_proj.bias", vec![8]),
            ("self_attn.v_proj.bias", vec![8]),
        ]),
        "qwen3" => parts
            .extend([("self_attn.q_norm.weight", vec![4]), ("self_attn.k_norm.weight", vec![4])]),
        "gemma2" | "gemma3_text" => {
            shapes.pop();
            parts.extend([
                ("pre_feedforward_layernorm.weight", vec![8]),
                ("post_feedforward_layernorm.weight", vec![8]),
            ]);
            if model_type == "gemma3_text" {
                parts.extend([
                    ("self_attn.q_norm.weight", vec![4]),
                    ("self_attn.k_norm.weight", vec![4]),
                ]);
            }
        }
        "olmo2" | "olmo3" => {
            parts[0] = ("post_feedforward_layernorm.weight", vec![8]);
            parts.extend([
                ("self_attn.q_norm.weight", vec![8]),
                ("self_attn.k_norm.weight", vec![8]),
            ]);
        }
        "phi3" => {
            parts.retain(|(name, _)| {
                !["q_", "k_", "v_", "gate_", "up_"]
                    .iter()
                    .any(|own| name.contains(&format!(".{own}proj")))
            });
            parts.extend([
                ("self_attn.qkv_proj.weight", vec![24, 8]),
                ("mlp.gate_up_proj.weight", vec![24, 8]),
            ]);
        }
        "smollm3" => drop(shapes.pop()),
        _ => {}
    }
    shapes.extend(parts.into_iter().map(|(name, shape)| (format!("model.layers.0.{name}"), shape)));
    let mut config = json!({
        "model_type": model_type, "num_hidden_layers": 1, "num_attention_heads": 2,
        "hidden_size": 8, "intermediate_size": 12, "vocab_size": 11,
        "max_position_embeddings": 16, "rms_norm_eps": 1e-5,
    });
    if ["gemma2", "gemma3_text", "qwen3", "smollm3"].contains(&model_type) {
        config["head_dim"] = 4.into();
        config["num_key_value_heads"] = 2.into();
    }
    (config, normal(&shapes))
}

fn gpt_neox() -> (Value, Weights) {
    let mut shapes = vec![
        ("gpt_neox.embed_in.weight".to_owned(), vec![11, 16]),
        ("gpt_neox.final_layer_norm.weight".to_owned(), vec![16]),
        ("gpt_neox.final_layer_norm.bias".to_owned(), vec![16]),
        ("embed_out.weight".to_owned(), vec![11, 16]),
    ];
    for (name, from, to) in [
        ("attention.query_key_value", 16, 48),
        ("attention.dense", 16, 16),
        ("mlp.dense_h_to_4h", 16, 20),
        ("mlp.dense_4h_to_h", 20, 16),
    ] {
        shapes.push((format!("gpt_neox.layers.0.{name}.weight"), vec![to, from]));
        shapes.push((format!("gpt_neox.layers.0.{name}.bias"), vec![to]));
    }
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        for end in ["weight", "bias"] {
            shapes.push((format!("gpt_neox.layers.0.{norm}.{end}"), vec![16]));
        }
    }
    let config = json!({
        "model_type": "gpt_neox", "num_hidden_layers": 1, "num_attention_heads": 2,
        "hidden_size": 16, "intermediate_size": 20, "vocab_size": 11,
        "max_position_embeddings": 16,
    });
    (config, normal(&shapes))
}

fn every_family() -> Vec<(Value, Weights)> {
    let alike = [
        "llama",
        "mistral",
        "qwen2",
        "qwen3",
        "smollm3",
        "phi3",
        "olmo2",
        "olmo3",
        "gemma2",
        "gemma3_text",
    ];
    let others = super::plain::checkpoints();
    [gpt2(), gpt_neox()].into_iter().chain(alike.map(llama)).chain(others).collect()
}

pub(super) fn with(config: &Value, more: &Value) -> Value {
    let mut config = config.clone();
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

pub(super) fn write_config(folder: &Path, config: &Value) {
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

pub(super) fn write_weights(folder: &Path, weights: &Weights) {
    let tensors = weights.iter().cloned().collect();
    safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

pub(super) fn folder(config: &Value, weights: &Weights) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config);
    write_weights(folder.path(), weights);
    folder
}

pub(super) fn load(folder: &Path) -> crate::Result<Decoder> {
    Decoder::from_pretrained(folder.to_str().unwrap(), CPU)
}

pub(super) fn loaded(config: &Value, weights: &Weights) -> Decoder {
    load(folder(config, weights).path()).unwrap_or_else(|error| panic!("{error}\n{config}"))
}

pub(super) fn message(config: &Value) -> String {
    // A config that is refused is refused before weights are looked for.
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), config);
    load(folder.path()).unwrap_err().to_string()
}

pub(super) fn logits(model: &Decoder) -> Vec<f32> {
    let tokens = Tensor::new(&[[3u32, 1, 4, 1, 5, 9, 2]], CPU).unwrap();
    model.logits(&tokens).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn gap(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0f32, |gap, (a, b)| gap.max((a - b).abs()))
}
