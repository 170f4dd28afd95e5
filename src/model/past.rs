//! Keys and values that a generation keeps.

use candle_core::Tensor;

use crate::Result;

/// Keys after their norm and rotary embedding, and values, of the positions that a generation has
/// seen. A text that grows so long that all of it turns by other angles
/// ([`LongRope`](super::Scaling::LongRope)) is read anew: its earlier positions read other keys then,
/// so that what later layers kept of them is of no use.
#[derive(Debug, Default)]
pub(super) struct Past {
    seen: usize,
    /// Keys and values of each layer, `[batch, kv_heads, room, d_head]`; room for more than were
    /// seen.
    layers: Vec<(Tensor, Tensor)>,
}

impl Past {
    /// Positions seen.
    pub(super) fn len(&self) -> usize {
        self.seen
    }

    /// Adds keys and values `[batch, kv_heads, positions, d_head]` of the layer, and returns all
    /// there are.
    pub(super) fn extend(
        &mut self,
        layer: usize,
        keys: &Tensor,
        values: &Tensor,
    ) -> Result<(Tensor, Tensor)> {
        let (batch, heads, positions, d_head) = keys.dims4()?;
        let total = self.seen + positions;
        if self.layers.len() == layer {
            self.layers.push((keys.contiguous()?, values.contiguous()?));
            return Ok((keys.clone(), values.clone()));
        }
        let (own_keys, own_values) = &mut self.layers[layer];
        for (own, new) in [(&mut *own_keys, keys), (&mut *own_values, values)] {
            if own.dim(2)? < total {
                let room = (2 * total).max(64);
                let larger =
                    Tensor::zeros((batch, heads, room, d_head), own.dtype(), own.device())?;
                larger.slice_set(&own.narrow(2, 0, self.seen)?.contiguous()?, 2, 0)?;
                *own = larger;
            }
            own.slice_set(&new.contiguous()?, 2, self.seen)?;
        }
        Ok((own_keys.narrow(2, 0, total)?, own_values.narrow(2, 0, total)?))
    }

    /// All layers have seen `positions` more.
    pub(super) fn advance(&mut self, positions: usize) {
        self.seen += positions;
    }
}
