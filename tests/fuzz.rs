//! The readers of files from elsewhere on damaged files: cut short anywhere, with bits flipped, with
//! numbers blown up. They must end in an error or in tensors; none may panic, hang, or allocate out
//! of proportion to the file. `fuzz/` has the same entries for cargo-fuzz.

#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use eigenlens::candle::{Device, Tensor, safetensors};
use eigenlens::fuzzing;
use eigenlens::random::Rng;

/// Bytes a reader may hold for each byte of the file, beside a fixed amount.
const RATIO: usize = 128;
const FIXED: usize = 4 << 20;
/// What deflate can make of a byte, times the copies that are made of it.
const UNPACKED_RATIO: usize = 4 * 1032;
/// What a template may write within its steps, for each byte of it.
const TEMPLATE_RATIO: usize = 1 << 15;
const DAMAGED: usize = 3_000;

/// The system's allocator, counting.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `read` on `whole` and on many damaged versions of it.
fn survive(what: &str, whole: &[u8], ratio: usize, read: fn(&[u8])) {
    let mut rng = Rng::seed(whole.len() as u64);
    let try_one = |bytes: &[u8]| {
        let before = HELD.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = Instant::now();
        read(bytes);
        let held = MOST.load(Ordering::Relaxed).saturating_sub(before);
        let bound = FIXED + ratio * bytes.len();
        assert!(held <= bound, "{what}: {held} bytes held for a file of {}", bytes.len());
        assert!(start.elapsed() < Duration::from_secs(5), "{what} took too long");
    };
    try_one(whole);
    let step = (whole.len() / 400).max(1);
    (0..whole.len()).step_by(step).for_each(|cut| try_one(&whole[..cut]));
    // What is counted stands near the beginning and, in archives, near the end.
    let edge = whole.len().min(1024);
    for _ in 0..DAMAGED {
        let mut bytes = whole.to_vec();
        for _ in 0..=below(&mut rng, 4) {
            let at = match below(&mut rng, 3) {
                0 => below(&mut rng, edge),
                1 => whole.len() - 1 - below(&mut rng, edge),
                _ => below(&mut rng, whole.len()),
            };
            match below(&mut rng, 4) {
                0 => bytes[at] ^= 1 << below(&mut rng, 8),
                1 => bytes[at] = below(&mut rng, 256) as u8,
                2 => bytes[at..(at + 4).min(whole.len())].fill(0xff),
                _ => drop(bytes.remove(at.min(bytes.len() - 1))),
            }
            bytes.resize(whole.len(), 0);
        }
        try_one(&bytes);
    }
}

fn below(rng: &mut Rng, end: usize) -> usize {
    ((rng.unit() * end as f32) as usize).min(end - 1)
}

fn tensors() -> HashMap<String, Tensor> {
    let mut rng = Rng::seed(0);
    let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
    HashMap::from([("W_enc".to_owned(), normal(&[6, 10])), ("b_dec".to_owned(), normal(&[6]))])
}

/// Configs of families with lists in them, or fields of their own.
const CONFIGS: [&str; 10] = [
    r#"{"model_type": "gpt_neo", "num_layers": 1, "num_heads": 1, "hidden_size": 2,
        "max_position_embeddings": 4, "vocab_size": 3, "intermediate_size": null,
        "attention_types": [[["local"], 1]], "attention_layers": ["local"], "window_size": 2}"#,
    r#"{"model_type": "opt", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 2,
        "word_embed_proj_dim": 2, "ffn_dim": 2, "vocab_size": 3, "max_position_embeddings": 4,
        "do_layer_norm_before": true, "_remove_final_layer_norm": false}"#,
    r#"{"model_type": "starcoder2", "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "hidden_size": 4, "intermediate_size": 2, "vocab_size": 3,
        "rope_theta": 5.5, "sliding_window": 2, "norm_type": "layer_norm", "norm_epsilon": 0.1}"#,
    r#"{"n_layers": 1, "d_model": 2, "n_heads": 1, "d_head": 2, "n_ctx": 4, "d_vocab": 3,
        "act_fn": "solu_ln", "normalization": "LN", "shortformer_pos": false, "ln_eps": 1e-05,
        "neuron_scale": 1.0, "d_vocab_out": -1, "attn_scores_soft_cap": -1.0}"#,
    r#"{"model_type": "smollm3", "num_hidden_layers": 2, "num_attention_heads": 1, "hidden_size": 4,
        "intermediate_size": 2, "vocab_size": 3, "num_key_value_heads": 1, "no_rope_layers": [1, 0],
        "layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": true,
        "sliding_window": 2}"#,
    r#"{"model_type": "phi3", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4,
        "intermediate_size": 2, "vocab_size": 3, "original_max_position_embeddings": 4,
        "rope_scaling": {"type": "longrope", "short_factor": [1, 1.1], "long_factor": [2, 3.5]}}"#,
    r#"{"model_type": "olmo3", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4,
        "intermediate_size": 2, "vocab_size": 3, "rope_parameters": {"full_attention":
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
        "beta_fast": 2, "mscale": 0.5, "mscale_all_dim": 1, "truncate": true}}}"#,
    r#"{"model_type": "gemma3", "text_config": {"hidden_size": 4, "intermediate_size": 2,
        "num_hidden_layers": 1, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window_pattern": 6, "vocab_size": 3, "head_dim": 2}, "vision_config": {"a": 1}}"#,
    r#"{"model_type": "llama", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4,
        "intermediate_size": 2, "vocab_size": 3, "rope_theta": 5e5, "rope_scaling": {"rope_type":
        "llama3", "factor": 8.0, "low_freq_factor": 1, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16}, "partial_rotary_factor": 1.0}"#,
    r#"{"model_type": "gemma3_text", "num_hidden_layers": 2, "hidden_size": 4, "head_dim": 2,
        "intermediate_size": 2, "vocab_size": 3, "layer_types": ["full_attention",
        "sliding_attention"], "rope_parameters": {"full_attention": {"rope_type": "linear",
        "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}}"#,
];

/// A chat template with most of Jinja in it, and a conversation.
const TEMPLATE: &[u8] = b"{%- macro f(x) %}{{ x | trim }}{% endmacro %}\
    {% set n = namespace(x=[], k=2 * 3) %}{{ bos_token }}\
    {% for m in messages[::-1] if m.role != 'tool' %}{% generation %}\
    {{- '<' ~ m['role'] + '>' + f(m.content) }}{% endgeneration %}{{ loop.index0 % 2 == 1 }}\
    {% set n.x = n.x + [m.content.split(' ')[-1].strip('\\n') * 3] %}{% endfor %}\
    {% if n.x is defined and n.x | length > 1 %}{{ n.x | join(',') }}{{ n.x | tojson }}\
    {{ range(9) | list | tojson(indent=2) }}{% elif tools %}{{ raise_exception('no') }}{% endif %}\
    {{ strftime_now('%d %b %Y') }}\0What is it?\0It is a truth\n\0Why\xff";

/// One test: the allocator counts for the whole process.
#[test]
fn damaged_files_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    safetensors::save(&tensors(), &path).unwrap();
    survive("safetensors", &std::fs::read(&path).unwrap(), RATIO, fuzzing::safetensors);
    Tensor::write_npz(&tensors().into_iter().collect::<Vec<_>>(), &path).unwrap();
    survive("npz", &std::fs::read(&path).unwrap(), UNPACKED_RATIO, fuzzing::npz);
    let pickle = include_bytes!("data/mistral.pt");
    survive("pickle", pickle, UNPACKED_RATIO, fuzzing::pickle);
    let legacy = include_bytes!("data/legacy.bin");
    survive("pickle before PyTorch 1.6", legacy, RATIO, fuzzing::pickle);
    let weights = include_bytes!("data/tiny.pth");
    survive("weights", weights, UNPACKED_RATIO, fuzzing::model_weights);
    survive("gguf", &gguf(), RATIO, fuzzing::gguf);
    survive("gguf part", &gguf_part(), RATIO, fuzzing::gguf_part);
    for kind in [1, 2] {
        survive("tokenizer.model", &sentencepiece(kind), RATIO, fuzzing::sentencepiece);
    }
    let config = br#"{"architecture": "topk", "d_in": 2, "d_sae": 3, "k": 1, "dtype": "float32",
        "apply_b_dec_to_input": true, "normalize_activations": "none", "metadata": {"hook_name":
        "blocks.1.hook_resid_pre", "sae_lens_version": "6.0.0"}}"#;
    survive("cfg.json", config, RATIO, fuzzing::sae_config);
    let config = br#"{"architectures": ["Transformer"], "n_layer": 1, "n_head": 1, "n_ctx": 4,
        "d_model": 2, "d_hidden": 2, "bilinear": true, "gate": null, "bias": false,
        "normalization": true}"#;
    survive("config.json", config, RATIO, fuzzing::model_config);
    survive("chat template", TEMPLATE, TEMPLATE_RATIO, fuzzing::chat_template);
    let index = br#"{"metadata": {"total_size": 96}, "weight_map": {
        "transformer.wte.weight": "part.safetensors", "transformer.h.0.n1.b": "none.safetensors"}}"#;
    survive("index", index, RATIO, fuzzing::weights_index);
    for config in CONFIGS {
        survive(config, config.as_bytes(), RATIO, fuzzing::model_config);
    }
}

/// Text with its length before it, as GGUF files have it.
fn gguf_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// The second of two GGUF files of a model: one tensor of one number.
fn gguf_part() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(3u64.to_le_bytes());
    for (key, value) in [("split.no", 1u32), ("split.count", 2), ("split.tensors.count", 1)] {
        gguf_text(&mut bytes, key);
        bytes.extend(4u32.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    gguf_text(&mut bytes, "a");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(1f32.to_le_bytes());
    bytes
}

/// A SentencePiece model of this kind, of a few pieces.
fn sentencepiece(kind: u8) -> Vec<u8> {
    let message =
        |field: u8, content: &[u8]| [&[field << 3 | 2, content.len() as u8][..], content].concat();
    let pieces = [("<unk>", 0., 2), ("<s>", 0., 3), ("</s>", 0., 3), ("<u>", 0., 4)];
    let usual = [("a", -4.), ("b", -5.), ("ab", -1.), ("aab", -2.), ("\u{2581}", -6.)];
    let usual = usual.map(|(text, score)| (text, score, 1));
    let mut bytes = Vec::new();
    for (text, score, kind) in pieces.into_iter().chain(usual) {
        let score = [&[2u8 << 3 | 5][..], &f32::to_le_bytes(score)[..]].concat();
        let piece = [message(1, text.as_bytes()), score, vec![3 << 3, kind]].concat();
        bytes.extend(message(1, &piece));
    }
    bytes.extend(message(2, &[3 << 3, kind]));
    bytes.extend(message(3, &[3 << 3, 1, 4 << 3, 0]));
    bytes
}

/// A GGUF file of one small tensor and a few fields.
fn gguf() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(3u64.to_le_bytes());
    gguf_text(&mut bytes, "general.architecture");
    bytes.extend(8u32.to_le_bytes());
    gguf_text(&mut bytes, "llama");
    gguf_text(&mut bytes, "llama.block_count");
    bytes.extend(4u32.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    gguf_text(&mut bytes, "tokenizer.ggml.tokens");
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(8u32.to_le_bytes());
    bytes.extend(3u64.to_le_bytes());
    ["a", "b", "ab"].iter().for_each(|token| gguf_text(&mut bytes, token));
    gguf_text(&mut bytes, "token_embd.weight");
    bytes.extend(2u32.to_le_bytes());
    bytes.extend(32u64.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    // Q8_0: blocks of 34 bytes.
    bytes.extend(8u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend((0..68u8).map(|i| i.wrapping_mul(37)));
    bytes
}
