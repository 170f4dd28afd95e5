//! The evaluation: loops over numbers, with nothing of the model's own code.

// Plain loops, as the formulas have their indices.
#![allow(clippy::needless_range_loop)]

use candle_core::DType;

use super::{D, HEADS, LAYERS, M, PlainCase, PlainNorm, PlainPosition, PlainWeights, VOCAB};

/// `c ∘ gain / √(mean(c²) + eps) + bias`, `c` without its mean for a LayerNorm.
fn normed(norm: PlainNorm, x: &[f64], eps: f64, gain: &[f64], bias: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = if norm == PlainNorm::Layer { x.iter().sum::<f64>() / n } else { 0. };
    let square = x.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let scale = (square + eps).sqrt();
    (0..x.len()).map(|i| (x[i] - mean) / scale * gain[i] + bias[i]).collect()
}

fn turn(head: &[f64], position: usize, base: f64) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = head.to_vec();
    for j in 0..half {
        let f = base.powf(-2. * j as f64 / head.len() as f64);
        let (sin, cos) = (position as f64 * f).sin_cos();
        let (a, b) = (head[j], head[j + half]);
        (out[j], out[j + half]) = (a * cos - b * sin, a * sin + b * cos);
    }
    out
}

impl PlainCase {
    /// Logits `[positions][vocab]`.
    pub(super) fn logits(&self, weights: &PlainWeights, tokens: &[u32]) -> Vec<Vec<f64>> {
        let get = |name: &str| -> Option<Vec<f64>> {
            let wide = weights.get(name)?.to_dtype(DType::F64).unwrap();
            Some(wide.flatten_all().unwrap().to_vec1().unwrap())
        };
        let biased =
            |name: &str, len: usize| get(&format!("{name}_bias")).unwrap_or_else(|| vec![0.; len]);
        let norm = |x: &[f64], name: &str| match self.norm {
            PlainNorm::None => x.to_vec(),
            kind => normed(kind, x, self.eps, &get(name).unwrap(), &biased(name, x.len())),
        };
        let linear = |x: &[f64], name: &str, outputs: usize| -> Vec<f64> {
            let (weight, bias) = (get(name).unwrap(), biased(name, outputs));
            let dot = |o: usize| (0..x.len()).map(|i| weight[o * x.len() + i] * x[i]).sum::<f64>();
            (0..outputs).map(|o| dot(o) + bias[o]).collect()
        };
        let row = |table: &[f64], at: usize| table[at * D..(at + 1) * D].to_vec();
        let sum = |a: &[f64], b: &[f64]| -> Vec<f64> { (0..D).map(|i| a[i] + b[i]).collect() };
        let (embed, positions) = (get("embed").unwrap(), get("positions").unwrap_or_default());
        let mut stream: Vec<Vec<f64>> = Vec::new();
        for (t, token) in tokens.iter().enumerate() {
            let x = row(&embed, *token as usize);
            stream.push(match self.position {
                PlainPosition::Learned(first) => sum(&x, &row(&positions, t + first)),
                PlainPosition::Shortformer | PlainPosition::Rotary(_) => x,
            });
        }
        for layer in 0..LAYERS {
            let name = |part: &str| format!("{layer}.{part}");
            let (mut q, mut k, mut v) = (Vec::new(), Vec::new(), Vec::new());
            for (t, x) in stream.iter().enumerate() {
                let x = norm(x, &name("ln1"));
                let read = match self.position {
                    PlainPosition::Shortformer => sum(&x, &row(&positions, t)),
                    PlainPosition::Learned(_) | PlainPosition::Rotary(_) => x.clone(),
                };
                let heads = |x: &[f64], part: &str, count: usize, turns: bool| {
                    let all = linear(x, &name(part), count * self.hd);
                    let turned = |head: &[f64]| match self.position {
                        PlainPosition::Rotary(base) if turns => turn(head, t, base),
                        _ => head.to_vec(),
                    };
                    all.chunks(self.hd).map(turned).collect::<Vec<_>>()
                };
                q.push(heads(&read, "q", HEADS, true));
                k.push(heads(&read, "k", self.kv, true));
                v.push(heads(&x, "v", self.kv, false));
            }
            let mut next = Vec::new();
            for (t, x) in stream.iter().enumerate() {
                let mut z = Vec::new();
                for h in 0..HEADS {
                    let g = h / (HEADS / self.kv);
                    let score = |s: usize| {
                        self.scale * (0..self.hd).map(|i| q[t][h][i] * k[s][g][i]).sum::<f64>()
                    };
                    let seen: Vec<usize> =
                        (0..=t).filter(|s| t - *s < self.windows[layer]).collect();
                    let sum: f64 = seen.iter().map(|s| score(*s).exp()).sum();
                    for i in 0..self.hd {
                        let mix = |s: &usize| score(*s).exp() / sum * v[*s][g][i];
                        z.push(seen.iter().map(mix).sum::<f64>());
                    }
                }
                let mut x = sum(x, &linear(&z, &name("out"), D));
                if let Some(act) = self.act {
                    let mut inner = act(&linear(&norm(&x, &name("ln2")), &name("in"), M));
                    if self.mlp_norm {
                        let (gain, bias) = (get(&name("mid")).unwrap(), biased(&name("mid"), M));
                        inner = normed(PlainNorm::Layer, &inner, 1e-5, &gain, &bias);
                    }
                    x = sum(&x, &linear(&inner, &name("proj"), D));
                }
                next.push(x);
            }
            stream = next;
        }
        let unembed = get("unembed").unwrap_or(embed);
        let bias = biased("unembed", VOCAB);
        let logit = |x: &[f64], o: usize| (0..D).map(|i| x[i] * unembed[o * D + i]).sum::<f64>();
        stream
            .iter()
            .map(|x| norm(x, "final"))
            .map(|x| (0..VOCAB).map(|o| logit(&x, o) + bias[o]).collect())
            .collect()
    }
}
