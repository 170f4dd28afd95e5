//! GPT-2, GPT-NeoX, Llama, Mistral, Qwen-2 and Gemma 2 against a plain evaluation in f64.

mod faults;
mod files;
mod loops;
mod shapes;

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::{CONTEXT, TOKENS, VOCAB, assert_logits, gap, gelu, gelu_tanh, load, silu};
use crate::model::{HookPoint, Hooks, Sampling};

/// What a file says, and what the plain evaluation needs to know of it.
struct FirstCase {
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

type FirstWeights = HashMap<String, Tensor>;

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

fn cases() -> Vec<FirstCase> {
    let base = || FirstCase {
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
        FirstCase {
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
        FirstCase {
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
        FirstCase {
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
        FirstCase {
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
        FirstCase {
            config: sizes(json!({
                "model_type": "mistral", "sliding_window": 3, "num_key_value_heads": 4,
            })),
            kv: 4,
            windows: vec![3; 2],
            ..base()
        },
        FirstCase {
            config: sizes(json!({
                "model_type": "qwen2", "sliding_window": 2, "use_sliding_window": true,
                "max_window_layers": 1,
            })),
            windows: vec![usize::MAX, 2],
            qkv_bias: true,
            ..base()
        },
        FirstCase {
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

#[test]
fn every_family_is_its_formulas() {
    for (i, case) in cases().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let weights = case.weights(i as u64);
        case.write(folder.path(), &weights);
        let model = assert_logits(folder.path(), case.plain(&weights, &TOKENS), 5e-5, true);
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
