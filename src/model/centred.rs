//! The model with a residual stream whose mean over its dimensions is zero.

use candle_core::{D, DType, Var};

use super::origin::ModelOrigin;
use super::parameters::{ModelParameter, Parameters};
use super::{Config, Decoder, Position};
use crate::{Error, Result};

impl Decoder {
    /// The same model with every weight that writes to the residual stream less its mean over the
    /// stream's dimensions: embeddings, vectors of positions (but of a Shortformer, whose stream does
    /// not hold them), the output maps of attentions and MLPs and their biases.
    ///
    /// A LayerNorm takes that mean off whatever it reads, so the logits stay the same; the stream
    /// itself has a mean of zero at every position. This is what TransformerLens's
    /// `center_writing_weights` does, and what autoencoders expect that were trained on models it
    /// loaded, such as `gpt2-small-res-jb`; [`Sae::with_centred_inputs`](crate::sae::Sae::with_centred_inputs)
    /// does the same for one autoencoder. An unembedding that was tied to the embeddings is a matrix of its own
    /// afterwards, because it stays as it was.
    ///
    /// ```
    /// use eigenlens::prelude::*;
    /// # fn main() -> Result<()> {
    /// let config = Config { vocab: 11, context: 8, ..Config::gpt2(1, 2, 8, 16) };
    /// let model = Decoder::random(config, 0, &Device::Cpu)?;
    /// let tokens = Tensor::new(&[[1u32, 2, 3]], &Device::Cpu)?;
    /// let (_, cache) = model.centred_writing()?.run(&tokens, &Hooks::new().capture(HookPoint::ResidPost(0)))?;
    /// let mean = cache.tensor(HookPoint::ResidPost(0))?.mean(D::Minus1)?;
    /// assert!(mean.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A model without LayerNorms before its attentions and MLPs, in which the mean has a part in what
    /// is read, or whose attentions and MLPs pass through norms before they join the stream; memory.
    pub fn centred_writing(&self) -> Result<Self> {
        let config = self.config();
        if !config.pre_norm().centres() || config.post_norms {
            let expected = "a model with LayerNorms before its attentions and MLPs alone, which take \
                            the mean off";
            let found = match config.post_norms {
                true => "one with norms after them".to_owned(),
                false => format!("one with {:?}", config.pre_norm()),
            };
            return Err(Error::invalid("the model of `centred_writing`", expected, found));
        }
        let untied = Config { tied: false, ..config.clone() };
        let own = self.parameters();
        let mut all = own.all().into_iter().peekable();
        // Built in the order in which they are listed; a tied unembedding is not in the list.
        let parameters = Parameters::build(&untied, |_, part, _| {
            let listed = all.next_if(|(_, listed, _)| *listed == part);
            let var = listed.map_or(own.unembed(), |(_, _, var)| var);
            let along = match part {
                ModelParameter::Positions if config.position == Position::Shortformer => {
                    return Ok(var.clone());
                }
                ModelParameter::Embed | ModelParameter::Positions => D::Minus1,
                ModelParameter::AttentionOut | ModelParameter::MlpOut => D::Minus2,
                ModelParameter::AttentionOutBias | ModelParameter::MlpOutBias => D::Minus1,
                _ => return Ok(var.clone()),
            };
            let wide = match var.dtype() {
                DType::F64 => var.as_detached_tensor(),
                _ => var.to_dtype(DType::F32)?.detach(),
            };
            let centred = wide.broadcast_sub(&wide.mean_keepdim(along)?)?;
            Ok(Var::from_tensor(&centred.to_dtype(var.dtype())?)?)
        })?;
        let origin = ModelOrigin { centred: true, ..self.origin().clone() };
        Ok(Self::from_parameters(untied, parameters, self.device(), origin))
    }

    /// Whether [`Decoder::centred_writing`] made it.
    pub fn is_centred(&self) -> bool {
        self.origin().centred
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;
    use crate::model::{HookPoint, Hooks};

    /// A model whose embeddings, biases and maps have a mean that is far from zero.
    fn lopsided(config: Config) -> Decoder {
        let model = Decoder::random(config, 3, &Device::Cpu).unwrap();
        for (at, var) in model.variables().into_iter().enumerate() {
            let scaled = (var.as_tensor() * 8.0).unwrap();
            var.set(&(scaled + 0.05 * (1.0 + at as f64 % 3.0)).unwrap()).unwrap();
        }
        model
    }

    fn gap(a: &Tensor, b: &Tensor) -> f32 {
        let gap = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        gap.max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn logits_stay_and_the_streams_mean_goes() {
        let tokens = Tensor::new(&[[3u32, 1, 4, 1, 5], [9, 2, 6, 5, 3]], &Device::Cpu).unwrap();
        for (config, tied) in [
            (Config { vocab: 12, context: 8, ..Config::gpt2(3, 2, 16, 24) }, true),
            (Config { vocab: 12, context: 8, ..Config::gpt_neox(2, 2, 16, 24) }, false),
            (
                Config { vocab: 12, context: 8, unembed_bias: true, ..Config::opt(2, 2, 16, 24) },
                true,
            ),
            (
                Config {
                    vocab: 12,
                    context: 8,
                    position: Position::Shortformer,
                    mlp_norm: true,
                    ..Config::gpt2(2, 2, 16, 24)
                },
                true,
            ),
        ] {
            assert_eq!(config.tied, tied);
            let model = lopsided(config);
            let centred = model.centred_writing().unwrap();
            assert!(centred.is_centred() && !model.is_centred());
            let last = HookPoint::ResidPost(model.config().layers - 1);
            let points =
                [HookPoint::ResidPre(0), HookPoint::AttnOut(1), HookPoint::MlpOut(0), last];
            let hooks = Hooks::new().capture_all(points);
            let (before, raw) = model.run(&tokens, &hooks).unwrap();
            let (after, own) = centred.run(&tokens, &hooks).unwrap();
            assert!(gap(&before, &after) < 5e-5, "{}", gap(&before, &after));
            for point in points {
                let (raw, own) = (raw.get(point).unwrap(), own.get(point).unwrap());
                let mean = own.mean(D::Minus1).unwrap();
                assert!(gap(&mean, &mean.zeros_like().unwrap()) < 1e-5, "{point}");
                let expected = raw.broadcast_sub(&raw.mean_keepdim(D::Minus1).unwrap()).unwrap();
                assert!(gap(&expected, own) < 5e-5, "{point}");
                assert!(gap(raw, own) > 1e-2, "{point}: there was a mean");
            }
            // Once more changes nothing but rounding.
            let again = centred.centred_writing().unwrap().logits(&tokens).unwrap();
            assert!(gap(&again, &after) < 5e-5);
        }
    }

    #[test]
    fn models_in_which_the_mean_matters_are_refused() {
        let config = Config { vocab: 12, context: 8, ..Config::llama(1, 2, 16, 24) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        let error = model.centred_writing().unwrap_err().to_string();
        assert!(error.contains("`centred_writing`") && error.contains("LayerNorms"), "{error}");
        let config =
            Config { vocab: 12, context: 8, post_norms: true, ..Config::gpt2(1, 2, 16, 24) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        assert!(model.centred_writing().unwrap_err().to_string().contains("norms after"));
    }
}
