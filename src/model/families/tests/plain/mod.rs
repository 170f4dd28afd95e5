//! GPT-Neo, OPT, StarCoder 2 and TransformerLens's own checkpoints against a plain evaluation in
//! f64. Weights are drawn under plain names, `[outputs, inputs]`, and each family's files are
//! written from them, so that the loops know nothing of files.

mod files;
mod loops;
mod refused;
mod torch;

use std::collections::HashMap;

use candle_core::Tensor;
use serde_json::{Value, json};

use super::{CONTEXT, TOKENS, VOCAB, assert_logits, gap, gelu, gelu_tanh, load, normal};

use files::PlainNames;

/// Width of the stream.
const D: usize = 16;
const HEADS: usize = 4;
/// Width of the MLPs' hidden layer.
const M: usize = 10;
const LAYERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq)]
enum PlainNorm {
    None,
    Layer,
    Rms,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum PlainPosition {
    /// Added to the stream; position p has row p + this.
    Learned(usize),
    /// Added to what queries and keys read.
    Shortformer,
    /// With this base.
    Rotary(f64),
}

/// From what the input map gives to what the output map reads.
type Neurons = fn(&[f64]) -> Vec<f64>;

/// What a file says, and what the loops need to know of it.
struct PlainCase {
    config: Value,
    names: PlainNames,
    /// Whether files have what TransformerLens has: matrices `[inputs, outputs]`, heads apart.
    turned: bool,
    kv: usize,
    hd: usize,
    norm: PlainNorm,
    eps: f64,
    position: PlainPosition,
    scale: f64,
    windows: [usize; LAYERS],
    qkv_bias: bool,
    /// Whether the other maps have biases.
    bias: bool,
    /// The MLP's activation, if there is an MLP.
    act: Option<Neurons>,
    /// Whether a LayerNorm follows the activation.
    mlp_norm: bool,
    tied: bool,
    unembed_bias: bool,
}

type PlainWeights = HashMap<String, Tensor>;

fn relu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.max(0.)).collect()
}

fn each_gelu(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| gelu(*x)).collect()
}

fn each_gelu_tanh(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| gelu_tanh(*x)).collect()
}

fn solu(x: &[f64]) -> Vec<f64> {
    let sum: f64 = x.iter().map(|x| x.exp()).sum();
    x.iter().map(|x| x * x.exp() / sum).collect()
}

fn gpt_neo() -> PlainCase {
    PlainCase {
        config: json!({
            "model_type": "gpt_neo", "num_layers": 2, "num_heads": 4, "hidden_size": 16,
            "intermediate_size": 10, "max_position_embeddings": CONTEXT, "vocab_size": VOCAB,
            "layer_norm_epsilon": 0.03, "activation_function": "gelu_new", "window_size": 3,
            "attention_types": [[["global", "local"], 1]], "embed_dropout": 0.1,
        }),
        names: files::GPT_NEO,
        turned: false,
        kv: HEADS,
        hd: 4,
        norm: PlainNorm::Layer,
        eps: 0.03,
        position: PlainPosition::Learned(0),
        scale: 1.,
        windows: [usize::MAX, 3],
        qkv_bias: false,
        bias: true,
        act: Some(each_gelu_tanh),
        mlp_norm: false,
        tied: true,
        unembed_bias: false,
    }
}

fn opt() -> PlainCase {
    PlainCase {
        config: json!({
            "model_type": "opt", "num_hidden_layers": 2, "num_attention_heads": 4,
            "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 10, "vocab_size": VOCAB,
            "max_position_embeddings": CONTEXT, "do_layer_norm_before": true, "prefix": "</s>",
        }),
        names: files::OPT,
        eps: 1e-5,
        position: PlainPosition::Learned(2),
        scale: 0.5,
        windows: [usize::MAX; 2],
        qkv_bias: true,
        act: Some(relu),
        ..gpt_neo()
    }
}

fn starcoder2() -> PlainCase {
    PlainCase {
        config: json!({
            "model_type": "starcoder2", "num_hidden_layers": 2, "num_attention_heads": 4,
            "hidden_size": 16, "intermediate_size": 10, "vocab_size": VOCAB, "rope_theta": 50.0,
            "max_position_embeddings": CONTEXT, "norm_epsilon": 0.03, "layer_norm_epsilon": 7.0,
            "hidden_act": "gelu_pytorch_tanh", "activation_function": "gelu", "sliding_window": 3,
            "norm_type": "layer_norm", "mlp_type": "default", "scale_attn_weights": true,
        }),
        names: files::STARCODER2,
        kv: 2,
        eps: 0.03,
        position: PlainPosition::Rotary(50.),
        windows: [3; 2],
        act: Some(each_gelu_tanh),
        ..opt()
    }
}

fn transformer_lens() -> PlainCase {
    PlainCase {
        config: json!({
            "n_layers": 2, "n_heads": 4, "d_head": 6, "d_model": 16, "d_mlp": 10, "n_ctx": CONTEXT,
            "d_vocab": VOCAB, "act_fn": "solu_ln", "attn_only": false, "normalization": "LN",
            "shortformer_pos": false, "ln_eps": 1e-5, "lr_hidden": 0.002, "neuron_scale": 1.0,
        }),
        names: files::TRANSFORMER_LENS,
        turned: true,
        hd: 6,
        position: PlainPosition::Learned(0),
        scale: 6f64.powf(-0.5),
        act: Some(solu),
        mlp_norm: true,
        tied: false,
        ..opt()
    }
}

/// One of each family, and its config and the tensors of its file.
pub(super) fn checkpoints() -> Vec<(Value, Vec<(String, Tensor)>)> {
    [gpt_neo(), opt(), starcoder2(), transformer_lens()]
        .into_iter()
        .map(|case| (case.config.clone(), case.in_file(&case.weights(4))))
        .collect()
}

/// Every family, with the parts in which its members differ.
fn cases() -> Vec<PlainCase> {
    let with = |case: PlainCase, more: Value| {
        let mut config = case.config;
        let more = more.as_object().unwrap().clone();
        more.into_iter().for_each(|(name, value)| config[name] = value);
        PlainCase { config, ..case }
    };
    let galactica = json!({
        "enable_bias": false, "activation_function": "gelu", "tie_word_embeddings": false,
    });
    let without_window = json!({
        "use_bias": false, "sliding_window": null, "tie_word_embeddings": false,
        "num_key_value_heads": 1, "head_dim": 6,
    });
    let shortformer = json!({
        "attn_only": true, "normalization": null, "shortformer_pos": true, "act_fn": "gelu",
    });
    let spelt_by_the_library = json!({
        "act_fn": "relu", "normalization": "RMS", "eps": 1e-5, "use_attn_scale": false,
        "positional_embedding_type": "standard", "attention_dir": "causal", "d_vocab_out": -1,
        "attn_scores_soft_cap": -1.0, "gated_mlp": false, "n_key_value_heads": null,
    });
    let bare = |case: PlainCase| PlainCase { qkv_bias: false, bias: false, tied: false, ..case };
    let plain = |case: PlainCase| PlainCase { mlp_norm: false, ..case };
    vec![
        gpt_neo(),
        opt(),
        PlainCase { act: Some(each_gelu), ..bare(with(opt(), galactica)) },
        starcoder2(),
        PlainCase {
            kv: 1,
            hd: 6,
            scale: 6f64.powf(-0.5),
            windows: [usize::MAX; 2],
            ..bare(with(starcoder2(), without_window))
        },
        transformer_lens(),
        PlainCase {
            act: Some(each_gelu),
            ..plain(with(transformer_lens(), json!({ "act_fn": "gelu" })))
        },
        PlainCase {
            norm: PlainNorm::None,
            position: PlainPosition::Shortformer,
            act: None,
            unembed_bias: true,
            ..plain(with(transformer_lens(), shortformer))
        },
        PlainCase {
            norm: PlainNorm::Rms,
            scale: 1.,
            act: Some(relu),
            ..plain(with(transformer_lens(), spelt_by_the_library))
        },
    ]
}

impl PlainCase {
    /// Plain names and shapes of the weights.
    fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let (q, kv) = (HEADS * self.hd, self.kv * self.hd);
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        let mut add = |is_there: bool, name: String, shape: &[usize]| {
            if is_there {
                all.push((name, shape.to_vec()));
            }
        };
        let (gain, shift) = (self.norm != PlainNorm::None, self.norm == PlainNorm::Layer);
        let first = if let PlainPosition::Learned(first) = self.position { first } else { 0 };
        let learned = !matches!(self.position, PlainPosition::Rotary(_));
        add(true, "embed".into(), &[VOCAB, D]);
        add(learned, "positions".into(), &[CONTEXT + first, D]);
        for i in 0..LAYERS {
            let mlp = self.act.is_some();
            for (norm, is_there) in [("ln1", true), ("ln2", mlp)] {
                add(gain && is_there, format!("{i}.{norm}"), &[D]);
                add(shift && is_there, format!("{i}.{norm}_bias"), &[D]);
            }
            for (map, rows) in [("q", q), ("k", kv), ("v", kv)] {
                add(true, format!("{i}.{map}"), &[rows, D]);
                add(self.qkv_bias, format!("{i}.{map}_bias"), &[rows]);
            }
            let maps = [("out", D, q, true), ("in", M, D, mlp), ("proj", D, M, mlp)];
            for (map, rows, columns, is_there) in maps {
                add(is_there, format!("{i}.{map}"), &[rows, columns]);
                add(is_there && self.bias, format!("{i}.{map}_bias"), &[rows]);
            }
            add(self.mlp_norm, format!("{i}.mid"), &[M]);
            add(self.mlp_norm, format!("{i}.mid_bias"), &[M]);
        }
        add(gain, "final".into(), &[D]);
        add(shift, "final_bias".into(), &[D]);
        add(!self.tied, "unembed".into(), &[VOCAB, D]);
        add(self.unembed_bias, "unembed_bias".into(), &[VOCAB]);
        all
    }

    fn weights(&self, seed: u64) -> PlainWeights {
        normal(self.shapes(), seed).collect()
    }
}

#[test]
fn every_family_is_its_formulas() {
    for (i, case) in cases().iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let weights = case.weights(i as u64);
        case.write(folder.path(), &weights);
        assert_logits(folder.path(), case.logits(&weights, &TOKENS), 5e-5, true);
    }
}
