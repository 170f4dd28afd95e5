//! A place in a model where activations are replaced, and running the model from there.

use candle_core::Tensor;

use crate::model::{Decoder, HookPoint, Hooks};
use crate::{Error, Result};

/// A hook point of a layer, and where a run that begins with it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplacedPoint {
    point: HookPoint,
    /// The residual stream that the run begins from, and the layer after it.
    stream: HookPoint,
    layer: usize,
}

/// Some contexts up to a hook point.
pub(super) struct Begun {
    /// The residual stream that the run goes on from.
    stream: Tensor,
    /// The activation at the point, `[contexts, positions, …]`.
    pub(super) activation: Tensor,
}

impl ReplacedPoint {
    /// # Errors
    /// [`Error::Invalid`] for a point outside the layers.
    pub(super) fn new(point: HookPoint) -> Result<Self> {
        let (stream, layer) = match (point, point.layer()) {
            (HookPoint::ResidPost(layer), _) => (point, layer + 1),
            (_, Some(layer)) => (HookPoint::ResidPre(layer), layer),
            (_, None) => {
                let expected = "one in a layer";
                return Err(Error::invalid("the autoencoder's hook point", expected, point));
            }
        };
        Ok(Self { point, stream, layer })
    }

    /// Runs the model on tokens `[contexts, positions]` up to the point.
    ///
    /// # Errors
    /// As [`Decoder::activations`].
    pub(super) fn begin(&self, model: &Decoder, tokens: &Tensor) -> Result<Begun> {
        let cache = model.activations(tokens, &[self.stream, self.point])?;
        let at = |point| cache.get(point).cloned();
        Ok(Begun { stream: at(self.stream)?, activation: at(self.point)? })
    }

    /// The residual stream after all layers, `[contexts, positions, d_model]`, with `activation` in
    /// place of what is at the point.
    ///
    /// # Errors
    /// As [`Decoder::run_from`].
    pub(super) fn go_on(
        &self,
        model: &Decoder,
        begun: &Begun,
        activation: Tensor,
    ) -> Result<Tensor> {
        if self.point == self.stream {
            return model.stream_from(self.layer, &activation, &Hooks::new());
        }
        let hooks = Hooks::new().replace(self.point, move |_| Ok(activation.clone()));
        model.stream_from(self.layer, &begun.stream, &hooks)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;

    #[test]
    fn a_run_from_a_point_is_the_rest_of_a_whole_run() {
        let config = Config { vocab: 11, ..Config::llama(3, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let tokens = Tensor::new(&[[1u32, 2, 3, 4], [9, 8, 7, 6]], &Device::Cpu).unwrap();
        for point in [
            HookPoint::ResidPost(1),
            HookPoint::ResidPost(2),
            HookPoint::ResidPre(0),
            HookPoint::MlpOut(1),
            HookPoint::Z(2),
        ] {
            let place = ReplacedPoint::new(point).unwrap();
            let begun = place.begin(&model, &tokens).unwrap();
            let changed = (&begun.activation * 1.5).unwrap();
            let stream = place.go_on(&model, &begun, changed).unwrap();
            let found = model.unembed(&stream).unwrap();
            let hooks = Hooks::new().replace(point, |x| Ok((x * 1.5)?));
            let whole = model.run(&tokens, &hooks).unwrap().0;
            let gap = (found - whole).unwrap().abs().unwrap().max_all().unwrap();
            assert!(gap.to_scalar::<f32>().unwrap() < 1e-6, "{point}");
        }
        let error = ReplacedPoint::new(HookPoint::Embed).unwrap_err().to_string();
        assert!(error.contains("one in a layer"), "{error}");
    }
}
