//! Configs of today's families: old spellings and new ones, what is left out, and what is wrong.

mod faults;

use std::path::Path;

use serde_json::{Value, json};

use super::super::{LOADER, ModelFamily, changes_nothing};
use super::wild::{llama, load, loaded, logits, message, with};
use crate::model::{Config, Decoder, Norm, Position, QkNorm, Rotary, Scaling};
use crate::store::{Document, UnknownFields};

/// The config that a file says, of whose fields none may be unknown.
fn read(value: &Value) -> crate::Result<Config> {
    let mut document = Document::parse(Path::new("config.json"), value.to_string().as_bytes())?;
    let family = ModelFamily::of(&document)?;
    let config = family.config(&mut document)?;
    document.finish(|name| changes_nothing(family, name), UnknownFields::Refuse, LOADER)?;
    config.check()?;
    Ok(config)
}

fn config(value: &Value) -> Config {
    read(value).unwrap_or_else(|error| panic!("{error}\n{value}"))
}

fn refusal(value: &Value) -> String {
    match read(value) {
        Err(error) => error.to_string(),
        Ok(config) => panic!("{config:?}"),
    }
}

/// What no family leaves to a default.
fn sizes(model_type: &str, more: Value) -> Value {
    let all = json!({
        "model_type": model_type, "num_hidden_layers": 4, "num_attention_heads": 4,
        "hidden_size": 32, "intermediate_size": 20, "vocab_size": 11,
    });
    with(&all, &more)
}

fn rotary(config: &Config) -> Rotary {
    match &config.position {
        Position::Rotary(rotary) => rotary.clone(),
        other => panic!("{other:?}"),
    }
}

/// The spelling of transformers 5, and those of files before it.
fn spellings() -> Vec<[Value; 2]> {
    let flat = |base: f64| json!({ "rope_theta": base, "rope_scaling": null });
    let inner =
        |base: f64| json!({ "rope_parameters": { "rope_theta": base, "rope_type": "default" } });
    let full = json!(["full_attention", "full_attention", "full_attention", "full_attention"]);
    let qwen3 = sizes("qwen3", json!({ "use_sliding_window": false, "max_window_layers": 28 }));
    let smollm3 = sizes("smollm3", json!({ "num_key_value_heads": 1 }));
    let turned = json!({
        "no_rope_layers": [1, 0, 1, 0], "no_rope_layer_interval": 2, "layer_types": full,
        "tie_word_embeddings": true, "use_sliding_window": false, "sliding_window": null,
    });
    let granite = sizes("granite", json!({ "logits_scaling": 8, "attention_multiplier": 0.1 }));
    let phi3 = sizes("phi3", json!({ "sliding_window": 7, "max_position_embeddings": 64 }));
    let long = json!({
        "max_position_embeddings": 64, "original_max_position_embeddings": 16,
        "sliding_window": null,
    });
    let factors = json!({ "short_factor": [1.0, 1.1], "long_factor": [1.2, 1.6] });
    let named = with(&factors, &json!({ "type": "longrope" }));
    let su = with(&factors, &json!({ "type": "su" }));
    let new = json!({
        "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5,
        "original_max_position_embeddings": 16,
    });
    let phi_long = sizes("phi3", long);
    let old_long = |scaling: Value| {
        json!({
            "rope_scaling": scaling, "partial_rotary_factor": 0.5, "full_attn_mod": 1,
            "interpolate_factor": 1, "lm_head_bias": false, "mlp_bias": false,
        })
    };
    let olmo2 = sizes("olmo2", json!({ "max_position_embeddings": 64 }));
    let olmo3 = sizes("olmo3", json!({ "sliding_window": 6, "max_position_embeddings": 64 }));
    let yarn = json!({
        "rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "beta_slow": 0.3,
        "attention_factor": 1.2, "original_max_position_embeddings": 16,
    });
    let three =
        json!(["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]);
    let by_layer = |full: Value, local: f64| {
        json!({ "rope_parameters": {
            "full_attention": full, "sliding_attention": { "rope_type": "default", "rope_theta": local },
        } })
    };
    let new_olmo3 = by_layer(with(&yarn, &json!({ "rope_theta": 500000.0 })), 500000.0);
    let old_olmo3 = json!({ "rope_theta": 500000, "rope_scaling": yarn });
    let gemma3 = sizes("gemma3_text", json!({ "head_dim": 12, "sliding_window": 6 }));
    let eight = json!({ "rope_type": "linear", "factor": 8.0 });
    let new_gemma3 = with(
        &by_layer(with(&eight, &json!({ "rope_theta": 1e6 })), 1e4),
        &json!({ "layer_types": three, "_sliding_window_pattern": 6 }),
    );
    let flat_gemma3 = json!({
        "rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": eight,
        "sliding_window_pattern": 4, "cache_implementation": "hybrid",
    });
    let between = json!({
        "rope_theta": 1000000, "rope_local_base_freq": 10000, "rope_scaling": null,
        "layer_types": three, "_sliding_window_pattern": 2,
        "rope_parameters": {
            "full_attention": eight, "sliding_attention": { "rope_type": "default" },
        },
    });
    vec![
        [
            with(&qwen3, &with(&inner(1e6), &json!({ "layer_types": full }))),
            with(&qwen3, &flat(1e6)),
        ],
        [
            with(&smollm3, &with(&inner(5e6), &turned)),
            with(&smollm3, &with(&flat(5e6), &json!({ "no_rope_layer_interval": 2 }))),
        ],
        [with(&granite, &inner(1e7)), with(&granite, &flat(1e7))],
        [
            with(
                &phi3,
                &json!({ "rope_parameters": {
                    "rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5,
                } }),
            ),
            with(&phi3, &with(&flat(10000.0), &json!({ "partial_rotary_factor": 0.5 }))),
        ],
        [
            with(&phi_long, &json!({ "rope_parameters": with(&factors, &new) })),
            with(&phi_long, &old_long(named)),
        ],
        [
            with(&phi_long, &json!({ "rope_parameters": with(&factors, &new) })),
            with(&phi_long, &old_long(su)),
        ],
        [with(&olmo2, &inner(5e5)), with(&olmo2, &flat(5e5))],
        [
            with(&olmo3, &with(&new_olmo3, &json!({ "layer_types": three }))),
            with(&olmo3, &old_olmo3),
        ],
        [with(&gemma3, &new_gemma3), with(&gemma3, &flat_gemma3)],
        [with(&gemma3, &new_gemma3), with(&gemma3, &between)],
    ]
}

#[test]
fn every_spelling_says_the_same() {
    for [new, old] in spellings() {
        assert_eq!(config(&new), config(&old), "{new}\n{old}");
    }
    // As published, with most of it left out and within an object.
    let text = json!({
        "model_type": "gemma3_text", "hidden_size": 32, "intermediate_size": 20,
        "num_hidden_layers": 7, "sliding_window": 1024,
        "rope_scaling": { "factor": 8.0, "rope_type": "linear" },
    });
    let seeing = json!({
        "model_type": "gemma3", "text_config": text, "vision_config": { "image_size": 896 },
        "boi_token_index": 255999, "eoi_token_index": 256000, "image_token_index": 262144,
        "mm_tokens_per_image": 256, "initializer_range": 0.02, "eos_token_id": [1, 106],
    });
    assert_eq!(config(&seeing), config(&text));
    let found = config(&text);
    let expected = Config {
        kv_heads: Some(4),
        d_head: Some(256),
        context: 131_072,
        vocab: 262_208,
        position: Position::Rotary(Rotary {
            scaling: Scaling::Linear { factor: 8. },
            ..Rotary::new(1e6)
        }),
        score_scale: Some(256f64.powf(-0.5)),
        ..Config::gemma3(7, 8, 32, 20)
    };
    assert_eq!(found, expected);
}

#[test]
fn what_is_left_out_is_as_transformers_has_it() {
    let qwen3 = config(&sizes("qwen3", json!({})));
    assert_eq!((qwen3.d_head, qwen3.qk_norm), (Some(128), Some(QkNorm::PerHead)));
    assert_eq!((qwen3.context, qwen3.tied, rotary(&qwen3).base), (32_768, false, 1e4));
    let windows = json!({ "use_sliding_window": true, "max_window_layers": 3 });
    let windows = config(&sizes("qwen3", windows)).windows;
    assert_eq!(windows, [None, None, None, Some(4096)]);

    let smollm3 = config(&sizes("smollm3", json!({})));
    assert_eq!(smollm3.unturned, [false, false, false, true]);
    assert_eq!((smollm3.kv_heads(), smollm3.tied, rotary(&smollm3).base), (4, true, 2e6));
    let longer = json!({ "no_rope_layers": [1, 1, 1, 1, 0] });
    assert!(config(&sizes("smollm3", longer)).unturned.is_empty());

    let granite = config(&sizes("granite", json!({})));
    assert_eq!((granite.score_scale, granite.embed_scale, granite.tied), (Some(1.), 1., false));

    let phi3 = config(&sizes("phi3", json!({})));
    assert_eq!((phi3.norm, phi3.context), (Norm::RmsGain { eps: 1e-5 }, 4096));
    assert!(phi3.windows.is_empty() && rotary(&phi3) == Rotary::new(1e4));

    let olmo2 = config(&sizes("olmo2", json!({})));
    assert_eq!((olmo2.norm, rotary(&olmo2).base), (Norm::RmsGain { eps: 1e-5 }, 1e4));
    assert!(!olmo2.pre_norms && olmo2.post_norms && olmo2.qk_norm == Some(QkNorm::Whole));
    let olmo3 = config(&sizes("olmo3", json!({})));
    let window = Some(4096);
    assert_eq!(olmo3.windows, [window, window, window, None]);
    assert_eq!((rotary(&olmo3).base, olmo3.local_rotary), (5e5, None));

    // Factors of YaRN, and of LongRoPE, whose lengths may be said in three places.
    let yarn = |more: Value| {
        let settings = with(&json!({ "rope_type": "yarn", "factor": 4.0 }), &more);
        rotary(&config(&sizes("llama", json!({ "rope_scaling": settings })))).scaling
    };
    let grown = |scale: f64| 0.1 * scale * 4f64.ln() + 1.;
    for (more, original, factor) in [
        (json!({ "original_max_position_embeddings": 16 }), 16., grown(1.)),
        (json!({ "original_max_position_embeddings": 16, "beta_fast": 0 }), 16., grown(1.)),
        (json!({ "original_max_position_embeddings": 16, "mscale": 2.0 }), 16., grown(1.)),
        (
            json!({
                "original_max_position_embeddings": 16, "mscale": 2.0, "mscale_all_dim": 0.5,
            }),
            16.,
            grown(2.) / grown(0.5),
        ),
    ] {
        let expected = Scaling::Yarn {
            factor: 4.,
            original,
            beta_fast: 32.,
            beta_slow: 1.,
            attention_factor: factor,
        };
        assert_eq!(yarn(more), expected);
    }
    let long = |more: Value| {
        let settings = with(
            &json!({ "rope_type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2] }),
            &more,
        );
        let sized = json!({ "max_position_embeddings": 65536, "rope_scaling": settings });
        match rotary(&config(&sizes("phi3", sized))).scaling {
            Scaling::LongRope { original, attention_factor, .. } => (original, attention_factor),
            other => panic!("{other:?}"),
        }
    };
    let published = (1. + 16f64.ln() / 4096f64.ln()).sqrt();
    assert_eq!(long(json!({})), (4096., published));
    assert_eq!(long(json!({ "factor": 1.0 })), (4096., 1.));
    assert_eq!(long(json!({ "attention_factor": 1.5 })), (4096., 1.5));
    let other = long(json!({ "original_max_position_embeddings": 65536 }));
    assert_eq!(other, (65536., 1.));
}

#[test]
fn a_base_that_versions_of_transformers_read_otherwise_is_noted() {
    let (config, weights) = llama("olmo3");
    assert!(loaded(&config, &weights).notes().is_empty());
    let model = loaded(&with(&config, &json!({ "rope_theta": 7.0 })), &weights);
    assert!(model.notes()[0].contains("`rope_theta`: 7 is the rotary base"), "{:?}", model.notes());
    assert_eq!(model.config().local_rotary, Some(Rotary::new(5e5)));
    let said = json!({ "rope_theta": 5e5 });
    assert!(loaded(&with(&config, &said), &weights).notes().is_empty());
}

#[test]
fn members_of_today_come_back_as_they_were_saved() {
    let folder = tempfile::tempdir().unwrap();
    let usual = || Config { vocab: 11, context: 16, ..Config::llama(3, 4, 8, 6) };
    let windows = vec![None, Some(2), Some(2)];
    let qwen3 = || Config { qk_norm: Some(QkNorm::PerHead), d_head: Some(4), ..usual() };
    let smollm3 = || Config { unturned: vec![false, true, false], tied: true, ..usual() };
    let granite = Config {
        embed_scale: 12.,
        score_scale: Some(0.25),
        residual_scale: 0.5,
        logit_scale: 0.125,
        ..usual()
    };
    for (config, name) in [
        (qwen3(), "qwen3"),
        (
            Config { windows: windows.clone(), qkv_bias: true, attention_bias: true, ..qwen3() },
            "qwen3",
        ),
        (smollm3(), "smollm3"),
        (Config { windows, mlp_bias: true, ..smollm3() }, "smollm3"),
        (granite, "granite"),
    ] {
        let model = Decoder::random(config.clone(), 3, &candle_core::Device::Cpu).unwrap();
        model.save(folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        assert!(text.contains(&format!("\"model_type\": \"{name}\"")), "{text}");
        let loaded = load(folder.path()).unwrap();
        assert_eq!(*loaded.config(), config);
        assert_eq!(logits(&loaded), logits(&model));
    }
    for config in [
        Config { unturned: vec![true; 3], ..qwen3() },
        Config { score_scale: Some(0.5), ..qwen3() },
        Config { mlp_bias: true, ..qwen3() },
        Config::olmo2(1, 2, 8, 6),
        Config::gemma3(1, 2, 8, 6),
    ] {
        let model = Decoder::random(config, 3, &candle_core::Device::Cpu).unwrap();
        let message = model.save(folder.path()).unwrap_err().to_string();
        assert!(message.contains("Qwen 3"), "{message}");
    }
}

#[test]
fn a_config_without_a_type_is_told_from_others() {
    let own = json!({ "d_model": 8, "n_layers": 1, "n_heads": 2, "d_head": 4 });
    let family = |value: &Value| {
        let document = Document::parse(Path::new("config.json"), value.to_string().as_bytes());
        ModelFamily::of(&document.unwrap()).unwrap()
    };
    assert_eq!(family(&own), ModelFamily::TransformerLens);
    assert_eq!(family(&with(&own, &json!({ "model_type": "gpt2" }))), ModelFamily::Gpt2);
    assert_eq!(family(&with(&own, &json!({ "bilinear": true }))), ModelFamily::Bilinear);
    let message = message(&json!({ "d_model": 8, "n_layers": 1, "n_heads": 2 }));
    assert!(message.contains("n_layer"), "{message}");
}
