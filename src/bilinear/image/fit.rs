//! Training.

use std::collections::HashMap;
use std::path::PathBuf;

use candle_core::{DType, Tensor, Var};

use super::step::ImageStep;
use super::{ImageModel, LabelledImages};
use crate::check::check_finite;
use crate::data::Augmentation;
use crate::progress::OnStop;
use crate::random::Rng;
use crate::train::{
    AdamWOptions, Checkpoint, Fit, FitLoop, FitRow, History, OptimizerKind, TakeTensor, Trained,
    accuracy, check_labels, cross_entropy, gradients,
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
    /// A folder to save to at every row of the history, and to go on from; none.
    pub checkpoint: Option<PathBuf>,
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
            checkpoint: None,
            on_stop: OnStop::default(),
        }
    }
}

impl FitOptions {
    /// These options with `augment` applied to each batch of training images,
    /// `[n, 1, height, width]`; none by default.
    ///
    /// ```
    /// use eigenlens::bilinear::image::FitOptions;
    /// use eigenlens::data::Augmentation;
    /// let options = FitOptions::default().augment(Augmentation::noise(0.4));
    /// assert!(options.augment.is_some());
    /// ```
    #[must_use]
    pub fn augment(self, augment: Augmentation) -> Self {
        Self { augment: Some(augment), ..self }
    }
}

impl ImageModel {
    /// Trains with AdamW on cross-entropy, in shuffled batches, with a cosine schedule over epochs.
    /// Returns a row an epoch: `train_loss` and `train_acc` (means over the epoch's augmented
    /// batches), `val_loss` and `val_acc` (on all of `test`).
    ///
    /// With a checkpoint folder it saves itself at every row, and a fit that was cut off, by Stop or by
    /// a crash, goes on from there when it is called again with the same images and options: the weights
    /// in the end are the same as without the break. The same seed gives the same run. When Stop is
    /// pressed, the model keeps the weights it has, and [`OnStop`] says what is returned.
    ///
    /// # Errors
    /// No epochs, a batch of none or larger than the data, images or labels that do not fit the
    /// model or each other, NaN in the images, a loss that diverges; a checkpoint of another fit, or
    /// that cannot be written; [`Error::Stopped`] when Stop is pressed.
    pub fn fit(
        &self,
        train: impl Into<LabelledImages>,
        test: impl Into<LabelledImages>,
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
        let settings = AdamWOptions {
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            ..AdamWOptions::default()
        };
        let checkpoint = options.checkpoint.clone().map(|folder| {
            let asked =
                FitOptions { checkpoint: None, on_stop: OnStop::default(), ..options.clone() };
            Checkpoint::new(folder, format!("{asked:?}, images: {count} for {:?}", self.config))
        });
        let batches = count.div_ceil(options.batch);
        let run = FitLoop {
            epoch: Some(batches),
            report: batches,
            checkpoint,
            device: self.embed.device().clone(),
            ..FitLoop::new("training", options.epochs * batches, options.learning_rate)
        };
        let parameters: Vec<Var> = self.named().into_iter().map(|(_, var)| var).collect();
        let mut fit = ImageFit {
            model: self,
            train,
            test,
            options: &options,
            trained: Trained::new(parameters, &OptimizerKind::AdamW(settings))?,
            by_hand: ImageStep::new(self, options.batch)?,
            rng: Rng::seed(options.seed),
            order: Vec::new(),
            loss_sum: 0.0,
            num_right: 0.0,
        };
        let history = History::new("epoch", &["train_loss", "train_acc", "val_loss", "val_acc"]);
        run.train(&mut fit, history, options.on_stop)
    }

    /// Images as finite `[n, pixels]`, and labels that fit them.
    fn checked(&self, which: &str, samples: LabelledImages) -> Result<LabelledImages> {
        let images = self.flatten(&samples.images)?;
        check_finite(&format!("the {which} images"), &images)?;
        let (count, labels) = (images.dim(0)?, &samples.labels);
        if labels.dims() != [count] {
            let expected = format!("[{count}], one an image");
            return Err(Error::shape(format!("the {which} labels"), expected, labels.dims()));
        }
        check_labels(labels, self.config.classes)?;
        Ok(LabelledImages { images, labels: labels.to_dtype(DType::U32)? })
    }
}

/// A model in training, and the sums of the running epoch.
struct ImageFit<'a> {
    model: &'a ImageModel,
    train: LabelledImages,
    test: LabelledImages,
    options: &'a FitOptions,
    trained: Trained,
    /// The step without a graph, where there is one.
    by_hand: Option<ImageStep>,
    /// Draws the order of images and the augmentation.
    rng: Rng,
    /// Training images in the order of this epoch.
    order: Vec<u32>,
    loss_sum: f64,
    num_right: f64,
}

impl ImageFit<'_> {
    fn augmented(&mut self, images: Tensor) -> Result<Tensor> {
        let Some(augment) = &self.options.augment else { return Ok(images) };
        let config = self.model.config();
        let images = images.reshape((images.dim(0)?, 1, config.height, config.width))?;
        self.model.flatten(&augment.apply(&images, &mut self.rng)?.detach())
    }
}

impl Fit for ImageFit<'_> {
    fn step(&mut self, step: usize, learning_rate: f64) -> Result<f64> {
        let FitOptions { batch: size, augment, .. } = self.options;
        let count = self.train.labels.dim(0)?;
        let start = step % count.div_ceil(*size) * size;
        if start == 0 {
            self.order = self.rng.permutation(count);
        }
        let rows = &self.order[start..count.min(start + size)];
        let index = Tensor::new(rows, self.train.images.device())?;
        let labels = self.train.labels.index_select(&index, 0)?;
        let images = match (&mut self.by_hand, augment) {
            (Some(by_hand), None) => by_hand.gather(&self.train.images, rows)?,
            _ => self.train.images.index_select(&index, 0)?,
        };
        let num_rows = rows.len() as f64;
        let images = self.augmented(images)?;
        let (loss, logits) = match &mut self.by_hand {
            Some(by_hand) => {
                let (loss, logits) = by_hand.run(&images, &labels)?;
                self.trained.step(by_hand.gradients(), learning_rate)?;
                (loss, logits)
            }
            None => {
                let logits = self.model.run(&images, true)?;
                let loss = cross_entropy(&logits, &labels)?;
                self.trained.step(&gradients(&loss, &self.trained.parameters)?, learning_rate)?;
                (loss, logits.detach())
            }
        };
        let loss = scalar(&loss)?;
        self.loss_sum += num_rows * loss;
        self.num_right += num_rows * accuracy(&logits, &labels)?;
        Ok(loss)
    }

    fn row(&mut self, done: usize) -> Result<FitRow> {
        let count = self.train.labels.dim(0)?;
        let train_loss = std::mem::take(&mut self.loss_sum) / count as f64;
        let train_acc = std::mem::take(&mut self.num_right) / count as f64;
        let logits = self.model.logits(&self.test.images)?;
        let val_loss = scalar(&cross_entropy(&logits, &self.test.labels)?)?;
        let val_acc = accuracy(&logits, &self.test.labels)?;
        let epoch = done / count.div_ceil(self.options.batch);
        let note = format!("epoch {epoch} val_acc {:.2} %", 100.0 * val_acc);
        Ok(FitRow { metrics: vec![train_loss, train_acc, val_loss, val_acc], note })
    }

    fn state(&self) -> Result<HashMap<String, Tensor>> {
        let mut all = self.trained.state()?;
        all.extend([self.rng.state()?]);
        Ok(all)
    }

    fn restore(&mut self, done: usize, take: &mut TakeTensor<'_>) -> Result<()> {
        self.rng.restore(&mut *take)?;
        self.trained.restore(done, take)
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
    use crate::train::tests::{assert_gradients, assert_resumes};

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
    fn rows(n: usize) -> LabelledImages {
        let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
        let labels = Tensor::new(labels, &Device::Cpu).unwrap();
        let bright = Tensor::eye(3, DType::F32, &Device::Cpu).unwrap();
        let bright = bright.index_select(&labels, 0).unwrap().reshape((n, 1, 3, 1)).unwrap();
        let noise = Rng::seed(8).uniform(0., 0.3, (n, 1, 3, 4), &Device::Cpu).unwrap();
        LabelledImages { images: noise.broadcast_add(&bright).unwrap(), labels }
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
    fn a_fit_that_was_cut_off_ends_with_the_same_weights() {
        let train = |bias, epochs, checkpoint| {
            let model = ImageModel::new(ImageConfig { bias, ..SMALL }, 1, &Device::Cpu).unwrap();
            let on_stop = OnStop::ReturnPartial;
            let options = FitOptions { epochs, checkpoint, on_stop, ..options() }
                .augment(Augmentation::noise(0.1));
            let history = model.fit(rows(50), rows(10), options)?;
            let weight = |(_, var): (_, Var)| {
                var.as_tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            Ok::<_, Error>((history, model.named().into_iter().map(weight).collect::<Vec<_>>()))
        };
        // An epoch has four steps.
        for bias in [false, true] {
            assert_resumes(&[(3, 0), (4, 4), (10, 8)], 12, |folder| {
                train(bias, 3, folder).unwrap()
            });
        }

        let folder = tempfile::tempdir().unwrap();
        train(false, 1, Some(folder.path().to_owned())).unwrap();
        let message = train(false, 2, Some(folder.path().to_owned())).unwrap_err().to_string();
        assert!(message.contains("`epochs: 2`") && message.contains("`epochs: 1`"), "{message}");
    }

    #[test]
    fn bad_input_is_refused_by_name() {
        let model = ImageModel::new(SMALL, 0, &Device::Cpu).unwrap();
        let message = |train: LabelledImages, options: FitOptions| {
            model.fit(train, rows(9), options).unwrap_err().to_string()
        };
        assert!(message(rows(20), FitOptions { epochs: 0, ..options() }).contains("epochs"));
        assert!(message(rows(20), FitOptions { batch: 0, ..options() }).contains("batch"));
        assert!(message(rows(20), FitOptions { batch: 21, ..options() }).contains("and 20"));
        let nan = (rows(20).images.zeros_like().unwrap() / 0.0).unwrap();
        let labels = rows(20).labels;
        let with = |images: &Tensor, labels: &Tensor| LabelledImages::from((images, labels));
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
