//! The forward pass.

use std::ops::Range;

use candle_core::{D, DType, Tensor};

use super::kernels::{Act, GatedActivation, RowNorm};
use super::operations::{activate, cap, linear, scaled, scaled_and_shifted};
use super::parameters::{MlpParameters, NormWeights};
use super::pass::Pass;
use super::past::Past;
use super::place::Place;
use super::precision::{is_half, widened};
use super::{HookPoint, Mlp, Norm, Position};
use crate::linalg::{can_fuse, fused};
use crate::progress::safe_point;
use crate::{Error, Result};

/// The two points of a norm.
type NormPoints = (HookPoint, HookPoint);

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
        let (seen, positions) = (past.as_deref().map_or(0, Past::len), tokens.dim(1)?);
        let (x, place) = self.embed(tokens, self.place_after(seen, positions)?)?;
        self.blocks(x, 0..layers, &place, past)
    }

    /// Where `positions` tokens stand after `seen` others.
    fn place_after(&self, seen: usize, positions: usize) -> Result<Place> {
        if self.model.config().turns_anew(seen, positions) {
            let expected = "no more than turn by the angles of the keys that were kept: a text that \
                            grows over the original context is read anew from its start";
            return Err(Error::invalid("the number of tokens", expected, seen + positions));
        }
        Place::new(self.model, seen, positions)
    }

    /// Where `positions` tokens after `seen` others stand whose residual stream is given.
    pub(super) fn place(&self, seen: usize, positions: usize) -> Result<Place> {
        let place = self.place_after(seen, positions)?;
        match (&self.model.config().position, &self.model.parameters().positions) {
            (Position::Shortformer, Some(vectors)) => {
                let rows = place.rows(&self.weight(vectors))?;
                Ok(place.with_vectors(rows))
            }
            _ => Ok(place),
        }
    }

    /// The residual stream after the last of `layers`, from that before the first.
    pub(super) fn blocks(
        &mut self,
        x: Tensor,
        layers: Range<usize>,
        place: &Place,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let (mut x, mut past) = (x, past);
        let positions = x.dim(1)?;
        for layer in layers {
            safe_point("the forward pass")?;
            x = self.block(layer, x, place, past.as_deref_mut())?;
        }
        if let Some(past) = past {
            past.advance(positions);
        }
        Ok(x)
    }

    /// The residual stream before the first layer, and the place with what it gives to layers.
    fn embed(&mut self, tokens: &Tensor, place: Place) -> Result<(Tensor, Place)> {
        let (batch, positions) = tokens.dims2()?;
        let (config, parameters) = (self.model.config(), self.model.parameters());
        let embed = self.weight(&parameters.embed);
        let x = embed.index_select(&tokens.flatten_all()?, 0)?;
        let x = x.reshape((batch, positions, config.d_model))?;
        // Gemma's own code rounds this factor to the model's type.
        let x = if config.embed_scale == 1. { x } else { (x * config.embed_scale)? };
        let x = self.hook(HookPoint::Embed, x)?;
        let Some(vectors) = &parameters.positions else { return Ok((x, place)) };
        let vectors = place.rows(&self.weight(vectors))?.broadcast_as(x.shape())?;
        let vectors = self.hook(HookPoint::PosEmbed, vectors)?;
        match config.position {
            Position::Shortformer => Ok((x, place.with_vectors(vectors))),
            Position::Learned | Position::Rotary(_) => Ok(((x + vectors)?, place)),
        }
    }

    /// Logits `[batch, positions, vocab]` of the residual stream after all layers, at least f32.
    pub(super) fn unembed(&mut self, stream: &Tensor) -> Result<Tensor> {
        let x = self.final_norm(stream)?;
        let (config, parameters) = (self.model.config(), self.model.parameters());
        let bias = self.optional(&parameters.unembed_bias);
        let logits = linear(&x, &self.weight(parameters.unembed()), bias.as_ref())?;
        cap(scaled(widened(&logits)?, config.logit_scale)?, config.logit_cap)
    }

    /// What the unembedding reads.
    pub(super) fn final_norm(&mut self, stream: &Tensor) -> Result<Tensor> {
        let points = (HookPoint::LnFinalScale, HookPoint::LnFinalNormalized);
        let (norm, weights) = (self.model.config().norm, &self.model.parameters().ln_final);
        self.norm(stream, norm, weights, points)
    }

    fn block(
        &mut self,
        layer: usize,
        x: Tensor,
        place: &Place,
        past: Option<&mut Past>,
    ) -> Result<Tensor> {
        let (block, config) = (self.model.block(layer)?, self.model.config());
        let (pre, post) = (config.pre_norm(), config.post_norm());
        let x = self.hook(HookPoint::ResidPre(layer), x)?;
        let points = (HookPoint::Ln1Scale(layer), HookPoint::Ln1Normalized(layer));
        let input = self.norm(&x, pre, &block.ln1, points)?;
        let attention = self.attention(layer, block, &input, place, past)?;
        let points = (HookPoint::Ln1PostScale(layer), HookPoint::Ln1PostNormalized(layer));
        let attention = self.norm(&attention, post, &block.ln1_post, points)?;
        let attention = scaled(attention, config.residual_scale)?;
        let attention = self.hook(HookPoint::AttnOut(layer), attention)?;
        let attention = scaled(attention, config.attention_scale)?;
        let Some(mlp) = &block.mlp else {
            return self.hook(HookPoint::ResidPost(layer), (&x + &attention)?);
        };
        let mid = match config.parallel {
            true => x.clone(),
            false => self.hook(HookPoint::ResidMid(layer), (&x + &attention)?)?,
        };
        let points = (HookPoint::Ln2Scale(layer), HookPoint::Ln2Normalized(layer));
        let input = self.norm(&mid, pre, &mlp.ln2, points)?;
        let input = self.hook(HookPoint::MlpIn(layer), input)?;
        let output = self.mlp(layer, mlp, &input)?;
        let points = (HookPoint::Ln2PostScale(layer), HookPoint::Ln2PostNormalized(layer));
        let output = self.norm(&output, post, &mlp.ln2_post, points)?;
        let output = scaled(output, config.residual_scale)?;
        let output = self.hook(HookPoint::MlpOut(layer), output)?;
        let mid = if config.parallel { (mid + attention)? } else { mid };
        self.hook(HookPoint::ResidPost(layer), (mid + output)?)
    }

    fn mlp(&mut self, layer: usize, mlp: &MlpParameters, x: &Tensor) -> Result<Tensor> {
        let bias = self.optional(&mlp.input_bias);
        let inner = linear(x, &self.weight(&mlp.input), bias.as_ref())?;
        let mut inner = self.activation(layer, inner)?;
        let norm = self.model.config().norm_of_neurons();
        if norm != Norm::None {
            inner = self.hook(HookPoint::MlpMid(layer), inner)?;
            let points = (HookPoint::MlpLnScale(layer), HookPoint::MlpLnNormalized(layer));
            inner = self.norm(&inner, norm, &mlp.norm, points)?;
        }
        let inner = self.hook(HookPoint::MlpPost(layer), inner)?;
        let bias = self.optional(&mlp.output_bias);
        linear(&inner, &self.weight(&mlp.output), bias.as_ref())
    }

    /// From what the MLP's input map gives to its activation.
    fn activation(&mut self, layer: usize, inner: Tensor) -> Result<Tensor> {
        let h = self.model.config().d_hidden;
        let points = [HookPoint::MlpPre(layer), HookPoint::MlpPreLinear(layer)];
        let whole = can_fuse(&inner) && self.hooks.pass_by_all(&points);
        match self.model.config().mlp {
            Mlp::Gated(activation) => {
                if whole && let Some(kernel) = GatedActivation::of(activation) {
                    return fused(&inner, kernel);
                }
                let left = inner.narrow(D::Minus1, 0, h)?;
                let left = activate(activation, &self.hook(points[0], left)?)?;
                let right = self.hook(points[1], inner.narrow(D::Minus1, h, h)?)?;
                Ok((left * right)?)
            }
            Mlp::Plain(activation) => {
                if whole && let Some(kernel) = activation.and_then(Act::of) {
                    return fused(&inner, kernel);
                }
                activate(activation, &self.hook(points[0], inner)?)
            }
            Mlp::None => Ok(inner),
        }
    }

    /// `norm` of `x`, over its last dimension, with hooks at its points.
    pub(super) fn norm(
        &mut self,
        x: &Tensor,
        norm: Norm,
        weights: &NormWeights,
        points: NormPoints,
    ) -> Result<Tensor> {
        if norm == Norm::None {
            return Ok(x.clone());
        }
        if is_half(x.dtype()) {
            return self.norm_of_half(x, norm, weights, points);
        }
        let gain = weights.factor(norm, |var| self.weight(var))?;
        let bias = self.optional(&weights.bias);
        let eps = norm.eps();
        let normalized = if self.hooks.pass_by_all(&[points.0, points.1]) && can_fuse(x) {
            let kernel = RowNorm { eps, centre: norm.centres(), gain: None, bias: None };
            if !self.track {
                let values = |x: &Option<Tensor>| -> Result<Option<Vec<f64>>> {
                    x.as_ref().map(|x| Ok(x.to_dtype(DType::F64)?.to_vec1()?)).transpose()
                };
                return fused(x, RowNorm { gain: values(&gain)?, bias: values(&bias)?, ..kernel });
            }
            fused(x, kernel)?
        } else {
            let normalized = self.normalized(x, norm, points.0)?;
            self.hook(points.1, normalized)?
        };
        scaled_and_shifted(normalized, gain.as_ref(), bias.as_ref())
    }

    /// [`Pass::norm`] of an f16 or bf16 activation: squares overflow in f16, and bf16 has too few
    /// digits for their mean, so all is computed in f32 and rounded at the end.
    fn norm_of_half(
        &mut self,
        x: &Tensor,
        norm: Norm,
        weights: &NormWeights,
        points: NormPoints,
    ) -> Result<Tensor> {
        let dtype = x.dtype();
        let gain = weights.factor(norm, |var| self.weight(var))?;
        let gain = gain.map(|gain| widened(&gain)).transpose()?;
        let bias = self.optional(&weights.bias).map(|bias| widened(&bias)).transpose()?;
        let mut normalized = self.normalized(&widened(x)?, norm, points.0)?;
        if !self.hooks.pass_by(points.1) {
            let rounded = self.hook(points.1, normalized.to_dtype(dtype)?)?;
            normalized = widened(&rounded)?;
        }
        Ok(scaled_and_shifted(normalized, gain.as_ref(), bias.as_ref())?.to_dtype(dtype)?)
    }

    /// `x` by its norm, before gain and bias, with hooks at the norm's denominator.
    fn normalized(&mut self, x: &Tensor, norm: Norm, denominator: HookPoint) -> Result<Tensor> {
        let x = match norm.centres() {
            true => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            false => x.clone(),
        };
        let scale = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps())?.sqrt()?;
        let scale = self.hook(denominator, scale)?;
        Ok(x.broadcast_div(&scale)?)
    }
}
