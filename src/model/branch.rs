//! Passes that go on from tokens that they share.
//!
//! Many passes over texts that begin alike, such as a question with one activation exchanged, need the
//! beginning once: what comes after it reads its keys and values, which a [`Past`] keeps.

use candle_core::Tensor;

use super::past::Past;
use super::{Cache, Decoder, HookPoint, Hooks};
use crate::Result;

impl Decoder {
    /// Keys and values of `tokens` `[batch, positions]` at every layer.
    ///
    /// # Errors
    /// As [`Decoder::logits`].
    pub(crate) fn past_of(&self, tokens: &Tensor) -> Result<Past> {
        let hooks = Hooks::new();
        let mut past = Past::default();
        self.pass(false, &hooks)?.stream(&self.checked(tokens)?, Some(&mut past))?;
        Ok(past)
    }

    /// The activations at `points` for `tokens` `[batch, positions]` that follow those of `past`.
    ///
    /// # Errors
    /// As [`Decoder::run`]; for tokens that grow over the original context of
    /// [`LongRope`](super::Scaling::LongRope), which would turn those before them by other angles.
    pub(crate) fn activations_after(
        &self,
        mut past: Past,
        tokens: &Tensor,
        points: &[HookPoint],
    ) -> Result<Cache> {
        let hooks = Hooks::new().capture_all(points.iter().copied());
        let mut pass = self.pass(false, &hooks)?;
        let layers = points.iter().filter_map(|point| Some(point.layer()? + 1)).max();
        pass.layers(&self.checked(tokens)?, layers.unwrap_or(0), Some(&mut past))?;
        Ok(pass.cache)
    }

    /// The residual stream after all layers, `[batch, positions, d_model]`, from that before `layer`
    /// on, of positions that follow those of `past`, which then has theirs too.
    ///
    /// # Errors
    /// As [`Decoder::activations_after`]; a layer beyond; a stream of another shape.
    pub(crate) fn stream_after(
        &self,
        past: &mut Past,
        layer: usize,
        resid: &Tensor,
    ) -> Result<Tensor> {
        let hooks = Hooks::new();
        let positions = self.check_stream(layer, resid)?;
        let mut pass = self.pass(false, &hooks)?;
        let place = pass.place(past.len(), positions)?;
        let resid = resid.to_device(self.device())?.to_dtype(self.dtype())?;
        pass.blocks(resid, layer..self.config().layers, &place, Some(past))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, IndexOp};

    use super::*;
    use crate::model::Config;

    fn gap(a: &Tensor, b: &Tensor) -> f32 {
        let most = |x: &Tensor| -> f32 { x.abs().unwrap().max_all().unwrap().to_scalar().unwrap() };
        most(&(a - b).unwrap()) / most(b).max(1.0)
    }

    /// Families whose positions, windows and shared heads differ.
    fn models() -> Vec<Decoder> {
        let gemma = Config::gemma2(3, 2, 8, 12);
        let configs = [
            Config::llama(3, 2, 8, 12),
            Config { kv_heads: Some(1), windows: vec![Some(2), None, None], ..gemma },
            Config::gpt2(3, 2, 8, 12),
            Config { position: crate::model::Position::Shortformer, ..Config::gpt2(3, 2, 8, 12) },
        ];
        let models = configs.map(|config| {
            let config = Config { vocab: 13, context: 12, ..config };
            let model = Decoder::random(config, 7, &Device::Cpu).unwrap();
            for var in model.variables() {
                var.set(&(var.as_tensor() * 12.0).unwrap()).unwrap();
            }
            model
        });
        models.to_vec()
    }

    #[test]
    fn passes_that_share_their_first_tokens_are_whole_passes() {
        let ids = [[3u32, 1, 4, 1, 5], [3, 1, 4, 9, 2], [7, 7, 0, 1, 5]];
        let tokens = Tensor::new(&ids, &Device::Cpu).unwrap();
        for model in models() {
            let points: Vec<HookPoint> = (0..3).map(HookPoint::ResidPre).collect();
            let whole = model.activations(&tokens, &points).unwrap();
            // Two beginnings, of which the first is shared.
            let starts = tokens.i((1.., ..3)).unwrap();
            let halves =
                [0usize, 1].map(|at| model.past_of(&starts.i((at..=at, ..)).unwrap()).unwrap());
            let past = Past::stacked(&halves).unwrap();
            let rows = Tensor::new(&[0u32, 0, 1], &Device::Cpu).unwrap();
            let own = past.select(&rows, 0).unwrap();
            let rest = tokens.i((.., 3..)).unwrap();
            let cache = model.activations_after(own, &rest, &points).unwrap();
            for (layer, point) in points.iter().enumerate() {
                let expected = whole.tensor(*point).unwrap();
                let stream = cache.tensor(*point).unwrap();
                assert!(gap(&stream, &expected.i((.., 3..)).unwrap()) < 1e-4);
                // One position after the other, from a layer on.
                let mut own = past.select(&rows, layer).unwrap();
                for at in 0..2usize {
                    let one = stream.i((.., at..=at)).unwrap();
                    let found = model.stream_after(&mut own, layer, &one).unwrap();
                    let all = model.stream_from(layer, &expected, &Hooks::new()).unwrap();
                    assert!(gap(&found, &all.i((.., 3 + at..=3 + at)).unwrap()) < 1e-4);
                }
            }
            // From nothing.
            let stream = whole.tensor(points[1]).unwrap();
            let found = model.stream_after(&mut Past::default(), 1, &stream).unwrap();
            let all = model.stream_from(1, &stream, &Hooks::new()).unwrap();
            assert!(gap(&found, &all) < 1e-4);
            let long = Tensor::zeros((3, 10), candle_core::DType::U32, &Device::Cpu).unwrap();
            let error = model.activations_after(past.select(&rows, 0).unwrap(), &long, &points);
            assert!(error.unwrap_err().to_string().contains("at most 12, the model's context"));
        }
    }
}
