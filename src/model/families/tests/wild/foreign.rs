//! Repositories that hold something else than a checkpoint of a family, named for what they are.

use std::fs;

use candle_core::{DType, Tensor};
use serde_json::json;

use super::{CPU, folder, llama, load, message, with, write_config, write_weights};
use crate::model::DecoderLoader;

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
