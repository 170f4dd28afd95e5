//! The course of training a top-k autoencoder on the model that ships, beside PyTorch.

use std::fs;

use eigenlens::prelude::*;

use crate::language::model_sizes;
use crate::pytorch::Baseline;
use crate::report::{Row, Spread};
use crate::{Result, median};

/// The layer whose MLP's output is read.
const LAYER: usize = 2;
/// Steps of a training.
const STEPS: usize = 256;
/// Trainings on either side, each from other random weights.
const SEEDS: u64 = 3;

/// The error's share of the variance over each quarter of the steps.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let contexts = Contexts::from_pretrained("eigenlens/classics-4k")?;
    let text = Tokens::from(contexts.as_slice().to_vec());
    let (point, usual) = (HookPoint::MlpOut(LAYER), SaeOptions::default());
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("activations");
    // As many as PyTorch's steps take: none comes twice.
    let windows = text.windows(STEPS * usual.batch / usual.length, usual.length, &Device::Cpu)?;
    fs::write(&path, activations(&model, point, &windows)?)?;

    let own = [
        ("d_model", model.config().d_model),
        ("fit_features", usual.expansion * model.config().d_model),
        ("fit_k", usual.k),
        ("fit_batch", usual.batch),
        ("fit_dead_after", usual.dead_after),
        ("curve_steps", STEPS),
    ];
    let sizes = [model_sizes().as_slice(), &own].concat();
    let mut pytorch =
        Baseline::start(&sizes, &[("EIGENLENS_BENCH_ACTIVATIONS", path.as_os_str())])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for seed in 0..SEEDS {
        let options = SaeOptions { steps: STEPS, report: STEPS / 4, seed, ..usual.clone() };
        ours.push(Sae::fit(&model, point, &text, &options)?.1.column("nmse")?);
        if let Some(pytorch) = &mut pytorch {
            theirs.push(pytorch.ask("fit-curve", 1)?.found);
        }
    }
    let size = format!("{STEPS} steps, the model that ships, {point}, {SEEDS} trainings");
    let row = |quarter: usize| {
        let of = |all: &[Vec<f64>]| all.iter().map(|one| one[quarter]).collect::<Vec<_>>();
        let name = format!("top-k, unexplained variance, quarter {}", quarter + 1);
        let mut row = Row::new(name, size.clone(), median(of(&ours)), "share");
        if !theirs.is_empty() {
            row.pytorch = Some(median(of(&theirs)));
            let ratios = of(&ours).into_iter().zip(of(&theirs)).map(|(ours, theirs)| ours / theirs);
            row.ratio = Some(Spread::of(ratios.collect()));
        }
        row
    };
    Ok((0..4).map(row).collect())
}

/// Activations of windows of text, as bytes.
fn activations(model: &Decoder, point: HookPoint, windows: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for at in (0..windows.dim(0)?).step_by(64) {
        let some = windows.narrow(0, at, 64.min(windows.dim(0)? - at))?;
        let cache = model.activations(&some, &[point])?;
        let values: Vec<f32> = cache.get(point)?.flatten_all()?.to_vec1()?;
        bytes.extend(values.into_iter().flat_map(f32::to_ne_bytes));
    }
    Ok(bytes)
}
