//! The Tracer's scan at the size of a large model, beside PyTorch's, which is timed on few features.

use std::time::Instant;

use eigenlens::linalg::{matmul, qr, svd};
use eigenlens::prelude::*;
use eigenlens::sae::{Architecture, SaeWeights};

use crate::language::again;
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, growth, largest};

/// d_model and d_hidden.
const SIZE: [usize; 2] = [1_024, 3_072];
/// Output features that a scan of ours goes over, and one of PyTorch's.
const FEATURES: [usize; 2] = [512, 8];
/// Output features that the top is sought among, and how many make it.
const TOP: [usize; 2] = [8_192, 10];
/// Features whose statistic is compared with f64.
const CHECKED: usize = 4;
/// Widths at which growth is measured.
const WIDTHS: [usize; 3] = [256, 512, 1_024];
const STATISTIC: Statistic = Statistic::TruncatedEigenvalues { k: 2 };
/// Random vectors that effective ranks are estimated from.
const PROBES: usize = 4;

/// What the singular values of the MLP's maps are like.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Weights {
    /// Of independent normal entries: flat spectra, the hard case.
    Random,
    /// Falling as those of the embedded model.
    Falling,
    /// Interaction matrices whose eight largest eigenvalues differ by 1e-4 each.
    Ties,
}

/// Speeds, errors and growth.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let [d, hidden] = SIZE;
    let [ours, theirs] = FEATURES;
    let kinds = [
        ("tracer scan, random weights", Weights::Random),
        ("tracer scan, spectra as the embedded model's", Weights::Falling),
        ("tracer scan, near ties", Weights::Ties),
    ];
    let tracers: Vec<(&'static str, Weights, Tracer)> = kinds
        .into_iter()
        .map(|(name, kind)| Ok((name, kind, tracer(kind, d, hidden, ours)?)))
        .collect::<Result<_>>()?;
    let size =
        format!("d_model {d}, d_hidden {hidden}, {ours} output features ({theirs} in PyTorch)");
    let size = format!("{size}; error of {CHECKED} of them against f64");
    let works = tracers.iter().map(|(name, kind, tracer)| {
        let run = |times| again(times, || tracer.compute(STATISTIC).map(drop));
        let work = Work::new(name, "scan", run).size(&size).turn(1, ours, "features/s");
        Ok(work.error(error(*kind, STATISTIC, &tracer.compute(STATISTIC)?)?))
    });
    let mut works = works.collect::<Result<Vec<_>>>()?;
    let (_, kind, falling) = &tracers[1];
    let ranks = |times| again(times, || falling.estimate_effective_rank(PROBES).map(drop));
    let estimate = falling.estimate_effective_rank(PROBES)?;
    works.push(
        Work::new("tracer effective rank, estimate", "scan", ranks)
            .size(format!("{PROBES} probes, spectra as the embedded model's, {size}"))
            .turn(1, ours, "features/s")
            .error(error(*kind, Statistic::EffectiveRank, &estimate.values)?),
    );
    let sizes = [("d_model", d), ("d_hidden", hidden), ("outputs", theirs)];
    let mut rows = pytorch::sampled_rows(works, theirs, &sizes)?;
    rows.extend(top()?);
    rows.push(growth()?);
    Ok(rows)
}

fn top() -> Result<Vec<Row>> {
    let ([d, hidden], [features, count]) = (SIZE, TOP);
    let tracer = tracer(Weights::Falling, d, hidden, features)?;
    let size = format!("top {count} of {features}, d_model {d}, spectra as the embedded model's");
    let start = Instant::now();
    let top = tracer.top(count, STATISTIC)?;
    let row = |name: &str, value, unit| Row::new(format!("tracer top, {name}"), &size, value, unit);
    Ok(vec![
        row("time", start.elapsed().as_secs_f64(), "s"),
        row("features refined", top.refined as f64, "features"),
    ])
}

fn growth() -> Result<Row> {
    growth::row("tracer scan", "d_model", WIDTHS, "d_hidden 3 d_model", |d| {
        let tracer = tracer(Weights::Falling, d, 3 * d, FEATURES[0])?;
        growth::seconds(|| tracer.compute(STATISTIC).map(drop))
    })
}

/// The largest error of the first features.
fn error(kind: Weights, statistic: Statistic, found: &Tensor) -> Result<f64> {
    let [d, hidden] = SIZE;
    let exact = tracer(kind, d, hidden, CHECKED)?.with_accuracy(0.0)?.compute(statistic)?;
    let (found, exact) = (found.to_vec1::<f32>()?, exact.to_vec1::<f32>()?);
    let gaps = found.iter().zip(exact).map(|(found, exact)| f64::from((found / exact - 1.0).abs()));
    Ok(largest(gaps))
}

fn tracer(kind: Weights, d: usize, hidden: usize, features: usize) -> Result<Tracer> {
    let cpu = &Device::Cpu;
    let config = Config { vocab: 64, ..Config::bilinear(1, 8, d, hidden) };
    let model = Decoder::random(config, 0, cpu)?;
    // Of more features, the first ones are the same.
    let mut directions = Rng::seed(0).normal((features, d), cpu)?;
    let square = qr(&Rng::seed(1).normal((d, d), cpu)?)?.q;
    for var in model.variables() {
        let changed = match (kind, var.dims2()?) {
            (Weights::Falling, shape) if shape == (2 * hidden, d) => {
                // Random left singular vectors, and right ones that both maps share.
                matmul(var.as_tensor(), &square.broadcast_mul(&embedded_spectrum(d)?)?)?
            }
            (Weights::Ties, shape) if shape == (2 * hidden, d) => {
                // Both maps orthogonal: eigenvalues are the directions' entries.
                let zeros = Tensor::zeros((hidden - d, d), DType::F32, cpu)?;
                Tensor::cat(&[&square, &zeros, &square, &zeros], 0)?
            }
            (Weights::Ties, shape) if shape == (d, hidden) => {
                let zeros = Tensor::zeros((d, hidden - d), DType::F32, cpu)?;
                Tensor::cat(&[&Tensor::eye(d, DType::F32, cpu)?, &zeros], 1)?
            }
            _ => continue,
        };
        var.set(&changed)?;
    }
    if kind == Weights::Ties {
        let top: Vec<f32> = (0..8).map(|i| 1.0 - 1e-4 * i as f32).collect();
        let top = Tensor::new(top, cpu)?.unsqueeze(0)?.repeat((features, 1))?;
        let rest = Rng::seed(2).uniform(-0.9, 0.9, (features, d - 8), cpu)?;
        directions = Tensor::cat(&[top, rest], 1)?;
    }
    let sae = |point| -> Result<Sae> {
        let bias = Tensor::zeros(d, DType::F32, cpu)?;
        let weights = SaeWeights::new(directions.clone(), directions.t()?.contiguous()?, bias);
        Ok(Sae::new(Architecture::signed_top_k(1), weights)?.at(point))
    };
    Ok(Tracer::new(&model, 0, &sae(HookPoint::MlpIn(0))?, &sae(HookPoint::MlpOut(0))?)?)
}

/// The singular values of the embedded model's left map in its third layer, over the first, at d
/// places.
fn embedded_spectrum(d: usize) -> Result<Tensor> {
    let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
    let values: Vec<f32> = svd(&model.w_l(2)?)?.values.to_vec1()?;
    let at = |i: usize| {
        let place = i as f32 * (values.len() - 1) as f32 / (d - 1) as f32;
        let low = (place as usize).min(values.len() - 2);
        let share = place - low as f32;
        (values[low] * (1.0 - share) + values[low + 1] * share) / values[0]
    };
    Ok(Tensor::new((0..d).map(at).collect::<Vec<_>>(), &Device::Cpu)?)
}
