//! Where candle-transformers 0.11 computes something else than the authors' code, each with what
//! makes both agree, and what decides between them.

use eigenlens::candle::{DType, Tensor};
use serde_json::json;

use crate::checkpoint::{Checkpoint, HEAD};
use crate::families::{
    gemma2, gemma2_checkpoint, gemma3, gemma3_checkpoint, granite, mistral, phi3, qwen2, starcoder2,
};
use crate::{LoadPeer, TOKENS, TOLERANCE, assert_near, gaps, ours, theirs};

const WINDOW: usize = 4;

/// Positions whose logits differ.
fn differing(checkpoint: &Checkpoint, load: LoadPeer) -> Vec<usize> {
    let gaps = gaps(&ours(checkpoint), &theirs(checkpoint, load)).into_iter().enumerate();
    gaps.filter(|(_, gap)| *gap > 10. * TOLERANCE).map(|(position, _)| position).collect()
}

/// Fault: a query sees `window + 1` keys instead of `window`, counting its own. transformers masks keys
/// `s` with `s <= t - window`; [`a_window_counts_the_query_itself`] decides.
fn assert_one_key_more(checkpoint: &Checkpoint, load: LoadPeer) {
    assert_near(
        &ours(&checkpoint.with(json!({ "sliding_window": WINDOW }))),
        &theirs(&checkpoint.with(json!({ "sliding_window": WINDOW - 1 })), load),
    );
    let same = checkpoint.with(json!({ "sliding_window": WINDOW }));
    assert_eq!(differing(&same, load), (WINDOW..TOKENS.len()).collect::<Vec<_>>());
}

#[test]
fn windows_of_the_peers_have_one_key_more() {
    assert_one_key_more(&Checkpoint::new("mistral", json!({})), mistral);
    // The peer has the window in all layers, whatever `use_sliding_window` and `max_window_layers`
    // say.
    let all = json!({ "use_sliding_window": true, "max_window_layers": 0 });
    assert_one_key_more(&Checkpoint::new("qwen2", all), qwen2);
    let starcoder = json!({
        "rms_norm_eps": null, "norm_epsilon": 0.02, "use_bias": true,
        "hidden_act": "gelu_pytorch_tanh", "tie_word_embeddings": true,
    });
    assert_one_key_more(&Checkpoint::new("starcoder2", starcoder), starcoder2);
    // The same as for Qwen-2: transformers has it in every second layer where no list says otherwise.
    let all = gemma2_checkpoint().with(json!({ "layer_types": vec!["sliding_attention"; 3] }));
    assert_one_key_more(&all, gemma2);
    assert_one_key_more(&gemma3_checkpoint(WINDOW), gemma3);
}

/// With queries of zero, attention is the mean over the keys that it sees; without an MLP, logits are a
/// short formula of it, here in f64.
#[test]
fn a_window_counts_the_query_itself() {
    let checkpoint = Checkpoint::new("mistral", json!({ "num_hidden_layers": 1 }));
    let checkpoint = checkpoint.scaled("q_proj.weight", 0., 0.).scaled("down_proj.weight", 0., 0.);
    let checkpoint = checkpoint.with(json!({ "sliding_window": WINDOW }));
    let formula = |keys: usize| mean_attention(&checkpoint, keys);
    assert_near(&formula(WINDOW), &ours(&checkpoint));
    assert_near(&formula(WINDOW + 1), &theirs(&checkpoint, mistral));
}

/// Logits of a layer whose attention is the mean over the last `keys` positions.
fn mean_attention(checkpoint: &Checkpoint, keys: usize) -> Vec<Vec<f64>> {
    let rows = |name: &str| -> Vec<Vec<f64>> {
        let tensor: &Tensor = &checkpoint.weights[name];
        let tensor = tensor.reshape(((), tensor.dims()[tensor.rank() - 1])).unwrap();
        tensor.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let times = |matrix: &[Vec<f64>], x: &[f64]| -> Vec<f64> {
        matrix.iter().map(|row| dot(row, x)).collect()
    };
    let normed = |x: &[f64], name: &str| -> Vec<f64> {
        let size = (dot(x, x) / x.len() as f64 + 0.02).sqrt();
        x.iter().zip(&rows(name)[0]).map(|(x, gain)| x / size * gain).collect()
    };
    let embed = rows("model.embed_tokens.weight");
    let own = "model.layers.0.";
    let (v, o) = (
        rows(&format!("{own}self_attn.v_proj.weight")),
        rows(&format!("{own}self_attn.o_proj.weight")),
    );
    let values: Vec<Vec<f64>> = TOKENS
        .iter()
        .map(|token| {
            let normed = normed(&embed[*token as usize], &format!("{own}input_layernorm.weight"));
            times(&v, &normed)
        })
        .collect();
    let logits = (0..TOKENS.len()).map(|t| {
        let seen = &values[(t + 1).saturating_sub(keys)..=t];
        // Two heads of queries for each head of values.
        let mean = |i: usize| seen.iter().map(|value| value[i]).sum::<f64>() / seen.len() as f64;
        let heads: Vec<f64> =
            (0..4 * HEAD).map(|i| mean(i / (2 * HEAD) * HEAD + i % HEAD)).collect();
        let x: Vec<f64> =
            embed[TOKENS[t] as usize].iter().zip(times(&o, &heads)).map(|(x, y)| x + y).collect();
        times(&rows("lm_head.weight"), &normed(&x, "model.norm.weight"))
    });
    logits.collect()
}

/// Fault: scores are divided by the root of a head's width instead of that of
/// `query_pre_attn_scalar`, by which the authors' code divides. Queries that are larger by the ratio
/// of the two roots make up for it.
#[test]
fn gemma_of_the_peers_has_no_scale_of_its_own_for_scores() {
    let scaled = gemma2_checkpoint().with(json!({ "query_pre_attn_scalar": 32 }));
    assert_eq!(differing(&scaled, gemma2), (1..TOKENS.len()).collect::<Vec<_>>());
    // √8 / √32, exactly.
    assert_near(&ours(&scaled), &theirs(&scaled.clone().scaled("q_proj.weight", 0.5, 0.), gemma2));
    let scaled = gemma3_checkpoint(32).with(json!({ "query_pre_attn_scalar": 32 }));
    assert_eq!(differing(&scaled, gemma3), (1..TOKENS.len()).collect::<Vec<_>>());
    // The gain is one plus what the file has: (1 + g) / 2 = 1 + (g - 1) / 2.
    let halved = scaled.clone().scaled("q_norm.weight", 0.5, -0.5);
    assert_near(&ours(&scaled), &theirs(&halved, gemma3));
}

/// Fault: Granite's four scales are ignored. Weights that are multiplied by them make up for it.
#[test]
fn granite_of_the_peers_has_no_scales() {
    let more = json!({
        "embedding_multiplier": 3.0, "attention_multiplier": 0.5, "residual_multiplier": 0.75,
        "logits_scaling": 2.0,
    });
    let checkpoint = Checkpoint::new("granite", more);
    assert!(!differing(&checkpoint, granite).is_empty());
    let root = (HEAD as f64).sqrt();
    let folded = checkpoint.clone().scaled("embed_tokens.weight", 3., 0.);
    let folded = folded.scaled("q_proj.weight", 0.5 * root, 0.).scaled("o_proj.weight", 0.75, 0.);
    let folded = folded.scaled("down_proj.weight", 0.75, 0.).scaled("lm_head.weight", 0.5, 0.);
    assert_near(&ours(&checkpoint), &theirs(&folded, granite));
}

/// Faults: factors of LongRoPE multiply frequencies instead of dividing them, and cosines and sines
/// are not multiplied by `√(1 + ln(factor) / ln(original))`. Microsoft's code computes
/// `1 / (factor · base^(2i/d))`. Inverse factors, and a file that names 1 for the cosines, make up for
/// both.
#[test]
fn long_rope_of_the_peers_is_upside_down() {
    let factors = [1.0, 1.25, 2.0, 4.0];
    let settings = |factors: [f64; 4]| {
        json!({
            "original_max_position_embeddings": 16, "rope_scaling": {
                "type": "longrope", "attention_factor": 1.0, "short_factor": factors,
                "long_factor": factors,
            },
        })
    };
    let checkpoint = Checkpoint::new("phi3", settings(factors));
    assert_eq!(differing(&checkpoint, phi3), (1..TOKENS.len()).collect::<Vec<_>>());
    let inverse = checkpoint.with(settings(factors.map(|factor| 1. / factor)));
    assert_near(&ours(&checkpoint), &theirs(&inverse, phi3));
}
