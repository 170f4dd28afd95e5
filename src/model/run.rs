//! What a model makes of tokens: logits, activations, losses.

use candle_core::{D, DType, Tensor};

use super::pass::Pass;
use super::past::Past;
use super::{Cache, Decoder, HookPoint, Hooks};
use crate::train::{cross_entropy, loss_of_each_row};
use crate::{Error, Result};

/// Logits that are in memory at a time where only the losses are asked for.
const LOGITS_PER_PART: usize = 1 << 24;

impl Decoder {
    /// Logits `[batch, positions, vocab]` of `tokens`, integers `[batch, positions]` or
    /// `[positions]` (a batch of one). They are f32 where the model is f16 or bf16, and of the
    /// model's dtype otherwise.
    ///
    /// # Errors
    /// Tokens that are not in the vocabulary, or more than the context holds.
    pub fn logits(&self, tokens: &Tensor) -> Result<Tensor> {
        Ok(self.run(tokens, &Hooks::new())?.0)
    }

    /// Logits as [`Decoder::logits`], with `hooks` acting on the way, and the activations that they
    /// capture.
    ///
    /// # Errors
    /// As [`Decoder::logits`]; a hook that cannot fire; a replacement that fails or has another
    /// shape or dtype.
    pub fn run(&self, tokens: &Tensor, hooks: &Hooks) -> Result<(Tensor, Cache)> {
        let mut pass = self.pass(false, hooks)?;
        let stream = pass.stream(&self.checked(tokens)?, None)?;
        Ok((pass.unembed(&stream)?, pass.cache))
    }

    /// The activations at `points` for `tokens`, without what comes after them: cheaper than
    /// [`Decoder::run`] where logits are not needed.
    ///
    /// # Errors
    /// As [`Decoder::run`]; no points.
    pub fn activations(&self, tokens: &Tensor, points: &[HookPoint]) -> Result<Cache> {
        if points.is_empty() {
            return Err(Error::invalid("the hook points", "at least one", "none"));
        }
        let hooks = Hooks::new().capture_all(points.iter().copied());
        let mut pass = self.pass(false, &hooks)?;
        let tokens = self.checked(tokens)?;
        if points.iter().any(|point| point.is_final()) {
            let stream = pass.stream(&tokens, None)?;
            pass.final_norm(&stream)?;
        } else {
            let layers = points.iter().filter_map(|point| Some(point.layer()? + 1)).max();
            pass.layers(&tokens, layers.unwrap_or(0), None)?;
        }
        Ok(pass.cache)
    }

    /// The activations at `points` and the surprise at each next token in nats,
    /// [`Decoder::loss_per_token`], from one forward pass. The logits are made for a few positions at
    /// a time, so that they take no more than 64 MB or one position's.
    ///
    /// # Errors
    /// As [`Decoder::loss_per_token`]; a hook that cannot fire.
    pub fn activations_with_loss(
        &self,
        tokens: &Tensor,
        points: &[HookPoint],
    ) -> Result<(Cache, Tensor)> {
        let tokens = self.checked(tokens)?;
        let predicting = check_predicting(&tokens)?;
        let hooks = Hooks::new().capture_all(points.iter().copied());
        let mut pass = self.pass(false, &hooks)?;
        let stream = pass.stream(&tokens, None)?;
        if points.iter().any(|point| point.is_final()) {
            pass.final_norm(&stream)?;
        }
        let stream = stream.narrow(1, 0, predicting)?.flatten(0, 1)?;
        let next = tokens.narrow(1, 1, predicting)?.flatten_all()?;
        let mut losses = Vec::new();
        let per_part = (LOGITS_PER_PART / self.config().vocab).max(1);
        for start in (0..stream.dim(0)?).step_by(per_part) {
            let rows = per_part.min(stream.dim(0)? - start);
            let logits = self.unembed(&stream.narrow(0, start, rows)?.contiguous()?)?;
            losses.push(surprise(&logits, &next.narrow(0, start, rows)?)?);
        }
        let losses = Tensor::cat(&losses, 0)?.reshape((tokens.dim(0)?, predicting))?;
        Ok((pass.cache, losses))
    }

    /// Logits `[batch, positions, vocab]` from the residual stream `[batch, positions, d_model]`
    /// before `layer` on, with `hooks` acting from there. After the last layer, with `layer` their
    /// number, only the final norm and the unembedding are left.
    ///
    /// # Errors
    /// As [`Decoder::run`]; a layer beyond; a stream of another shape; a hook before `layer`.
    pub fn run_from(&self, layer: usize, resid: &Tensor, hooks: &Hooks) -> Result<(Tensor, Cache)> {
        let (stream, mut pass) = self.pass_from(layer, resid, hooks)?;
        Ok((pass.unembed(&stream)?, pass.cache))
    }

    /// [`Decoder::run_from`] without the final norm and the logits: the residual stream after all
    /// layers, `[batch, positions, d_model]`, of which [`Decoder::unembed`] makes the logits of some
    /// positions at a time.
    pub(crate) fn stream_from(
        &self,
        layer: usize,
        resid: &Tensor,
        hooks: &Hooks,
    ) -> Result<Tensor> {
        Ok(self.pass_from(layer, resid, hooks)?.0)
    }

    /// [`Decoder::run_from`] without hooks and of the last position alone, `[batch, vocab]`: the
    /// unembedding is the most expensive part of many small models.
    pub(crate) fn last_logits_from(&self, layer: usize, resid: &Tensor) -> Result<Tensor> {
        let hooks = Hooks::new();
        let (stream, mut pass) = self.pass_from(layer, resid, &hooks)?;
        let last = stream.narrow(1, stream.dim(1)? - 1, 1)?.contiguous()?;
        Ok(pass.unembed(&last)?.squeeze(1)?)
    }

    /// The residual stream after all layers from that before `layer`, and the pass that made it.
    fn pass_from<'a>(
        &'a self,
        layer: usize,
        resid: &Tensor,
        hooks: &'a Hooks,
    ) -> Result<(Tensor, Pass<'a>)> {
        let positions = self.check_stream(layer, resid)?;
        let before = |point: &HookPoint| point.layer().map_or(!point.is_final(), |own| own < layer);
        if let Some(point) = hooks.points().find(before) {
            let what = format!("the hook at {point}, which never fires here,");
            let expected = format!("in layer {layer}, which the run begins with, or after it");
            return Err(Error::invalid(what, expected, point.long_name()));
        }
        let mut pass = self.pass(false, hooks)?;
        let place = pass.place(0, positions)?;
        let resid = resid.to_device(self.device())?.to_dtype(self.dtype())?;
        let stream = pass.blocks(resid, layer..self.config().layers, &place, None)?;
        Ok((stream, pass))
    }

    /// The number of positions of a residual stream before `layer`.
    pub(super) fn check_stream(&self, layer: usize, resid: &Tensor) -> Result<usize> {
        let config = self.config();
        if layer > config.layers {
            return Err(Error::invalid("the layer", format!("at most {}", config.layers), layer));
        }
        match *resid.dims() {
            [_, positions, width] if width == config.d_model && resid.elem_count() > 0 => {
                Ok(positions)
            }
            _ => {
                let expected = format!("[batch, positions, {}]", config.d_model);
                Err(Error::shape("the residual stream", expected, resid.dims()))
            }
        }
    }

    /// Logits `[…, vocab]` of a residual stream `[…, d_model]`: final norm, unembedding, bound.
    ///
    /// # Errors
    /// A stream of another width.
    pub fn unembed(&self, resid: &Tensor) -> Result<Tensor> {
        let d_model = self.config().d_model;
        if resid.dims().last() != Some(&d_model) {
            let expected = format!("[…, {d_model}]");
            return Err(Error::shape("the residual stream", expected, resid.dims()));
        }
        let resid = resid.to_device(self.device())?.to_dtype(self.dtype())?;
        self.pass(false, &Hooks::new())?.unembed(&resid)
    }

    /// Mean next-token cross-entropy in nats, over all positions but the last of each sequence. It
    /// has gradients with respect to [`Decoder::variables`].
    ///
    /// # Errors
    /// As [`Decoder::logits`]; sequences of a single token.
    pub fn loss(&self, tokens: &Tensor) -> Result<Tensor> {
        self.loss_with(tokens, &Hooks::new(), true)
    }

    /// [`Decoder::loss`] with `hooks`, and with gradients only if `track`.
    pub(crate) fn loss_with(&self, tokens: &Tensor, hooks: &Hooks, track: bool) -> Result<Tensor> {
        let tokens = self.checked(tokens)?;
        let positions = check_predicting(&tokens)?;
        let mut pass = self.pass(track, hooks)?;
        let stream = pass.stream(&tokens, None)?;
        let predicting = |x: &Tensor| x.narrow(1, 0, positions)?.contiguous();
        // A hook after the layers sees every position.
        let logits = match hooks.points().any(HookPoint::is_final) {
            true => predicting(&pass.unembed(&stream)?)?.flatten(0, 1)?,
            // The stream is flattened, which is smaller than the logits.
            false => pass.unembed(&predicting(&stream)?.flatten(0, 1)?)?,
        };
        let next = tokens.narrow(1, 1, positions)?.flatten_all()?;
        cross_entropy(&logits, &next)
    }

    /// The surprise at each next token in nats, `-ln softmax(logits[b, t])[tokens[b, t + 1]]`,
    /// `[batch, positions - 1]`.
    ///
    /// # Errors
    /// As [`Decoder::loss`].
    pub fn loss_per_token(&self, tokens: &Tensor) -> Result<Tensor> {
        self.loss_per_token_with(tokens, &Hooks::new())
    }

    /// [`Decoder::loss_per_token`] with `hooks` acting on the way.
    ///
    /// # Errors
    /// As [`Decoder::loss`] and [`Decoder::run`].
    pub fn loss_per_token_with(&self, tokens: &Tensor, hooks: &Hooks) -> Result<Tensor> {
        let tokens = self.checked(tokens)?;
        let predicting = check_predicting(&tokens)?;
        let logits = self.run(&tokens, hooks)?.0.narrow(1, 0, predicting)?;
        surprise(&logits, &tokens.narrow(1, 1, predicting)?.contiguous()?)
    }

    /// Logits `[vocab]` after `tokens`, which follow those that `past` has seen.
    pub(super) fn next_logits(
        &self,
        tokens: &[u32],
        past: &mut Past,
        hooks: &Hooks,
    ) -> Result<Tensor> {
        let mut pass = self.pass(false, hooks)?;
        let stream = pass.stream(&Tensor::new(tokens, self.device())?.unsqueeze(0)?, Some(past))?;
        let last = stream.narrow(1, tokens.len() - 1, 1)?.contiguous()?;
        Ok(pass.unembed(&last)?.flatten_all()?)
    }

    pub(super) fn checked(&self, tokens: &Tensor) -> Result<Tensor> {
        check_tokens(&tokens.to_device(self.device())?, self.config().vocab)
    }
}

/// The number of positions of `tokens` `[batch, positions]` that have a next token.
fn check_predicting(tokens: &Tensor) -> Result<usize> {
    match tokens.dims2()?.1 {
        1 => Err(Error::invalid("the number of tokens", "at least 2, to predict one", 1)),
        positions => Ok(positions - 1),
    }
}

/// `-ln softmax(logits)[next]` of logits `[…, vocab]`, for next tokens `[…]`.
fn surprise(logits: &Tensor, next: &Tensor) -> Result<Tensor> {
    if logits.device().is_cpu() && logits.dtype() == DType::F32 && !logits.track_op() {
        let tokens: Vec<u32> = next.flatten_all()?.to_vec1()?;
        let losses = loss_of_each_row(logits, &tokens)?;
        let losses: Vec<f32> = losses.into_iter().map(|loss| loss as f32).collect();
        return Ok(Tensor::from_vec(losses, next.shape(), logits.device())?);
    }
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let own = shifted.gather(&next.unsqueeze(D::Minus1)?, D::Minus1)?.squeeze(D::Minus1)?;
    Ok((shifted.exp()?.sum(D::Minus1)?.log()? - own)?)
}

/// `tokens` as `[batch, positions]` of u32, all of them in the vocabulary.
fn check_tokens(tokens: &Tensor, vocab: usize) -> Result<Tensor> {
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Activation, Config, Mlp, Norm};
    use crate::train::tests::assert_gradients;

    fn config() -> Config {
        Config { vocab: 13, context: 10, ..Config::bilinear(2, 2, 8, 6) }
    }

    fn model(config: Config) -> Decoder {
        let model = Decoder::random(config, 7, &Device::Cpu).unwrap();
        // Weights of size 1 let every part of the model matter.
        for var in model.variables() {
            var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
        }
        model
    }

    fn tokens() -> Tensor {
        Tensor::new(&[[3u32, 1, 4, 1, 5], [9, 2, 6, 5, 12]], &Device::Cpu).unwrap()
    }

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        let gap = (a.to_dtype(DType::F64).unwrap() - b.to_dtype(DType::F64).unwrap()).unwrap();
        gap.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn a_position_sees_only_what_came_before() {
        let model = model(config());
        let logits = model.logits(&tokens()).unwrap();
        let start = model.logits(&tokens().narrow(1, 0, 3).unwrap()).unwrap();
        assert!(gap(&logits.narrow(1, 0, 3).unwrap(), &start) < 1e-5);
    }

    #[test]
    fn hooks_see_the_stream_and_change_what_follows() {
        let model = model(config());
        let all = model.points();
        let (logits, cache) = model.run(&tokens(), &Hooks::new().capture_all(all)).unwrap();
        let at = |point| cache.get(point).unwrap();
        let mid =
            (at(HookPoint::ResidPre(1)) + (at(HookPoint::AttnOut(1)) * 0.5).unwrap()).unwrap();
        assert!(gap(&mid, at(HookPoint::ResidMid(1))) < 1e-5);
        let post = (mid + at(HookPoint::MlpOut(1))).unwrap();
        assert!(gap(&post, at(HookPoint::ResidPost(1))) < 1e-5);
        assert!(gap(at(HookPoint::ResidPost(0)), at(HookPoint::ResidPre(1))) == 0.0);
        let rows = at(HookPoint::Pattern(0)).sum(3).unwrap();
        assert!(gap(&rows, &rows.ones_like().unwrap()) < 1e-6);

        // What is put back unchanged changes nothing; what is taken away is gone from there on.
        let same = Hooks::new().replace(HookPoint::Z(0), |z| Ok(z.clone()));
        assert!(gap(&model.run(&tokens(), &same).unwrap().0, &logits) < 1e-5);
        for point in model.points().into_iter().filter(|point| point.layer() != Some(0)) {
            if point.to_string().ends_with("scale") {
                continue;
            }
            let zero = Hooks::new().replace(point, |x| Ok(x.zeros_like()?)).capture(point);
            let (changed, cache) = model.run(&tokens(), &zero).unwrap();
            assert!(gap(&changed, &logits) > 1e-3, "{point}");
            let zero = cache.get(point).unwrap();
            assert_eq!(gap(zero, &zero.zeros_like().unwrap()), 0.0);
        }
    }

    #[test]
    fn hooks_that_cannot_work_are_refused() {
        let model = model(config());
        let message = |hooks: Hooks| model.run(&tokens(), &hooks).unwrap_err().to_string();
        let never = message(Hooks::new().capture(HookPoint::MlpIn(2)));
        assert!(never.contains("never fires") && never.contains("2.mlp_in"), "{never}");
        let shape = Hooks::new().replace(HookPoint::MlpIn(0), |x| Ok(x.sum(1)?));
        assert!(message(shape).contains("what replaces 0.mlp_in"));
        let (_, cache) = model.run(&tokens(), &Hooks::new()).unwrap();
        assert!(cache.get(HookPoint::Z(1)).unwrap_err().to_string().contains("Capture it first"));
        assert!(
            cache.tensor(HookPoint::Z(1)).unwrap_err().to_string().contains("Capture it first")
        );
    }

    #[test]
    fn f32_is_f64_but_for_rounding() {
        let model = model(config());
        let wide = model.widened().unwrap();
        assert!(gap(&model.logits(&tokens()).unwrap(), &wide.logits(&tokens()).unwrap()) < 1e-3);
    }

    #[test]
    fn gradients_reach_every_weight() {
        let (silu, gelu) = (Some(Activation::Silu), Some(Activation::Gelu));
        // A norm of a short vector bends more than differences can follow, but for a large epsilon.
        let small = |config: Config| {
            let norm = match config.norm {
                Norm::LayerNorm { .. } => Norm::LayerNorm { eps: 0.3 },
                Norm::RmsOnePlusGain { .. } => Norm::RmsOnePlusGain { eps: 0.3 },
                _ => Norm::RmsGain { eps: 0.3 },
            };
            Config { vocab: 13, context: 10, norm, ..config }
        };
        let gemma = Config::gemma2(1, 2, 4, 3);
        for config in [
            config(),
            Config { mlp: Mlp::Gated(silu), mlp_bias: true, ..config() },
            Config { mlp: Mlp::Plain(gelu), mlp_bias: true, norm: Norm::None, ..config() },
            small(Config { windows: vec![Some(2)], kv_heads: Some(1), ..gemma }),
            small(Config::gpt2(1, 2, 4, 3)),
            small(Config::gpt_neox(1, 2, 8, 3)),
            small(Config { qkv_bias: true, kv_heads: Some(1), ..Config::llama(1, 2, 4, 3) }),
            small(Config::gemma3(1, 2, 4, 3)),
            small(Config { kv_heads: Some(1), ..Config::olmo2(1, 2, 4, 3) }),
            small(Config { unembed_bias: true, mlp: Mlp::None, ..Config::opt(1, 2, 4, 3) }),
        ] {
            let model = Decoder::random(config, 3, &Device::Cpu).unwrap().widened().unwrap();
            for var in model.variables() {
                var.set(&(var.as_tensor() * 10.0).unwrap()).unwrap();
            }
            assert_gradients(&model.variables(), || model.loss(&tokens()));
        }
    }

    #[test]
    fn the_loss_is_the_mean_surprise_at_the_next_token() {
        let model = model(config());
        let logits = model.logits(&tokens()).unwrap();
        let probabilities = candle_nn::ops::softmax(&logits, 2).unwrap().to_vec3::<f32>().unwrap();
        let tokens_ = tokens().to_vec2::<u32>().unwrap();
        let mut sum = 0.0;
        for (row, ids) in tokens_.iter().enumerate() {
            for at in 0..4 {
                sum -= f64::from(probabilities[row][at][ids[at + 1] as usize]).ln();
            }
        }
        let loss = f64::from(model.loss(&tokens()).unwrap().to_scalar::<f32>().unwrap());
        assert!((loss - sum / 8.0).abs() < 1e-4);
    }

    #[test]
    fn activations_and_losses_come_from_one_pass() {
        let model = model(config());
        let points = [HookPoint::ResidPost(0), HookPoint::LnFinalNormalized];
        let (cache, losses) = model.activations_with_loss(&tokens(), &points).unwrap();
        assert_eq!(gap(&losses, &model.loss_per_token(&tokens()).unwrap()), 0.0);
        let plain = model.activations(&tokens(), &points).unwrap();
        for point in points {
            assert_eq!(gap(cache.get(point).unwrap(), plain.get(point).unwrap()), 0.0);
        }
        let one = tokens().narrow(1, 0, 1).unwrap();
        let error = model.activations_with_loss(&one, &points).unwrap_err().to_string();
        assert!(error.contains("at least 2"), "{error}");
    }

    #[test]
    fn heads_write_what_their_matrices_say() {
        let model = model(config());
        let (_, cache) = model.run(&tokens(), &Hooks::new().capture_all(model.points())).unwrap();
        let z = cache.get(HookPoint::Z(0)).unwrap();
        let out = model.w_o(0).unwrap();
        let mut sum = cache.get(HookPoint::AttnOut(0)).unwrap().zeros_like().unwrap();
        for head in 0..2 {
            let own = z.narrow(2, head, 1).unwrap().squeeze(2).unwrap().contiguous().unwrap();
            let weight = out.get(head).unwrap().t().unwrap().contiguous().unwrap();
            sum = (sum + own.broadcast_matmul(&weight).unwrap()).unwrap();
        }
        assert!(gap(&sum, cache.get(HookPoint::AttnOut(0)).unwrap()) < 1e-5);
        let ov = model.w_o(1).unwrap().get(1).unwrap();
        let ov = ov.matmul(&model.w_v(1).unwrap().get(1).unwrap()).unwrap();
        assert!(gap(&model.ov(1, 1).unwrap(), &ov) < 1e-5);
        assert_eq!(model.qk(0, 1).unwrap().dims(), [8, 8]);
        assert!(model.qk(0, 2).unwrap_err().to_string().contains("the head must be below 2"));
        assert!(model.w_p(2).unwrap_err().to_string().contains("the layer must be below 2"));
    }

    #[test]
    fn bad_tokens_are_refused() {
        let model = model(config());
        let message = |tokens: Tensor| model.logits(&tokens).unwrap_err().to_string();
        let of = |ids: &[i64]| Tensor::new(ids, &Device::Cpu).unwrap();
        assert!(message(of(&[1, 13])).contains("below 13"));
        assert!(message(of(&[1, -1])).contains("found -1"));
        assert!(message(of(&[])).contains("at least one token"));
        assert!(message(of(&[1; 11])).contains("at most 10"));
        assert!(message(Tensor::new(&[1f32], &Device::Cpu).unwrap()).contains("integers"));
        assert!(model.loss(&of(&[1])).unwrap_err().to_string().contains("at least 2"));
        let odd = Config { heads: 3, ..config() };
        assert!(Decoder::random(odd, 0, &Device::Cpu).is_err());
    }
}
