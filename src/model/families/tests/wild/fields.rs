//! Fields of published configs: those that change nothing, those that are applied, and all others.

use candle_core::{DType, Tensor};
use serde_json::{Value, json};

use super::{
    CPU, Weights, every_family, folder, gap, gpt_neox, gpt2, llama, load, loaded, logits, message,
    with, write_config,
};
use crate::model::{Config, Decoder, DecoderLoader, Position, Scaling};

/// Case 15: the first conversion of Llama-65B, CDial-GPT and h2oGPT.
#[test]
fn published_configs_with_fields_that_change_nothing_load() {
    let (config, weights) = llama("llama");
    let mut early = with(
        &config,
        &json!({ "max_sequence_length": 2048, "torch_dtype": "float32", "use_cache": false }),
    );
    early.as_object_mut().unwrap().remove("max_position_embeddings");
    let model = loaded(&early, &weights);
    assert_eq!(model.config().context, 2048);
    assert_eq!(logits(&model), logits(&loaded(&config, &weights)));

    let custom = with(
        &config,
        &json!({ "custom_pipelines": { "text-generation": {} }, "auto_map": { "AutoConfig": "x.Y" } }),
    );
    let model = loaded(&custom, &weights);
    assert!(model.notes()[0].contains("x.Y") && model.to_string().contains("note: config.json"));
    assert!(model.summary().to_string().contains("not run"));

    let (config, weights) = gpt2();
    let dialogue = json!({ "n_ctx": 15, "output_past": true, "pruned_heads": {}, "afn": "gelu" });
    let model = loaded(&with(&config, &dialogue), &weights);
    assert_eq!(model.config().context, 16);
    assert!(model.notes().is_empty());
}

/// Cases 15 and N5: the fields one by one, and all that is off.
#[test]
fn fields_that_change_nothing_change_nothing_in_any_family() {
    // Text, because so many fields are beyond the macro.
    let fields = r#"{
        "output_past": true, "pruned_heads": {}, "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1, "resid_pdrop": 0.3, "classifier_dropout": 0.1,
        "some_new_dropout_rate": 0.5, "auto_map": {}, "_flash_attn_2_enabled": true,
        "_attn_implementation": "eager", "_attn_implementation_internal": "sdpa",
        "_experts_implementation": "eager", "_commit_hash": "abc", "_pre_quantization_dtype": "f16",
        "use_return_dict": true, "custom_pipelines": { "text-generation": { "impl": "x" } },
        "use_bfloat16": true, "xla_device": true, "torchscript": true, "is_composition": true,
        "is_decoder": true, "chunk_size_feed_forward": 3, "problem_type": "regression",
        "task_specific_params": { "text-generation": { "max_length": 50 } },
        "id2label": { "0": "LABEL_0" }, "label2id": { "LABEL_0": 0 }, "num_labels": 2,
        "finetuning_task": "sst", "name_or_path": "x", "unk_token_id": 3, "mask_token_id": 4,
        "min_p": 0.1, "top_h": 0.2, "stop_strings": ["a"], "guidance_scale": 1.5,
        "forced_decoder_ids": [[1, 2]], "generation_kwargs": { "a": 1 }, "max_new_tokens": 20,
        "use_mtp": true, "watermarking_config": { "bias": 2.0 }, "compile_config": { "mode": "x" },
        "quantization_config": null, "zoo": null, "off": false, "none": {}, "empty": [], "text": "",
        "cross_attention_hidden_size": null, "add_cross_attention": false, "per_layer_config": {},
        "tie_encoder_decoder": false, "is_encoder_decoder": false, "unsloth_version": "2024.9",
        "gradient_checkpointing": true, "base_model_tp_plan": { "layers.*": "colwise" }
    }"#;
    let fields: Value = serde_json::from_str(fields).unwrap();
    for (config, weights) in every_family() {
        let plain = loaded(&config, &weights);
        let all = loaded(&with(&config, &fields), &weights);
        assert_eq!(logits(&all), logits(&plain), "{config}");
        assert!(all.notes().is_empty(), "{:?}", all.notes());
    }
}

#[test]
fn the_context_is_found_under_every_name() {
    for (config, weights) in [gpt_neox(), llama("llama"), llama("qwen2")] {
        for name in
            ["max_sequence_length", "max_seq_len", "n_ctx", "model_max_length", "seq_length"]
        {
            let own = loaded(&with(&config, &json!({ name: 40 })), &weights);
            assert_eq!(own.config().context, 16, "{name}");
            let mut other = with(&config, &json!({ name: 40 }));
            other.as_object_mut().unwrap().remove("max_position_embeddings");
            assert_eq!(loaded(&other, &weights).config().context, 40, "{name}");
        }
    }
    let (config, weights) = gpt2();
    let mut other = with(&config, &json!({ "n_ctx": 16 }));
    other.as_object_mut().unwrap().remove("n_positions");
    assert_eq!(loaded(&other, &weights).config().context, 16);
    // transformers reads GPT-2's sizes under the common names too.
    let common = json!({
        "model_type": "gpt2", "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8,
        "max_position_embeddings": 16, "vocab_size": 11, "n_embd": 8,
    });
    assert_eq!(logits(&loaded(&common, &weights)), logits(&loaded(&config, &weights)));
    let message = message(&with(&common, &json!({ "n_embd": 4 })));
    assert!(message.contains("`n_embd` and `hidden_size`"), "{message}");
}

#[test]
fn what_is_unknown_is_told_at_once_with_the_way_on_and_noted_where_it_is_taken() {
    for (config, weights) in every_family() {
        let strange = with(&config, &json!({ "zoo": "lion", "logit_scale": 2.5, "mup": [1] }));
        let folder = folder(&strange, &weights);
        let message = load(folder.path()).unwrap_err().to_string();
        for part in ["`zoo`: \"lion\"", "`logit_scale`: 2.5", "`mup`: [1]", "DecoderLoader::new()"]
        {
            assert!(message.contains(part), "{part} in {message}");
        }
        let name = folder.path().to_str().unwrap();
        let model = DecoderLoader::new().allow_unknown_fields().load(name, CPU).unwrap();
        assert_eq!(logits(&model), logits(&loaded(&config, &weights)));
        for text in [model.notes().join(""), model.to_string(), model.summary().to_string()] {
            for part in ["zoo: \"lion\"", "logit_scale: 2.5", "mup: [1]"] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        let half = DecoderLoader::new().dtype(DType::BF16).allow_unknown_fields();
        assert_eq!(half.load(name, CPU).unwrap().dtype(), DType::BF16);
        // A known field with a value that cannot be applied is not let through.
        let size = if config["vocab_size"].is_null() { "d_vocab" } else { "vocab_size" };
        write_config(folder.path(), &with(&strange, &json!({ size: "many" })));
        assert!(half.load(name, CPU).unwrap_err().to_string().contains(size));
    }
}

#[test]
fn fields_that_change_numbers_are_applied_or_refused() {
    let refused = [
        ("add_cross_attention", json!(true)),
        ("pruned_heads", json!({ "0": [1] })),
        ("per_layer_config", json!({ "0": { "head_dim": 2 } })),
        ("rope_interleaved", json!(true)),
        ("use_bidirectional_attention", json!(true)),
        ("num_local_experts", json!(8)),
        ("embedding_multiplier", json!(12.0)),
        ("logits_scaling", json!(2)),
    ];
    for (config, weights) in every_family() {
        for (name, value) in &refused {
            let message = message(&with(&config, &json!({ *name: value })));
            assert!(message.contains(&format!("`{name}`")), "{name}: {message}");
        }
        assert!(logits(&loaded(&config, &weights)).iter().all(|logit| logit.is_finite()));
    }
    let (config, weights) = llama("llama");
    let scaled =
        |scaling: Value| loaded(&with(&config, &json!({ "rope_scaling": scaling })), &weights);
    let scaling = |model: &Decoder| match &model.config().position {
        Position::Rotary(rotary) => rotary.scaling.clone(),
        other => panic!("{other:?}"),
    };
    let linear = scaled(json!({ "type": "linear", "factor": 2.0 }));
    assert_eq!(scaling(&linear), Scaling::Linear { factor: 2.0 });
    // Within the context, as transformers has it, dynamic scaling is none.
    for same in [
        json!({ "type": "dynamic", "factor": 2.0 }),
        json!({ "rope_type": "default", "attention_factor": null }),
        json!({ "rope_type": "default", "original_max_position_embeddings": 16 }),
    ] {
        assert_eq!(scaling(&scaled(same)), Scaling::None);
    }
    let other = json!({ "rope_scaling": { "type": "mrope", "factor": 2.0 } });
    let other = message(&with(&config, &other));
    assert!(other.contains("\"mrope\"") && other.contains("`longrope`"), "{other}");
    let serial = json!({ "use_parallel_residual": false });
    let (config, weights) = gpt_neox();
    assert!(!loaded(&with(&config, &serial), &weights).config().parallel);
    let turned = |more: Value| match &loaded(&with(&config, &more), &weights).config().position {
        Position::Rotary(rotary) => rotary.dims,
        other => panic!("{other:?}"),
    };
    assert_eq!(turned(json!({ "rotary_pct": 0.5 })), Some(4));
    assert_eq!(turned(json!({ "partial_rotary_factor": 0.5, "rotary_pct": 0.5 })), Some(4));
    let two = json!({ "partial_rotary_factor": 0.5, "rotary_pct": 0.25 });
    assert!(message(&with(&config, &two)).contains("partial_rotary_factor"));
}

/// The GPT-2 models of Stanford's CRFM: scores of layer l are divided by l + 1, which the same
/// division of its queries does as well.
#[test]
fn scores_are_divided_by_the_number_of_the_layer_where_a_config_says_so() {
    let (config, mut weights) = gpt2();
    // Scores that matter.
    for (_, tensor) in weights.iter_mut().filter(|(name, _)| name.contains(".c_attn.weight")) {
        *tensor = (&*tensor * 30.0).unwrap();
    }
    let scaled = json!({
        "scale_attn_by_inverse_layer_idx": true, "reorder_and_upcast_attn": true,
        "scale_attn_weights": true,
    });
    let found = logits(&loaded(&with(&config, &scaled), &weights));
    let queries = Tensor::cat(
        &[Tensor::full(0.5f32, 8, CPU).unwrap(), Tensor::ones(16, DType::F32, CPU).unwrap()],
        0,
    )
    .unwrap();
    let halved: Weights = weights
        .iter()
        .map(|(name, tensor)| match name.starts_with("h.1.attn.c_attn") {
            true => (name.clone(), tensor.broadcast_mul(&queries).unwrap()),
            false => (name.clone(), tensor.clone()),
        })
        .collect();
    assert!(gap(&found, &logits(&loaded(&config, &halved))) < 1e-5);
    assert!(gap(&found, &logits(&loaded(&config, &weights))) > 1e-4);
    // The way that hooks take through the attention.
    let model = loaded(&with(&config, &scaled), &weights);
    let tokens = Tensor::new(&[[3u32, 1, 4, 1, 5, 9, 2]], CPU).unwrap();
    let hooks = crate::model::Hooks::new().capture_all(model.points());
    let hooked = model.run(&tokens, &hooks).unwrap().0.flatten_all().unwrap().to_vec1().unwrap();
    assert!(gap(&found, &hooked) < 1e-5);
    assert!(Config { inverse_layer_scale: true, ..Config::gpt2(1, 2, 8, 8) }.score_scale() == 0.5);
}

#[test]
fn whole_numbers_with_a_point_and_tables_of_angles_are_read() {
    let (config, mut weights) = llama("llama");
    let plain = logits(&loaded(&config, &weights));
    for (name, shape) in [
        ("model.rotary_emb.inv_freq", vec![2]),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", vec![2]),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", vec![1, 1, 16, 4]),
    ] {
        weights.push((name.to_owned(), Tensor::zeros(shape, DType::F32, CPU).unwrap()));
    }
    let pointed = with(&config, &json!({ "num_hidden_layers": 1.0, "vocab_size": 11.0 }));
    assert_eq!(logits(&loaded(&pointed, &weights)), plain);
    let message = message(&with(&config, &json!({ "num_hidden_layers": 1.5 })));
    assert!(message.contains("a size in `num_hidden_layers`"), "{message}");
}
