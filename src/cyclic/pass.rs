//! Passes of a model with one position exchanged.

use candle_core::{DType, Device, Tensor};

use super::problems::{Problems, Role};
use crate::model::{Decoder, HookPoint};
use crate::{Error, Result};

/// Where the residual stream before a layer is; after the last one for their number.
pub(super) fn stream_point(model: &Decoder, layer: usize) -> HookPoint {
    match layer < model.config().layers {
        true => HookPoint::ResidPre(layer),
        false => HookPoint::ResidPost(model.config().layers - 1),
    }
}

/// Fails for a layer beyond the stream after the last one.
pub(super) fn check_layer(model: &Decoder, layer: usize) -> Result<()> {
    let layers = model.config().layers;
    match layer <= layers {
        true => Ok(()),
        false => {
            let expected = format!("at most {layers}, the stream after the last layer");
            Err(Error::invalid("the layer", expected, layer))
        }
    }
}

/// The residual streams of problems before one layer, whose passes go on from there.
pub(super) struct Runner<'a> {
    model: &'a Decoder,
    problems: &'a Problems,
    layer: usize,
    role: Role,
    answers: Tensor,
    /// The stream of each problem that was asked for, `[positions, d_model]`.
    streams: Vec<Option<Tensor>>,
    batch: usize,
}

impl<'a> Runner<'a> {
    /// Streams of the problems `which`.
    pub(super) fn new(
        model: &'a Decoder,
        problems: &'a Problems,
        layer: usize,
        role: Role,
        which: &[usize],
        batch: usize,
    ) -> Result<Self> {
        check_layer(model, layer)?;
        let mut streams = vec![None; problems.len()];
        let point = stream_point(model, layer);
        for places in problems.batches(which, batch) {
            let own: Vec<usize> = places.iter().map(|&at| which[at]).collect();
            let found = model.activations(&problems.tokens(&own, model)?, &[point])?;
            let found = found.tensor(point)?;
            for (i, &problem) in own.iter().enumerate() {
                streams[problem] = Some(found.get(i)?);
            }
        }
        let answers = Tensor::new(problems.answer_tokens(), model.device())?;
        Ok(Self { model, problems, layer, role, answers, streams, batch })
    }

    /// Logits of the words, `[rows, words]` in f64, after passes of problems with the stream at the
    /// role's position exchanged for rows of `vectors`, `[rows, d_model]`. `each` is called after a
    /// batch with its size, and ends the call with `None` by returning true.
    pub(super) fn logits(
        &self,
        which: &[usize],
        vectors: &Tensor,
        each: &mut impl FnMut(usize) -> bool,
    ) -> Result<Option<Vec<Vec<f64>>>> {
        let (device, dtype) = (self.model.device(), self.model.dtype());
        let vectors = vectors.to_dtype(dtype)?.to_device(device)?;
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); which.len()];
        for places in self.problems.batches(which, self.batch) {
            let logits = self
                .model
                .last_logits_from(self.layer, &self.exchanged(&places, which, &vectors)?)?;
            let logits = logits.index_select(&self.answers, 1)?.to_dtype(DType::F64)?;
            let rows: Vec<Vec<f64>> = logits.to_device(&Device::Cpu)?.to_vec2()?;
            for (&at, row) in places.iter().zip(rows) {
                found[at] = row;
            }
            if each(places.len()) {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    /// The streams of a batch, `[batch, positions, d_model]`, with one position exchanged.
    fn exchanged(&self, places: &[usize], which: &[usize], vectors: &Tensor) -> Result<Tensor> {
        let mut streams = Vec::with_capacity(places.len());
        let mut own = Vec::new();
        for &at in places {
            let problem = self.problems.get(which[at])?;
            let Some(stream) = &self.streams[which[at]] else {
                return Err(Error::invalid("the problem", "one of those asked for", which[at]));
            };
            let position = problem.position(self.role)?;
            own.extend((0..problem.tokens.len()).map(|other| u8::from(other == position)));
            streams.push(stream);
        }
        let streams = Tensor::stack(&streams, 0)?;
        let (batch, positions, _) = streams.dims3()?;
        let ids: Vec<u32> = places.iter().map(|&at| at as u32).collect();
        let vectors = vectors.index_select(&Tensor::new(ids, vectors.device())?, 0)?;
        let own = Tensor::from_vec(own, (batch, positions, 1), streams.device())?;
        let vectors = vectors.unsqueeze(1)?.broadcast_as(streams.shape())?;
        Ok(own.broadcast_as(streams.shape())?.where_cond(&vectors, &streams)?)
    }
}
