//! Configurations and files as people have them.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};

use crate::hub::tests::Server;
use crate::hub::{Hub, Repository};
use crate::model::{Config, Decoder, DecoderLoader, Position, Scaling};
use crate::random::Rng;
use crate::store::tests::sample::{legacy_torch_file, torch_file};

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
fn models_of_other_kinds_are_named_for_what_they_are() {
    let typed = |name: &str| message(&json!({ "model_type": name, "d_model": 8 }));
    for (name, kind) in [
        ("t5", "an encoder with a decoder"),
        ("bart", "an encoder with a decoder"),
        ("bert", "an encoder, which fills in"),
        ("distilbert", "an encoder, which fills in"),
        ("modernbert", "an encoder, which fills in"),
        ("mixtral", "a mixture of experts"),
        ("mamba2", "a recurrent or state space"),
        ("llava_next", "images"),
        ("qwen3_vl", "images"),
        ("qwen3_moe", "need a router"),
        ("olmoe", "need a router"),
        ("qwen3_next", "gated delta nets"),
        ("qwen3_5_moe", "gated delta nets"),
        ("gpt_oss", "a learned score beside those of the keys"),
        ("gemma3n_text", "embeddings of its tokens in every layer"),
        ("gemma4_text", "embeddings of its tokens in every layer"),
    ] {
        let message = typed(name);
        for part in [kind, name, "gpt2, gpt_neo, gpt_neox, opt, starcoder2, llama, mistral, qwen2"]
        {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
    for name in ["gemma", "gptj", "bloom", "falcon", "phi"] {
        let message = typed(name);
        assert!(message.contains("one of gpt2") && message.ends_with(name), "{message}");
    }
    let both = message(&json!({ "model_type": "some_new", "is_encoder_decoder": true }));
    assert!(both.contains("an encoder with a decoder"), "{both}");
    let other = message(&json!({ "architectures": ["BloomForCausalLM"] }));
    assert!(other.contains("GPT2LMHeadModel") && other.contains("BloomForCausalLM"), "{other}");
}

#[test]
fn quantised_weights_are_named_before_they_are_fetched() {
    let (config, weights) = llama("llama");
    for (settings, parts) in [
        (json!({ "quant_method": "gptq", "bits": 4, "group_size": 128 }), ["gptq", "4 bits"]),
        (json!({ "quant_method": "awq", "w_bit": 4 }), ["awq", "4 bits"]),
        (json!({ "load_in_8bit": true, "llm_int8_threshold": 6.0 }), ["bitsandbytes", "8bit"]),
        (json!({ "quant_method": "fp8", "weight_block_size": [128, 128] }), ["fp8", "GGUF"]),
    ] {
        let quantised = with(&config, &json!({ "quantization_config": settings }));
        let text = message(&quantised);
        for part in parts.iter().chain(&["quantization_config", "was quantised", "from_gguf"]) {
            assert!(text.contains(part), "{part} in {text}");
        }
        // No user's wish lets wrong numbers through.
        let folder = folder(&quantised, &weights);
        let loader = DecoderLoader::new().allow_unknown_fields();
        assert!(loader.load(folder.path().to_str().unwrap(), CPU).is_err());
    }
    // Files that only show it in their tensors.
    let name = "model.layers.0.self_attn.q_proj";
    let stored = |end: &str, dtype: DType| {
        let mut weights = weights.clone();
        weights.retain(|(own, _)| *own != format!("{name}.weight"));
        let tensor = Tensor::zeros((8, 8), DType::F32, CPU).unwrap().to_dtype(dtype).unwrap();
        weights.push((format!("{name}.{end}"), tensor));
        load(folder(&config, &weights).path()).unwrap_err().to_string()
    };
    for (end, dtype, expected) in [
        ("qweight", DType::U32, "GPTQ or AWQ"),
        ("weight_scale", DType::F32, "compressed-tensors"),
        ("weight", DType::U8, "of type U8"),
        ("weight", DType::F8E4M3, "F8_E4M3"),
    ] {
        let message = stored(end, dtype);
        for part in [name, expected, "from_gguf"] {
            assert!(message.contains(part), "{part} in {message}");
        }
    }
}

#[test]
fn adapters_and_files_of_other_programs_are_named() {
    let (config, weights) = llama("llama");
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let text = || load(place.path()).unwrap_err().to_string();
    let adapter = json!({ "peft_type": "LORA", "base_model_name_or_path": "owner/base" });
    fs::write(at("adapter_config.json"), adapter.to_string()).unwrap();
    fs::write(at("adapter_model.safetensors"), "").unwrap();
    for part in ["an adapter (LORA)", "owner/base", "merge_and_unload"] {
        assert!(text().contains(part), "{part} in {}", text());
    }
    // Some trainers copy the config of the base beside it.
    write_config(place.path(), &config);
    assert!(text().contains("an adapter (LORA)"), "{}", text());
    fs::remove_file(at("adapter_config.json")).unwrap();
    fs::remove_file(at("adapter_model.safetensors")).unwrap();
    let looked = "model.safetensors and pytorch_model.bin";
    assert!(text().contains(looked) && !text().contains("It has"), "{}", text());
    for (name, part) in [
        ("model-00001-of-00003.safetensors", "part of split weights"),
        ("pytorch_model-00001-of-00003.bin", "part of split weights"),
        ("tf_model.h5", "from_tf=True"),
        ("flax_model.msgpack", "from_flax=True"),
        ("model.Q4_K_M.gguf", "from_gguf"),
        ("weights.safetensors", "rename it to model.safetensors"),
        ("model.pth", "rename it to pytorch_model.bin"),
        ("consolidated.00.pth", "Meta's or Mistral's own"),
    ] {
        fs::write(at(name), "").unwrap();
        fs::write(at("training_args.bin"), "").unwrap();
        assert!(text().contains(part) && text().contains(looked), "{part} in {}", text());
        fs::remove_file(at(name)).unwrap();
    }
    fs::remove_file(at("config.json")).unwrap();
    fs::write(at("model.gguf"), "").unwrap();
    assert!(text().contains("model.gguf") && text().contains("truncated"), "{}", text());
    fs::write(at("other.gguf"), "").unwrap();
    assert!(text().contains("`model.gguf`, `other.gguf`"), "{}", text());
    fs::remove_file(at("other.gguf")).unwrap();
    fs::remove_file(at("model.gguf")).unwrap();
    fs::write(at("params.json"), "{}").unwrap();
    assert!(text().contains("Meta's or Mistral's own releases"), "{}", text());
    fs::remove_file(at("params.json")).unwrap();
    for inner in ["checkpoint-900", "checkpoint-1000"] {
        fs::create_dir(at(inner)).unwrap();
        write_config(&at(inner), &config);
        write_weights(&at(inner), &weights);
    }
    assert!(text().contains("checkpoint-1000 has one"), "{}", text());
    load(&at("checkpoint-1000")).unwrap();
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

fn borrowed(weights: &Weights) -> Vec<(&str, Tensor)> {
    weights.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect()
}

/// Case 33.
#[test]
fn weights_of_torch_save_give_the_same_numbers_in_every_family() {
    for (config, weights) in every_family() {
        let expected = logits(&loaded(&config, &weights));
        let place = tempfile::tempdir().unwrap();
        write_config(place.path(), &config);
        let path = place.path().join("pytorch_model.bin");
        for write in [torch_file, legacy_torch_file] {
            fs::write(&path, write(&borrowed(&weights))).unwrap();
            let model = load(place.path()).unwrap();
            assert_eq!(logits(&model), expected, "{config}");
        }
        for (dtype, bound) in [(DType::F16, 0.02), (DType::BF16, 0.2)] {
            let half: Weights = weights
                .iter()
                .map(|(name, tensor)| (name.clone(), tensor.to_dtype(dtype).unwrap()))
                .collect();
            fs::write(&path, torch_file(&borrowed(&half))).unwrap();
            let model = load(place.path()).unwrap();
            assert_eq!(model.dtype(), DType::F32);
            assert!(gap(&logits(&model), &expected) < bound, "{dtype:?}");
        }
    }
}

#[test]
fn a_transposed_or_masked_tensor_of_torch_save_is_read_as_it_lies() {
    let (config, mut weights) = gpt2();
    let expected = logits(&loaded(&config, &weights));
    let place = tempfile::tempdir().unwrap();
    write_config(place.path(), &config);
    // As files before transformers 4.30 have them, and under the wrapper's names.
    weights.iter_mut().for_each(|(name, _)| *name = format!("transformer.{name}"));
    let embed = weights[0].1.clone();
    weights.push(("lm_head.weight".to_owned(), embed));
    weights.push((
        "transformer.h.0.attn.bias".to_owned(),
        Tensor::zeros((1, 1, 16, 16), DType::F32, CPU).unwrap(),
    ));
    fs::write(place.path().join("pytorch_model.bin"), torch_file(&borrowed(&weights))).unwrap();
    assert_eq!(logits(&load(place.path()).unwrap()), expected);
}

#[test]
fn split_files_of_torch_save_are_joined_and_missing_ones_named() {
    let (config, weights) = llama("llama");
    let expected = logits(&loaded(&config, &weights));
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    write_config(place.path(), &config);
    let part = |part: usize| format!("pytorch_model-0000{part}-of-00002.bin");
    let (first, second) = weights.split_at(5);
    fs::write(at(&part(1)), torch_file(&borrowed(&first.to_vec()))).unwrap();
    fs::write(at(&part(2)), torch_file(&borrowed(&second.to_vec()))).unwrap();
    let place_of = |i: usize| part(if i < 5 { 1 } else { 2 });
    let map: serde_json::Map<String, Value> = weights
        .iter()
        .enumerate()
        .map(|(i, (name, _))| (name.clone(), place_of(i).into()))
        .collect();
    fs::write(at("pytorch_model.bin.index.json"), json!({ "weight_map": map }).to_string())
        .unwrap();
    assert_eq!(logits(&load(place.path()).unwrap()), expected);
    fs::remove_file(at(&part(2))).unwrap();
    let message = load(place.path()).unwrap_err().to_string();
    for text in [&*part(2), "one of the 2 parts", "pytorch_model.bin.index.json"] {
        assert!(message.contains(text), "{text} in {message}");
    }
}

#[test]
fn a_hub_repository_of_torch_save_loads_and_then_from_the_cache_alone() {
    let (config, weights) = gpt2();
    let place = tempfile::tempdir().unwrap();
    write_config(place.path(), &config);
    fs::write(place.path().join("pytorch_model.bin"), torch_file(&borrowed(&weights))).unwrap();
    let server = Server::start();
    server.serve("owner/old", place.path());
    let from = |hub: Hub| Decoder::from_repository(&Repository::on(hub, "owner/old"), CPU);
    let expected = logits(&loaded(&config, &weights));
    assert_eq!(logits(&from(server.hub.clone()).unwrap()), expected);
    assert_eq!(logits(&from(server.hub.clone().offline()).unwrap()), expected);
    // A hub that cannot be reached does not hide what the cache has.
    let nowhere = server.hub.clone().with_endpoint("http://127.0.0.1:9");
    assert_eq!(logits(&from(nowhere).unwrap()), expected);
}

#[test]
fn safetensors_come_before_torch_save_which_executes_nothing() {
    let (config, weights) = llama("llama");
    let place = folder(&config, &weights);
    let path = place.path().join("pytorch_model.bin");
    fs::write(&path, "not read").unwrap();
    let expected = logits(&load(place.path()).unwrap());
    assert_eq!(expected, logits(&loaded(&config, &weights)));
    fs::remove_file(place.path().join("model.safetensors")).unwrap();
    let message = || load(place.path()).unwrap_err().to_string();
    assert!(message().contains("pytorch_model.bin") && message().contains("torch.save"));
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    fs::write(&path, tar).unwrap();
    assert!(message().contains("a tar archive"), "{}", message());
    fs::write(&path, b"\x80\x02}.").unwrap();
    assert!(message().contains("a bare pickle"), "{}", message());
    let whole = legacy_torch_file(&borrowed(&weights));
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    assert!(message().contains("cut short"), "{}", message());
    let missing = weights[1..].to_vec();
    fs::write(&path, torch_file(&borrowed(&missing))).unwrap();
    assert!(message().contains("model.embed_tokens.weight"), "{}", message());
}
