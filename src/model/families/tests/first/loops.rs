//! The logits, by loops over the tensors of the file in f64.

use candle_core::DType;

use super::{FirstCase, FirstWeights, VOCAB};

impl FirstCase {
    /// Logits `[positions][vocab]`.
    pub(super) fn plain(&self, weights: &FirstWeights, tokens: &[u32]) -> Vec<Vec<f64>> {
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
