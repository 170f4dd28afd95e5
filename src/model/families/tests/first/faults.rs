//! What a config says wrong, or what is not known.

use std::fs;

use candle_core::DType;
use serde_json::{Value, json};

use super::{cases, load};

#[test]
fn what_a_config_says_wrong_or_unknown_is_named() {
    let all = cases();
    let of = |family: &str| all.iter().find(|case| case.config["model_type"] == family).unwrap();
    let message = |family: &str, name: &str, value: Value| {
        let case = of(family);
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), &case.weights(0));
        let mut config = case.config.clone();
        match value {
            Value::Null => config.as_object_mut().unwrap().remove(name),
            value => config.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        load(folder.path(), DType::F32).map(|_| ()).unwrap_err().to_string()
    };
    let other = json!({"rope_type": "mrope", "factor": 4.0});
    let more = json!({"rope_type": "linear", "factor": 4.0, "beta": 1.0});
    for (family, name, value, expected) in [
        ("llama", "model_type", json!("gptj"), "gptj"),
        ("llama", "rope_scaling", other, "\"mrope\""),
        ("llama", "rope_scaling", more, "also `rope_scaling.beta`"),
        ("llama", "rope_scaling", json!({"rope_type": "linear"}), "`rope_scaling.factor`"),
        ("llama", "rope_parameters", json!({"rope_theta": 7.0}), "rope_scaling"),
        ("mistral", "rope_parameters", json!({"rope_theta": 7.0}), "one value of `rope_theta`"),
        ("gpt_neox", "rope_theta", json!(7.0), "one value of `rope_theta`"),
        ("mistral", "partial_rotary_factor", json!(0.5), "all 4 entries"),
        ("llama", "qk_norm", json!(true), "also `qk_norm`"),
        ("llama", "quantization_config", json!({"bits": 4}), "`quantization_config`"),
        ("llama", "hidden_act", json!("quick_gelu"), "quick_gelu"),
        ("llama", "num_key_value_heads", json!(3), "a multiple of the 3"),
        ("llama", "hidden_size", Value::Null, "the field `hidden_size`"),
        ("llama", "hidden_size", json!(18), "model.embed_tokens.weight"),
        ("llama", "tie_word_embeddings", json!(false), "lm_head.weight"),
        ("llama", "num_hidden_layers", json!(3), "model.layers.2.input_layernorm.weight"),
        ("llama", "num_hidden_layers", json!(1), "also `model.layers.1"),
        ("llama", "attention_bias", json!(true), "self_attn.q_proj.bias"),
        ("gpt_neox", "rotary_pct", json!(1.5), "between 0 and 1"),
        ("gemma2", "head_dim", Value::Null, "head_dim"),
        ("gemma2", "layer_types", json!(["full_attention"]), "each of 2 layers"),
        ("gemma2", "use_bidirectional_attention", json!(true), "use_bidirectional_attention"),
        ("qwen2", "layer_types", json!(["full_attention", "odd"]), "layer_types"),
    ] {
        let found = message(family, name, value);
        assert!(found.contains(expected) && found.contains("not usable"), "{expected}: {found}");
    }
}
