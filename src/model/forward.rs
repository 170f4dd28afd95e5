//! The forward pass.

use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor, Var};

use super::kernels::{Attention, Gate, RmsNorm};
use super::parameters::Block;
use super::{Activation, Cache, Decoder, HookPoint, Hooks, Mlp, Norm};
use crate::linalg::{can_fuse, fused, matmul_nt};
use crate::{Error, Result};

/// What stands in the scores where a position would look ahead.
const MASKED: f64 = -1e30;

/// Keys and values of the positions that a generation has seen, `[batch, heads, seen, d_head]` a
/// layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    layers: Vec<(Tensor, Tensor)>,
}

impl Past {
    /// Positions seen.
    fn len(&self) -> usize {
        self.layers.first().and_then(|(keys, _)| keys.dim(2).ok()).unwrap_or(0)
    }
}

/// One forward pass: the model, whether gradients flow, and what is looked at on the way.
pub(super) struct Pass<'a> {
    pub(super) model: &'a Decoder,
    pub(super) track: bool,
    pub(super) hooks: &'a Hooks,
    pub(super) cache: Cache,
}

impl Pass<'_> {
    /// The residual stream after all layers, `[batch, positions, d_model]`, for `tokens`
    /// `[batch, positions]` that follow those in `past`.
    pub(super) fn stream(&mut self, tokens: &Tensor, past: Option<&mut Past>) -> Result<Tensor> {
        self.layers(tokens, self.model.config().layers, past)
    }

    /// The residual stream after the first `layers` layers.
    pub(super) fn layers(
        &mut self,
        tokens: &Tensor,
        layers: usize,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let (batch, positions) = tokens.dims2()?;
        let embed = self.weight(&self.model.parameters().embed);
        let x = embed.index_select(&tokens.flatten_all()?, 0)?;
        let mut x = x.reshape((batch, positions, self.model.config().d_model))?;
        let mut past = past;
        let seen = past.as_deref().map_or(0, Past::len);
        let rotation = Rotation::new(self.model, seen, positions)?;
        for layer in 0..layers {
            x = self.block(layer, x, &rotation, past.as_deref_mut())?;
        }
        Ok(x)
    }

    /// Logits `[batch, positions, vocab]` of the residual stream after all layers.
    pub(super) fn unembed(&self, stream: &Tensor) -> Result<Tensor> {
        linear(&self.norm(stream)?, &self.weight(&self.model.parameters().unembed), None)
    }

    fn block(
        &mut self,
        layer: usize,
        x: Tensor,
        rotation: &Rotation,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let block = self.model.block(layer)?;
        let x = self.hook(HookPoint::ResidPre(layer), x)?;
        let attention = self.attention(layer, block, &self.norm(&x)?, rotation, past)?;
        let attention = self.hook(HookPoint::AttnOut(layer), attention)?;
        let x = (x + (attention * self.model.config().attention_scale)?)?;
        let x = self.hook(HookPoint::ResidMid(layer), x)?;
        let input = self.hook(HookPoint::MlpIn(layer), self.norm(&x)?)?;
        let output = self.mlp(block, &input)?;
        let output = self.hook(HookPoint::MlpOut(layer), output)?;
        self.hook(HookPoint::ResidPost(layer), (x + output)?)
    }

    fn attention(
        &mut self,
        layer: usize,
        block: &Block,
        x: &Tensor,
        rotation: &Rotation,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let (batch, positions, _) = x.dims3()?;
        let (heads, d_head) = (self.model.config().heads, self.model.config().d_head());
        let qkv = linear(x, &self.weight(&block.qkv), None)?;
        let unseen = [HookPoint::Scores(layer), HookPoint::Pattern(layer)]
            .into_iter()
            .all(|point| self.hooks.pass_by(point));
        if unseen && past.is_none() && can_fuse(&qkv) {
            let z = fused(&qkv, rotation.attention(heads))?;
            return self.heads_out(layer, block, &z.reshape((batch, positions, heads, d_head))?);
        }
        let qkv = qkv.reshape((batch, positions, 3, heads, d_head))?.permute((2, 0, 3, 1, 4))?;
        let q = rotation.apply(&qkv.get(0)?.contiguous()?)?;
        let mut k = rotation.apply(&qkv.get(1)?.contiguous()?)?;
        let mut v = qkv.get(2)?.contiguous()?;
        if let Some(past) = past {
            match past.layers.get_mut(layer) {
                Some((keys, values)) => {
                    k = Tensor::cat(&[&*keys, &k], 2)?;
                    v = Tensor::cat(&[&*values, &v], 2)?;
                    (*keys, *values) = (k.clone(), v.clone());
                }
                None => past.layers.push((k.clone(), v.clone())),
            }
        }
        let scores = (q.matmul(&k.transpose(2, 3)?)? * (d_head as f64).powf(-0.5))?;
        let scores = self.hook(HookPoint::Scores(layer), rotation.mask(&scores)?)?;
        let pattern = self.hook(HookPoint::Pattern(layer), softmax(&scores)?)?;
        let z = pattern.matmul(&v)?.transpose(1, 2)?.contiguous()?;
        self.heads_out(layer, block, &z)
    }

    /// What the heads' mixes of values `[batch, positions, heads, d_head]` write.
    fn heads_out(&mut self, layer: usize, block: &Block, z: &Tensor) -> Result<Tensor> {
        let z = self.hook(HookPoint::Z(layer), z.clone())?.flatten_from(2)?;
        linear(&z, &self.weight(&block.attention_out), None)
    }

    fn mlp(&self, block: &Block, x: &Tensor) -> Result<Tensor> {
        let bias = |var: &Option<Var>| var.as_ref().map(|var| self.weight(var));
        let inner = linear(x, &self.weight(&block.mlp_in), bias(&block.mlp_in_bias).as_ref())?;
        let h = self.model.config().d_hidden;
        let inner = match self.model.config().mlp {
            Mlp::Gated(None) if can_fuse(&inner) => fused(&inner, Gate)?,
            Mlp::Gated(activation) => {
                let left = activate(activation, &inner.narrow(D::Minus1, 0, h)?)?;
                (left * inner.narrow(D::Minus1, h, h)?)?
            }
            Mlp::Plain(activation) => activate(activation, &inner)?,
        };
        linear(&inner, &self.weight(&block.mlp_out), bias(&block.mlp_out_bias).as_ref())
    }

    fn norm(&self, x: &Tensor) -> Result<Tensor> {
        match self.model.config().norm {
            Norm::None => Ok(x.clone()),
            Norm::Rms { eps } if can_fuse(x) => fused(x, RmsNorm { eps }),
            Norm::Rms { eps } => {
                let square = (x.sqr()?.mean_keepdim(D::Minus1)? + eps)?;
                Ok(x.broadcast_div(&square.sqrt()?)?)
            }
        }
    }

    fn hook(&mut self, point: HookPoint, activation: Tensor) -> Result<Tensor> {
        self.hooks.at(point, activation, &mut self.cache)
    }

    fn weight(&self, var: &Var) -> Tensor {
        if self.track { var.as_tensor().clone() } else { var.as_detached_tensor() }
    }
}

/// `x Wᵀ + b` over the last dimension of `x` `[…, inputs]`.
fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = weight.dims2()?;
    let mut shape = x.dims().to_vec();
    if let Some(last) = shape.last_mut() {
        *last = outputs;
    }
    let y = matmul_nt(&x.reshape(((), inputs))?, weight)?.reshape(shape)?;
    match bias {
        Some(bias) => Ok(y.broadcast_add(bias)?),
        None => Ok(y),
    }
}

fn activate(activation: Option<Activation>, x: &Tensor) -> Result<Tensor> {
    Ok(match activation {
        None => x.clone(),
        Some(Activation::Relu) => x.relu()?,
        Some(Activation::Silu) => (x * (x.neg()?.exp()? + 1.)?.recip()?)?,
        Some(Activation::Gelu) => x.gelu_erf()?,
    })
}

/// Over the last dimension, with gradients; candle's own softmax has none.
fn softmax(x: &Tensor) -> Result<Tensor> {
    if !x.track_op() {
        return Ok(candle_nn::ops::softmax_last_dim(&x.contiguous()?)?);
    }
    let e = x.broadcast_sub(&x.max_keepdim(D::Minus1)?.detach())?.exp()?;
    Ok(e.broadcast_div(&e.sum_keepdim(D::Minus1)?)?)
}

/// Rotary embedding of some positions, and what they must not see.
///
/// Entry i of a head and entry i + d_head/2 turn together, by `position · base^(-2i/d_head)`.
struct Rotation {
    cos: Tensor,
    sin: Tensor,
    /// Cosines and sines on the host.
    table: [Arc<[f64]>; 2],
    /// `[queries, keys]`: 1 where a key lies ahead of the query.
    ahead: Tensor,
}

impl Rotation {
    fn new(model: &Decoder, seen: usize, positions: usize) -> Result<Self> {
        let (config, device) = (model.config(), model.device());
        if seen + positions > config.context {
            let expected = format!("at most {}, the model's context", config.context);
            return Err(Error::invalid("the number of tokens", expected, seen + positions));
        }
        let half = config.d_head() / 2;
        let mut angles = Vec::with_capacity(positions * half);
        for position in seen..seen + positions {
            angles.extend((0..half).map(|i| position as f64 * frequency(model, i)));
        }
        let dtype = model.dtype();
        let table = [f64::cos, f64::sin].map(|f| angles.iter().map(|angle| f(*angle)).collect());
        let tensor = |values: &Arc<[f64]>| -> Result<Tensor> {
            let table = Tensor::from_slice(values, (positions, half), &Device::Cpu)?;
            Ok(table.to_dtype(dtype)?.to_device(device)?)
        };
        let ahead: Vec<u8> = (0..positions)
            .flat_map(|query| (0..seen + positions).map(move |key| u8::from(key > seen + query)))
            .collect();
        Ok(Self {
            cos: tensor(&table[0])?,
            sin: tensor(&table[1])?,
            table,
            ahead: Tensor::from_vec(ahead, (positions, seen + positions), device)?,
        })
    }

    /// Attention of the same positions.
    fn attention(&self, heads: usize) -> Attention {
        let [cos, sin] = self.table.clone();
        Attention { heads, cos, sin }
    }

    /// Turns queries or keys `[batch, heads, positions, d_head]`.
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let turned_a = (a.broadcast_mul(&self.cos)? - b.broadcast_mul(&self.sin)?)?;
        let turned_b = (a.broadcast_mul(&self.sin)? + b.broadcast_mul(&self.cos)?)?;
        Ok(Tensor::cat(&[turned_a, turned_b], D::Minus1)?)
    }

    /// Scores `[batch, heads, queries, keys]` with those of later keys replaced.
    fn mask(&self, scores: &Tensor) -> Result<Tensor> {
        let masked = Tensor::full(MASKED as f32, (), scores.device())?.to_dtype(scores.dtype())?;
        let masked = masked.broadcast_as(scores.shape())?;
        Ok(self.ahead.broadcast_as(scores.shape())?.where_cond(&masked, scores)?)
    }
}

/// Radians a position that pair `i` of a head turns by.
pub(super) fn frequency(model: &Decoder, i: usize) -> f64 {
    let config = model.config();
    config.rotary_base.powf(-2. * i as f64 / config.d_head() as f64)
}

/// `tokens` as `[batch, positions]` of u32, all of them in the vocabulary.
pub(super) fn check_tokens(tokens: &Tensor, vocab: usize) -> Result<Tensor> {
    let tokens = match tokens.dims() {
        [_] => tokens.unsqueeze(0)?,
        [_, _] => tokens.clone(),
        dims => return Err(Error::shape("the tokens", "[positions] or [batch, positions]", dims)),
    };
    if !tokens.dtype().is_int() {
        return Err(Error::invalid("the tokens", "integers", tokens.dtype().as_str()));
    }
    if tokens.elem_count() == 0 {
        return Err(Error::shape("the tokens", "at least one token", tokens.dims()));
    }
    let wide = tokens.to_dtype(DType::I64)?.flatten_all()?;
    let (low, high) = (wide.min(0)?.to_scalar::<i64>()?, wide.max(0)?.to_scalar::<i64>()?);
    if low < 0 || high >= vocab as i64 {
        let found = if low < 0 { low } else { high };
        return Err(Error::invalid("every token", format!("below {vocab}, the vocabulary"), found));
    }
    Ok(tokens.to_dtype(DType::U32)?)
}
