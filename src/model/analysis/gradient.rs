//! Gradients with respect to activations.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{Tensor, Var};

use super::scalar;
use crate::model::{Cache, Decoder, HookPoint, Hooks};
use crate::{Error, Result};

/// A number, and how it changes with activations.
#[derive(Debug, Clone)]
pub struct Gradients {
    /// The metric.
    pub value: f64,
    /// The activations at the points.
    pub activations: Cache,
    /// `∂ metric / ∂ activation`, of the activation's shape, each through all that comes after it.
    pub gradients: Cache,
}

impl Decoder {
    /// Gradients of `metric(logits)`, a scalar tensor, with respect to the activations at `points`,
    /// with `hooks` acting on the way; an activation is what they leave of it.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// use eigenlens::model::logit_difference;
    /// # fn main() -> Result<()> {
    /// let model = Decoder::random(Config { vocab: 9, ..Config::llama(2, 2, 8, 16) }, 0, &Device::Cpu)?;
    /// let tokens = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
    /// let point = HookPoint::ResidPost(0);
    /// let found = model.gradients(&tokens, &[point], &Hooks::new(), |logits| {
    ///     logit_difference(logits, 4, 5)
    /// })?;
    /// assert_eq!(found.gradients.get(point)?.dims(), [1, 3, 8]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Decoder::run`]; no points; a metric that is not a scalar, or has no gradient at a point.
    pub fn gradients(
        &self,
        tokens: &Tensor,
        points: &[HookPoint],
        hooks: &Hooks,
        metric: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradients> {
        if points.is_empty() {
            return Err(Error::invalid("the hook points", "at least one", "none"));
        }
        let added: Arc<Mutex<Vec<(HookPoint, Var)>>> = Arc::default();
        let mut hooks = hooks.clone();
        for &point in points {
            let added = Arc::clone(&added);
            // Zero is added to the activation, and the gradient taken of the zero: so the graph
            // goes on to earlier points.
            hooks = hooks.capture(point).replace(point, move |x| {
                let zero = Var::zeros(x.shape(), x.dtype(), x.device())?;
                let sum = (x + zero.as_tensor())?;
                added.lock().unwrap_or_else(PoisonError::into_inner).push((point, zero));
                Ok(sum)
            });
        }
        let (logits, cache) = self.run(tokens, &hooks)?;
        let metric = metric(&logits)?;
        let value = scalar(&metric)?;
        let found = metric.backward()?;
        let mut gradients = Cache::default();
        for (point, zero) in added.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let gradient = found.get(zero).ok_or_else(|| {
                let expected = format!("a function of the logits with a gradient at {point}");
                Error::invalid("the metric", expected, "one that the graph does not lead to")
            })?;
            gradients.insert(*point, gradient.clone());
        }
        let mut activations = Cache::default();
        for point in points {
            activations.insert(*point, cache.get(*point)?.detach());
        }
        Ok(Gradients { value, activations, gradients })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::model::analysis::logit_difference;
    use crate::model::{Activation, Config, Mlp, Norm, Position, Rotary};

    fn metric(logits: &Tensor) -> Result<Tensor> {
        let curved = logits.sqr()?.mean_all()?;
        Ok((logit_difference(logits, 3, 1)? + curved)?)
    }

    /// One entry of the activation at a point moved by `step`.
    fn moved(point: HookPoint, at: usize, step: f64) -> Hooks {
        Hooks::new().replace(point, move |x| {
            let mut step_at = vec![0f64; x.elem_count()];
            step_at[at] = step;
            Ok((x + Tensor::from_vec(step_at, x.shape(), x.device())?)?)
        })
    }

    #[test]
    fn they_equal_differences_at_every_point_of_every_architecture() {
        let rotary = Position::Rotary(Rotary { dims: Some(2), ..Rotary::new(100.) });
        for config in [
            Config { kv_heads: Some(1), ..Config::gemma2(2, 2, 8, 6) },
            Config { windows: vec![Some(2); 2], qkv_bias: true, ..Config::llama(2, 2, 8, 6) },
            Config { position: rotary, ..Config::gpt_neox(2, 2, 8, 6) },
            Config::gpt2(2, 2, 8, 6),
            Config::bilinear(2, 2, 8, 6),
            Config {
                kv_heads: Some(1),
                windows: vec![Some(2), None],
                ..Config::gemma3(2, 2, 8, 6)
            },
            Config { norm: Norm::RmsGain { eps: 0.3 }, ..Config::olmo2(2, 2, 8, 6) },
            Config {
                unturned: vec![true, false],
                residual_scale: 0.5,
                logit_scale: 0.25,
                ..Config::llama(2, 2, 8, 6)
            },
            Config {
                position: Position::Shortformer,
                mlp: Mlp::Plain(Some(Activation::Solu)),
                mlp_norm: true,
                ..Config::gpt2(2, 2, 8, 6)
            },
            Config { mlp: Mlp::None, unembed_bias: true, ..Config::opt(2, 2, 8, 6) },
        ] {
            let config = Config { vocab: 7, context: 8, ..config };
            let model = Decoder::random(config, 3, &Device::Cpu).unwrap().widened().unwrap();
            for (i, var) in model.variables().iter().enumerate() {
                // Gains and biases move too.
                let shift = 0.1 * (i % 5) as f64;
                var.set(&((var.as_tensor() * 8.).unwrap() + shift).unwrap()).unwrap();
            }
            let tokens = Tensor::new(&[[3u32, 1, 4, 1]], &Device::Cpu).unwrap();
            let points = model.points();
            let found = model.gradients(&tokens, &points, &Hooks::new(), metric).unwrap();
            // Without hooks inside, fused operations run.
            let fused = model.gradients(&tokens, &points[..1], &Hooks::new(), metric).unwrap();
            let gap = (fused.gradients.get(points[0]).unwrap()
                - found.gradients.get(points[0]).unwrap())
            .unwrap();
            let gap: f64 = gap.abs().unwrap().max_all().unwrap().to_scalar().unwrap();
            assert!(gap < 1e-9, "{gap}");
            for point in points {
                let gradient = found.gradients.get(point).unwrap().flatten_all().unwrap();
                let gradient: Vec<f64> = gradient.to_vec1().unwrap();
                assert!(gradient.iter().any(|entry| *entry != 0.0), "{point}");
                let value = |at, step| {
                    let logits = model.run(&tokens, &moved(point, at, step)).unwrap().0;
                    scalar(&metric(&logits).unwrap()).unwrap()
                };
                for at in [0, gradient.len() - 1] {
                    // A norm of a short vector bends: differences of fourth order.
                    let (near, far) = ([1e-4, -1e-4], [2e-4, -2e-4]);
                    let [near, far] = [near, far].map(|[a, b]| value(at, a) - value(at, b));
                    let slope = (8. * near - far) / 12e-4;
                    let gap = (slope - gradient[at]).abs();
                    let bound = 1e-6 * slope.abs().max(1e-1);
                    assert!(gap < bound, "{point} {at}: {} but {slope}", gradient[at]);
                }
            }
        }
    }

    #[test]
    fn bad_metrics_and_points_are_refused() {
        let config = Config { vocab: 7, ..Config::llama(1, 2, 8, 6) };
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        let tokens = Tensor::new(&[[3u32, 1]], &Device::Cpu).unwrap();
        let message = |points: &[HookPoint], metric: fn(&Tensor) -> Result<Tensor>| {
            model.gradients(&tokens, points, &Hooks::new(), metric).unwrap_err().to_string()
        };
        let point = [HookPoint::ResidPost(0)];
        assert!(message(&[], metric).contains("at least one"));
        assert!(message(&point, |logits| Ok(logits.clone())).contains("one number"));
        let constant = |logits: &Tensor| Ok(logits.detach().sum_all()?);
        assert!(message(&point, constant).contains("a gradient at 0.resid_post"));
        assert!(message(&[HookPoint::PosEmbed], metric).contains("learned positions"));
        let logits = Tensor::zeros((1, 2, 7), DType::F32, &Device::Cpu).unwrap();
        assert!(logit_difference(&logits, 7, 0).unwrap_err().to_string().contains("below 7"));
    }
}
