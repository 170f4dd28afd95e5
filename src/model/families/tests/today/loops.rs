//! The evaluation: loops over numbers, with nothing of the model's own code.

// Plain loops, as the formulas have their indices.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use candle_core::DType;

use super::{D, EPS, HEADS, M, TodayCase, TodayWeights, VOCAB};

impl TodayCase {
    /// The head at a position, its first entries turned.
    fn turned(&self, head: &[f64], position: usize, layer: usize) -> Vec<f64> {
        let (frequencies, amplitude) = &self.turns[layer];
        let (mut out, half) = (head.to_vec(), frequencies.len());
        for (j, f) in frequencies.iter().enumerate() {
            let (sin, cos) = (position as f64 * f).sin_cos();
            let (a, b) = (head[j], head[j + half]);
            out[j] = (a * cos - b * sin) * amplitude;
            out[j + half] = (b * cos + a * sin) * amplitude;
        }
        out
    }

    /// Logits `[positions][vocab]`.
    pub(super) fn logits(&self, weights: &TodayWeights, tokens: &[u32]) -> Vec<Vec<f64>> {
        let find = |name: &str| -> Option<Vec<f64>> {
            let wide = weights.get(name)?.to_dtype(DType::F64).unwrap();
            Some(wide.flatten_all().unwrap().to_vec1().unwrap())
        };
        let get = |name: &str| find(name).unwrap_or_else(|| panic!("{name}"));
        let norm = |x: &[f64], name: &str| -> Vec<f64> {
            let gain = get(&format!("{name}.weight"));
            let square = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
            let scale = (square + EPS).sqrt();
            (0..x.len()).map(|i| x[i] / scale * (gain[i] + self.one)).collect()
        };
        let map = |x: &[f64], name: &str, rows: Range<usize>| -> Vec<f64> {
            let (weight, bias) = (get(&format!("{name}.weight")), find(&format!("{name}.bias")));
            let dot = |o: usize| (0..x.len()).map(|i| weight[o * x.len() + i] * x[i]).sum::<f64>();
            rows.map(|o| dot(o) + bias.as_ref().map_or(0., |bias| bias[o])).collect()
        };
        let sum = |a: &[f64], b: &[f64]| -> Vec<f64> {
            (0..D).map(|i| a[i] + self.residual_scale * b[i]).collect()
        };
        let (hd, q_width, kv_width) = (self.hd, HEADS * self.hd, self.kv * self.hd);
        let prefix = self.prefix;
        let embed = get(&format!("{prefix}embed_tokens.weight"));
        let row = |token: &u32| -> Vec<f64> {
            let row = &embed[*token as usize * D..(*token as usize + 1) * D];
            row.iter().map(|x| x * self.embed_scale).collect()
        };
        let mut stream: Vec<Vec<f64>> = tokens.iter().map(row).collect();
        for layer in 0..self.layers() {
            let own = |part: &str| format!("{prefix}layers.{layer}.{part}");
            let heads = |x: &[f64], name: &str, start: usize, width: usize| -> Vec<f64> {
                match self.fused {
                    true => map(x, &own("self_attn.qkv_proj"), start..start + width),
                    false => map(x, &own(&format!("self_attn.{name}_proj")), 0..width),
                }
            };
            let normed = |x: Vec<f64>, name: &str, position: usize| -> Vec<Vec<f64>> {
                let name = own(&format!("self_attn.{name}_norm"));
                let x = match self.qk_norm {
                    None => x,
                    Some(true) => norm(&x, &name),
                    Some(false) => x.chunks(hd).flat_map(|head| norm(head, &name)).collect(),
                };
                x.chunks(hd).map(|head| self.turned(head, position, layer)).collect()
            };
            let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
            for (t, x) in stream.iter().enumerate() {
                let x = if self.pre_norms { norm(x, &own("input_layernorm")) } else { x.clone() };
                q.push(normed(heads(&x, "q", 0, q_width), "q", t));
                k.push(normed(heads(&x, "k", q_width, kv_width), "k", t));
                let values = heads(&x, "v", q_width + kv_width, kv_width);
                v.push(values.chunks(hd).map(<[f64]>::to_vec).collect::<Vec<_>>());
            }
            let mut next = Vec::new();
            for (t, x) in stream.iter().enumerate() {
                let mut z = Vec::new();
                for h in 0..HEADS {
                    let g = h / (HEADS / self.kv);
                    let score = |s: usize| {
                        self.score_scale * (0..hd).map(|i| q[t][h][i] * k[s][g][i]).sum::<f64>()
                    };
                    let seen: Vec<usize> =
                        (0..=t).filter(|s| t - *s < self.windows[layer]).collect();
                    let all: f64 = seen.iter().map(|s| score(*s).exp()).sum();
                    for i in 0..hd {
                        let mix = |s: &usize| score(*s).exp() / all * v[*s][g][i];
                        z.push(seen.iter().map(mix).sum::<f64>());
                    }
                }
                let mut attention = map(&z, &own("self_attn.o_proj"), 0..D);
                if self.post_norms {
                    attention = norm(&attention, &own("post_attention_layernorm"));
                }
                let mid = sum(x, &attention);
                let input = match (self.pre_norms, self.post_norms) {
                    (false, _) => mid.clone(),
                    (true, true) => norm(&mid, &own("pre_feedforward_layernorm")),
                    (true, false) => norm(&mid, &own("post_attention_layernorm")),
                };
                let (gate, up) = match self.fused {
                    true => {
                        let name = own("mlp.gate_up_proj");
                        (map(&input, &name, 0..M), map(&input, &name, M..2 * M))
                    }
                    false => (
                        map(&input, &own("mlp.gate_proj"), 0..M),
                        map(&input, &own("mlp.up_proj"), 0..M),
                    ),
                };
                let hidden: Vec<f64> = (0..M).map(|i| (self.act)(gate[i]) * up[i]).collect();
                let mut mlp = map(&hidden, &own("mlp.down_proj"), 0..D);
                if self.post_norms {
                    mlp = norm(&mlp, &own("post_feedforward_layernorm"));
                }
                next.push(sum(&mid, &mlp));
            }
            stream = next;
        }
        let unembed = if self.tied { embed } else { get("lm_head.weight") };
        let logits = |x: &Vec<f64>| -> Vec<f64> {
            let x = norm(x, &format!("{prefix}norm"));
            let dot = |o: usize| (0..D).map(|i| x[i] * unembed[o * D + i]).sum::<f64>();
            (0..VOCAB).map(|o| dot(o) * self.logit_scale).collect()
        };
        stream.iter().map(logits).collect()
    }
}
