//! Families in which both compute the same from the same files.

use candle_nn::VarBuilder;
use candle_transformers::models::{
    gemma2, gemma3, granite, llama, mistral, olmo2, phi3, qwen2, qwen3, smol::smollm3, starcoder2,
};
use eigenlens::candle::{DType, Result};
use serde_json::{Value, json};

use crate::checkpoint::Checkpoint;
use crate::{CPU, LoadPeer, Peer, assert_near, config, ours, theirs};

/// A loader of a peer whose model keeps keys and values until it is told to forget them.
macro_rules! peer {
    ($name:ident, $model:ty) => {
        pub(crate) fn $name(fields: &Value, weights: VarBuilder<'static>) -> Result<Peer> {
            let mut model = <$model>::new(&config(fields), weights)?;
            Ok(Box::new(move |tokens| {
                model.clear_kv_cache();
                model.forward(tokens, 0)
            }))
        }
    };
    ($name:ident, flash $model:ty) => {
        pub(crate) fn $name(fields: &Value, weights: VarBuilder<'static>) -> Result<Peer> {
            let mut model = <$model>::new(false, &config(fields), weights)?;
            Ok(Box::new(move |tokens| {
                model.clear_kv_cache();
                model.forward(tokens, 0)
            }))
        }
    };
    ($name:ident, cached $module:ident, $model:ident, $config:ident) => {
        pub(crate) fn $name(fields: &Value, weights: VarBuilder<'static>) -> Result<Peer> {
            let config = config::<$module::$config>(fields).into_config(false);
            let model = $module::$model::load(weights, &config)?;
            Ok(Box::new(move |tokens| {
                let mut cache = $module::Cache::new(false, DType::F32, &config, CPU)?;
                model.forward(tokens, 0, &mut cache)
            }))
        }
    };
}

peer!(llama, cached llama, Llama, LlamaConfig);
peer!(granite, cached granite, Granite, GraniteConfig);
peer!(mistral, mistral::Model);
peer!(qwen2, qwen2::ModelForCausalLM);
peer!(qwen3, qwen3::ModelForCausalLM);
peer!(smollm3, smollm3::ModelForCausalLM);
peer!(olmo2, olmo2::Model);
peer!(phi3, phi3::Model);
peer!(starcoder2, starcoder2::Model);
peer!(gemma2, flash gemma2::Model);
peer!(gemma3, flash gemma3::Model);

/// The same logits of the same two files.
fn agree(checkpoint: &Checkpoint, load: LoadPeer) {
    assert_near(&ours(checkpoint), &theirs(checkpoint, load));
}

#[test]
fn llama_with_and_without_scaled_frequencies() {
    agree(&Checkpoint::new("llama", json!({})), llama);
    agree(&Checkpoint::new("llama", json!({ "tie_word_embeddings": true })), llama);
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.5, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 12,
    });
    agree(&Checkpoint::new("llama", json!({ "rope_scaling": scaling })), llama);
}

#[test]
fn mistral_without_a_window_and_with_heads_of_unusual_width() {
    // A file without the field has a window of 4096 keys here and none there.
    agree(&Checkpoint::new("mistral", json!({})), mistral);
    let more = json!({ "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8 });
    agree(&Checkpoint::new("mistral", more), mistral);
}

#[test]
fn qwen_2_without_a_window() {
    let more = json!({
        "use_sliding_window": false, "sliding_window": 32, "max_window_layers": 3,
    });
    agree(&Checkpoint::new("qwen2", more), qwen2);
}

#[test]
fn qwen_3_with_norms_of_queries_and_keys() {
    let more = json!({
        "head_dim": 8, "attention_bias": false, "use_sliding_window": false, "max_window_layers": 3,
    });
    let checkpoint = Checkpoint::new("qwen3", more);
    agree(&checkpoint, qwen3);
    let more = json!({
        "head_dim": 8, "num_attention_heads": 6, "attention_bias": true,
        "use_sliding_window": false, "max_window_layers": 3,
    });
    agree(&Checkpoint::new("qwen3", more), qwen3);
}

#[test]
fn smollm_3_with_layers_that_do_not_turn() {
    agree(&Checkpoint::new("smollm3", json!({ "no_rope_layers": [1, 0, 1] })), smollm3);
    agree(&Checkpoint::new("smollm3", json!({ "no_rope_layer_interval": 2 })), smollm3);
}

#[test]
fn olmo_2_with_norms_after_each_part() {
    agree(&Checkpoint::new("olmo2", json!({ "attention_bias": false })), olmo2);
    agree(&Checkpoint::new("olmo2", json!({ "attention_bias": true })), olmo2);
}

#[test]
fn phi_3_of_whole_heads_and_of_a_share_of_them() {
    agree(&Checkpoint::new("phi3", json!({})), phi3);
    agree(&Checkpoint::new("phi3", json!({ "partial_rotary_factor": 0.5 })), phi3);
}

#[test]
fn starcoder_2_with_biases() {
    let more = json!({
        "rms_norm_eps": null, "norm_epsilon": 0.02, "use_bias": true,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true,
    });
    agree(&Checkpoint::new("starcoder2", more), starcoder2);
}

#[test]
fn gemma_2_with_caps() {
    agree(&gemma2_checkpoint(), gemma2);
}

/// Every layer sees everything, and scores are divided by the root of a head's width.
pub(crate) fn gemma2_checkpoint() -> Checkpoint {
    let kinds = ["full_attention"; 3];
    let more = json!({
        "hidden_act": null, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
        "head_dim": 8, "query_pre_attn_scalar": 8, "attention_bias": false, "layer_types": kinds,
        "attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0,
    });
    Checkpoint::new("gemma2", more)
}

#[test]
fn gemma_3_with_two_bases() {
    agree(&gemma3_checkpoint(32), gemma3);
}

/// Two of three layers have this window; scores are divided by the root of a head's width. With more
/// than one head of keys the peer's cache refuses prompts of several tokens.
pub(crate) fn gemma3_checkpoint(window: usize) -> Checkpoint {
    let more = json!({
        "hidden_act": null, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": true,
        "head_dim": 8, "query_pre_attn_scalar": 8, "attention_bias": false,
        "rope_local_base_freq": 10.0, "sliding_window": window, "sliding_window_pattern": 3,
        "num_key_value_heads": 1,
    });
    Checkpoint::new("gemma3_text", more)
}
