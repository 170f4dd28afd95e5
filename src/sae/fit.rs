//! Training an autoencoder on a model's activations.

use std::path::PathBuf;

use candle_core::{D, DType, Device, Tensor, Var};

use super::buffer::Source;
use super::top_k::top_k;
use super::{Activation, Architecture, Sae, SaeWeights};
use crate::data::text::Tokens;
use crate::error::check_sizes;
use crate::linalg::matmul_nt;
use crate::model::{Decoder, HookPoint};
use crate::notebook::Progress;
use crate::random::Rng;
use crate::train::{AdamW, AdamWOptions, Checkpoint, History, Optimizer, cosine, gradients};
use crate::{Error, Result};

/// How [`Sae::fit`] trains.
#[derive(Debug, Clone, PartialEq)]
pub struct SaeOptions {
    /// Features for each dimension of the activation; 8.
    pub expansion: usize,
    /// Features that a code keeps; 16.
    pub k: usize,
    /// Whether only the positive ones of them are kept, as nearly everywhere; the bilinear
    /// `-scope` autoencoders keep all. True.
    pub relu: bool,
    /// Optimiser steps; 1,000.
    pub steps: usize,
    /// Activations a step; 1,024.
    pub batch: usize,
    /// Activations that are shuffled together; 16,384.
    pub buffer: usize,
    /// Tokens a window of text; 128.
    pub length: usize,
    /// Learning rate of the first step, falling to zero along a cosine; 1e-3.
    pub learning_rate: f64,
    /// Steps between two rows of the history; 50.
    pub report: usize,
    /// Steps after which a feature that was in no code counts as dead; 200.
    pub dead_after: usize,
    /// Seed of the first weights, of the draws of text and of the shuffling; 0.
    pub seed: u64,
    /// A folder to save to at every row of the history, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
}

impl Default for SaeOptions {
    fn default() -> Self {
        Self {
            expansion: 8,
            k: 16,
            relu: true,
            steps: 1_000,
            batch: 1_024,
            buffer: 16_384,
            length: 128,
            learning_rate: 1e-3,
            report: 50,
            dead_after: 200,
            seed: 0,
            checkpoint: None,
        }
    }
}

impl Sae {
    /// Trains a top-k autoencoder of the activations at `point` on text, to the least mean squared
    /// error, and returns it with a row for every `report` steps: `nmse`, the error's share of the
    /// variance about the mean, `Σ‖x − x̂‖² / Σ‖x − x̄‖²`, over the activations of those steps, and
    /// `dead`, the share of features that were in no code for `dead_after` steps.
    ///
    /// The decoder's columns have length one: gradients along them are taken out and they are
    /// scaled back after each step. The encoder begins as the decoder's transpose, and b as the
    /// mean activation. Adam without weight decay; the same seed gives the same run. When Stop is
    /// pressed, it returns what it has, with `interrupted` set. With a checkpoint folder, a fit that
    /// was cut off goes on when it is called again with the same model and options, and ends with
    /// the same weights as without the break.
    ///
    /// # Errors
    /// Options of zero, k above the features, a hook that cannot fire, windows longer than the text
    /// or the context, a loss that diverges, a checkpoint of another fit or that cannot be written.
    pub fn fit(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
    ) -> Result<(Self, History)> {
        Self::fit_until(model, point, text, options, options.steps)
    }

    /// The first `end` steps of [`Sae::fit`].
    fn fit_until(
        model: &Decoder,
        point: HookPoint,
        text: &Tokens,
        options: &SaeOptions,
        end: usize,
    ) -> Result<(Self, History)> {
        check(options)?;
        let mut source = Source::new(model, point, text, options)?;
        let d = source.activations.dim(1)?;
        let m = d * options.expansion;
        if options.k > m {
            return Err(Error::invalid("k", format!("at most {m}, the features"), options.k));
        }
        let weights = Trained::start(&source.activations, m, options.seed)?;
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            weight_decay: 0.0,
            ..AdamWOptions::default()
        };
        let mut adam = AdamW::new(weights.parameters(), settings)?;
        let mut history = History::new("row", &["step", "nmse", "dead"]);
        // A checkpoint keeps tensors: the last steps in which the features fired are one.
        let last_seen = Var::zeros(m, DType::F32, &Device::Cpu)?;
        let state: Vec<Var> = weights.parameters().into_iter().chain([last_seen.clone()]).collect();
        let mut seen_at = vec![0f32; m];
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked = SaeOptions { checkpoint: None, ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?} at {point} of {:?}", model.config()))
        });
        let first = match &checkpoint {
            Some(checkpoint) => {
                checkpoint.restore(&state, &mut adam, &mut history, model.device())?
            }
            None => 0,
        };
        seen_at.clone_from(&last_seen.to_vec1()?);
        source.skip(first)?;
        let mut progress =
            Progress::new("training features", (options.steps - first) as u64, "step");
        let (mut error, mut variance) = (0.0, 0.0);
        for step in first..end {
            let x = source.next()?;
            let (loss, codes) = weights.loss(&x, options)?;
            let found = gradients(&loss, &weights.parameters())?;
            adam.set_learning_rate(options.learning_rate * cosine(step, options.steps));
            adam.step(&weights.projected(found)?)?;
            weights.renormalise()?;

            let rows = x.dim(0)? as f64;
            let squares = loss.to_dtype(DType::F64)?.to_scalar::<f64>()? * rows;
            if !squares.is_finite() {
                let expected = "small enough for the loss to stay finite";
                return Err(Error::invalid("the learning rate", expected, options.learning_rate));
            }
            error += squares;
            let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?.sqr()?.sum_all()?;
            variance += centred.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let codes: Vec<f32> = codes.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            for row in codes.chunks(m) {
                for (seen, code) in seen_at.iter_mut().zip(row) {
                    *seen = if *code != 0.0 { (step + 1) as f32 } else { *seen };
                }
            }
            let last = step + 1 == options.steps;
            if (step + 1) % options.report == 0 || last {
                let dead = |seen: &&f32| (**seen as usize) + options.dead_after < step + 1;
                let dead = seen_at.iter().filter(dead).count() as f64 / m as f64;
                let nmse = error / variance;
                history.push(&[(step + 1) as f64, nmse, dead])?;
                progress.note(format!("nmse {nmse:.3}, dead {:.1} %", 100. * dead));
                (error, variance) = (0.0, 0.0);
                if let Some(checkpoint) = &checkpoint {
                    last_seen.set(&Tensor::new(&*seen_at, &Device::Cpu)?)?;
                    checkpoint.save(&state, &adam, &history)?;
                }
            }
            if progress.advance(1) && !last {
                history.interrupted = true;
                break;
            }
        }
        Ok((weights.finish(point, options)?, history))
    }
}

fn check(options: &SaeOptions) -> Result<()> {
    check_sizes(&[
        ("the expansion", options.expansion),
        ("k", options.k),
        ("the number of steps", options.steps),
        ("the batch", options.batch),
        ("the buffer", options.buffer),
        ("the steps a row", options.report),
    ])
}

/// The weights while they change.
struct Trained {
    encoder: Var,
    decoder: Var,
    bias: Var,
}

impl Trained {
    fn start(activations: &Tensor, m: usize, seed: u64) -> Result<Self> {
        let d = activations.dim(1)?;
        let random = Rng::stream(seed, 0).normal((d, m), activations.device())?;
        let decoder = unit_columns(&random)?;
        Ok(Self {
            encoder: Var::from_tensor(&decoder.t()?.contiguous()?)?,
            decoder: Var::from_tensor(&decoder)?,
            bias: Var::from_tensor(&activations.mean(0)?)?,
        })
    }

    fn parameters(&self) -> Vec<Var> {
        vec![self.encoder.clone(), self.decoder.clone(), self.bias.clone()]
    }

    /// Mean squared distance of the reconstructions from `x` `[n, d]`, and the codes `[n, m]`.
    fn loss(&self, x: &Tensor, options: &SaeOptions) -> Result<(Tensor, Tensor)> {
        let h = matmul_nt(&x.broadcast_sub(self.bias.as_tensor())?, self.encoder.as_tensor())?;
        let codes = top_k(&h, options.k)?;
        let codes = if options.relu { codes.relu()? } else { codes };
        let reconstruction =
            matmul_nt(&codes, self.decoder.as_tensor())?.broadcast_add(self.bias.as_tensor())?;
        Ok(((reconstruction - x)?.sqr()?.sum(D::Minus1)?.mean_all()?, codes.detach()))
    }

    /// The gradients, the decoder's without what would only change its columns' lengths.
    fn projected(&self, gradients: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let mut gradients = gradients;
        if let Some(gradient) = gradients.get_mut(1) {
            let decoder = self.decoder.as_detached_tensor();
            let along = (&*gradient * &decoder)?.sum_keepdim(0)?;
            *gradient = (&*gradient - decoder.broadcast_mul(&along)?)?;
        }
        Ok(gradients)
    }

    fn renormalise(&self) -> Result<()> {
        Ok(self.decoder.set(&unit_columns(&self.decoder.as_detached_tensor())?)?)
    }

    fn finish(&self, point: HookPoint, options: &SaeOptions) -> Result<Sae> {
        let weights = SaeWeights::new(
            self.encoder.as_detached_tensor(),
            self.decoder.as_detached_tensor(),
            self.bias.as_detached_tensor(),
        );
        let activation = Activation::TopK { k: options.k, relu: options.relu };
        let architecture = Architecture { activation, ..Architecture::standard() };
        Ok(Sae::new(architecture, weights)?.at(point))
    }
}

fn unit_columns(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.broadcast_div(&matrix.sqr()?.sum_keepdim(0)?.sqrt()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;
    use crate::train::finite_difference::assert_gradients;

    fn model() -> Decoder {
        let config = Config { vocab: 9, context: 16, ..Config::bilinear(2, 2, 8, 16) };
        let model = Decoder::random(config, 0, &Device::Cpu).unwrap();
        for var in model.variables() {
            var.set(&(var.as_tensor() * 20.0).unwrap()).unwrap();
        }
        model
    }

    fn text() -> Tokens {
        let mut rng = Rng::seed(3);
        Tokens::from((0..400).map(|_| rng.below(9) as u32).collect::<Vec<_>>())
    }

    fn options() -> SaeOptions {
        SaeOptions {
            expansion: 4,
            k: 3,
            steps: 120,
            batch: 64,
            buffer: 256,
            length: 8,
            learning_rate: 0.01,
            report: 40,
            ..SaeOptions::default()
        }
    }

    #[test]
    fn it_explains_more_as_it_learns_and_a_seed_repeats_it_exactly() {
        let run = |seed| {
            let options = SaeOptions { seed, ..options() };
            let (sae, history) =
                Sae::fit(&model(), HookPoint::MlpOut(1), &text(), &options).unwrap();
            (sae.w_dec().to_vec2::<f32>().unwrap(), sae.point().unwrap(), history)
        };
        let (decoder, point, history) = run(0);
        let nmse = history.column("nmse").unwrap();
        assert!(nmse[2] < 0.6 * nmse[0] && nmse[2] < 0.3, "{history}");
        assert_eq!(point, HookPoint::MlpOut(1));
        for feature in 0..32 {
            let length: f32 = decoder.iter().map(|row| row[feature].powi(2)).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
        assert_eq!(run(0), (decoder.clone(), point, history));
        assert_ne!(run(1).0, decoder);
    }

    #[test]
    fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
        let folder = tempfile::tempdir().unwrap();
        let model = model();
        let fit = |end, checkpoint| {
            // Rows of the history fall into the middle of a buffer and its last, smaller batch.
            let options = SaeOptions { batch: 100, report: 10, checkpoint, ..options() };
            let point = HookPoint::MlpOut(1);
            let (sae, history) = Sae::fit_until(&model, point, &text(), &options, end).unwrap();
            (sae.w_dec().to_vec2::<f32>().unwrap(), sae.w_enc().to_vec2::<f32>().unwrap(), history)
        };
        let undisturbed = fit(120, None);
        for cut in [10, 25, 60] {
            let place = Some(folder.path().join(cut.to_string()));
            fit(cut, place.clone());
            assert_eq!(fit(120, place), undisturbed);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let x = Rng::seed(1).normal((5, 4), &Device::Cpu).unwrap();
        let narrow = Trained::start(&x, 6, 2).unwrap();
        let wide = |var: &Var| Var::from_tensor(&var.to_dtype(DType::F64).unwrap()).unwrap();
        let weights = Trained {
            encoder: wide(&narrow.encoder),
            decoder: wide(&narrow.decoder),
            bias: wide(&narrow.bias),
        };
        let x = x.to_dtype(DType::F64).unwrap();
        for relu in [false, true] {
            let options = SaeOptions { k: 2, relu, ..options() };
            assert_gradients(&weights.parameters(), || Ok(weights.loss(&x, &options)?.0));
        }
        let found =
            gradients(&weights.loss(&x, &options()).unwrap().0, &weights.parameters()).unwrap();
        let along = (&weights.projected(found).unwrap()[1] * weights.decoder.as_tensor()).unwrap();
        let most = along.sum(0).unwrap().abs().unwrap().max_all().unwrap();
        assert!(most.to_scalar::<f64>().unwrap() < 1e-5);
    }

    #[test]
    fn bad_options_are_refused() {
        let message = |point, options: SaeOptions| {
            Sae::fit(&model(), point, &text(), &options).unwrap_err().to_string()
        };
        let point = HookPoint::MlpIn(0);
        assert!(message(point, SaeOptions { k: 33, ..options() }).contains("at most 32"));
        assert!(message(point, SaeOptions { batch: 0, ..options() }).contains("the batch"));
        assert!(message(point, SaeOptions { length: 17, ..options() }).contains("at most 16"));
        assert!(message(HookPoint::MlpIn(2), options()).contains("never fires"));
    }
}
