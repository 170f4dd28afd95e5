//! Training a grid of toy dictionaries, beside PyTorch.

use eigenlens::prelude::*;

use crate::Result;
use crate::pytorch::{self, Work};
use crate::report::Row;

/// Samples an epoch.
const SAMPLES: usize = 8_192;
/// Samples a step.
const BATCH: usize = 128;
/// L1 penalties of the grid; `benches/pytorch/dictionaries.py` has the same.
const PENALTIES: [f64; 2] = [0.1, 0.2];

/// Samples a second that every dictionary of a grid is trained on, and how they compare with
/// PyTorch's. Each turn of ours begins with random atoms, when codes are not sparse yet.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let config = SuperpositionConfig::default();
    let (features, dims) = (config.features, config.dims);
    let sizes = [dims, 2 * dims];
    let samples = Superposition::new(config, 0)?.sample(SAMPLES, 1)?;
    let fit = |epochs: usize| {
        let options = GridOptions {
            epochs,
            batch: BATCH,
            learning_rate: 0.01,
            ..GridOptions::l1(PENALTIES, sizes)
        };
        DictionaryGrid::fit(&samples.x(), &options).map(drop)
    };
    let work = Work::new("dictionary grid", "dictionaries", fit)
        .size(format!(
            "{} penalties, {sizes:?} atoms, {features} features in {dims}, batch {BATCH}",
            PENALTIES.len()
        ))
        .turn(4, SAMPLES, "samples/s")
        // Five products with each dictionary: codes, sums, and the gradients of codes and, twice,
        // of atoms.
        .flops((10 * dims * PENALTIES.len() * sizes.iter().sum::<usize>()) as f64);
    let sizes = [
        ("toy_samples", SAMPLES),
        ("toy_batch", BATCH),
        ("toy_features", features),
        ("toy_dims", dims),
    ];
    pytorch::rows([work], &sizes)
}
