//! Names and shapes of the tensors of a file, and its two files.

use std::fs;
use std::path::Path;

use candle_core::safetensors;

use super::super::{CONTEXT, VOCAB, normal};
use super::{FirstCase, FirstWeights};

impl FirstCase {
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

    pub(super) fn weights(&self, seed: u64) -> FirstWeights {
        normal(self.shapes(), seed).collect()
    }

    pub(super) fn write(&self, folder: &Path, weights: &FirstWeights) {
        safetensors::save(weights, folder.join("model.safetensors")).unwrap();
        fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
    }
}
