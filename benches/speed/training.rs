//! Training an image model and decomposing it, beside PyTorch.

use eigenlens::prelude::*;
use eigenlens::train::{MuonOptions, OptimizerKind};

use crate::Result;
use crate::pytorch::{self, Work};
use crate::report::Row;

/// Rank of the tensor decomposition.
const RANK: usize = 64;

/// Speeds of training an image model and of decomposing it, and how they compare with PyTorch's.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let digits = Mnist::embedded(&Device::Cpu)?;
    let (config, fit) = (ImageConfig::default(), FitOptions::default());
    let model = ImageModel::new(config, 0, &Device::Cpu)?;
    let train = |epochs: usize, options: &FitOptions| {
        let options = FitOptions { epochs, ..options.clone() };
        model.fit(digits.train(), digits.test(), options).map(drop)
    };
    let noisy = fit.clone().augment(Augmentation::noise(0.4));
    let target = ImageModel::new(config, 1, &Device::Cpu)?;
    let factors = CpdModel::new(&target, RANK, 0)?;
    let decompose = |steps: usize, bfloat16: bool| {
        let muon = MuonOptions { bfloat16, ..MuonOptions::default() };
        let optimizer = OptimizerKind::Muon(muon);
        let options = CpdFit { steps, optimizer, ..CpdFit::default() };
        factors.fit(&target, options).map(drop)
    };

    let images =
        format!("{} images, batch {}, hidden {}", digits.train().len(), fit.batch, config.d_hidden);
    let tensor = format!("rank {RANK} of 10×784×784, hidden {}", config.d_hidden);
    let [pixels, hidden, classes] = [config.height * config.width, config.d_hidden, config.classes];
    let products = pixels * hidden + 2 * hidden * hidden + hidden * classes;
    // Three products a weight and image, two for the embedding, whose input needs no gradient, and
    // one a weight and test image.
    let trained = digits.train().len() * (6 * products - 2 * pixels * hidden);
    let flops = (trained + digits.test().len() * 2 * products) as f64;
    let works = [
        Work::new("image training", "image", |epochs| train(epochs, &fit))
            .size(images.clone())
            .turn(3, 1, "epochs/s")
            .flops(flops),
        Work::new("image training, noise 0.4", "image-noise", |epochs| train(epochs, &noisy))
            .size(images)
            .turn(3, 1, "epochs/s")
            .flops(flops),
        Work::new("CPD", "cpd", |steps| decompose(steps, true))
            .size(tensor.clone())
            .turn(100, 1, "steps/s"),
        Work::new("CPD, Muon in f32", "cpd-f32", |steps| decompose(steps, false))
            .size(tensor)
            .turn(100, 1, "steps/s"),
    ];
    pytorch::rows(works, &[("d_hidden", config.d_hidden), ("batch", fit.batch), ("rank", RANK)])
}
