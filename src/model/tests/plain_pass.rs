//! A forward pass in plain loops over the weights, by the formulas, in f64.

use std::collections::HashMap;
use std::f64::consts::{FRAC_2_PI, TAU};

use crate::model::{Activation, Config, Decoder, Mlp, Norm, Position, QkNorm, Rotary, Scaling};

type Row = Vec<f64>;

/// A model's weights by name, each as rows.
pub(super) struct PlainPass<'a> {
    config: &'a Config,
    weights: HashMap<String, Vec<Row>>,
}

fn sum(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn times(a: &[f64], factor: f64) -> Row {
    a.iter().map(|a| a * factor).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn softmax(x: &[f64]) -> Row {
    let most = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Row = x.iter().map(|x| (x - most).exp()).collect();
    let total: f64 = powers.iter().sum();
    times(&powers, 1. / total)
}

fn activated(activation: Option<Activation>, x: &[f64]) -> Row {
    let each = |f: fn(f64) -> f64| x.iter().map(|x| f(*x)).collect();
    match activation {
        None => x.to_vec(),
        Some(Activation::Relu) => each(|x| x.max(0.)),
        Some(Activation::Silu) => each(|x| x / (1. + (-x).exp())),
        Some(Activation::GeluTanh) => {
            each(|x| 0.5 * x * (1. + (FRAC_2_PI.sqrt() * (x + 0.044715 * x.powi(3))).tanh()))
        }
        Some(Activation::Solu) => x.iter().zip(softmax(x)).map(|(x, share)| x * share).collect(),
        Some(Activation::Gelu) => panic!("no error function here"),
    }
}

/// Radians a position of pair `j`, for a text of `length` tokens, and what lengths are multiplied by.
fn turn_of(rotary: &Rotary, d_head: usize, j: usize, length: usize) -> (f64, f64) {
    let r = rotary.dims.unwrap_or(d_head) as f64;
    let f = 1. / rotary.base.powf(2. * j as f64 / r);
    match &rotary.scaling {
        Scaling::None => (f, 1.),
        Scaling::Linear { factor } => (f / factor, 1.),
        Scaling::Llama3 { factor, low, high, original } => {
            let wavelength = TAU / f;
            let s = (original / wavelength - low) / (high - low);
            let between = (1. - s) * f / factor + s * f;
            let slow = if wavelength > original / low { f / factor } else { between };
            (if wavelength < original / high { f } else { slow }, 1.)
        }
        Scaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor } => {
            let pair = |turns: f64| r * (original / (TAU * turns)).ln() / (2. * rotary.base.ln());
            let low = pair(*beta_fast).floor().max(0.);
            let high = pair(*beta_slow).ceil().min(r - 1.);
            assert!(low < high, "a ramp");
            let ramp = ((j as f64 - low) / (high - low)).clamp(0., 1.);
            (f * (1. - ramp) + f / factor * ramp, *attention_factor)
        }
        Scaling::LongRope { short, long, original, attention_factor } => {
            let divisors = if length as f64 > *original { long } else { short };
            (f / divisors[j], *attention_factor)
        }
    }
}

/// A head turned by the angles of position `t`.
fn turned(rotary: &Rotary, x: &[f64], t: usize, length: usize) -> Row {
    let mut out = x.to_vec();
    let half = rotary.dims.unwrap_or(x.len()) / 2;
    for j in 0..half {
        let (f, size) = turn_of(rotary, x.len(), j, length);
        let (sin, cos) = (t as f64 * f).sin_cos();
        out[j] = size * (x[j] * cos - x[j + half] * sin);
        out[j + half] = size * (x[j + half] * cos + x[j] * sin);
    }
    out
}

impl<'a> PlainPass<'a> {
    pub(super) fn new(model: &'a Decoder) -> Self {
        let rows = |tensor: candle_core::Tensor| match tensor.rank() {
            1 => vec![tensor.to_vec1::<f64>().unwrap()],
            _ => tensor.to_vec2::<f64>().unwrap(),
        };
        let weights = model.weights().into_iter().map(|(name, weight)| (name, rows(weight)));
        Self { config: model.config(), weights: weights.collect() }
    }

    fn vector(&self, name: &str) -> Option<&Row> {
        self.weights.get(name).map(|rows| &rows[0])
    }

    /// `W x + b`, with the bias if there is one.
    fn linear(&self, name: &str, x: &[f64]) -> Row {
        let rows = &self.weights[&format!("{name}.weight")];
        let y: Row = rows.iter().map(|row| dot(row, x)).collect();
        self.vector(&format!("{name}.bias")).map_or(y.clone(), |bias| sum(&y, bias))
    }

    fn norm(&self, norm: Norm, name: &str, x: &[f64]) -> Row {
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let size = |x: &[f64], eps: f64| (mean(&times_each(x, x)) + eps).sqrt();
        let gain = self.vector(&format!("{name}.weight"));
        match norm {
            Norm::None => x.to_vec(),
            Norm::Rms { eps } => times(x, 1. / size(x, eps)),
            Norm::RmsGain { eps } => times_each(&times(x, 1. / size(x, eps)), gain.unwrap()),
            Norm::RmsOnePlusGain { eps } => {
                let gain: Row = gain.unwrap().iter().map(|w| 1. + w).collect();
                times_each(&times(x, 1. / size(x, eps)), &gain)
            }
            Norm::LayerNorm { eps } => {
                let centre = mean(x);
                let c: Row = x.iter().map(|x| x - centre).collect();
                let scaled = times_each(&times(&c, 1. / size(&c, eps)), gain.unwrap());
                sum(&scaled, self.vector(&format!("{name}.bias")).unwrap())
            }
        }
    }

    /// Queries or keys with their norm.
    fn normed_heads(&self, name: &str, x: &[f64]) -> Row {
        match self.config.qk_norm {
            None => x.to_vec(),
            Some(QkNorm::Whole) => self.norm(self.config.norm, name, x),
            Some(QkNorm::PerHead) => {
                let heads = x.chunks(self.config.d_head());
                heads.flat_map(|head| self.norm(self.config.norm, name, head)).collect()
            }
        }
    }

    /// What the attention of a layer adds to each position's stream.
    fn attention(&self, layer: usize, x: &[Row], vectors: &[Row]) -> Vec<Row> {
        let config = self.config;
        let own = |part: &str| format!("transformer.h.{layer}.{part}");
        let (hd, q, kv) = (config.d_head(), config.q_width(), config.kv_width());
        let pre = if config.pre_norms { config.norm } else { Norm::None };
        let window = config.windows.get(layer).copied().flatten();
        let is_still = config.unturned.get(layer) == Some(&true);
        let rotary = match (&config.position, &config.local_rotary, window) {
            (Position::Rotary(_), Some(local), Some(_)) if !is_still => Some(local),
            (Position::Rotary(usual), ..) if !is_still => Some(usual),
            _ => None,
        };
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (t, x_t) in x.iter().enumerate() {
            let input = self.norm(pre, &own("ln_1"), x_t);
            let read = match config.position {
                Position::Shortformer => sum(&input, &vectors[t]),
                _ => input.clone(),
            };
            let turn = |name: &str, heads: &[f64]| -> Vec<Row> {
                let normed = self.normed_heads(&own(name), heads);
                let heads = normed.chunks(hd);
                let turn = |head: &[f64]| match rotary {
                    Some(rotary) => turned(rotary, head, t, x.len()),
                    None => head.to_vec(),
                };
                heads.map(turn).collect()
            };
            let all = self.linear(&own("attn.qkv"), &read);
            queries.push(turn("attn.q_norm", &all[..q]));
            keys.push(turn("attn.k_norm", &all[q..q + kv]));
            let all = self.linear(&own("attn.qkv"), &input);
            values.push(all[q + kv..].chunks(hd).map(<[f64]>::to_vec).collect::<Vec<_>>());
        }
        let group = config.heads / config.kv_heads();
        let scale = config.score_scale.unwrap_or(1. / (hd as f64).sqrt());
        let write = |t: usize| {
            let first = window.map_or(0, |window| (t + 1).saturating_sub(window));
            let mut z = Vec::new();
            for head in 0..config.heads {
                let score = |s: usize| {
                    let score = dot(&queries[t][head], &keys[s][head / group]) * scale;
                    config.score_cap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let pattern = softmax(&(first..=t).map(score).collect::<Row>());
                let mut mix = vec![0.; hd];
                for (s, share) in (first..=t).zip(pattern) {
                    mix = sum(&mix, &times(&values[s][head / group], share));
                }
                z.extend(mix);
            }
            let out = self.written(self.linear(&own("attn.o"), &z), &own("ln_1_post"));
            times(&out, config.attention_scale)
        };
        (0..x.len()).map(write).collect()
    }

    /// What a part adds to the stream, from its output map's result.
    fn written(&self, out: Row, norm: &str) -> Row {
        let post = if self.config.post_norms { self.config.norm } else { Norm::None };
        times(&self.norm(post, norm, &out), self.config.residual_scale)
    }

    fn mlp(&self, layer: usize, x: &[f64]) -> Row {
        let config = self.config;
        let own = |part: &str| format!("transformer.h.{layer}.{part}");
        let pre = if config.pre_norms { config.norm } else { Norm::None };
        let inner = self.linear(&own("mlp.w"), &self.norm(pre, &own("ln_2"), x));
        let mut inner = match config.mlp {
            Mlp::Plain(activation) => activated(activation, &inner),
            Mlp::Gated(activation) => {
                let (left, right) = inner.split_at(config.d_hidden);
                times_each(&activated(activation, left), right)
            }
            Mlp::None => panic!("no MLP"),
        };
        if config.mlp_norm {
            inner = self.norm(Norm::LayerNorm { eps: 1e-5 }, &own("mlp.ln"), &inner);
        }
        self.written(self.linear(&own("mlp.p"), &inner), &own("ln_2_post"))
    }

    /// Logits of every position.
    pub(super) fn logits(&self, tokens: &[u32]) -> Vec<Row> {
        let config = self.config;
        let embed = &self.weights["transformer.wte.weight"];
        let mut x: Vec<Row> =
            tokens.iter().map(|id| times(&embed[*id as usize], config.embed_scale)).collect();
        let vectors = match config.position {
            Position::Rotary(_) => Vec::new(),
            _ => self.weights["transformer.wpe.weight"][config.position_offset..].to_vec(),
        };
        if config.position == Position::Learned {
            x = x.iter().zip(&vectors).map(|(x, vector)| sum(x, vector)).collect();
        }
        for layer in 0..config.layers {
            let written = self.attention(layer, &x, &vectors);
            for (x, written) in x.iter_mut().zip(written) {
                let mid = sum(x, &written);
                let read = if config.parallel { x.clone() } else { mid.clone() };
                *x = match config.mlp {
                    Mlp::None => mid,
                    _ => sum(&mid, &self.mlp(layer, &read)),
                };
            }
        }
        let unembed = self.weights.get("lm_head.weight").unwrap_or(embed);
        let logits = |x: &Row| -> Row {
            let x = self.norm(config.norm, "transformer.ln_f", x);
            let mut logits: Row = unembed.iter().map(|row| dot(row, &x)).collect();
            if let Some(bias) = self.vector("lm_head.bias") {
                logits = sum(&logits, bias);
            }
            let cap = |x: f64| config.logit_cap.map_or(x, |cap| cap * (x / cap).tanh());
            logits.iter().map(|x| cap(x * config.logit_scale)).collect()
        };
        x.iter().map(logits).collect()
    }
}

fn times_each(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a * b).collect()
}
