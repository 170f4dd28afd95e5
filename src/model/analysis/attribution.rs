//! What each part of a model writes straight to a logit.

use std::fmt;

use candle_core::{DType, Tensor};

use crate::display::{ShownColumn, ShownTable};
use crate::model::parameters::NormWeights;
use crate::model::{Cache, Decoder, HookPoint, Hooks, Norm, Position};
use crate::{Error, Result};

/// Shares of the parts of a model in a logit, or in the difference of two.
///
/// The residual stream before the final norm is the sum of what the parts wrote. With the
/// **denominator of the final norm held at its value** for this text, the rest is linear, and the
/// shares add up to the logit. (What a part does through later parts, or through that denominator,
/// is not in its share.)
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// From the embedding to the last layer, then the biases of the final norm and of the unembedding.
    pub rows: Vec<AttributionRow>,
    /// The logit before any bound of the logits, or the difference: the sum of the rows.
    pub logit: f64,
}

/// The share of one part.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributionRow {
    /// Where the part joins the residual stream; of the biases of the final norm and of the
    /// unembedding together, the point after that norm.
    pub point: HookPoint,
    /// The attention head; none for a bias of the attention's output or of the norm after it, or
    /// for another part.
    pub head: Option<usize>,
    /// Its share of the logit.
    pub value: f64,
}

/// A linear function of vectors at one place: a norm with its denominator held, seen through a
/// direction.
struct Held {
    weights: Vec<f64>,
    constant: f64,
}

impl Held {
    /// `direction · n(x)` as a function of x, for a norm n with denominator `scale`.
    fn new(direction: &[f64], norm: Norm, parameters: &NormWeights, scale: f64) -> Result<Self> {
        let gain = parameters.factor(norm, |var| var.as_detached_tensor())?;
        let gain = gain.map(|gain| host(&gain)).transpose()?;
        let gain = gain.unwrap_or_else(|| vec![1.; direction.len()]);
        let mut weights: Vec<f64> =
            direction.iter().zip(&gain).map(|(x, gain)| x * gain / scale).collect();
        if norm.centres() {
            let mean = weights.iter().sum::<f64>() / weights.len() as f64;
            weights.iter_mut().for_each(|weight| *weight -= mean);
        }
        let constant = match &parameters.bias {
            Some(bias) => dot(direction, &host(&bias.as_detached_tensor())?),
            None => 0.,
        };
        Ok(Self { weights, constant })
    }
}

impl Decoder {
    /// Direct logit attribution (Elhage et al., 2021): what the embedding, each attention head, each
    /// MLP and each bias write to the logit of `toward`, less that of `against` if there is one, at
    /// `position` of one text `[positions]` or `[1, positions]`.
    ///
    /// # Errors
    /// As [`Decoder::logits`]; more texts than one; a position or token that is not there.
    pub fn attribution(
        &self,
        tokens: &Tensor,
        position: usize,
        toward: u32,
        against: Option<u32>,
    ) -> Result<Attribution> {
        let tokens = self.checked(tokens)?;
        let (batch, positions) = tokens.dims2()?;
        if batch != 1 {
            return Err(Error::shape("the tokens", "one text, [1, positions]", tokens.dims()));
        }
        if position >= positions {
            return Err(Error::invalid("the position", format!("below {positions}"), position));
        }
        let config = self.config();
        let post = config.post_norm();
        let mut points = vec![HookPoint::Embed, HookPoint::PosEmbed, HookPoint::LnFinalScale];
        points.extend((0..config.layers).flat_map(|layer| {
            [HookPoint::Z(layer), HookPoint::Ln1PostScale(layer), HookPoint::MlpOut(layer)]
        }));
        // The vectors of a Shortformer never join the residual stream.
        let apart = |point: HookPoint| {
            point == HookPoint::PosEmbed && config.position == Position::Shortformer
        };
        points.retain(|point| point.never(config).is_none() && !apart(*point));
        let (_, cache) = self.run(&tokens, &Hooks::new().capture_all(points.iter().copied()))?;
        let at = |point: HookPoint| vector(&cache, point, position);
        let scale = |norm: Norm, point: HookPoint| match norm {
            Norm::None => Ok(1.),
            _ => Ok::<_, Error>(at(point)?[0]),
        };

        let direction = self.direction(toward, against)?;
        let scale_final = scale(config.norm, HookPoint::LnFinalScale)?;
        let last = Held::new(&direction, config.norm, &self.parameters().ln_final, scale_final)?;
        let mut rows = Vec::new();
        let mut add = |point, head, value| rows.push(AttributionRow { point, head, value });
        for point in [HookPoint::Embed, HookPoint::PosEmbed] {
            if points.contains(&point) {
                add(point, None, dot(&last.weights, &at(point)?));
            }
        }
        for layer in 0..config.layers {
            let (block, point) = (self.block(layer)?, HookPoint::AttnOut(layer));
            let share = config.attention_scale * config.residual_scale;
            let out: Vec<f64> = last.weights.iter().map(|weight| weight * share).collect();
            let own = scale(post, HookPoint::Ln1PostScale(layer))?;
            let out = Held::new(&out, post, &block.ln1_post, own)?;
            let weight = Tensor::from_vec(out.weights.clone(), (1, config.d_model), self.device())?;
            let map = block.attention_out.to_dtype(DType::F64)?;
            let by_entry = host(&weight.matmul(&map)?.squeeze(0)?)?;
            let z = at(HookPoint::Z(layer))?;
            let width = config.d_head();
            for (head, (z, weights)) in z.chunks(width).zip(by_entry.chunks(width)).enumerate() {
                add(point, Some(head), dot(weights, z));
            }
            if block.attention_out_bias.is_some() || block.ln1_post.bias.is_some() {
                let bias = match &block.attention_out_bias {
                    Some(bias) => dot(&out.weights, &host(&bias.as_detached_tensor())?),
                    None => 0.,
                };
                add(point, None, bias + out.constant);
            }
            let point = HookPoint::MlpOut(layer);
            if points.contains(&point) {
                add(point, None, dot(&last.weights, &at(point)?));
            }
        }
        if self.parameters().ln_final.bias.is_some() || config.unembed_bias {
            let bias = self.bias_toward(toward, against)?;
            add(HookPoint::LnFinalNormalized, None, last.constant + bias);
        }
        let logit = rows.iter().map(|row| row.value).sum();
        Ok(Attribution { rows, logit })
    }

    /// The bias of a token in the unembedding, less another's, as it counts in a logit.
    fn bias_toward(&self, toward: u32, against: Option<u32>) -> Result<f64> {
        let Some(bias) = self.b_u() else { return Ok(0.) };
        let bias = host(&bias)?;
        let other = against.map_or(0., |against| bias[against as usize]);
        Ok((bias[toward as usize] - other) * self.config().logit_scale)
    }

    /// The row of a token in the unembedding, less another's, as it counts in a logit.
    fn direction(&self, toward: u32, against: Option<u32>) -> Result<Vec<f64>> {
        let unembed = self.w_u();
        let row = |token: u32| {
            let vocab = self.config().vocab;
            if token as usize >= vocab {
                let expected = format!("below {vocab}, the vocabulary");
                return Err(Error::invalid("the token", expected, token));
            }
            host(&unembed.get(token as usize)?)
        };
        let mut direction = row(toward)?;
        if let Some(against) = against {
            direction.iter_mut().zip(row(against)?).for_each(|(to, other)| *to -= other);
        }
        let scale = self.config().logit_scale;
        direction.iter_mut().for_each(|entry| *entry *= scale);
        Ok(direction)
    }
}

/// What a pass kept at a position of its one text.
fn vector(cache: &Cache, point: HookPoint, position: usize) -> Result<Vec<f64>> {
    host(&cache.get(point)?.get(0)?.get(position)?.flatten_all()?)
}

fn host(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.to_dtype(DType::F64)?.to_vec1()?)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Attribution {
    /// The same with the heads and biases of each attention in one row.
    #[must_use]
    pub fn by_component(&self) -> Self {
        let mut rows: Vec<AttributionRow> = Vec::new();
        for row in &self.rows {
            match rows.last_mut().filter(|last| last.point == row.point) {
                Some(last) => last.value += row.value,
                None => rows.push(AttributionRow { head: None, ..row.clone() }),
            }
        }
        Self { rows, logit: self.logit }
    }

    /// The `count` rows of the largest shares, from the largest size down.
    pub fn largest(&self, count: usize) -> Vec<AttributionRow> {
        let mut rows = self.rows.clone();
        rows.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()));
        rows.truncate(count);
        rows
    }

    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let columns = [ShownColumn::right("").naming_rows(), ShownColumn::right("")];
        let mut shown = ShownTable::new(columns).caption(format!("logit {:.4}", self.logit));
        for row in &self.rows {
            shown.push([row.name(), format!("{:+.4}", row.value)]);
        }
        shown
    }
}

impl AttributionRow {
    /// The point, with the head: `3.attn_out head 5`.
    pub fn name(&self) -> String {
        match (self.head, self.point) {
            (Some(head), point) => format!("{point} head {head}"),
            (None, HookPoint::LnFinalNormalized) => "final biases".to_owned(),
            (None, point) => point.to_string(),
        }
    }
}

impl fmt::Display for Attribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "logit {:.4}", self.logit)?;
        for row in &self.rows {
            writeln!(f, "{:>20} {:+.4}", row.name(), row.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Config, Mlp};

    /// The logit difference of a text's last position with hooks, and the final norm's denominator
    /// held.
    fn logit(model: &Decoder, tokens: &Tensor, hooks: Hooks) -> f64 {
        let held = match model.config().norm {
            Norm::None => hooks,
            _ => {
                let clean = model.activations(tokens, &[HookPoint::LnFinalScale]).unwrap();
                let scale = clean.get(HookPoint::LnFinalScale).unwrap().clone();
                hooks.replace(HookPoint::LnFinalScale, move |_| Ok(scale.clone()))
            }
        };
        let logits = model.run(tokens, &held).unwrap().0.get(0).unwrap();
        let last: Vec<f64> = logits.get(logits.dim(0).unwrap() - 1).unwrap().to_vec1().unwrap();
        last[2] - last[5]
    }

    #[test]
    fn shares_are_what_a_part_adds_and_sum_to_the_logit() {
        for config in [
            Config { logit_cap: None, ..Config::gemma2(2, 2, 8, 6) },
            Config { kv_heads: Some(1), ..Config::llama(2, 2, 8, 6) },
            Config::gpt2(2, 2, 8, 6),
            Config::gpt_neox(2, 2, 8, 6),
            Config { norm: Norm::None, ..Config::bilinear(2, 2, 8, 6) },
            Config::gemma3(2, 2, 8, 6),
            Config::olmo2(2, 2, 8, 6),
            Config { residual_scale: 0.5, logit_scale: 0.25, ..Config::llama(2, 2, 8, 6) },
            Config { mlp_norm: true, unembed_bias: true, ..Config::opt(2, 2, 8, 6) },
            Config { position: Position::Shortformer, ..Config::gpt2(2, 2, 8, 6) },
            Config { mlp: Mlp::None, unembed_bias: true, ..Config::gpt2(2, 2, 8, 6) },
        ] {
            let config = Config { vocab: 7, context: 8, ..config };
            let model = Decoder::random(config, 3, &Device::Cpu).unwrap().widened().unwrap();
            for (i, var) in model.variables().iter().enumerate() {
                let shift = 0.1 * (i % 5) as f64;
                var.set(&((var.as_tensor() * 8.).unwrap() + shift).unwrap()).unwrap();
            }
            let tokens = Tensor::new(&[[3u32, 1, 4, 1]], &Device::Cpu).unwrap();
            let found = model.attribution(&tokens, 3, 2, Some(5)).unwrap();
            let whole = logit(&model, &tokens, Hooks::new());
            assert!((found.logit - whole).abs() < 1e-9, "{} {whole}", found.logit);
            let share = |point, head| {
                let row = found.rows.iter().find(|row| (row.point, row.head) == (point, head));
                row.unwrap().value
            };
            // Nothing comes after the last MLP.
            let zero = |x: &Tensor| Ok(x.zeros_like()?);
            let mut kept = Vec::new();
            if model.config().mlp != Mlp::None {
                let hooks = Hooks::new().replace(HookPoint::MlpOut(1), zero);
                let without = logit(&model, &tokens, hooks);
                assert!((whole - without - share(HookPoint::MlpOut(1), None)).abs() < 1e-9);
                kept.push(HookPoint::MlpOut(1));
            }
            // After the last attention comes the last MLP, and the norm of outputs.
            if model.config().post_norms {
                kept.push(HookPoint::Ln1PostScale(1));
            }
            if kept.is_empty() {
                kept.push(HookPoint::Embed);
            }
            let clean = model.activations(&tokens, &kept).unwrap();
            let mut hooks = Hooks::new().replace(HookPoint::Z(1), |z| {
                let keep = Tensor::new(&[1f64, 0.], z.device())?.reshape((1, 1, 2, 1))?;
                Ok(z.broadcast_mul(&keep)?)
            });
            for point in kept {
                let own = clean.get(point).unwrap().clone();
                hooks = hooks.replace(point, move |_| Ok(own.clone()));
            }
            let without = logit(&model, &tokens, hooks);
            assert!((whole - without - share(HookPoint::AttnOut(1), Some(1))).abs() < 1e-9);

            let together = found.by_component();
            assert!((together.rows.iter().map(|row| row.value).sum::<f64>() - whole).abs() < 1e-9);
            assert!(together.rows.iter().all(|row| row.head.is_none()));
            assert!(found.to_string().contains("1.attn_out head 1"));
            assert_eq!(found.largest(2).len(), 2);
        }
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let config = Config { vocab: 7, ..Config::llama(1, 2, 8, 6) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        let two = Tensor::new(&[[3u32, 1], [1, 2]], &Device::Cpu).unwrap();
        let one = two.get(0).unwrap();
        let message = |tokens: &Tensor, position, token| {
            model.attribution(tokens, position, token, None).unwrap_err().to_string()
        };
        assert!(message(&two, 0, 1).contains("one text"));
        assert!(message(&one, 2, 1).contains("below 2"));
        assert!(message(&one, 1, 7).contains("below 7"));
    }
}
