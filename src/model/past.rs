//! Keys and values of positions that were seen.

use candle_core::Tensor;

use crate::Result;

/// Keys after their norm and rotary embedding, and values, of the positions that a pass goes on from. A text that grows so long that all of it turns by other angles
/// ([`LongRope`](super::Scaling::LongRope)) is read anew: its earlier positions read other keys then,
/// so that what later layers kept of them is of no use.
#[derive(Debug, Default)]
pub(crate) struct Past {
    seen: usize,
    /// Keys and values of each layer, `[batch, kv_heads, room, d_head]`; room for more than were
    /// seen. A pass that began at a later layer has none of those before it.
    layers: Vec<Option<(Tensor, Tensor)>>,
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
        if self.layers.len() <= layer {
            self.layers.resize(layer + 1, None);
        }
        let Some((own_keys, own_values)) = &mut self.layers[layer] else {
            self.layers[layer] = Some((keys.contiguous()?, values.contiguous()?));
            return Ok((keys.clone(), values.clone()));
        };
        for (own, new) in [(&mut *own_keys, keys), (&mut *own_values, values)] {
            if own.dim(2)? < total {
                let larger =
                    Tensor::zeros((batch, heads, 2 * total, d_head), own.dtype(), own.device())?;
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

    /// A copy with some rows of the batch, for passes that begin at layer `first`.
    pub(crate) fn select(&self, rows: &Tensor, first: usize) -> Result<Self> {
        let copied = |layer: &Option<(Tensor, Tensor)>| {
            let own = |x: &Tensor| -> Result<Tensor> {
                Ok(x.narrow(2, 0, self.seen)?.contiguous()?.index_select(rows, 0)?)
            };
            layer.as_ref().map(|(keys, values)| Ok((own(keys)?, own(values)?))).transpose()
        };
        let layers = self.layers.iter().enumerate();
        let layers = layers.map(|(at, layer)| if at < first { Ok(None) } else { copied(layer) });
        Ok(Self { seen: self.seen, layers: layers.collect::<Result<_>>()? })
    }

    /// The rows of several batches, all of which saw as many positions, one below the other.
    pub(crate) fn stacked(parts: &[Self]) -> Result<Self> {
        let Some(first) = parts.first() else { return Ok(Self::default()) };
        let layers = (0..first.layers.len()).map(|at| {
            let own: Vec<&(Tensor, Tensor)> =
                parts.iter().filter_map(|part| part.layers[at].as_ref()).collect();
            if own.is_empty() {
                return Ok(None);
            }
            let cat = |of: &dyn Fn(&(Tensor, Tensor)) -> Tensor| -> Result<Tensor> {
                let all = own.iter().map(|pair| Ok(of(pair).narrow(2, 0, first.seen)?));
                Ok(Tensor::cat(&all.collect::<Result<Vec<_>>>()?, 0)?)
            };
            Ok(Some((cat(&|pair| pair.0.clone())?, cat(&|pair| pair.1.clone())?)))
        });
        Ok(Self { seen: first.seen, layers: layers.collect::<Result<_>>()? })
    }
}
