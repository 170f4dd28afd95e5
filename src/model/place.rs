//! Where the tokens of a pass stand: angles of rotary embeddings, vectors of positions, and which keys
//! a query sees.

use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::{D, Device, Tensor};

use super::kernels::Attention;
use super::{Config, Decoder, Rotary};
use crate::{Error, Result};

/// The attention score of a key that a query may not see, at [`HookPoint::Scores`].
///
/// It is a finite f32 in every model, because scores are f32 also where the model is f16 or bf16; in
/// an f64 model it is the same number. A figure can take scores at or below it as blank.
///
/// [`HookPoint::Scores`]: super::HookPoint::Scores
pub const MASKED_SCORE: f32 = -1e30;

/// Positions `seen .. seen + positions` of a text.
pub(super) struct Place {
    seen: usize,
    positions: usize,
    /// Of learned positions, the row of the first.
    first_row: usize,
    /// Of each rotary embedding that a layer has.
    angles: Vec<RotaryAngles>,
    /// Which of them each layer has, if its queries and keys turn.
    angles_of: Vec<Option<usize>>,
    /// What queries and keys read besides their layer's input, `[…, positions, d_model]`, in a
    /// Shortformer.
    vectors: Option<Tensor>,
    /// For each window of the model, `[queries, keys]`: 1 where a query does not see a key. `None`
    /// where it sees them all. Made when a layer asks, for fused attention does without.
    masks: Vec<(Option<usize>, OnceCell<Option<Tensor>>)>,
}

/// Cosines and sines of the angles by which a rotary embedding turns.
struct RotaryAngles {
    /// Entries of a head that turn.
    entries: usize,
    /// `[positions, 1, entries/2]`; `None` where no entry turns.
    tensors: Option<[Tensor; 2]>,
    /// The same on the host.
    table: [Arc<[f64]>; 2],
}

impl RotaryAngles {
    fn new(model: &Decoder, rotary: &Rotary, seen: usize, positions: usize) -> Result<Self> {
        let d_head = model.config().d_head();
        let (frequencies, amplitude) =
            (rotary.frequencies(d_head, seen + positions), rotary.amplitude());
        let angles: Vec<f64> = (seen..seen + positions)
            .flat_map(|position| frequencies.iter().map(move |f| position as f64 * f))
            .collect();
        let (half, dtype) = (frequencies.len(), model.dtype());
        let table = [f64::cos, f64::sin]
            .map(|f| angles.iter().map(|angle| f(*angle) * amplitude).collect::<Arc<[f64]>>());
        let tensor = |values: &Arc<[f64]>| -> Result<Tensor> {
            let table = Tensor::from_slice(values, (positions, 1, half), &Device::Cpu)?;
            Ok(table.to_dtype(dtype)?.to_device(model.device())?)
        };
        let tensors = match half {
            0 => None,
            _ => Some([tensor(&table[0])?, tensor(&table[1])?]),
        };
        Ok(Self { entries: rotary.entries(d_head), tensors, table })
    }
}

impl Place {
    pub(super) fn new(model: &Decoder, seen: usize, positions: usize) -> Result<Self> {
        let config = model.config();
        if seen + positions > config.context {
            let expected = format!("at most {}, the model's context", config.context);
            return Err(Error::invalid("the number of tokens", expected, seen + positions));
        }
        let (mut rotaries, mut angles): (Vec<&Rotary>, Vec<_>) = (Vec::new(), Vec::new());
        let mut angles_of = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let Some(rotary) = config.rotary_of(layer) else {
                angles_of.push(None);
                continue;
            };
            let known = rotaries.iter().position(|own| *own == rotary);
            if known.is_none() {
                rotaries.push(rotary);
                angles.push(RotaryAngles::new(model, rotary, seen, positions)?);
            }
            angles_of.push(Some(known.unwrap_or(angles.len() - 1)));
        }
        let mut masks: Vec<(Option<usize>, OnceCell<Option<Tensor>>)> = Vec::new();
        for layer in 0..config.layers {
            let window = config.window(layer);
            if masks.iter().all(|(own, _)| *own != window) {
                masks.push((window, OnceCell::new()));
            }
        }
        let first_row = config.position_offset + seen;
        Ok(Self { seen, positions, first_row, angles, angles_of, vectors: None, masks })
    }

    /// The same with vectors that queries and keys read besides the input of their layer.
    pub(super) fn with_vectors(self, vectors: Tensor) -> Self {
        Self { vectors: Some(vectors), ..self }
    }

    /// What queries and keys read besides the input of their layer.
    pub(super) fn vectors(&self) -> Option<&Tensor> {
        self.vectors.as_ref()
    }

    /// Positions before these.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// Attention of these positions in one layer, without a past.
    pub(super) fn attention(&self, config: &Config, layer: usize) -> Attention {
        let angles = self.angles(layer);
        let [cos, sin] = angles.map_or_else(Default::default, |angles| angles.table.clone());
        Attention {
            heads: config.heads,
            kv_heads: config.kv_heads(),
            d_head: config.d_head(),
            turned: angles.map_or(0, |angles| angles.entries),
            scale: config.score_scale_of(layer),
            cap: config.score_cap,
            window: config.window(layer).unwrap_or(usize::MAX),
            cos,
            sin,
        }
    }

    /// Turns queries or keys `[batch, positions, heads, d_head]` of a layer.
    pub(super) fn rotate(&self, layer: usize, x: &Tensor) -> Result<Tensor> {
        let tensors = self.angles(layer).and_then(|angles| angles.tensors.as_ref());
        let Some([cos, sin]) = tensors else { return Ok(x.clone()) };
        let half = cos.dim(D::Minus1)?;
        let (a, b) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let turned_a = (a.broadcast_mul(cos)? - b.broadcast_mul(sin)?)?;
        let turned_b = (a.broadcast_mul(sin)? + b.broadcast_mul(cos)?)?;
        let rest = x.dim(D::Minus1)? - 2 * half;
        if rest == 0 {
            return Ok(Tensor::cat(&[turned_a, turned_b], D::Minus1)?);
        }
        let rest = x.narrow(D::Minus1, 2 * half, rest)?;
        Ok(Tensor::cat(&[turned_a, turned_b, rest], D::Minus1)?)
    }

    /// The angles by which a layer's queries and keys turn, if they do.
    fn angles(&self, layer: usize) -> Option<&RotaryAngles> {
        self.angles.get((*self.angles_of.get(layer)?)?)
    }

    /// Scores `[batch, heads, queries, keys]` with those of keys that are not seen replaced.
    pub(super) fn mask(&self, scores: &Tensor, window: Option<usize>) -> Result<Tensor> {
        let own = self.masks.iter().find(|(own, _)| *own == window);
        let Some((_, made)) = own else { return Ok(scores.clone()) };
        if made.get().is_none() {
            let _ = made.set(mask(self.seen, self.positions, window, scores.device())?);
        }
        let Some(Some(hidden)) = made.get() else { return Ok(scores.clone()) };
        let masked = Tensor::full(MASKED_SCORE, (), scores.device())?.to_dtype(scores.dtype())?;
        let masked = masked.broadcast_as(scores.shape())?;
        Ok(hidden.broadcast_as(scores.shape())?.where_cond(&masked, scores)?)
    }

    /// The rows of these positions among vectors of positions, `[positions, d_model]`.
    pub(super) fn rows(&self, vectors: &Tensor) -> Result<Tensor> {
        Ok(vectors.narrow(0, self.first_row, self.positions)?)
    }
}

/// 1 where `queries` after `seen` others may not see a key.
fn mask(
    seen: usize,
    queries: usize,
    window: Option<usize>,
    device: &Device,
) -> Result<Option<Tensor>> {
    let keys = seen + queries;
    let window = window.unwrap_or(usize::MAX);
    if queries == 1 && window >= keys {
        return Ok(None);
    }
    let hidden = |query: usize, key: usize| key > query || query - key >= window;
    let values: Vec<u8> = (seen..keys)
        .flat_map(|query| (0..keys).map(move |key| u8::from(hidden(query, key))))
        .collect();
    Ok(Some(Tensor::from_vec(values, (queries, keys), device)?))
}
