//! What a config says wrong, or in two ways.

use std::fs;

use candle_core::DType;
use serde_json::{Value, json};

use super::{PlainCase, gpt_neo, load, opt, starcoder2, transformer_lens};
use crate::model::{Config, Decoder, Norm, Position};

/// What takes a field away.
const ABSENT: &str = "(absent)";

/// The model of a case with a field changed.
fn changed(case: PlainCase, name: &str, value: &Value) -> crate::Result<Decoder> {
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path(), &case.weights(0));
    let mut config = case.config;
    if value == ABSENT {
        config.as_object_mut().unwrap().remove(name);
    } else {
        config[name] = value.clone();
    }
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    load(folder.path(), DType::F32)
}

fn config_of(case: PlainCase, name: &str, value: Value) -> Config {
    changed(case, name, &value).unwrap().config().clone()
}

fn assert_refused(case: fn() -> PlainCase, refused: &[(&str, Value, &str)]) {
    for (name, value, expected) in refused {
        let message = changed(case(), name, value).unwrap_err().to_string();
        let told = message.contains(expected) && message.contains("is not usable");
        assert!(told, "{name}: {value}: {expected}: {message}");
    }
}

#[test]
fn gpt_neo_says_what_each_layer_sees() {
    let often: u64 = 1_000_000_000_000_000;
    let refused = [
        ("attention_types", json!([[["global"], 1]]), "each of 2 layers in `attention_types`"),
        ("attention_types", json!([[["global"], often]]), "found 65537 or more of them"),
        ("attention_types", json!([[[], often]]), "found 0 of them"),
        ("attention_types", json!([[["global", "odd"], 1]]), "`global` or `local` in `attention_"),
        ("attention_types", json!(ABSENT), "the field `attention_types`"),
        ("attention_layers", json!(["local"]), "each of 2 layers in `attention_layers`"),
        (
            "attention_layers",
            json!(["local", "local"]),
            "`attention_types` and `attention_layers`, found [[[",
        ),
        ("window_size", json!(0), "a window"),
        ("num_hidden_layers", json!(3), "`num_layers` and `num_hidden_layers`, found 2 and 3"),
        ("num_heads", json!(ABSENT), "the field `num_heads`"),
        ("activation_function", json!("quick"), "activation_function"),
        ("scale_attn_weights", json!(true), "also `scale_attn_weights`"),
    ];
    assert_refused(gpt_neo, &refused);
    let windows = |case: PlainCase, name: &str, value: Value| config_of(case, name, value).windows;
    assert_eq!(windows(gpt_neo(), "window_size", json!(ABSENT)), [None, Some(256)]);
    let written = json!(["global", "local"]);
    assert_eq!(windows(gpt_neo(), "attention_layers", written.clone()), [None, Some(3)]);
    let mut case = gpt_neo();
    case.config["attention_layers"] = written;
    assert_eq!(windows(case, "attention_types", json!(ABSENT)), [None, Some(3)]);
    let global = json!([[["global"], 2]]);
    assert!(windows(gpt_neo(), "attention_types", global).is_empty());
}

#[test]
fn relatives_of_opt_and_starcoder2_that_compute_otherwise_are_refused() {
    let refused = [
        ("do_layer_norm_before", json!(false), "true in `do_layer_norm_before`"),
        ("layer_norm_elementwise_affine", json!(false), "true in `layer_norm_elementwise_affine`"),
        ("_remove_final_layer_norm", json!(true), "false in `_remove_final_layer_norm`"),
        ("scale_embeddings", json!(true), "false in `scale_embeddings`"),
        ("word_embed_proj_dim", json!(8), "16, as `hidden_size` is, in `word_embed_proj_dim`"),
        ("enable_bias", json!(false), "also `model.decoder."),
        ("max_position_embeddings", json!(15), "model.decoder.embed_positions.weight"),
        ("ffn_dim", json!(ABSENT), "the field `ffn_dim`"),
    ];
    assert_refused(opt, &refused);
    let config = config_of(opt(), "max_position_embeddings", json!(16));
    assert_eq!((config.context, config.position_offset), (16, 2));
    let refused = [
        ("norm_type", json!("rms_norm"), "`layer_norm` in `norm_type`"),
        ("mlp_type", json!("gated"), "`default` in `mlp_type`"),
        ("scale_attn_weights", json!(false), "true in `scale_attn_weights`"),
        ("partial_rotary_factor", json!(0.5), "all 4 entries of a head"),
        ("num_key_value_heads", json!(3), "a multiple of the 3 key and value heads"),
        ("use_bias", json!(false), "also `model.layers."),
        ("sliding_window", json!("long"), "sliding_window"),
    ];
    assert_refused(starcoder2, &refused);
    let eps = |name: &str| config_of(starcoder2(), name, json!(0.5)).norm;
    assert_eq!(eps("norm_epsilon"), Norm::LayerNorm { eps: 0.5 });
    assert_eq!(eps("layer_norm_epsilon"), Norm::LayerNorm { eps: 0.03 });
}

#[test]
fn transformer_lens_says_its_parts_in_two_ways() {
    let refused = [
        ("act_fn", json!("quick"), "`solu_ln` in `act_fn`"),
        ("act_fn", json!(ABSENT), "the field `act_fn`"),
        ("normalization", json!("LNPre"), "`LN`, `RMS`, `RMSPre` in `normalization`"),
        ("normalization", json!(ABSENT), "the field `normalization`"),
        (
            "normalization_type",
            json!(null),
            "`normalization` and `normalization_type`, found \"LN\" and null",
        ),
        ("eps", json!(0.1), "the same in `ln_eps` and `eps`"),
        ("ln_eps", json!(0.1), "1e-5, which is that of the norm over the neurons"),
        ("positional_embedding_type", json!("rotary"), "`standard` or `shortformer`"),
        (
            "positional_embedding_type",
            json!("shortformer"),
            "`shortformer_pos` and `positional_embedding_type`, found false and \"shortformer\"",
        ),
        ("attention_dir", json!("bidirectional"), "`causal` in `attention_dir`"),
        ("d_vocab_out", json!(5), "11, as `d_vocab` is, in `d_vocab_out`"),
        ("neuron_temp", json!(2.0), "1 in `neuron_temp`"),
        ("gated_mlp", json!(true), "also `gated_mlp`"),
        ("final_rms", json!(true), "also `final_rms`"),
        ("n_key_value_heads", json!(2), "also `n_key_value_heads`"),
        ("d_mlp", json!(9), "blocks.0.mlp.W_in"),
        ("n_ctx", json!(15), "pos_embed.W_pos"),
        ("attn_only", json!(true), "also `blocks.0.ln2"),
    ];
    assert_refused(transformer_lens, &refused);
    let config = config_of(transformer_lens(), "attn_scale", json!(4.0));
    assert_eq!((config.score_scale, config.position), (Some(0.25), Position::Learned));
    let config = config_of(transformer_lens(), "attn_scores_soft_cap", json!(20.0));
    assert_eq!((config.score_cap, config.logit_cap), (Some(20.), None));
}
