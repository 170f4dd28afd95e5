//! Attention in a forward pass.

use candle_core::{D, Tensor};

use super::operations::{cap, linear, softmax};
use super::parameters::{BlockParameters, NormWeights};
use super::pass::Pass;
use super::past::Past;
use super::place::Place;
use super::precision::{is_half, widened};
use super::{HookPoint, Position, QkNorm};
use crate::Result;
use crate::linalg::{can_fuse, fused};

impl Pass<'_> {
    /// What the attention of a layer writes for its normed input, before any norm of outputs.
    pub(super) fn attention(
        &mut self,
        layer: usize,
        block: &BlockParameters,
        x: &Tensor,
        place: &Place,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let (batch, positions, _) = x.dims3()?;
        let config = self.model.config();
        let qkv = self.projections(block, x, place)?;
        let inside = [
            HookPoint::Q(layer),
            HookPoint::K(layer),
            HookPoint::V(layer),
            HookPoint::QNormScale(layer),
            HookPoint::QNormNormalized(layer),
            HookPoint::QNormed(layer),
            HookPoint::KNormScale(layer),
            HookPoint::KNormNormalized(layer),
            HookPoint::KNormed(layer),
            HookPoint::RotQ(layer),
            HookPoint::RotK(layer),
            HookPoint::Scores(layer),
            HookPoint::Pattern(layer),
        ];
        let whole = place.seen() == 0 && can_fuse(&qkv) && self.hooks.pass_by_all(&inside);
        let (heads, kv_heads, d_head) = (config.heads, config.kv_heads(), config.d_head());
        if whole {
            let qkv = self.with_normed_queries_and_keys(layer, block, qkv)?;
            if let Some(past) = past {
                let keys = part(&qkv, heads, [kv_heads, d_head])?;
                let keys = place.rotate(layer, &keys)?.transpose(1, 2)?;
                let values = part(&qkv, heads + kv_heads, [kv_heads, d_head])?;
                past.extend(layer, &keys, &values.transpose(1, 2)?)?;
            }
            let z = fused(&qkv, place.attention(config, layer))?;
            if self.hooks.pass_by_all(&[HookPoint::Z(layer)]) {
                return self.heads_out(block, &z);
            }
            let z = z.reshape((batch, positions, heads, d_head))?;
            let z = self.hook(HookPoint::Z(layer), z)?;
            return self.heads_out(block, &z.flatten_from(2)?);
        }
        let q = self.hook(HookPoint::Q(layer), part(&qkv, 0, [heads, d_head])?)?;
        let k = self.hook(HookPoint::K(layer), part(&qkv, heads, [kv_heads, d_head])?)?;
        let values = part(&qkv, heads + kv_heads, [kv_heads, d_head])?;
        let v = self.hook(HookPoint::V(layer), values)?;
        let mut q = self.normed_queries(layer, block, q)?;
        let mut k = self.normed_keys(layer, block, k)?;
        if matches!(config.position, Position::Rotary(_)) {
            q = self.hook(HookPoint::RotQ(layer), place.rotate(layer, &q)?)?;
            k = self.hook(HookPoint::RotK(layer), place.rotate(layer, &k)?)?;
        }
        let (mut k, mut v) = (k.transpose(1, 2)?.contiguous()?, v.transpose(1, 2)?.contiguous()?);
        if let Some(past) = past {
            (k, v) = past.extend(layer, &k, &v)?;
        }
        // Queries that read the same keys stand below each other: keys and values are not copied.
        let group = heads / kv_heads;
        let keys = k.dim(2)?;
        let q = q.reshape((batch, positions, kv_heads, group, d_head))?;
        let q = q.permute((0, 2, 3, 1, 4))?.contiguous()?;
        let q = q.reshape((batch, kv_heads, group * positions, d_head))?;
        let scale = config.score_scale_of(layer);
        let scores = match is_half(q.dtype()) {
            // A product could overflow in f16, and has too few digits for an exponential in bf16.
            true => (widened(&q)?.matmul(&widened(&k)?.transpose(2, 3)?)? * scale)?,
            false => (q.matmul(&k.transpose(2, 3)?)? * scale)?,
        };
        let scores = scores.reshape((batch, heads, positions, keys))?;
        let scores = cap(scores, config.score_cap)?;
        let scores = place.mask(&scores, config.window(layer))?;
        let scores = self.hook(HookPoint::Scores(layer), scores)?;
        let pattern = softmax(&scores)?.to_dtype(v.dtype())?;
        let pattern = self.hook(HookPoint::Pattern(layer), pattern)?;
        let pattern = pattern.reshape((batch, kv_heads, group * positions, keys))?;
        let z = pattern.contiguous()?.matmul(&v)?;
        let z = z.reshape((batch, heads, positions, d_head))?.transpose(1, 2)?.contiguous()?;
        let z = self.hook(HookPoint::Z(layer), z)?;
        self.heads_out(block, &z.flatten_from(2)?)
    }

    /// Queries, keys and values with their biases, `[batch, positions, q | k | v]`.
    fn projections(&self, block: &BlockParameters, x: &Tensor, place: &Place) -> Result<Tensor> {
        let bias = self.optional(&block.qkv_bias);
        let weight = self.weight(&block.qkv);
        let Some(vectors) = place.vectors() else { return linear(x, &weight, bias.as_ref()) };
        let projected = |first: usize, rows: usize, x: &Tensor| -> Result<Tensor> {
            let bias = bias.as_ref().map(|bias| bias.narrow(0, first, rows)).transpose()?;
            linear(x, &weight.narrow(0, first, rows)?, bias.as_ref())
        };
        let (config, read) = (self.model.config(), x.broadcast_add(vectors)?);
        let (q, kv) = (config.q_width(), config.kv_width());
        // Values read the stream alone.
        Ok(Tensor::cat(&[projected(0, q + kv, &read)?, projected(q + kv, kv, x)?], D::Minus1)?)
    }

    /// Queries, keys and values with the norms of queries and keys, if the model has them.
    fn with_normed_queries_and_keys(
        &mut self,
        layer: usize,
        block: &BlockParameters,
        qkv: Tensor,
    ) -> Result<Tensor> {
        let config = self.model.config();
        if config.qk_norm.is_none() {
            return Ok(qkv);
        }
        let (heads, kv_heads, d_head) = (config.heads, config.kv_heads(), config.d_head());
        let q = self.normed_queries(layer, block, part(&qkv, 0, [heads, d_head])?)?;
        let k = self.normed_keys(layer, block, part(&qkv, heads, [kv_heads, d_head])?)?;
        let v = part(&qkv, heads + kv_heads, [kv_heads, d_head])?;
        let all = [q.flatten_from(2)?, k.flatten_from(2)?, v.flatten_from(2)?];
        Ok(Tensor::cat(&all, D::Minus1)?)
    }

    fn normed_queries(
        &mut self,
        layer: usize,
        block: &BlockParameters,
        queries: Tensor,
    ) -> Result<Tensor> {
        let points = (HookPoint::QNormScale(layer), HookPoint::QNormNormalized(layer));
        self.normed_heads(queries, &block.q_norm, points, HookPoint::QNormed(layer))
    }

    fn normed_keys(
        &mut self,
        layer: usize,
        block: &BlockParameters,
        keys: Tensor,
    ) -> Result<Tensor> {
        let points = (HookPoint::KNormScale(layer), HookPoint::KNormNormalized(layer));
        self.normed_heads(keys, &block.k_norm, points, HookPoint::KNormed(layer))
    }

    /// The norm of queries or keys `[batch, positions, heads, d_head]`, if the model has it.
    fn normed_heads(
        &mut self,
        x: Tensor,
        weights: &NormWeights,
        points: (HookPoint, HookPoint),
        end: HookPoint,
    ) -> Result<Tensor> {
        let (kind, norm) = (self.model.config().qk_norm, self.model.config().norm);
        let normed = match kind {
            None => return Ok(x),
            Some(QkNorm::PerHead) => self.norm(&x, norm, weights, points)?,
            Some(QkNorm::Whole) => {
                let all = self.norm(&x.flatten_from(2)?, norm, weights, points)?;
                all.reshape(x.shape())?
            }
        };
        self.hook(end, normed)
    }

    /// What the heads' mixes of values `[batch, positions, heads · d_head]` write.
    fn heads_out(&self, block: &BlockParameters, z: &Tensor) -> Result<Tensor> {
        let bias = self.optional(&block.attention_out_bias);
        linear(z, &self.weight(&block.attention_out), bias.as_ref())
    }
}

/// Of `qkv` `[batch, positions, q | k | v]` some heads from number `first` on,
/// `[batch, positions, heads, d_head]`.
fn part(qkv: &Tensor, first: usize, [heads, d_head]: [usize; 2]) -> Result<Tensor> {
    let (batch, positions, _) = qkv.dims3()?;
    let own = qkv.narrow(D::Minus1, first * d_head, heads * d_head)?;
    Ok(own.reshape((batch, positions, heads, d_head))?)
}
