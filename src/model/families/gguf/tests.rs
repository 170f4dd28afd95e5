//! Files of every architecture against the same weights in Hugging Face's layout.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};

use super::architecture::GgufArchitecture;
use crate::Result;
use crate::gguf::Gguf;
use crate::gguf::tests::sample::Sample;
use crate::model::{Config, Decoder, Position, Scaling};
use crate::random::Rng;
use crate::store::UnknownFields;

const CPU: &Device = &Device::Cpu;
const VOCAB: usize = 11;
const D: usize = 16;
const HEADS: usize = 4;
const KV: usize = 2;
const M: usize = 10;
/// As a file has it, in f32.
const EPS: f32 = 0.03125;
const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// How a tensor of a GGUF file comes from Hugging Face's.
#[derive(Clone, Copy, PartialEq)]
enum Stored {
    Same,
    /// With 1 added.
    WithOne,
    /// Rows that turn together next to each other.
    Interleaved,
    Transposed,
}

struct GgufCase {
    architecture: &'static str,
    config: Value,
    layers: usize,
    d_head: usize,
    kv: usize,
    tied: bool,
    /// Keys without the architecture's name.
    sizes: Vec<(&'static str, u32)>,
    numbers: Vec<(&'static str, f32)>,
    /// Divisors of frequencies that are tensors.
    factors: Vec<(&'static str, Vec<f32>)>,
    bias: bool,
}

fn sizes(model_type: &str, layers: usize, more: Value) -> Value {
    let mut all = json!({
        "model_type": model_type, "num_hidden_layers": layers, "num_attention_heads": HEADS,
        "num_key_value_heads": KV, "hidden_size": D, "intermediate_size": M, "vocab_size": VOCAB,
        "max_position_embeddings": 16, "rms_norm_eps": f64::from(EPS), "rope_theta": 50.0,
    });
    for (name, value) in more.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn case(architecture: &'static str, config: Value) -> GgufCase {
    GgufCase {
        architecture,
        layers: config["num_hidden_layers"].as_u64().unwrap() as usize,
        config,
        d_head: 6,
        kv: KV,
        tied: false,
        sizes: vec![("attention.key_length", 6), ("attention.value_length", 6)],
        numbers: vec![("rope.freq_base", 50.)],
        factors: Vec::new(),
        bias: false,
    }
}

fn llama() -> GgufCase {
    case("llama", sizes("llama", 2, json!({ "head_dim": 6 })))
}

fn qwen3() -> GgufCase {
    case("qwen3", sizes("qwen3", 2, json!({ "head_dim": 6 })))
}

fn gemma2() -> GgufCase {
    let more = json!({
        "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3,
        "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0,
        "hidden_activation": "gelu_pytorch_tanh",
    });
    let mut case = GgufCase { tied: true, ..case("gemma2", sizes("gemma2", 3, more)) };
    case.sizes.push(("attention.sliding_window", 3));
    case.numbers.extend([("attn_logit_softcapping", 1.5), ("final_logit_softcapping", 2.)]);
    case
}

/// Seven layers, of which the sixth sees everything.
fn gemma3() -> GgufCase {
    let more = json!({
        "head_dim": 6, "query_pre_attn_scalar": 6, "sliding_window": 3, "rope_theta": 900.0,
        "rope_local_base_freq": 10000.0, "rope_scaling": { "rope_type": "linear", "factor": 2.0 },
    });
    let mut case = GgufCase { tied: true, ..case("gemma3", sizes("gemma3_text", 7, more)) };
    case.sizes.push(("attention.sliding_window", 3));
    case.numbers = vec![("rope.freq_base", 900.), ("rope.scaling.factor", 2.)];
    case
}

/// Half of each head turns.
fn phi3() -> GgufCase {
    let more = json!({ "partial_rotary_factor": 0.5, "sliding_window": 3 });
    let mut case = GgufCase { d_head: 4, ..case("phi3", sizes("phi3", 2, more)) };
    case.sizes = vec![("rope.dimension_count", 2), ("attention.sliding_window", 3)];
    case
}

fn phi3_long() -> GgufCase {
    let more = json!({
        "original_max_position_embeddings": 6,
        "rope_scaling": {
            "type": "longrope", "short_factor": [1.0, 1.125], "long_factor": [1.25, 2.5],
        },
    });
    let mut case = GgufCase { d_head: 4, ..case("phi3", sizes("phi3", 2, more)) };
    case.sizes = vec![("rope.scaling.original_context_length", 6), ("attention.sliding_window", 0)];
    case.factors = vec![
        ("rope_factors_short.weight", vec![1., 1.125]),
        ("rope_factors_long.weight", vec![1.25, 2.5]),
    ];
    case
}

fn gpt2() -> GgufCase {
    let config = json!({
        "model_type": "gpt2", "n_layer": 2, "num_hidden_layers": 2, "n_head": HEADS, "n_embd": D,
        "n_inner": M, "n_positions": 16, "vocab_size": VOCAB, "layer_norm_epsilon": f64::from(EPS),
    });
    let case = GgufCase { d_head: 4, kv: HEADS, tied: true, ..case("gpt2", config) };
    GgufCase { sizes: Vec::new(), numbers: Vec::new(), ..case }
}

fn cases() -> Vec<GgufCase> {
    let qwen2 = GgufCase {
        bias: true,
        d_head: 4,
        sizes: Vec::new(),
        ..case("qwen2", sizes("qwen2", 2, json!({})))
    };
    vec![llama(), qwen2, qwen3(), gemma2(), gemma3(), phi3(), phi3_long(), gpt2()]
}

/// Hugging Face's name, llama.cpp's name, Hugging Face's shape, and how one comes from the other.
type TensorNames = Vec<(String, String, Vec<usize>, Stored)>;

impl GgufCase {
    fn names(&self) -> TensorNames {
        let mut all: TensorNames = Vec::new();
        let mut add = |theirs: String, own: String, shape: &[usize], stored| {
            all.push((theirs, own, shape.to_vec(), stored));
        };
        let of_gpt2 = self.architecture == "gpt2";
        for i in 0..self.layers {
            let parts = if of_gpt2 { gpt2_parts() } else { self.parts() };
            let start = if of_gpt2 { "transformer.h" } else { "model.layers" };
            for (theirs, own, shape, stored) in parts {
                add(format!("{start}.{i}.{theirs}"), format!("blk.{i}.{own}"), &shape, stored);
            }
        }
        let (same, norm) = (Stored::Same, self.norm());
        let mut other = |theirs: &str, own: &str, shape: &[usize], stored| {
            add(theirs.to_owned(), own.to_owned(), shape, stored);
        };
        if of_gpt2 {
            other("transformer.wte.weight", "token_embd.weight", &[VOCAB, D], same);
            other("transformer.wpe.weight", "position_embd.weight", &[16, D], same);
            other("transformer.ln_f.weight", "output_norm.weight", &[D], same);
            other("transformer.ln_f.bias", "output_norm.bias", &[D], same);
        } else {
            other("model.embed_tokens.weight", "token_embd.weight", &[VOCAB, D], same);
            other("model.norm.weight", "output_norm.weight", &[D], norm);
        }
        if !self.tied {
            other("lm_head.weight", "output.weight", &[VOCAB, D], same);
        }
        all
    }

    fn norm(&self) -> Stored {
        match self.architecture {
            "gemma2" | "gemma3" => Stored::WithOne,
            _ => Stored::Same,
        }
    }

    /// A block's tensors.
    fn parts(&self) -> TensorNames {
        let (q, kv) = (HEADS * self.d_head, self.kv * self.d_head);
        let norm = self.norm();
        let turned = match self.architecture {
            "llama" => Stored::Interleaved,
            _ => Stored::Same,
        };
        let mut all: Vec<(&str, &str, Vec<usize>, Stored)> = Vec::new();
        all.push(("input_layernorm", "attn_norm", vec![D], norm));
        if norm == Stored::WithOne {
            all.push(("post_attention_layernorm", "post_attention_norm", vec![D], norm));
            all.push(("pre_feedforward_layernorm", "ffn_norm", vec![D], norm));
            all.push(("post_feedforward_layernorm", "post_ffw_norm", vec![D], norm));
        } else {
            all.push(("post_attention_layernorm", "ffn_norm", vec![D], norm));
        }
        if matches!(self.architecture, "qwen3" | "gemma3") {
            all.push(("self_attn.q_norm", "attn_q_norm", vec![self.d_head], norm));
            all.push(("self_attn.k_norm", "attn_k_norm", vec![self.d_head], norm));
        }
        if self.architecture == "phi3" {
            all.push(("self_attn.qkv_proj", "attn_qkv", vec![q + 2 * kv, D], Stored::Same));
            all.push(("mlp.gate_up_proj", "ffn_up", vec![2 * M, D], Stored::Same));
        } else {
            all.push(("self_attn.q_proj", "attn_q", vec![q, D], turned));
            all.push(("self_attn.k_proj", "attn_k", vec![kv, D], turned));
            all.push(("self_attn.v_proj", "attn_v", vec![kv, D], Stored::Same));
            all.push(("mlp.gate_proj", "ffn_gate", vec![M, D], Stored::Same));
            all.push(("mlp.up_proj", "ffn_up", vec![M, D], Stored::Same));
        }
        all.push(("self_attn.o_proj", "attn_output", vec![D, q], Stored::Same));
        all.push(("mlp.down_proj", "ffn_down", vec![D, M], Stored::Same));
        let weight = |(theirs, own, shape, stored): &(&str, &str, Vec<usize>, Stored)| {
            (format!("{theirs}.weight"), format!("{own}.weight"), shape.clone(), *stored)
        };
        let mut named: TensorNames = all.iter().map(weight).collect();
        for (theirs, own, shape, stored) in all.iter().filter(|_| self.bias) {
            if ["q_proj", "k_proj", "v_proj"].iter().any(|end| theirs.ends_with(end)) {
                let (theirs, own) = (format!("{theirs}.bias"), format!("{own}.bias"));
                named.push((theirs, own, vec![shape[0]], *stored));
            }
        }
        named
    }

    /// The same model in both layouts: a folder of Hugging Face's, and a GGUF file.
    fn write(&self, folder: &Path, seed: u64) -> Sample {
        let mut rng = Rng::seed(seed);
        let mut sample = Sample::new().text("general.architecture", self.architecture);
        let key = |name: &str| format!("{}.{name}", self.architecture);
        let eps = match self.architecture {
            "gpt2" => "attention.layer_norm_epsilon",
            _ => "attention.layer_norm_rms_epsilon",
        };
        let common = [
            ("block_count", self.layers as u32),
            ("embedding_length", D as u32),
            ("attention.head_count", HEADS as u32),
            ("attention.head_count_kv", self.kv as u32),
            ("feed_forward_length", M as u32),
            ("context_length", 16),
        ];
        for (name, value) in common.iter().chain(&self.sizes) {
            sample = sample.u32(&key(name), *value);
        }
        for (name, value) in [(eps, EPS)].iter().chain(&self.numbers) {
            sample = sample.f32(&key(name), *value);
        }
        let mut theirs = std::collections::HashMap::new();
        for (name, own, shape, stored) in self.names() {
            let tensor = (rng.normal(shape.as_slice(), CPU).unwrap() * 0.4).unwrap();
            let stored = stored_as(&tensor, stored, self.d_head);
            let dims: Vec<u64> = stored.dims().iter().map(|size| *size as u64).collect();
            let values: Vec<f32> = stored.flatten_all().unwrap().to_vec1().unwrap();
            sample = sample.floats(&own, &dims, &values);
            theirs.insert(name, tensor);
        }
        for (name, values) in &self.factors {
            sample = sample.floats(name, &[values.len() as u64], values);
        }
        safetensors::save(&theirs, folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        sample
    }
}

fn gpt2_parts() -> TensorNames {
    let turned = Stored::Transposed;
    let all = [
        ("ln_1", "attn_norm", vec![D], Stored::Same),
        ("ln_2", "ffn_norm", vec![D], Stored::Same),
        ("attn.c_attn", "attn_qkv", vec![D, 3 * D], turned),
        ("attn.c_proj", "attn_output", vec![D, D], turned),
        ("mlp.c_fc", "ffn_up", vec![D, M], turned),
        ("mlp.c_proj", "ffn_down", vec![M, D], turned),
    ];
    let both = |(theirs, own, shape, stored): (&str, &str, Vec<usize>, Stored)| {
        let outputs = shape.last().copied().unwrap();
        [
            (format!("{theirs}.weight"), format!("{own}.weight"), shape, stored),
            (format!("{theirs}.bias"), format!("{own}.bias"), vec![outputs], Stored::Same),
        ]
    };
    all.into_iter().flat_map(both).collect()
}

/// A tensor as llama.cpp's converter stores it.
fn stored_as(tensor: &Tensor, stored: Stored, d_head: usize) -> Tensor {
    match stored {
        Stored::Same => tensor.clone(),
        Stored::WithOne => (tensor + 1.).unwrap(),
        Stored::Transposed => tensor.t().unwrap().contiguous().unwrap(),
        Stored::Interleaved => {
            let half = d_head / 2;
            let rows = 0..tensor.dims()[0];
            let source = |row: usize| {
                let (head, entry) = (row / d_head, row % d_head);
                (head * d_head + entry / 2 + entry % 2 * half) as u32
            };
            let rows: Vec<u32> = rows.map(source).collect();
            tensor.index_select(&Tensor::new(rows, CPU).unwrap(), 0).unwrap()
        }
    }
}

fn load(sample: &Sample) -> Result<Decoder> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, sample.bytes()).unwrap();
    Decoder::from_gguf_as(&path, CPU, DType::F64)
}

fn logits(model: &Decoder) -> Vec<f64> {
    let tokens = Tensor::new(&[TOKENS], CPU).unwrap();
    model
        .logits(&tokens)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_dtype(DType::F64)
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// The largest difference of two models' logits.
fn gap(a: &Decoder, b: &Decoder) -> f64 {
    let pairs = logits(a).into_iter().zip(logits(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0., f64::max)
}

fn message(sample: &Sample) -> String {
    load(sample).unwrap_err().to_string()
}

#[test]
fn every_architecture_gives_the_logits_of_its_family() {
    for (seed, case) in (0..).zip(cases()) {
        let folder = tempfile::tempdir().unwrap();
        let sample = case.write(folder.path(), seed);
        let name = folder.path().to_str().unwrap();
        let theirs = Decoder::from_pretrained_as(name, CPU, DType::F64).unwrap();
        let own = load(&sample).unwrap_or_else(|error| panic!("{}: {error}", case.architecture));
        assert_eq!(own.config(), theirs.config(), "{}", case.architecture);
        assert!(gap(&own, &theirs) < 1e-5, "{}: {}", case.architecture, gap(&own, &theirs));
        assert!(logits(&own).iter().any(|logit| logit.abs() > 0.01));
    }
}

#[test]
fn tensors_that_are_missing_or_of_another_shape_are_named() {
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        let whole = case.write(folder.path(), 1);
        for (_, own, shape, _) in case.names().into_iter().filter(|(_, own, ..)| {
            !matches!(own.as_str(), "output.weight") && !own.starts_with("blk.0.attn_q.bias")
        }) {
            let missing = message(&whole.clone().without(&own));
            assert!(missing.contains(&format!("`{own}`")), "{own}: {missing}");
            if own == "token_embd.weight" {
                // Another number of tokens is another vocabulary.
                continue;
            }
            let mut wrong: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
            wrong[0] += 1;
            let count = wrong.iter().product::<u64>() as usize;
            let wrong = message(&whole.clone().floats(&own, &wrong, &vec![0.; count]));
            assert!(wrong.contains(&format!("`{own}`")), "{own}: {wrong}");
        }
        let more = whole.clone().floats("blk.0.strange.weight", &[2], &[0.; 2]);
        assert!(message(&more).contains("also `blk.0.strange.weight`"));
    }
}

#[test]
fn metadata_that_is_missing_wrong_or_unknown_is_named() {
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        let whole = case.write(folder.path(), 1);
        let key = |name: &str| format!("{}.{name}", case.architecture);
        for name in ["block_count", "embedding_length", "attention.head_count", "context_length"] {
            assert!(message(&whole.clone().without(&key(name))).contains(&key(name)));
            let text = whole.clone().text(&key(name), "two");
            assert!(message(&text).contains(&key(name)), "{}", message(&text));
            let number = whole.clone().f32(&key(name), 2.);
            assert!(message(&number).contains(&key(name)));
        }
        let causal = key("attention.causal");
        assert!(load(&whole.clone().flag(&causal, true)).is_ok());
        let found = message(&whole.clone().flag(&causal, false));
        assert!(found.contains(&causal), "{found}");
        let unknown = whole.clone().f32(&key("logit_scale"), 0.5);
        let found = message(&unknown);
        assert!(found.contains(&format!("`{}`: 0.5", key("logit_scale"))), "{found}");
        let bytes = whole.bytes();
        for end in [bytes.len() - 40, bytes.len() / 2, 100] {
            let path = folder.path().join("cut.gguf");
            fs::write(&path, &bytes[..end]).unwrap();
            let found = Decoder::from_gguf(&path, CPU).unwrap_err().to_string();
            assert!(found.contains("truncated") && found.contains("cut.gguf"), "{found}");
        }
    }
}

#[test]
fn what_gemma_and_phi_need_is_refused_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let gemma = gemma3().write(folder.path(), 2);
    let long = phi3_long().write(folder.path(), 2);
    let gemma_key = |name: &str| format!("gemma3.{name}");
    let phi_key = |name: &str| format!("phi3.{name}");
    let factors = "rope_factors_long.weight";
    let cases = [
        (gemma.clone().without(&gemma_key("attention.sliding_window")), "attention.sliding_window"),
        (gemma.clone().without(&gemma_key("rope.freq_base")), "gemma3.rope.freq_base"),
        (gemma.clone().u32(&gemma_key("rope.dimension_count"), 4), "gemma3.rope.dimension_count"),
        (gemma.clone().f32(&gemma_key("final_logit_softcapping"), -1.), "final_logit_softcapping"),
        (gemma.clone().text(&gemma_key("rope.scaling.type"), "longrope"), "tensors of factors"),
        (gemma.clone().f32(&gemma_key("rope.scaling.attn_factor"), 2.), "rope.scaling.attn_factor"),
        (long.clone().without(factors), factors),
        (long.clone().without("rope_factors_short.weight"), "rope_factors_short.weight"),
        (long.clone().floats(factors, &[3], &[1.; 3]), factors),
        (long.clone().floats(factors, &[2], &[1., -1.]), "positive numbers"),
        (
            long.clone().without(&phi_key("rope.scaling.original_context_length")),
            "original_context_length",
        ),
        (long.clone().f32(&phi_key("rope.scaling.factor"), 2.), "phi3.rope.scaling.factor"),
        (long.clone().text(&phi_key("rope.scaling.type"), "linear"), "`longrope`"),
        (long.clone().u32(&phi_key("rope.dimension_count"), 3), "phi3.rope.dimension_count"),
    ];
    for (sample, expected) in cases {
        assert!(message(&sample).contains(expected), "{expected}: {}", message(&sample));
    }
    // A pattern and a base that a file says, and the factor of cosines.
    let other = gemma
        .u32(&gemma_key("attention.sliding_window_pattern"), 2)
        .f32(&gemma_key("rope.freq_base_swa"), 50.);
    let config = load(&other).unwrap().config().clone();
    assert_eq!(config.windows[..3], [Some(3), None, Some(3)]);
    assert_eq!(config.local_rotary.unwrap().base, 50.);
    let model = load(&long.f32(&phi_key("rope.scaling.attn_factor"), 1.5)).unwrap();
    let Position::Rotary(rotary) = &model.config().position else { panic!("no rotary") };
    let Scaling::LongRope { attention_factor, .. } = rotary.scaling else { panic!("not long") };
    assert_eq!(attention_factor, 1.5);
}

/// The config that metadata gives, of a file with one value for each layer in place of weights.
fn config_of(architecture: &str, layers: u32, sizes: &[(&str, u32)]) -> Result<Config> {
    let key = |name: &str| format!("{architecture}.{name}");
    let mut sample = Sample::new()
        .text("general.architecture", architecture)
        .u32(&key("block_count"), layers)
        .u32(&key("feed_forward_length"), 8)
        .f32(&key("attention.layer_norm_rms_epsilon"), EPS)
        .f32(&key("rope.freq_base"), 10_000.)
        .floats("token_embd.weight", &[1, 1], &[0.]);
    for (name, value) in sizes {
        sample = sample.u32(&key(name), *value);
    }
    for layer in 1..layers {
        sample = sample.floats(&format!("blk.{layer}"), &[1], &[0.]);
    }
    let gguf = Gguf::parse("model.gguf", sample.bytes())?;
    let (config, _) = GgufArchitecture::of(&gguf)?.config(&gguf, UnknownFields::Refuse)?;
    Ok(config)
}

/// `query_pre_attn_scalar` of the published configs is 144, 168 and 256.
#[test]
fn gemmas_have_the_scales_of_their_published_sizes() {
    for (architecture, layers, d_model, heads, d_head, scale) in [
        ("gemma2", 46, 4608, 32, 128, 1. / 12.),
        ("gemma3", 62, 5376, 32, 128, 1. / 168f64.sqrt()),
        ("gemma2", 42, 3584, 16, 256, 1. / 16.),
        ("gemma3", 48, 3840, 16, 256, 1. / 16.),
    ] {
        let sizes = [
            ("embedding_length", d_model),
            ("attention.head_count", heads),
            ("attention.key_length", d_head),
            ("attention.value_length", d_head),
            ("attention.sliding_window", 1024),
            ("context_length", 8192),
        ];
        let config = config_of(architecture, layers, &sizes).unwrap();
        let found = config.score_scale.unwrap();
        assert!((found - scale).abs() < 1e-15, "{architecture} of {layers} layers: {found}");
    }
}

#[test]
fn windows_that_files_leave_out_are_those_of_the_models() {
    let sizes = [("embedding_length", 64), ("attention.head_count", 4), ("context_length", 8192)];
    let config = config_of("gemma2", 4, &sizes).unwrap();
    assert_eq!(config.windows, [Some(4096), None, Some(4096), None]);
    let phi3 = |layers: u32, kv_heads: u32, context: u32| {
        let sizes = [
            ("embedding_length", 640),
            ("attention.head_count", if layers == 40 { 40 } else { 32 }),
            ("attention.head_count_kv", kv_heads),
            ("context_length", context),
        ];
        config_of("phi3", layers, &sizes)
    };
    // Phi-3 mini and medium for short texts, then for long ones.
    for (layers, kv_heads, context, window) in [
        (32, 32, 4096, 2047),
        (40, 10, 4096, 2047),
        (32, 32, 131_072, 262_144),
        (40, 10, 131_072, 131_072),
    ] {
        let config = phi3(layers, kv_heads, context).unwrap();
        assert_eq!(config.windows, vec![Some(window); layers as usize], "{layers}, {context}");
    }
    for (layers, kv_heads, context) in [(32, 8, 131_072), (40, 10, 16_384), (2, 4, 4096)] {
        let message = phi3(layers, kv_heads, context).unwrap_err().to_string();
        assert!(message.contains("phi3.attention.sliding_window"), "{message}");
    }
}
