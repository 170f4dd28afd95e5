//! Checkpoints of every family against a plain evaluation in f64: loops over the tensors of the
//! file, by the formulas of the papers, with nothing of the model's own code.

// Plain loops, as the formulas have their indices.
#![allow(clippy::needless_range_loop)]

mod plain;
mod spellings;
mod today;
mod wild;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};

use crate::model::{Config, Decoder, HookPoint, Hooks, Norm, Position, Rotary, Sampling};
use crate::random::Rng;

/// What a file says, and what the plain evaluation needs to know of it.
struct Case {
    config: Value,
    family: &'static str,
    layers: usize,
    heads: usize,
    kv: usize,
    d: usize,
    hd: usize,
    m: usize,
    eps: f64,
    theta: f64,
    /// Entries of a head that turn.
    turned: usize,
    scaling: fn(f64) -> f64,
    windows: Vec<usize>,
    scale: f64,
    cap: Option<f64>,
    logit_cap: Option<f64>,
    parallel: bool,
    act: fn(f64) -> f64,
    tied: bool,
    qkv_bias: bool,
}

const VOCAB: usize = 11;
const CONTEXT: usize = 16;

fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        let n = f64::from(n);
        term *= -x * x / n;
        sum += term / (2. * n + 1.);
    }
    sum * 2. / std::f64::consts::PI.sqrt()
}

fn silu(x: f64) -> f64 {
    x / (1. + (-x).exp())
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1. + erf(x / 2f64.sqrt()))
}

fn gelu_tanh(x: f64) -> f64 {
    let inner = (2. / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1. + inner.tanh())
}

fn llama3_scaling(f: f64) -> f64 {
    let wavelength = 2. * std::f64::consts::PI / f;
    if wavelength < 12. / 4. {
        f
    } else if wavelength > 12. / 1.5 {
        f / 8.
    } else {
        let s = (12. / wavelength - 1.5) / (4. - 1.5);
        (1. - s) * f / 8. + s * f
    }
}

fn cases() -> Vec<Case> {
    let base = || Case {
        config: Value::Null,
        family: "llama",
        layers: 2,
        heads: 4,
        kv: 2,
        d: 16,
        hd: 4,
        m: 10,
        eps: 0.03,
        theta: 50.,
        turned: 4,
        scaling: |f| f,
        windows: vec![usize::MAX; 2],
        scale: 0.5,
        cap: None,
        logit_cap: None,
        parallel: false,
        act: silu,
        tied: false,
        qkv_bias: false,
    };
    let sizes = |more: Value| -> Value {
        let mut all = json!({
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "hidden_size": 16, "intermediate_size": 10, "vocab_size": VOCAB,
            "max_position_embeddings": CONTEXT, "rms_norm_eps": 0.03, "rope_theta": 50.0,
            "attention_dropout": 0.1, "torch_dtype": "float32",
        });
        for (name, value) in more.as_object().unwrap() {
            match value {
                Value::Null => all.as_object_mut().unwrap().remove(name),
                value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        all
    };
    vec![
        Case {
            config: json!({
                "model_type": "gpt2", "n_layer": 2, "n_head": 4, "n_embd": 16, "n_inner": 10,
                "n_positions": CONTEXT, "vocab_size": VOCAB, "layer_norm_epsilon": 0.03,
                "activation_function": "gelu_new", "attn_pdrop": 0.1,
            }),
            family: "gpt2",
            kv: 4,
            turned: 0,
            act: gelu_tanh,
            tied: true,
            qkv_bias: true,
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "gpt_neox", "num_key_value_heads": null, "rms_norm_eps": null,
                "rope_theta": 50.0, "layer_norm_eps": 0.03, "rotary_emb_base": 50,
                "rotary_pct": 0.5, "hidden_act": "gelu", "use_parallel_residual": true,
            })),
            family: "gpt_neox",
            kv: 4,
            turned: 2,
            parallel: true,
            act: gelu,
            qkv_bias: true,
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "gpt_neox", "num_key_value_heads": null, "rms_norm_eps": null,
                "rope_theta": null, "layer_norm_eps": 0.03, "hidden_act": "gelu_pytorch_tanh",
                "use_parallel_residual": false,
                "rope_parameters": {
                    "rope_theta": 50.0, "rope_type": "linear", "factor": 3.0,
                    "partial_rotary_factor": 1.0,
                },
            })),
            family: "gpt_neox",
            kv: 4,
            scaling: |f| f / 3.,
            act: gelu_tanh,
            qkv_bias: true,
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "llama", "head_dim": 6, "num_key_value_heads": 1,
                "tie_word_embeddings": true, "rope_scaling": {
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.5,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 12,
                },
            })),
            hd: 6,
            kv: 1,
            turned: 6,
            scaling: llama3_scaling,
            scale: 6f64.powf(-0.5),
            tied: true,
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "mistral", "sliding_window": 3, "num_key_value_heads": 4,
            })),
            kv: 4,
            windows: vec![3; 2],
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "qwen2", "sliding_window": 2, "use_sliding_window": true,
                "max_window_layers": 1,
            })),
            windows: vec![usize::MAX, 2],
            qkv_bias: true,
            ..base()
        },
        Case {
            config: sizes(json!({
                "model_type": "gemma2", "head_dim": 6, "query_pre_attn_scalar": 9,
                "sliding_window": 2, "attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0,
                "hidden_activation": "gelu_pytorch_tanh", "hidden_act": "gelu",
            })),
            family: "gemma2",
            hd: 6,
            turned: 6,
            windows: vec![2, usize::MAX],
            scale: 1. / 3.,
            cap: Some(1.5),
            logit_cap: Some(2.),
            act: gelu_tanh,
            tied: true,
            ..base()
        },
    ]
}

type Weights = HashMap<String, Tensor>;

impl Case {
    /// Names and shapes of the file's tensors.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let Self { d, m, hd, heads, kv, .. } = *self;
        let (q, k) = (heads * hd, kv * hd);
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
        let neox = self.family == "gpt_neox";
        for i in 0..self.layers {
            match self.family {
                "gpt2" => {
                    let own = format!("transformer.h.{i}.");
                    for norm in ["ln_1", "ln_2"] {
                        add(format!("{own}{norm}.weight"), &[d]);
                        add(format!("{own}{norm}.bias"), &[d]);
                    }
                    for (name, from, to) in [
                        ("attn.c_attn", d, 3 * d),
                        ("attn.c_proj", d, d),
                        ("mlp.c_fc", d, m),
                        ("mlp.c_proj", m, d),
                    ] {
                        add(format!("{own}{name}.weight"), &[from, to]);
                        add(format!("{own}{name}.bias"), &[to]);
                    }
                    add(format!("{own}attn.bias"), &[1, 1, 3, 3]);
                }
                "gpt_neox" => {
                    let own = format!("gpt_neox.layers.{i}.");
                    for norm in ["input_layernorm", "post_attention_layernorm"] {
                        add(format!("{own}{norm}.weight"), &[d]);
                        add(format!("{own}{norm}.bias"), &[d]);
                    }
                    for (name, from, to) in [
                        ("attention.query_key_value", d, 3 * d),
                        ("attention.dense", d, d),
                        ("mlp.dense_h_to_4h", d, m),
                        ("mlp.dense_4h_to_h", m, d),
                    ] {
                        add(format!("{own}{name}.weight"), &[to, from]);
                        add(format!("{own}{name}.bias"), &[to]);
                    }
                    add(format!("{own}attention.rotary_emb.inv_freq"), &[2]);
                }
                _ => {
                    let own = format!("model.layers.{i}.");
                    let mut norms = vec!["input_layernorm", "post_attention_layernorm"];
                    if self.family == "gemma2" {
                        norms.extend(["pre_feedforward_layernorm", "post_feedforward_layernorm"]);
                    }
                    norms.iter().for_each(|norm| add(format!("{own}{norm}.weight"), &[d]));
                    for (name, from, to) in [
                        ("self_attn.q_proj", d, q),
                        ("self_attn.k_proj", d, k),
                        ("self_attn.v_proj", d, k),
                        ("self_attn.o_proj", q, d),
                        ("mlp.gate_proj", d, m),
                        ("mlp.up_proj", d, m),
                        ("mlp.down_proj", m, d),
                    ] {
                        add(format!("{own}{name}.weight"), &[to, from]);
                        if self.qkv_bias && name.starts_with("self_attn") && !name.contains("o_") {
                            add(format!("{own}{name}.bias"), &[to]);
                        }
                    }
                }
            }
        }
        match self.family {
            "gpt2" => {
                add("transformer.wte.weight".into(), &[VOCAB, d]);
                add("transformer.wpe.weight".into(), &[CONTEXT, d]);
                add("transformer.ln_f.weight".into(), &[d]);
                add("transformer.ln_f.bias".into(), &[d]);
            }
            "gpt_neox" => {
                add("gpt_neox.embed_in.weight".into(), &[VOCAB, d]);
                add("gpt_neox.final_layer_norm.weight".into(), &[d]);
                add("gpt_neox.final_layer_norm.bias".into(), &[d]);
            }
            _ => {
                add("model.embed_tokens.weight".into(), &[VOCAB, d]);
                add("model.norm.weight".into(), &[d]);
            }
        }
        if !self.tied {
            add(if neox { "embed_out.weight" } else { "lm_head.weight" }.into(), &[VOCAB, d]);
        }
        all
    }

    fn weights(&self, seed: u64) -> Weights {
        let mut rng = Rng::seed(seed);
        let mut normal =
            |shape: &[usize]| (rng.normal(shape, &Device::Cpu).unwrap() * 0.4).unwrap();
        self.shapes().into_iter().map(|(name, shape)| (name, normal(&shape))).collect()
    }

    fn write(&self, folder: &Path, weights: &Weights) {
        safetensors::save(weights, folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }

    /// Logits `[positions][vocab]`.
    fn plain(&self, weights: &Weights, tokens: &[u32]) -> Vec<Vec<f64>> {
        let get = |name: &str| -> Vec<f64> {
            let tensor = weights.get(name).unwrap_or_else(|| panic!("{name}"));
            tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        let (d, hd) = (self.d, self.hd);
        let layer_norm = matches!(self.family, "gpt2" | "gpt_neox");
        let norm = |x: &[f64], name: &str| -> Vec<f64> {
            let gain = get(&format!("{name}.weight"));
            let n = x.len() as f64;
            let mean = if layer_norm { x.iter().sum::<f64>() / n } else { 0. };
            let square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            let scale = (square + self.eps).sqrt();
            let bias = if layer_norm { get(&format!("{name}.bias")) } else { vec![0.; x.len()] };
            let one = if self.family == "gemma2" { 1. } else { 0. };
            (0..x.len()).map(|i| (x[i] - mean) / scale * (gain[i] + one) + bias[i]).collect()
        };
        let linear = |x: &[f64], name: &str, outputs: usize| -> Vec<f64> {
            let weight = get(&format!("{name}.weight"));
            let bias = weights.contains_key(&format!("{name}.bias"));
            let bias = if bias { get(&format!("{name}.bias")) } else { vec![0.; outputs] };
            let at = |o: usize, i: usize| match self.family {
                "gpt2" => weight[i * outputs + o],
                _ => weight[o * x.len() + i],
            };
            let dot = |o: usize| (0..x.len()).map(|i| x[i] * at(o, i)).sum::<f64>();
            (0..outputs).map(|o| dot(o) + bias[o]).collect()
        };
        let turn = |head: &[f64], position: usize| -> Vec<f64> {
            let mut out = head.to_vec();
            let r = self.turned;
            for j in 0..r / 2 {
                let f = (self.scaling)(self.theta.powf(-2. * j as f64 / r as f64));
                let (sin, cos) = (position as f64 * f).sin_cos();
                let (a, b) = (head[j], head[j + r / 2]);
                (out[j], out[j + r / 2]) = (a * cos - b * sin, a * sin + b * cos);
            }
            out
        };
        let embed = match self.family {
            "gpt2" => get("transformer.wte.weight"),
            "gpt_neox" => get("gpt_neox.embed_in.weight"),
            _ => get("model.embed_tokens.weight"),
        };
        let factor = if self.family == "gemma2" { (d as f64).sqrt() } else { 1. };
        let mut stream: Vec<Vec<f64>> = tokens
            .iter()
            .map(|token| {
                let row = &embed[*token as usize * d..(*token as usize + 1) * d];
                row.iter().map(|x| x * factor).collect()
            })
            .collect();
        if self.family == "gpt2" {
            let places = get("transformer.wpe.weight");
            for (t, x) in stream.iter_mut().enumerate() {
                (0..d).for_each(|i| x[i] += places[t * d + i]);
            }
        }
        for layer in 0..self.layers {
            let (own, ln1, ln2, out, up, down) = match self.family {
                "gpt2" => (
                    format!("transformer.h.{layer}."),
                    "ln_1",
                    "ln_2",
                    "attn.c_proj",
                    "mlp.c_fc",
                    "mlp.c_proj",
                ),
                "gpt_neox" => (
                    format!("gpt_neox.layers.{layer}."),
                    "input_layernorm",
                    "post_attention_layernorm",
                    "attention.dense",
                    "mlp.dense_h_to_4h",
                    "mlp.dense_4h_to_h",
                ),
                family => (
                    format!("model.layers.{layer}."),
                    "input_layernorm",
                    match family {
                        "gemma2" => "pre_feedforward_layernorm",
                        _ => "post_attention_layernorm",
                    },
                    "self_attn.o_proj",
                    "mlp.up_proj",
                    "mlp.down_proj",
                ),
            };
            // Queries, keys and values of each position, head by head.
            let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
            for (t, x) in stream.iter().enumerate() {
                let x = norm(x, &format!("{own}{ln1}"));
                let part = |all: &[f64], start: usize| all[start..start + hd].to_vec();
                let (mut qs, mut ks, mut vs) = (Vec::new(), Vec::new(), Vec::new());
                match self.family {
                    "gpt2" => {
                        let all = linear(&x, &format!("{own}attn.c_attn"), 3 * d);
                        for h in 0..self.heads {
                            qs.push(part(&all, h * hd));
                            ks.push(part(&all, d + h * hd));
                            vs.push(part(&all, 2 * d + h * hd));
                        }
                    }
                    "gpt_neox" => {
                        let all = linear(&x, &format!("{own}attention.query_key_value"), 3 * d);
                        for h in 0..self.heads {
                            qs.push(part(&all, 3 * h * hd));
                            ks.push(part(&all, (3 * h + 1) * hd));
                            vs.push(part(&all, (3 * h + 2) * hd));
                        }
                    }
                    _ => {
                        let proj = |name: &str, heads: usize| {
                            let name = format!("{own}self_attn.{name}_proj");
                            let all = linear(&x, &name, heads * hd);
                            (0..heads).map(|h| part(&all, h * hd)).collect::<Vec<_>>()
                        };
                        qs = proj("q", self.heads);
                        ks = proj("k", self.kv);
                        vs = proj("v", self.kv);
                    }
                }
                q.push(qs.iter().map(|q| turn(q, t)).collect::<Vec<_>>());
                k.push(ks.iter().map(|k| turn(k, t)).collect::<Vec<_>>());
                v.push(vs);
            }
            let mut next = Vec::new();
            for (t, x) in stream.iter().enumerate() {
                let mut z = Vec::new();
                for h in 0..self.heads {
                    let g = h / (self.heads / self.kv);
                    let score = |s: usize| {
                        let dot: f64 = (0..hd).map(|i| q[t][h][i] * k[s][g][i]).sum();
                        let score = dot * self.scale;
                        self.cap.map_or(score, |cap| cap * (score / cap).tanh())
                    };
                    let seen = |s: &usize| *s <= t && t - *s < self.windows[layer];
                    let seen: Vec<usize> = (0..tokens.len()).filter(seen).collect();
                    let sum: f64 = seen.iter().map(|s| score(*s).exp()).sum();
                    for i in 0..hd {
                        let mix = |s: &usize| score(*s).exp() / sum * v[*s][g][i];
                        z.push(seen.iter().map(mix).sum::<f64>());
                    }
                }
                let mut attention = linear(&z, &format!("{own}{out}"), d);
                if self.family == "gemma2" {
                    attention = norm(&attention, &format!("{own}post_attention_layernorm"));
                }
                let mid: Vec<f64> = (0..d).map(|i| x[i] + attention[i]).collect();
                let read = if self.parallel { x } else { &mid };
                let input = norm(read, &format!("{own}{ln2}"));
                let mut hidden = linear(&input, &format!("{own}{up}"), self.m);
                if layer_norm {
                    hidden.iter_mut().for_each(|x| *x = (self.act)(*x));
                } else {
                    let gate = linear(&input, &format!("{own}mlp.gate_proj"), self.m);
                    hidden.iter_mut().zip(gate).for_each(|(x, gate)| *x *= (self.act)(gate));
                }
                let mut mlp = linear(&hidden, &format!("{own}{down}"), d);
                if self.family == "gemma2" {
                    mlp = norm(&mlp, &format!("{own}post_feedforward_layernorm"));
                }
                next.push((0..d).map(|i| mid[i] + mlp[i]).collect());
            }
            stream = next;
        }
        let (last, unembed) = match self.family {
            "gpt2" => ("transformer.ln_f", "transformer.wte.weight"),
            "gpt_neox" => ("gpt_neox.final_layer_norm", "embed_out.weight"),
            _ => ("model.norm", "lm_head.weight"),
        };
        let unembed = if self.tied { embed } else { get(unembed) };
        let logits = |x: &Vec<f64>| -> Vec<f64> {
            let x = norm(x, last);
            let dot = |o: usize| (0..d).map(|i| x[i] * unembed[o * d + i]).sum::<f64>();
            let cap = |x: f64| self.logit_cap.map_or(x, |cap| cap * (x / cap).tanh());
            (0..VOCAB).map(|o| cap(dot(o))).collect()
        };
        stream.iter().map(logits).collect()
    }
}

fn load(folder: &Path, dtype: DType) -> crate::Result<Decoder> {
    Decoder::from_pretrained_as(folder.to_str().unwrap(), &Device::Cpu, dtype)
}

fn gap(a: &Tensor, b: &Tensor) -> f64 {
    let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
    (wide(a) - wide(b)).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

const TOKENS: [u32; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 10];

#[test]
fn every_family_is_its_formulas() {
    for (i, case) in cases().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let weights = case.weights(i as u64);
        case.write(folder.path(), &weights);
        let expected = Tensor::new(case.plain(&weights, &TOKENS), &Device::Cpu).unwrap();
        let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
        let model = load(folder.path(), DType::F64).unwrap();
        let found = model.logits(&tokens).unwrap().get(0).unwrap();
        assert!(gap(&found, &expected) < 1e-10, "{}", case.config);
        // With a hook inside the attention and the MLP, other code runs.
        let hooks = Hooks::new().capture_all(model.points());
        let found = model.run(&tokens, &hooks).unwrap().0.get(0).unwrap();
        assert!(gap(&found, &expected) < 1e-10, "hooked {}", case.config);
        let narrow = load(folder.path(), DType::F32).unwrap();
        let found = narrow.logits(&tokens).unwrap().get(0).unwrap();
        assert_eq!(found.dtype(), DType::F32);
        assert!(gap(&found, &expected) < 5e-5, "f32 {}", case.config);
        // Attention forgets nothing of what it keeps, token by token and several at a time.
        for step in [1, 4] {
            let mut past = crate::model::past::Past::default();
            for start in (0..TOKENS.len()).step_by(step) {
                let end = (start + step).min(TOKENS.len());
                let part = &TOKENS[start..end];
                let found = model.next_logits(part, &mut past, &Hooks::new()).unwrap();
                let own = expected.get(end - 1).unwrap();
                assert!(gap(&found, &own) < 1e-10, "kept {}", case.config);
            }
        }
        let matrix = model.ov(1, 3).unwrap();
        assert_eq!(matrix.dims(), [case.d, case.d]);
        assert!(model.summary().parameters() > 0);
    }
}

#[test]
fn generation_is_the_same_with_and_without_what_is_kept() {
    for (i, case) in cases().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), &case.weights(i as u64));
        let model = load(folder.path(), DType::F64).unwrap();
        let greedy = Sampling { temperature: 0., ..Sampling::default() };
        let kept = model.generate_tokens(&TOKENS[..3], 10, greedy).unwrap();
        let mut all = TOKENS[..3].to_vec();
        for _ in 0..10 {
            let logits = model.logits(&Tensor::new(&*all, &Device::Cpu).unwrap()).unwrap();
            let last = logits.get(0).unwrap().get(all.len() - 1).unwrap();
            all.push(last.argmax(0).unwrap().to_scalar::<u32>().unwrap());
        }
        assert_eq!(kept, all, "{}", case.config);
        assert!(model.generate_tokens(&TOKENS[..3], CONTEXT, greedy).is_err());
    }
}

#[test]
fn hooks_that_cannot_fire_say_why() {
    for case in cases() {
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), &case.weights(0));
        let model = load(folder.path(), DType::F32).unwrap();
        let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
        let plain = ["gpt2", "gpt_neox"].contains(&case.family);
        let never = [
            (HookPoint::PosEmbed, case.family != "gpt2", "learned positions"),
            (HookPoint::RotQ(0), case.family == "gpt2", "rotary"),
            (HookPoint::ResidMid(1), case.parallel, "parallel residual"),
            (HookPoint::Ln1PostScale(0), case.family != "gemma2", "norms of outputs"),
            (HookPoint::MlpPreLinear(0), plain, "gated"),
            (HookPoint::ResidPost(2), true, "below 2"),
        ];
        for (point, refused, reason) in never {
            let result = model.run(&tokens, &Hooks::new().capture(point));
            assert_eq!(result.is_err(), refused, "{point} {}", case.config);
            if let Err(error) = result {
                let message = error.to_string();
                assert!(message.contains("never fires") && message.contains(reason), "{message}");
            }
        }
        let resid = model.activations(&tokens, &[HookPoint::ResidPre(1)]).unwrap();
        let resid = resid.get(HookPoint::ResidPre(1)).unwrap();
        let early = Hooks::new().capture(HookPoint::Z(0));
        let message = model.run_from(1, resid, &early).unwrap_err().to_string();
        assert!(message.contains("layer 1"), "{message}");
        let rest = model.run_from(1, resid, &Hooks::new()).unwrap().0;
        assert!(gap(&rest, &model.logits(&tokens).unwrap()) < 1e-5);
    }
}

#[test]
fn what_a_config_says_wrong_or_unknown_is_named() {
    let all = cases();
    let of = |family: &str| all.iter().find(|case| case.config["model_type"] == family).unwrap();
    let message = |family: &str, name: &str, value: Value| {
        let case = of(family);
        let folder = tempfile::tempdir().unwrap();
        case.write(folder.path(), &case.weights(0));
        let mut config = case.config.clone();
        match value {
            Value::Null => config.as_object_mut().unwrap().remove(name),
            value => config.as_object_mut().unwrap().insert(name.to_owned(), value),
        };
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        load(folder.path(), DType::F32).map(|_| ()).unwrap_err().to_string()
    };
    let other = json!({"rope_type": "mrope", "factor": 4.0});
    let more = json!({"rope_type": "linear", "factor": 4.0, "beta": 1.0});
    for (family, name, value, expected) in [
        ("llama", "model_type", json!("gptj"), "gptj"),
        ("llama", "rope_scaling", other, "\"mrope\""),
        ("llama", "rope_scaling", more, "also `rope_scaling.beta`"),
        ("llama", "rope_scaling", json!({"rope_type": "linear"}), "`factor`"),
        ("llama", "rope_parameters", json!({"rope_theta": 7.0}), "rope_scaling"),
        ("mistral", "rope_parameters", json!({"rope_theta": 7.0}), "one value of `rope_theta`"),
        ("gpt_neox", "rope_theta", json!(7.0), "one value of `rope_theta`"),
        ("mistral", "partial_rotary_factor", json!(0.5), "all 4 entries"),
        ("llama", "qk_norm", json!(true), "also `qk_norm`"),
        ("llama", "quantization_config", json!({"bits": 4}), "`quantization_config`"),
        ("llama", "hidden_act", json!("quick_gelu"), "quick_gelu"),
        ("llama", "num_key_value_heads", json!(3), "a multiple of the 3"),
        ("llama", "hidden_size", Value::Null, "the field `hidden_size`"),
        ("llama", "hidden_size", json!(18), "model.embed_tokens.weight"),
        ("llama", "tie_word_embeddings", json!(false), "lm_head.weight"),
        ("llama", "num_hidden_layers", json!(3), "model.layers.2.input_layernorm.weight"),
        ("llama", "num_hidden_layers", json!(1), "also `model.layers.1"),
        ("llama", "attention_bias", json!(true), "self_attn.q_proj.bias"),
        ("gpt_neox", "rotary_pct", json!(1.5), "between 0 and 1"),
        ("gemma2", "head_dim", Value::Null, "head_dim"),
        ("gemma2", "layer_types", json!(["full_attention"]), "each of 2 layers"),
        ("gemma2", "use_bidirectional_attention", json!(true), "use_bidirectional_attention"),
        ("qwen2", "layer_types", json!(["full_attention", "odd"]), "layer_types"),
    ] {
        let found = message(family, name, value);
        assert!(found.contains(expected) && found.contains("not usable"), "{expected}: {found}");
    }
}

#[test]
fn several_files_are_one_and_what_is_wrong_with_them_is_named() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let weights = case.weights(7);
    case.write(path, &weights);
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let whole = load(path, DType::F32).unwrap().logits(&tokens).unwrap();
    fs::remove_file(path.join("model.safetensors")).unwrap();
    let message = || load(path, DType::F32).map(|_| ()).unwrap_err().to_string();
    assert!(message().contains("model.safetensors"));

    let mut names: Vec<&String> = weights.keys().collect();
    names.sort();
    let (first, second) = names.split_at(names.len() / 2);
    let mut places = serde_json::Map::new();
    for (file, names) in [("a.safetensors", first), ("b.safetensors", second)] {
        let own: Weights = names.iter().map(|n| ((*n).clone(), weights[*n].clone())).collect();
        safetensors::save(&own, path.join(file)).unwrap();
        places.extend(names.iter().map(|name| ((*name).clone(), Value::from(file))));
    }
    let index = path.join("model.safetensors.index.json");
    let write = |places: &serde_json::Map<String, Value>| {
        fs::write(&index, json!({"weight_map": places}).to_string()).unwrap();
    };
    write(&places);
    let found = load(path, DType::F32).unwrap().logits(&tokens).unwrap();
    assert_eq!(gap(&found, &whole), 0.);

    let mut wrong = places.clone();
    wrong.insert(first[0].clone(), Value::from("b.safetensors"));
    write(&wrong);
    assert!(message().contains(first[0]), "{}", message());
    wrong.remove(first[0]);
    write(&wrong);
    assert!(message().contains(first[0]), "{}", message());
    wrong.insert(first[0].clone(), Value::from("../a.safetensors"));
    write(&wrong);
    assert!(message().contains("the name of a file"), "{}", message());
    fs::write(&index, "{}").unwrap();
    assert!(message().contains("weight_map"), "{}", message());

    write(&places);
    let bytes = fs::read(path.join("b.safetensors")).unwrap();
    fs::write(path.join("b.safetensors"), &bytes[..bytes.len() - 3]).unwrap();
    assert!(message().contains("b.safetensors"), "{}", message());
    fs::remove_file(path.join("b.safetensors")).unwrap();
    assert!(message().contains("b.safetensors"), "{}", message());
}

#[test]
fn a_second_unembedding_must_be_the_embedding() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let mut weights = case.weights(7);
    let embed = weights["model.embed_tokens.weight"].clone();
    weights.insert("lm_head.weight".to_owned(), embed.clone());
    case.write(folder.path(), &weights);
    load(folder.path(), DType::F32).unwrap();
    weights.insert("lm_head.weight".to_owned(), (embed * 2.).unwrap());
    case.write(folder.path(), &weights);
    let message = load(folder.path(), DType::F32).unwrap_err().to_string();
    assert!(message.contains("`lm_head.weight` equal to the embedding"), "{message}");
}

#[test]
fn tensors_of_ones_own_make_a_llama() {
    let case = cases().remove(4);
    let weights = case.weights(2);
    let config = Config {
        vocab: VOCAB,
        context: CONTEXT,
        norm: Norm::RmsGain { eps: case.eps },
        position: Position::Rotary(Rotary::new(case.theta)),
        windows: vec![Some(3); 2],
        ..Config::llama(2, 4, 16, 10)
    };
    let model = |config: &Config| {
        Decoder::from_llama_tensors(config.clone(), |name, shape| {
            let found = weights.get(name).filter(|tensor| tensor.dims() == shape);
            let missing = || crate::Error::shape(name, format!("{shape:?}"), "another");
            Ok(found.ok_or_else(missing)?.clone())
        })
    };
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let found = model(&config).unwrap().logits(&tokens).unwrap().get(0).unwrap();
    let expected = Tensor::new(case.plain(&weights, &TOKENS), &Device::Cpu).unwrap();
    assert!(gap(&found, &expected) < 5e-5);
    let wrong = Config { heads: 3, ..config.clone() };
    assert!(model(&wrong).unwrap_err().to_string().contains("3 heads"));
    let wrong = Config { d_hidden: 9, ..config };
    assert!(model(&wrong).unwrap_err().to_string().contains("gate_proj"));
}

#[test]
fn half_precision_files_widen_and_models_narrow() {
    let case = &cases()[3];
    let folder = tempfile::tempdir().unwrap();
    let half: Weights = case
        .weights(7)
        .into_iter()
        .map(|(name, tensor)| (name, tensor.to_dtype(DType::BF16).unwrap()))
        .collect();
    case.write(folder.path(), &half);
    let tokens = Tensor::new(&TOKENS, &Device::Cpu).unwrap();
    let model = load(folder.path(), DType::F32).unwrap();
    let expected = Tensor::new(case.plain(&half, &TOKENS), &Device::Cpu).unwrap();
    assert!(gap(&model.logits(&tokens).unwrap().get(0).unwrap(), &expected) < 5e-5);
    let narrow = load(folder.path(), DType::BF16).unwrap();
    assert_eq!((model.dtype(), narrow.dtype()), (DType::F32, DType::BF16));
    assert!(load(folder.path(), DType::U8).is_err());
    let message = model.save(folder.path()).unwrap_err().to_string();
    assert!(message.contains("bilinear"), "{message}");
}
