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
        let options = CpdFit { steps, optimizer: OptimizerKind::Muon(muon) };
        factors.fit(&target, options).map(drop)
    };

    let images =
        format!("{} images, batch {}, hidden {}", digits.train().len(), fit.batch, config.d_hidden);
    let tensor = format!("rank {RANK} of 10×784×784, hidden {}", config.d_hidden);
    let works = [
        Work {
            name: "image training",
            request: "image",
            size: images.clone(),
            unit: "epochs/s",
            each: 1,
            times: 3,
            run: &|epochs| train(epochs, &fit),
        },
        Work {
            name: "image training, noise 0.4",
            request: "image-noise",
            size: images,
            unit: "epochs/s",
            each: 1,
            times: 3,
            run: &|epochs| train(epochs, &noisy),
        },
        Work {
            name: "CPD",
            request: "cpd",
            size: tensor.clone(),
            unit: "steps/s",
            each: 1,
            times: 100,
            run: &|steps| decompose(steps, true),
        },
        Work {
            name: "CPD, Muon in f32",
            request: "cpd-f32",
            size: tensor,
            unit: "steps/s",
            each: 1,
            times: 100,
            run: &|steps| decompose(steps, false),
        },
    ];
    pytorch::rows(works, &[("d_hidden", config.d_hidden), ("batch", fit.batch), ("rank", RANK)])
}
