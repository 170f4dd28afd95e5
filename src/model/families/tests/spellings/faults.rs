//! What is wrong in a config, or does not fit its weights.

use serde_json::{Value, json};

use super::super::wild::{folder, llama, load, loaded, with};
use super::{config, refusal, sizes};

#[test]
fn what_a_config_says_wrong_is_named() {
    let longrope = |short: Value, long: Value| {
        json!({ "rope_scaling": {
            "type": "longrope", "short_factor": short, "long_factor": long,
        } })
    };
    let ones = json!([1, 1, 1, 1]);
    let sliding = json!(["sliding_attention", "full_attention"]);
    for (model_type, more, expected) in [
        ("qwen3", json!({ "layer_types": sliding }), "each of 4 layers in `layer_types`"),
        ("olmo3", json!({ "layer_types": sliding }), "each of 4 layers in `layer_types`"),
        ("gemma3_text", json!({ "layer_types": ["odd"] }), "`layer_types.0`, found \"odd\""),
        ("gemma3_text", json!({ "sliding_window": null }), "a window in `sliding_window`"),
        ("olmo3", json!({ "sliding_window": null }), "a window in `sliding_window`"),
        ("gemma3_text", json!({ "sliding_window": 0 }), "a window"),
        (
            "gemma3_text",
            json!({ "sliding_window_pattern": 0 }),
            "a size from 1 in `sliding_window_",
        ),
        (
            "gemma3_text",
            json!({ "_sliding_window_pattern": 2 }),
            "6, as in `sliding_window_pattern`",
        ),
        ("gemma3_text", json!({ "query_pre_attn_scalar": 0 }), "a positive number in `query_pre_"),
        ("gemma3_text", json!({ "use_bidirectional_attention": true }), "use_bidirectional"),
        ("gemma3_text", json!({ "hidden_act": "silu" }), "also `hidden_act`"),
        ("smollm3", json!({ "no_rope_layers": [1, 0] }), "each of 4 layers in `no_rope_layers`"),
        ("smollm3", json!({ "no_rope_layers": ["x"] }), "a size in `no_rope_layers.0`"),
        ("smollm3", json!({ "no_rope_layer_interval": 0 }), "a size from 1 in `no_rope_layer_"),
        ("smollm3", json!({ "num_hidden_layers": 1e12 }), "a size up to 65536 in `num_hidden_"),
        ("olmo3", json!({ "num_hidden_layers": 1e12 }), "a size up to 65536 in `num_hidden_"),
        ("granite", json!({ "logits_scaling": 0 }), "a positive number in `logits_scaling`"),
        ("granite", json!({ "residual_multiplier": -1 }), "in `residual_multiplier`, found -1"),
        ("granite", json!({ "num_local_experts": 4 }), "also `num_local_experts`"),
        ("qwen3", json!({ "num_experts": 4 }), "also `num_experts`"),
        ("phi3", json!({ "attention_bias": true }), "also `attention_bias`"),
        ("phi3", json!({ "lm_head_bias": true }), "also `lm_head_bias`"),
        (
            "phi3",
            longrope(json!([1, 1]), ones.clone()),
            "4 positive numbers in `rope_scaling.short_factor`",
        ),
        (
            "phi3",
            longrope(ones.clone(), json!([1, 1, 1, 0])),
            "4 positive numbers in `rope_scaling.long_factor`",
        ),
        (
            "phi3",
            longrope(ones.clone(), json!(null)),
            "`rope_scaling.long_factor`, one for each pair",
        ),
        ("phi3", longrope(ones, json!("x")), "a list in `rope_scaling.long_factor`"),
        (
            "qwen3",
            json!({ "rope_scaling": { "type": "yarn" } }),
            "the number `rope_scaling.factor`",
        ),
        (
            "qwen3",
            json!({ "rope_scaling": { "type": "yarn", "factor": 2.0 } }),
            "the number `rope_scaling.original_max_position_embeddings`",
        ),
        (
            "qwen3",
            json!({
                "rope_scaling": { "type": "yarn", "factor": 2.0, "truncate": false },
                "max_position_embeddings": 64,
            }),
            "true in `rope_scaling.truncate`",
        ),
        (
            "qwen3",
            json!({
                "rope_scaling": {
                    "type": "yarn", "factor": 2.0, "original_max_position_embeddings": 16,
                },
                "original_max_position_embeddings": 32,
            }),
            "one value of `original_max_position_embeddings`, found 32 and 16",
        ),
        (
            "qwen3",
            json!({ "rope_scaling": {
                "type": "yarn", "factor": 2.0, "original_max_position_embeddings": 1,
            } }),
            "a size from 2 in `rope_scaling.original_max_position_embeddings`, found 1",
        ),
        (
            "qwen3",
            json!({
                "rope_scaling": { "type": "yarn", "factor": 2.0 },
                "original_max_position_embeddings": 1,
            }),
            "a size from 2 in `original_max_position_embeddings`, found 1",
        ),
        (
            "phi3",
            json!({ "partial_rotary_factor": 1.5 }),
            "a share of a head between 0 and 1 in `partial_rotary_factor`, found 1.5",
        ),
        (
            "phi3",
            json!({ "rope_parameters": { "partial_rotary_factor": 1.5 } }),
            "a share of a head between 0 and 1 in `rope_parameters.partial_rotary_factor`",
        ),
        ("qwen3", json!({ "rope_scaling": { "rope_type": "mrope" } }), "\"mrope\""),
        (
            "qwen3",
            json!({ "rope_parameters": { "full_attention": { "rope_theta": 5.0 } } }),
            "also `rope_parameters.full_attention`",
        ),
        (
            "gemma3_text",
            json!({ "rope_parameters": { "full_attention": {}, "rope_theta": 5.0 } }),
            "also `rope_parameters.rope_theta`",
        ),
        (
            "gemma3_text",
            json!({ "rope_parameters": {
                "sliding_attention": { "rope_type": "default", "factor": 8.0 },
                "full_attention": { "rope_type": "linear", "factor": 8.0 },
            } }),
            "also `rope_parameters.sliding_attention.factor`",
        ),
        (
            "gemma3_text",
            json!({
                "rope_local_base_freq": 7.0,
                "rope_parameters": { "sliding_attention": { "rope_theta": 5.0 } },
            }),
            "one value of `rope_theta`, found 7 and 5",
        ),
        (
            "olmo3",
            json!({ "rope_parameters": { "full_attention": { "rope_type": "odd" } } }),
            "`rope_parameters.full_attention.rope_type`, found \"odd\"",
        ),
        ("olmo2", json!({ "clip_qkv": 8.0 }), "also `clip_qkv`"),
        (
            "gemma2",
            json!({ "head_dim": 8, "sliding_window": null, "sliding_window_size": 5 }),
            "the same as in `sliding_window`, null, in `sliding_window_size`, found 5",
        ),
    ] {
        let found = refusal(&sizes(model_type, more));
        assert!(found.contains(expected), "{model_type}: {expected}: {found}");
    }
    let seeing = |text: Value| json!({ "model_type": "gemma3", "text_config": text });
    let text = sizes("gemma3_text", json!({}));
    for (whole, expected) in [
        (json!({ "model_type": "gemma3" }), "the field `text_config`, an object"),
        (seeing(json!([1])), "an object in `text_config`"),
        (seeing(with(&text, &json!({ "head_dim": "x" }))), "a size in `text_config.head_dim`"),
        (seeing(with(&text, &json!({ "zoo": 3 }))), "also `text_config.zoo`: 3"),
        (seeing(with(&text, &json!({ "model_type": "llama" }))), "`text_config.model_type`"),
        (
            seeing(with(&text, &json!({ "layer_types": ["full_attention"] }))),
            "each of 4 layers in `text_config.layer_types`, found 1 of them",
        ),
        (
            seeing(with(&text, &json!({ "sliding_window": null }))),
            "a window in `text_config.sliding_window` for the layers whose attention slides",
        ),
        (
            seeing(with(
                &text,
                &json!({ "rope_parameters": { "full_attention": {
                "rope_type": "linear",
            } } }),
            )),
            "the number `text_config.rope_parameters.full_attention.factor` of rotary embedding",
        ),
        (
            seeing(with(
                &text,
                &json!({
                    "rope_local_base_freq": 7.0,
                    "rope_parameters": { "sliding_attention": { "rope_theta": 5.0 } },
                }),
            )),
            "one value of `text_config.rope_theta`, found 7 and 5",
        ),
        (
            seeing(with(
                &text,
                &json!({
                    "rope_scaling": { "rope_type": "linear", "factor": 8.0 },
                    "rope_parameters": { "rope_type": "linear", "factor": 4.0 },
                }),
            )),
            "the same in `text_config.rope_scaling` and `text_config.rope_parameters`",
        ),
        (
            seeing(with(
                &text,
                &json!({ "rope_scaling": {
                "rope_type": "longrope", "original_max_position_embeddings": 8,
                "short_factor": [1], "long_factor": [1],
            } }),
            )),
            "positive numbers in `text_config.rope_scaling.short_factor`",
        ),
        (with(&seeing(text.clone()), &json!({ "zoo": 3 })), "also `zoo`: 3"),
        (
            with(
                &seeing(with(&text, &json!({ "tie_word_embeddings": true }))),
                &json!({ "tie_word_embeddings": false }),
            ),
            "`tie_word_embeddings` and `text_config.tie_word_embeddings`, found false and true",
        ),
    ] {
        let found = refusal(&whole);
        assert!(found.contains(expected), "{expected}: {found}");
    }
    // What transformers itself leaves aside.
    let both = json!({ "layer_types": ["full_attention", "full_attention", "full_attention", "full_attention"], "_sliding_window_pattern": 2 });
    assert!(config(&sizes("gemma3_text", both)).windows.is_empty());
}

#[test]
fn a_norm_of_queries_of_the_wrong_width_is_named() {
    for (model_type, width) in [("qwen3", 4), ("olmo2", 8), ("gemma3_text", 4)] {
        let (config, weights) = llama(model_type);
        loaded(&config, &weights);
        for part in ["q_norm", "k_norm"] {
            let name = format!("model.layers.0.self_attn.{part}.weight");
            let own = |own: &String| *own == name;
            let (mut wrong, mut without) = (weights.clone(), weights.clone());
            for (_, tensor) in wrong.iter_mut().filter(|(name, _)| own(name)) {
                *tensor = tensor.narrow(0, 0, width - 1).unwrap().contiguous().unwrap();
            }
            without.retain(|(name, _)| !own(name));
            let expected = format!("`{name}` of shape [{width}]");
            for (weights, found) in
                [(wrong, format!("[{}]", width - 1)), (without, "no such".into())]
            {
                let message = load(folder(&config, &weights).path()).unwrap_err().to_string();
                assert!(message.contains(&expected) && message.contains(&found), "{message}");
            }
        }
    }
    // A model without such norms does not leave them aside.
    let (config, weights) = llama("qwen3");
    let plain = with(&config, &json!({ "model_type": "llama" }));
    let message = load(folder(&plain, &weights).path()).unwrap_err().to_string();
    assert!(message.contains("also `model.layers.0.self_attn.k_norm.weight`"), "{message}");
}
