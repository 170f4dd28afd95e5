//! The original's autoencoder and its training, step by step.

use candle_core::{D, DType, Device, Tensor, Var};

use super::upkeep::{geometric_median, unit_columns, without_part_along};
use crate::check::{check_not_negative, check_sizes};
use crate::train::{AdamW, AdamWOptions, Optimizer, gradients};
use crate::{Error, Result};

/// The constants of the original's training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PublishedRecipe {
    /// Latents that a code keeps; 32.
    pub k: usize,
    /// Dead latents that explain what the others leave; 256.
    pub auxk: usize,
    /// What that weighs in the loss; 1/32.
    pub auxk_coef: f64,
    /// A kept value above this makes its latent alive; 1e-3.
    pub dead_threshold: f32,
    /// Calls without such a value after which a latent is dead; 76. The original means 10 million
    /// tokens and divides by the tokens of an optimiser step, but counts micro-batches.
    pub dead_steps: i64,
    /// Whether every activation is standardised; true.
    pub standardize: bool,
    /// Micro-batches of an optimiser step; 64.
    pub accumulate: usize,
    /// The learning rate; 1e-4.
    pub learning_rate: f64,
}

impl Default for PublishedRecipe {
    fn default() -> Self {
        Self {
            k: 32,
            auxk: 256,
            auxk_coef: 1.0 / 32.0,
            dead_threshold: 1e-3,
            dead_steps: 76,
            standardize: true,
            accumulate: 64,
            learning_rate: 1e-4,
        }
    }
}

/// An autoencoder that is trained as the original's code does it, for comparison: [`Mlsae::fit`]
/// has none of what follows.
///
/// - The bias becomes the geometric median of the **raw** activations of the first micro-batch,
///   although it is subtracted from standardised ones.
/// - The loss is `mean over l of mean (x̂ − x)² / var(x after l)`, with the variance about one number
///   for all dimensions, plus `auxk_coef · mean (e − ê)² / mean (e − mean over d of e)²`, where the
///   error e = x − x̂ is that of raw activations and ê, what dead latents make of it, is not brought
///   back to their scale.
/// - After **every** micro-batch the decoder's columns are scaled to length 1 and the gradient
///   accumulated so far loses its part along them. Right after an optimiser step they are not unit.
///
/// [`Mlsae::fit`]: crate::multilayer::Mlsae::fit
#[derive(Debug)]
pub struct PublishedTraining {
    recipe: PublishedRecipe,
    /// `[n, d]`.
    encoder: Var,
    /// `[d, n]`.
    decoder: Var,
    /// `[d]`.
    bias: Var,
    /// Calls since each latent was last alive.
    last_nonzero: Vec<i64>,
    /// Sums of gradients of encoder, decoder and bias since the last optimiser step.
    gradients: Option<[Tensor; 3]>,
    micro_batches: usize,
    adam: AdamW,
}

/// What the original's autoencoder makes of activations `[…, d]`.
#[derive(Debug, Clone)]
pub struct PublishedForward {
    /// Mean of each activation over dimensions, `[…, 1]`; 0 without `standardize`.
    pub mean: Tensor,
    /// Its standard deviation, divisor d − 1; 1 without `standardize`.
    pub std: Tensor,
    /// What the encoder computes, `[…, n]`.
    pub pre: Tensor,
    /// Codes, after the ReLU, `[…, n]`.
    pub latents: Tensor,
    /// Reconstructions, `[…, d]`.
    pub recons: Tensor,
    /// Codes of dead latents, after the ReLU, `[…, n]`.
    pub aux_latents: Tensor,
    /// What those make, `[…, d]`, in units of standardised activations.
    pub aux_recons: Tensor,
    /// The share of dead latents.
    pub dead: f64,
}

/// What a micro-batch found.
#[derive(Debug, Clone)]
pub struct PublishedStep {
    /// What the autoencoder made of it.
    pub forward: PublishedForward,
    /// Mean over layers of the share of variance unexplained.
    pub loss_mse: f64,
    /// The auxiliary loss, times its weight.
    pub loss_auxk: f64,
    /// Gradients of encoder, decoder and bias, summed since the last optimiser step, before the
    /// decoder's upkeep.
    pub gradients: [Tensor; 3],
    /// The decoder's after it.
    pub projected: Tensor,
}

impl PublishedTraining {
    /// Begins with an encoder `[n, d]` and a decoder `[d, n]`, f32 on the CPU, a bias of zero, and the
    /// calls since each latent was last alive.
    ///
    /// # Errors
    /// [`Error::Shape`] for matrices that do not fit; [`Error::Invalid`] for a recipe of zeros or a k
    /// above the latents.
    pub fn new(
        encoder: &Tensor,
        decoder: &Tensor,
        last_nonzero: Vec<i64>,
        recipe: PublishedRecipe,
    ) -> Result<Self> {
        let [n, d] = *encoder.dims() else {
            return Err(Error::shape("the encoder", "[n, d]", encoder.dims()));
        };
        if decoder.dims() != [d, n] {
            return Err(Error::shape("the decoder", format!("[{d}, {n}]"), decoder.dims()));
        }
        if last_nonzero.len() != n {
            let expected = format!("{n}, one a latent");
            return Err(Error::shape(
                "the calls since latents were alive",
                expected,
                last_nonzero.len(),
            ));
        }
        check_sizes(&[
            ("k", recipe.k),
            ("`auxk`", recipe.auxk),
            ("`accumulate`", recipe.accumulate),
        ])?;
        check_not_negative("`auxk_coef`", recipe.auxk_coef)?;
        if recipe.k.max(recipe.auxk) > n {
            let expected = format!("at most {n}, the latents");
            return Err(Error::invalid("k and `auxk`", expected, recipe.k.max(recipe.auxk)));
        }
        let var = |tensor: &Tensor| -> Result<Var> {
            Ok(Var::from_tensor(&tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)?)
        };
        let (encoder, decoder) = (var(encoder)?, var(decoder)?);
        let bias = Var::zeros(d, DType::F32, &Device::Cpu)?;
        let settings = AdamWOptions {
            learning_rate: recipe.learning_rate,
            epsilon: 6.25e-10,
            weight_decay: 0.0,
            ..AdamWOptions::default()
        };
        let all = vec![encoder.clone(), decoder.clone(), bias.clone()];
        let adam = AdamW::new(all, settings)?;
        let micro_batches = 0;
        Ok(Self {
            recipe,
            encoder,
            decoder,
            bias,
            last_nonzero,
            gradients: None,
            micro_batches,
            adam,
        })
    }

    /// The same with a bias `[d]`.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn with_bias(self, bias: &Tensor) -> Result<Self> {
        if bias.dims() != self.bias.dims() {
            return Err(Error::shape("the bias", format!("{:?}", self.bias.dims()), bias.dims()));
        }
        self.bias.set(&bias.to_device(&Device::Cpu)?.to_dtype(DType::F32)?)?;
        Ok(self)
    }

    /// The encoder `[n, d]`, the decoder `[d, n]` and the bias `[d]`.
    pub fn weights(&self) -> [Tensor; 3] {
        [&self.encoder, &self.decoder, &self.bias].map(|var| var.as_detached_tensor())
    }

    /// Calls since each latent was last alive.
    pub fn last_nonzero(&self) -> &[i64] {
        &self.last_nonzero
    }

    /// Codes and reconstructions of activations `[…, d]`. It counts as a call, as in the original, where
    /// that happens in evaluation too. Gradients with respect to the weights go through kept values.
    ///
    /// # Errors
    /// [`Error::Shape`] for another width.
    pub fn forward(&mut self, x: &Tensor) -> Result<PublishedForward> {
        let (n, d) = (self.encoder.dims()[0], self.encoder.dims()[1]);
        if x.dims().last() != Some(&d) {
            return Err(Error::shape("the activations", format!("[…, {d}]"), x.dims()));
        }
        let of_width = |width: usize| {
            let mut shape = x.dims().to_vec();
            shape[x.rank() - 1] = width;
            shape
        };
        let rows = x.to_dtype(DType::F32)?.reshape(((), d))?;
        let (mean, std, z) = match self.recipe.standardize {
            true => {
                let mean = rows.mean_keepdim(1)?;
                let centred = rows.broadcast_sub(&mean)?;
                let std = (centred.sqr()?.sum_keepdim(1)? / (d as f64 - 1.0))?.sqrt()?;
                let z = centred.broadcast_div(&(&std + 1e-5)?)?;
                (mean, std, z)
            }
            false => {
                let zero = rows.narrow(1, 0, 1)?.zeros_like()?;
                (zero.clone(), zero.ones_like()?, rows)
            }
        };
        let pre = z.broadcast_sub(&self.bias)?.matmul(&self.encoder.t()?)?;
        let values: Vec<Vec<f32>> = pre.to_vec2()?;
        let kept = |allowed: &dyn Fn(usize) -> bool, k: usize| -> Result<Tensor> {
            let mut mask = vec![0f32; values.len() * n];
            for (row, values) in values.iter().enumerate() {
                // Of latents that are not allowed the value is 0.
                let value = |j: &usize| if allowed(*j) { values[*j] } else { 0.0 };
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|i, j| value(j).total_cmp(&value(i)));
                for j in order[..k].iter().filter(|j| allowed(**j)) {
                    mask[row * n + j] = 1.0;
                }
            }
            Ok(Tensor::from_vec(mask, (values.len(), n), &Device::Cpu)?)
        };
        let mask = kept(&|_| true, self.recipe.k)?;
        let alive: Vec<f32> = (&pre * &mask)?.max(0)?.to_vec1()?;
        for (calls, value) in self.last_nonzero.iter_mut().zip(alive) {
            *calls = if value > self.recipe.dead_threshold { 1 } else { *calls + 1 };
        }
        let is_dead = |j: usize| self.last_nonzero[j] >= self.recipe.dead_steps;
        let aux_mask = kept(&is_dead, self.recipe.auxk)?;
        let made = |mask: &Tensor| -> Result<(Tensor, Tensor)> {
            let latents = (&pre * mask)?.relu()?;
            let made = latents.matmul(&self.decoder.t()?)?.broadcast_add(&self.bias)?;
            Ok((latents, made))
        };
        let ((latents, recons), (aux_latents, aux_recons)) = (made(&mask)?, made(&aux_mask)?);
        let recons = recons.broadcast_mul(&std)?.broadcast_add(&mean)?;
        let dead = (0..n).filter(|j| is_dead(*j)).count() as f64 / n as f64;
        Ok(PublishedForward {
            mean: mean.reshape(of_width(1))?,
            std: std.reshape(of_width(1))?,
            pre: pre.reshape(of_width(n))?,
            latents: latents.reshape(of_width(n))?,
            recons: recons.reshape(x.dims())?,
            aux_latents: aux_latents.reshape(of_width(n))?,
            aux_recons: aux_recons.reshape(x.dims())?,
            dead,
        })
    }

    /// Takes in a micro-batch `[layers, batch, positions, d]`, and makes an optimiser step after every
    /// [`accumulate`](PublishedRecipe::accumulate) of them.
    ///
    /// # Errors
    /// [`Error::Shape`] for another rank or width.
    pub fn step(&mut self, inputs: &Tensor) -> Result<PublishedStep> {
        let [layers, _, _, _] = *inputs.dims() else {
            let expected = "[layers, batch, positions, d]";
            return Err(Error::shape("the micro-batch", expected, inputs.dims()));
        };
        let inputs = inputs.to_dtype(DType::F32)?;
        if self.micro_batches == 0 {
            self.bias.set(&geometric_median(&inputs, 100, 1e-5)?)?;
        }
        let forward = self.forward(&inputs)?;
        let error = (&inputs - &forward.recons)?;
        let mut shares = Vec::with_capacity(layers);
        for layer in 0..layers {
            let x = inputs.get(layer)?.flatten_all()?;
            let count = x.elem_count() as f64;
            let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
            let variance = (centred.sqr()?.sum_all()? / (count - 1.0))?;
            shares.push((error.get(layer)?.sqr()?.mean_all()? / variance)?);
        }
        let loss_mse = Tensor::stack(&shares, 0)?.mean(0)?;
        let left = (&error - &forward.aux_recons)?.sqr()?.mean_all()?;
        let spread = error.broadcast_sub(&error.mean_keepdim(D::Minus1)?)?.sqr()?.mean_all()?;
        let loss_auxk = ((left / spread)? * self.recipe.auxk_coef)?;
        let number = |x: &Tensor| -> Result<f64> { Ok(x.to_dtype(DType::F64)?.to_scalar()?) };
        // What is left of nothing counts as nothing.
        let has_auxk = number(&loss_auxk)?.is_finite();
        let loss = if has_auxk { (&loss_mse + &loss_auxk)? } else { loss_mse.clone() };
        let all = [self.encoder.clone(), self.decoder.clone(), self.bias.clone()];
        let found = gradients(&(loss / self.recipe.accumulate as f64)?, &all)?;
        let sums: Vec<Tensor> = match self.gradients.take() {
            None => found,
            Some(before) => before
                .iter()
                .zip(&found)
                .map(|(before, found)| Ok((before + found)?))
                .collect::<Result<_>>()?,
        };
        let gradients: [Tensor; 3] = sums
            .try_into()
            .map_err(|_| Error::invalid("the gradients", "one a weight", "others"))?;
        let unit = unit_columns(&self.decoder.as_detached_tensor())?;
        self.decoder.set(&unit)?;
        let projected = without_part_along(&unit, &gradients[1])?;
        self.micro_batches += 1;
        let [encoder, _, bias] = gradients.clone();
        let now = [encoder, projected.clone(), bias];
        if self.micro_batches.is_multiple_of(self.recipe.accumulate) {
            self.adam.step(&now)?;
        } else {
            self.gradients = Some(now);
        }
        let loss_auxk = if has_auxk { number(&loss_auxk)? } else { 0.0 };
        Ok(PublishedStep { forward, loss_mse: number(&loss_mse)?, loss_auxk, gradients, projected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn random(shape: &[usize], seed: u64) -> Tensor {
        Rng::seed(seed).normal(shape, &Device::Cpu).unwrap()
    }

    fn training(recipe: PublishedRecipe) -> PublishedTraining {
        let encoder = random(&[12, 5], 0);
        let decoder = unit_columns(&encoder.t().unwrap()).unwrap();
        PublishedTraining::new(&encoder, &decoder, vec![0; 12], recipe).unwrap()
    }

    fn recipe() -> PublishedRecipe {
        PublishedRecipe { k: 3, auxk: 4, accumulate: 2, dead_steps: 3, ..Default::default() }
    }

    #[test]
    fn codes_keep_k_and_dead_latents_stand_in() {
        let mut training = training(recipe());
        let x = random(&[2, 7, 5], 3);
        for _ in 0..3 {
            training.forward(&x).unwrap();
        }
        let found = training.forward(&x).unwrap();
        let count = |codes: &Tensor| {
            let rows: Vec<Vec<f32>> = codes.flatten(0, 1).unwrap().to_vec2().unwrap();
            rows.iter().map(|row| row.iter().filter(|x| **x > 0.0).count()).max().unwrap()
        };
        assert!(count(&found.latents) <= 3 && count(&found.aux_latents) <= 4);
        let dead = training.last_nonzero().iter().filter(|calls| **calls >= 3).count();
        assert!((found.dead - dead as f64 / 12.0).abs() < 1e-12);
        assert_eq!(found.recons.dims(), x.dims());
    }

    #[test]
    fn the_loss_falls_and_columns_are_unit_after_every_micro_batch() {
        let mut training = training(PublishedRecipe { learning_rate: 0.01, ..recipe() });
        let x = random(&[3, 2, 8, 5], 4);
        let first = training.step(&x).unwrap().loss_mse;
        let mut last = first;
        for _ in 0..60 {
            let [encoder, ..] = training.weights();
            assert_eq!(encoder.dims(), [12, 5]);
            last = training.step(&x).unwrap().loss_mse;
        }
        assert!(last < 0.8 * first, "{first} {last}");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let encoder = random(&[12, 5], 0);
        let text = |decoder: &[usize], alive: usize, recipe| {
            let decoder = random(decoder, 1);
            PublishedTraining::new(&encoder, &decoder, vec![0; alive], recipe)
                .unwrap_err()
                .to_string()
        };
        assert!(text(&[12, 5], 12, recipe()).contains("the decoder"));
        assert!(text(&[5, 12], 11, recipe()).contains("one a latent"));
        let many = PublishedRecipe { k: 13, ..recipe() };
        assert!(text(&[5, 12], 12, many).contains("at most 12"));
        let none = PublishedRecipe { accumulate: 0, ..recipe() };
        assert!(text(&[5, 12], 12, none).contains("`accumulate`"));
        assert!(training(recipe()).step(&encoder).is_err());
        assert!(training(recipe()).forward(&random(&[2, 4], 0)).is_err());
    }
}
