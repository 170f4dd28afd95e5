//! Training.

use candle_core::{DType, Tensor, Var};

use super::step::Step;
use super::{ImageModel, Samples};
use crate::check::check_finite;
use crate::data::Augmentation;
use crate::progress::{OnStop, Progress, StopShield};
use crate::random::Rng;
use crate::train::{
    AdamW, AdamWOptions, History, Optimizer, accuracy, check_labels, cosine, cross_entropy,
    gradients,
};
use crate::{Error, Result};

/// How to train an [`ImageModel`].
#[derive(Debug, Clone)]
pub struct FitOptions {
    /// Passes over the training images; 20.
    pub epochs: usize,
    /// Images a step; 2,048.
    pub batch: usize,
    /// Learning rate of the first epoch, falling to zero along a cosine; 1e-3.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0.5.
    pub weight_decay: f64,
    /// Seed of the order of images and of the augmentation; 0.
    pub seed: u64,
    /// What is done to each batch of training images; nothing.
    pub augment: Option<Augmentation>,
    /// What the fit does when Stop is pressed; it ends the cell.
    pub on_stop: OnStop,
}

impl Default for FitOptions {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch: 2_048,
            learning_rate: 1e-3,
            weight_decay: 0.5,
            seed: 0,
            augment: None,
            on_stop: OnStop::default(),
        }
    }
}

impl FitOptions {
    /// These options with `augment` applied to each batch of training images,
    /// `[n, 1, height, width]`.
    ///
    /// ```
    /// use eigenlens::bilinear::image::FitOptions;
    /// use eigenlens::data::Augmentation;
    /// let options = FitOptions::default().augment(Augmentation::noise(0.4));
    /// assert!(options.augment.is_some());
    /// ```
    pub fn augment(self, augment: Augmentation) -> Self {
        Self { augment: Some(augment), ..self }
    }
}

impl ImageModel {
    /// Trains with AdamW on cross-entropy, in shuffled batches, with a cosine schedule over epochs.
    /// Returns a row an epoch: `train_loss` and `train_acc` (means over the epoch's augmented
    /// batches), `val_loss` and `val_acc` (on all of `test`).
    ///
    /// When Stop is pressed, the model keeps the weights it has, and [`OnStop`] says what is returned.
    /// The same seed gives the same run.
    ///
    /// # Errors
    /// No epochs, a batch of none or larger than the data, images or labels that do not fit the
    /// model or each other, NaN in the images, a loss that diverges; [`Error::Stopped`] when Stop is
    /// pressed.
    pub fn fit(
        &self,
        train: impl Into<Samples>,
        test: impl Into<Samples>,
        options: FitOptions,
    ) -> Result<History> {
        let train = self.checked("training", train.into())?;
        let test = self.checked("test", test.into())?;
        let count = train.labels.dim(0)?;
        if options.epochs == 0 {
            return Err(Error::invalid("the number of epochs", "at least 1", 0));
        }
        if options.batch == 0 || options.batch > count {
            let expected = format!("between 1 and {count}, the number of training images");
            return Err(Error::invalid("the batch", expected, options.batch));
        }
        let parameters: Vec<Var> = self.named().into_iter().map(|(_, var)| var).collect();
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            ..AdamWOptions::default()
        };
        let mut adamw = AdamW::new(parameters.clone(), settings)?;
        let mut step = Step::new(self, options.batch)?;
        let mut rng = Rng::seed(options.seed);
        let mut history =
            History::new("epoch", &["train_loss", "train_acc", "val_loss", "val_acc"]);
        let batches = count.div_ceil(options.batch);
        let mut progress = Progress::new("training", (options.epochs * batches) as u64, "step");
        let _shield = StopShield::new();
        for epoch in 0..options.epochs {
            adamw.set_learning_rate(options.learning_rate * cosine(epoch, options.epochs));
            let (mut loss_sum, mut right) = (0.0, 0.0);
            let order = rng.permutation(count);
            for (batch, rows) in order.chunks(options.batch).enumerate() {
                let index = Tensor::new(rows, train.images.device())?;
                let labels = train.labels.index_select(&index, 0)?;
                let images = match (&mut step, &options.augment) {
                    (Some(step), None) => step.gather(&train.images, rows)?,
                    _ => train.images.index_select(&index, 0)?,
                };
                let images = self.augmented(images, &options, &mut rng)?;
                let (loss, logits) = match &mut step {
                    Some(step) => {
                        let (loss, logits) = step.run(&images, &labels)?;
                        adamw.step(step.gradients())?;
                        (loss, logits)
                    }
                    None => {
                        let logits = self.run(&images, true)?;
                        let loss = cross_entropy(&logits, &labels)?;
                        adamw.step(&gradients(&loss, &parameters)?)?;
                        (loss, logits.detach())
                    }
                };
                let size = rows.len() as f64;
                loss_sum += size * scalar(&loss)?;
                right += size * accuracy(&logits, &labels)?;
                let last = batch + 1 == batches && epoch + 1 == options.epochs;
                if progress.advance(1) && !last {
                    history.interrupted = true;
                    return options.on_stop.end_fit(epoch + 1, options.epochs, "epoch", history);
                }
            }
            let train_loss = loss_sum / count as f64;
            if !train_loss.is_finite() {
                let expected = "small enough for the loss to stay finite";
                return Err(Error::invalid("the learning rate", expected, options.learning_rate));
            }
            let logits = self.logits(&test.images)?;
            let val_loss = scalar(&cross_entropy(&logits, &test.labels)?)?;
            let val_acc = accuracy(&logits, &test.labels)?;
            history.push(&[train_loss, right / count as f64, val_loss, val_acc])?;
            progress.note(format!("epoch {} val_acc {:.2} %", epoch + 1, 100.0 * val_acc));
        }
        Ok(history)
    }

    /// Images as finite `[n, pixels]`, and labels that fit them.
    fn checked(&self, which: &str, samples: Samples) -> Result<Samples> {
        let images = self.flatten(&samples.images)?;
        check_finite(&format!("the {which} images"), &images)?;
        let (count, labels) = (images.dim(0)?, &samples.labels);
        if labels.dims() != [count] {
            let expected = format!("[{count}], one an image");
            return Err(Error::shape(format!("the {which} labels"), expected, labels.dims()));
        }
        check_labels(labels, self.config.classes)?;
        Ok(Samples { images, labels: labels.to_dtype(DType::U32)? })
    }

    fn augmented(&self, images: Tensor, options: &FitOptions, rng: &mut Rng) -> Result<Tensor> {
        let Some(augment) = &options.augment else { return Ok(images) };
        let shape = (images.dim(0)?, 1, self.config.height, self.config.width);
        let images = images.reshape(shape)?;
        self.flatten(&augment.apply(&images, rng)?.detach())
    }
}

fn scalar(loss: &Tensor) -> Result<f64> {
    Ok(loss.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::bilinear::image::{ImageConfig, ImageModel};
    use crate::train::tests::assert_gradients;

    const SMALL: ImageConfig = ImageConfig {
        height: 3,
        width: 4,
        classes: 3,
        d_hidden: 5,
        layers: 1,
        residual: false,
        bias: false,
    };

    /// Images with one bright row, which is their class.
    fn rows(n: usize) -> Samples {
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let bright = Tensor::eye(3, DType::F32, &Device::Cpu).unwrap();
        let bright = bright.index_select(&labels, 0).unwrap().reshape((n, 1, 3, 1)).unwrap();
        let noise = Rng::seed(8).uniform(0., 0.3, (n, 1, 3, 4), &Device::Cpu).unwrap();
        Samples { images: noise.broadcast_add(&bright).unwrap(), labels }
    }

    fn options() -> FitOptions {
        FitOptions { epochs: 30, batch: 16, learning_rate: 0.02, ..FitOptions::default() }
    }

    #[test]
    fn it_learns_with_every_part() {
        for (layers, residual, bias) in [(1, false, false), (1, false, true), (2, true, false)] {
            let config = ImageConfig { layers, residual, bias, ..SMALL };
            let model = ImageModel::new(config, 0, &Device::Cpu).unwrap();
            let history = model.fit(rows(60), rows(30), options()).unwrap();
            assert_eq!(history.len(), 30);
            assert!(history.last("val_acc").unwrap() > 0.95, "{config:?}\n{history}");
            assert_eq!(model.accuracy(rows(30)).unwrap(), history.last("val_acc").unwrap());
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        for (layers, residual, bias) in
            [(1, false, false), (1, false, true), (2, true, false), (2, true, true)]
        {
            let config = ImageConfig { layers, residual, bias, ..SMALL };
            let model = ImageModel::new(config, 4, &Device::Cpu).unwrap().widened();
            let samples = rows(7);
            let images = model.flatten(&samples.images).unwrap();
            let parameters: Vec<Var> = model.named().into_iter().map(|(_, var)| var).collect();
            assert_gradients(&parameters, || {
                cross_entropy(&model.run(&images, true)?, &samples.labels)
            });
        }
    }

    #[test]
    fn a_seed_repeats_a_run_exactly() {
        let run = |seed| {
            let model = ImageModel::new(SMALL, 1, &Device::Cpu).unwrap();
            let options =
                FitOptions { seed, epochs: 3, ..options() }.augment(Augmentation::noise(0.1));
            let history = model.fit(rows(50), rows(10), options).unwrap();
            (history, model.embed().to_vec2::<f32>().unwrap())
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let model = ImageModel::new(SMALL, 0, &Device::Cpu).unwrap();
        let message = |train: Samples, options: FitOptions| {
            model.fit(train, rows(9), options).unwrap_err().to_string()
        };
        assert!(message(rows(20), FitOptions { epochs: 0, ..options() }).contains("epochs"));
        assert!(message(rows(20), FitOptions { batch: 0, ..options() }).contains("batch"));
        assert!(message(rows(20), FitOptions { batch: 21, ..options() }).contains("and 20"));
        let nan = (rows(20).images.zeros_like().unwrap() / 0.0).unwrap();
        let labels = rows(20).labels;
        let with = |images: &Tensor, labels: &Tensor| Samples::from((images, labels));
        assert!(message(with(&nan, &labels), options()).contains("NaN"));
        let short = message(with(&rows(20).images, &rows(19).labels), options());
        assert!(short.contains("[20], one an image"), "{short}");
        let wide = Tensor::zeros((20, 13), DType::F32, &Device::Cpu).unwrap();
        assert!(message(with(&wide, &labels), options()).contains("[n, 12]"));
        let high = (&labels + 1.0).unwrap();
        assert!(message(with(&rows(20).images, &high), options()).contains("below 3"));
        let crop = options().augment(Augmentation::new("crop", |x, _| Ok(x.narrow(2, 0, 2)?)));
        assert!(message(rows(20), crop).contains("after crop"));
        let wild = FitOptions { learning_rate: 1e30, ..options() };
        assert!(message(rows(20), wild).contains("learning rate"));
        assert!(ImageModel::new(ImageConfig { classes: 0, ..SMALL }, 0, &Device::Cpu).is_err());
    }
}
