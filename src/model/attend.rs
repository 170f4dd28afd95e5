//! Attention in a forward pass.

use candle_core::{D, Tensor};

use super::HookPoint;
use super::operations::{cap, linear, softmax};
use super::parameters::BlockParameters;
use super::pass::Pass;
use super::past::Past;
use super::place::Place;
use super::precision::{is_half, widened};
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
        let qkv_bias = self.optional(&block.qkv_bias);
        let qkv = linear(x, &self.weight(&block.qkv), qkv_bias.as_ref())?;
        let inside = [
            HookPoint::Q(layer),
            HookPoint::K(layer),
            HookPoint::V(layer),
            HookPoint::RotQ(layer),
            HookPoint::RotK(layer),
            HookPoint::Scores(layer),
            HookPoint::Pattern(layer),
        ];
        let whole = place.seen() == 0 && can_fuse(&qkv) && self.hooks.pass_by_all(&inside);
        let (heads, kv_heads, d_head) = (config.heads, config.kv_heads(), config.d_head());
        if whole {
            if let Some(past) = past {
                let part = |first: usize| -> Result<Tensor> {
                    let own = qkv.narrow(D::Minus1, first * d_head, kv_heads * d_head)?;
                    Ok(own.reshape((batch, positions, kv_heads, d_head))?)
                };
                let keys = place.rotate(&part(heads)?)?.transpose(1, 2)?;
                past.extend(layer, &keys, &part(heads + kv_heads)?.transpose(1, 2)?)?;
            }
            let z = fused(&qkv, place.attention(config, layer))?;
            return self.heads_out(layer, block, z.reshape((batch, positions, heads, d_head))?);
        }
        let part = |first: usize, heads: usize| -> Result<Tensor> {
            let own = qkv.narrow(D::Minus1, first * d_head, heads * d_head)?;
            Ok(own.reshape((batch, positions, heads, d_head))?)
        };
        let mut q = self.hook(HookPoint::Q(layer), part(0, heads)?)?;
        let mut k = self.hook(HookPoint::K(layer), part(heads, kv_heads)?)?;
        let v = self.hook(HookPoint::V(layer), part(heads + kv_heads, kv_heads)?)?;
        if config.rotary_dims() > 0 {
            q = self.hook(HookPoint::RotQ(layer), place.rotate(&q)?)?;
            k = self.hook(HookPoint::RotK(layer), place.rotate(&k)?)?;
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
            // Scaled before the product, which could overflow in f16.
            true => widened(&(q * scale)?.matmul(&k.transpose(2, 3)?)?)?,
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
        self.heads_out(layer, block, z)
    }

    /// What the heads' mixes of values `[batch, positions, heads, d_head]` write.
    fn heads_out(&mut self, layer: usize, block: &BlockParameters, z: Tensor) -> Result<Tensor> {
        let z = self.hook(HookPoint::Z(layer), z)?.flatten_from(2)?;
        let bias = self.optional(&block.attention_out_bias);
        linear(&z, &self.weight(&block.attention_out), bias.as_ref())
    }
}
