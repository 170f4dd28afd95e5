//! Llama's relatives of today against a plain evaluation in f64 of the tensors of the file.

mod loops;

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

use candle_core::{DType, Tensor, safetensors};
use serde_json::{Value, json};

use super::{CONTEXT, TOKENS, VOCAB, assert_logits, gelu_tanh, load, normal, silu};

/// Width of the stream.
const D: usize = 16;
const HEADS: usize = 4;
/// Width of the MLPs' hidden layer.
const M: usize = 10;
const EPS: f64 = 0.03;
const ALL: usize = usize::MAX;

/// Frequencies of the pairs that turn, and what cosines and sines are multiplied by.
type Turns = (Vec<f64>, f64);

/// What a file says, and what the plain evaluation needs to know of it.
struct TodayCase {
    config: Value,
    /// What the names of the text's weights begin with.
    prefix: &'static str,
    kv: usize,
    hd: usize,
    /// What is added to gains.
    one: f64,
    pre_norms: bool,
    post_norms: bool,
    /// Whether queries and keys have norms, and whether these are over all heads together.
    qk_norm: Option<bool>,
    /// In each layer.
    turns: Vec<Turns>,
    windows: Vec<usize>,
    fused: bool,
    bias: bool,
    act: fn(f64) -> f64,
    embed_scale: f64,
    score_scale: f64,
    residual_scale: f64,
    logit_scale: f64,
    tied: bool,
    /// Whether keys that were kept are of use in a longer text.
    keeps: bool,
}

type TodayWeights = HashMap<String, Tensor>;

fn plain_frequencies(base: f64, turned: usize) -> Vec<f64> {
    (0..turned / 2).map(|j| base.powf(-2. * j as f64 / turned as f64)).collect()
}

fn yarn(base: f64, turned: usize, factor: f64, original: f64, [fast, slow]: [f64; 2]) -> Vec<f64> {
    let r = turned as f64;
    let pair = |turns: f64| r * (original / (TAU * turns)).ln() / (2. * base.ln());
    let (lo, hi) = (pair(fast).floor().max(0.), pair(slow).ceil().min(r - 1.));
    let ramped = |(j, f): (usize, f64)| {
        let ramp = ((j as f64 - lo) / (hi - lo)).clamp(0., 1.);
        f * (1. - ramp) + f / factor * ramp
    };
    plain_frequencies(base, turned).into_iter().enumerate().map(ramped).collect()
}

fn sizes(model_type: &str, more: Value) -> Value {
    let mut all = json!({
        "model_type": model_type, "num_hidden_layers": 2, "num_attention_heads": HEADS,
        "num_key_value_heads": 2, "hidden_size": D, "intermediate_size": M, "vocab_size": VOCAB,
        "max_position_embeddings": CONTEXT, "rms_norm_eps": EPS, "rope_theta": 50.0,
        "tie_word_embeddings": false,
    });
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn base(model_type: &str, more: Value) -> TodayCase {
    TodayCase {
        config: sizes(model_type, more),
        prefix: "model.",
        kv: 2,
        hd: 4,
        one: 0.,
        pre_norms: true,
        post_norms: false,
        qk_norm: None,
        turns: vec![(plain_frequencies(50., 4), 1.); 2],
        windows: vec![ALL; 2],
        fused: false,
        bias: false,
        act: silu,
        embed_scale: 1.,
        score_scale: 0.5,
        residual_scale: 1.,
        logit_scale: 1.,
        tied: false,
        keeps: true,
    }
}

fn llamas() -> Vec<TodayCase> {
    let spread = yarn(50., 4, 4., 8., [2., 0.1]);
    vec![
        TodayCase {
            hd: 6,
            qk_norm: Some(false),
            turns: vec![(plain_frequencies(50., 6), 1.); 2],
            windows: vec![ALL, 3],
            bias: true,
            score_scale: 6f64.powf(-0.5),
            ..base(
                "qwen3",
                json!({
                    "head_dim": 6, "attention_bias": true, "use_sliding_window": true,
                    "sliding_window": 3, "max_window_layers": 1,
                }),
            )
        },
        TodayCase {
            turns: vec![(plain_frequencies(50., 4), 1.), (Vec::new(), 1.)],
            tied: true,
            ..base("smollm3", json!({ "no_rope_layer_interval": 2, "tie_word_embeddings": true }))
        },
        TodayCase {
            embed_scale: 1.7,
            score_scale: 0.3,
            residual_scale: 0.6,
            logit_scale: 1. / 1.6,
            ..base(
                "granite",
                json!({
                    "embedding_multiplier": 1.7, "attention_multiplier": 0.3,
                    "residual_multiplier": 0.6, "logits_scaling": 1.6,
                }),
            )
        },
        TodayCase {
            turns: vec![(spread, 0.1 * 4f64.ln() + 1.); 2],
            ..base(
                "llama",
                json!({
                    "rope_scaling": {
                        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8,
                        "beta_fast": 2, "beta_slow": 0.1, "truncate": true,
                    },
                }),
            )
        },
        TodayCase {
            hd: 8,
            turns: vec![(plain_frequencies(50., 4), 1.); 2],
            windows: vec![3; 2],
            fused: true,
            score_scale: 8f64.powf(-0.5),
            ..base(
                "phi3",
                json!({ "head_dim": 8, "partial_rotary_factor": 0.5, "sliding_window": 3 }),
            )
        },
        TodayCase {
            turns: vec![(vec![1. / 1.2, 50f64.powf(-0.5) / 2.5], long_amplitude()); 2],
            fused: true,
            keeps: false,
            ..base(
                "phi3",
                json!({
                    "original_max_position_embeddings": 6,
                    "rope_scaling": {
                        "type": "longrope", "short_factor": [1.0, 1.1], "long_factor": [1.2, 2.5],
                    },
                }),
            )
        },
    ]
}

fn long_amplitude() -> f64 {
    (1. + (CONTEXT as f64 / 6.).ln() / 6f64.ln()).sqrt()
}

fn olmos() -> Vec<TodayCase> {
    let shape = |case: TodayCase| TodayCase {
        pre_norms: false,
        post_norms: true,
        qk_norm: Some(true),
        ..case
    };
    let full = (yarn(900., 4, 4., 8., [1.5, 0.2]), 1.2);
    let local = (plain_frequencies(50., 4), 1.);
    let settings = json!({
        "rope_theta": null,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "yarn", "rope_theta": 900.0, "factor": 4.0, "beta_fast": 1.5,
                "beta_slow": 0.2, "original_max_position_embeddings": 8, "attention_factor": 1.2,
            },
            "sliding_attention": { "rope_type": "default", "rope_theta": 50.0 },
        },
        "num_hidden_layers": 4, "sliding_window": 3,
    });
    vec![
        shape(base("olmo2", json!({}))),
        shape(TodayCase {
            turns: vec![local.clone(), local.clone(), local, full],
            windows: vec![3, 3, 3, ALL],
            ..base("olmo3", settings)
        }),
    ]
}

fn gemmas() -> Vec<TodayCase> {
    let text = json!({
        "num_hidden_layers": 3, "head_dim": 6, "query_pre_attn_scalar": 9, "sliding_window": 3,
        "sliding_window_pattern": 2, "rope_theta": 900.0, "rope_local_base_freq": 50.0,
        "rope_scaling": { "rope_type": "linear", "factor": 2.0 }, "tie_word_embeddings": true,
    });
    let case = |config: Value| {
        let full: Vec<f64> = plain_frequencies(900., 6).into_iter().map(|f| f / 2.).collect();
        let local = (plain_frequencies(50., 6), 1.);
        TodayCase {
            config,
            hd: 6,
            one: 1.,
            post_norms: true,
            qk_norm: Some(false),
            turns: vec![local.clone(), (full, 1.), local],
            windows: vec![3, ALL, 3],
            act: gelu_tanh,
            embed_scale: 4.,
            score_scale: 1. / 3.,
            tied: true,
            ..base("gemma3_text", json!({}))
        }
    };
    let alone = sizes("gemma3_text", text);
    let seeing = json!({
        "model_type": "gemma3", "text_config": alone, "vision_config": { "hidden_size": 8 },
        "mm_tokens_per_image": 4, "boi_token_index": 5, "tie_word_embeddings": true,
    });
    let prefixes = ["language_model.model.", "model.language_model.", "model."];
    let seeing = prefixes.map(|prefix| TodayCase { prefix, ..case(seeing.clone()) });
    std::iter::once(case(alone)).chain(seeing).collect()
}

fn cases() -> Vec<TodayCase> {
    [llamas(), olmos(), gemmas()].into_iter().flatten().collect()
}

impl TodayCase {
    fn layers(&self) -> usize {
        self.windows.len()
    }

    /// Names and shapes of the file's tensors.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (q, kv) = (HEADS * self.hd, self.kv * self.hd);
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |is_there: bool, name: String, shape: &[usize]| {
            all.extend(is_there.then(|| (name, shape.to_vec())));
        };
        let prefix = self.prefix;
        for i in 0..self.layers() {
            let own = format!("{prefix}layers.{i}.");
            let both = self.pre_norms && self.post_norms;
            for (norm, is_there) in [
                ("input_layernorm", self.pre_norms),
                ("post_attention_layernorm", true),
                ("pre_feedforward_layernorm", both),
                ("post_feedforward_layernorm", self.post_norms),
            ] {
                add(is_there, format!("{own}{norm}.weight"), &[D]);
            }
            let widths = if self.qk_norm == Some(true) { [q, kv] } else { [self.hd; 2] };
            for (norm, width) in ["q_norm", "k_norm"].into_iter().zip(widths) {
                let name = format!("{own}self_attn.{norm}.weight");
                add(self.qk_norm.is_some(), name, &[width]);
            }
            for (map, rows, columns, fused) in [
                ("self_attn.qkv_proj", q + 2 * kv, D, Some(true)),
                ("self_attn.q_proj", q, D, Some(false)),
                ("self_attn.k_proj", kv, D, Some(false)),
                ("self_attn.v_proj", kv, D, Some(false)),
                ("self_attn.o_proj", D, q, None),
                ("mlp.gate_up_proj", 2 * M, D, Some(true)),
                ("mlp.gate_proj", M, D, Some(false)),
                ("mlp.up_proj", M, D, Some(false)),
                ("mlp.down_proj", D, M, None),
            ] {
                let is_there = fused.is_none_or(|fused| fused == self.fused);
                add(is_there, format!("{own}{map}.weight"), &[rows, columns]);
                let biased = is_there && self.bias && map.starts_with("self_attn");
                add(biased, format!("{own}{map}.bias"), &[rows]);
            }
        }
        add(true, format!("{prefix}embed_tokens.weight"), &[VOCAB, D]);
        add(true, format!("{prefix}norm.weight"), &[D]);
        add(!self.tied, "lm_head.weight".to_owned(), &[VOCAB, D]);
        let seeing = self.config.get("vision_config").is_some();
        let beginning = if prefix == "model.language_model." { "model." } else { "" };
        for name in ["vision_tower.vision_model.post_layernorm", "multi_modal_projector.norm"] {
            add(seeing, format!("{beginning}{name}.weight"), &[8]);
        }
        all
    }

    fn weights(&self, seed: u64) -> TodayWeights {
        normal(self.shapes(), seed).collect()
    }

    fn write(&self, folder: &Path, weights: &TodayWeights) {
        safetensors::save(weights, folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }
}

#[test]
fn every_family_of_today_is_its_formulas() {
    for (i, case) in cases().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let weights = case.weights(i as u64);
        case.write(folder.path(), &weights);
        let expected = case.logits(&weights, &TOKENS);
        assert_logits(folder.path(), expected, 1e-4, case.keeps);
    }
}

#[test]
fn the_weights_of_images_are_left_out_and_this_is_noted() {
    let case = gemmas().remove(1);
    let folder = tempfile::tempdir().unwrap();
    let mut weights = case.weights(3);
    case.write(folder.path(), &weights);
    let model = load(folder.path(), DType::F32).unwrap();
    assert!(model.notes()[0].contains("vision tower and projector"), "{:?}", model.notes());
    // The embedding once more, as some tied files have it; another matrix is none of theirs.
    let embed = weights["language_model.model.embed_tokens.weight"].clone();
    weights.insert("language_model.lm_head.weight".to_owned(), embed.clone());
    case.write(folder.path(), &weights);
    load(folder.path(), DType::F32).unwrap();
    weights.insert("language_model.lm_head.weight".to_owned(), (embed * 2.).unwrap());
    case.write(folder.path(), &weights);
    let message = load(folder.path(), DType::F32).unwrap_err().to_string();
    assert!(message.contains("`language_model.lm_head.weight` equal to the embed"), "{message}");
    // What is neither text nor known to be of images is told.
    weights.insert("language_model.lm_head.weight".to_owned(), weights[EMBED].clone());
    weights.insert("audio_tower.weight".to_owned(), weights[EMBED].clone());
    case.write(folder.path(), &weights);
    let message = load(folder.path(), DType::F32).unwrap_err().to_string();
    assert!(message.contains("also `audio_tower.weight`"), "{message}");
}

const EMBED: &str = "language_model.model.embed_tokens.weight";
