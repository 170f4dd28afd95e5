//! `bilinear/transformer*` and `bilinear/scope`.

use std::path::{Path, PathBuf};

use eigenlens::bilinear::tracer::{Directions, Outlier, Statistic, Tracer};
use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::linalg::eigvalsh;
use eigenlens::model::{Decoder, Hooks, Sampling};
use eigenlens::sae::Sae;
use eigenlens::{Error, Result};

use crate::report::{Reference, Report};

pub(crate) fn transformer(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join("io.safetensors"), report)?;
    let model = Decoder::from_pretrained(&folder.to_string_lossy(), &Device::Cpu)?;
    let tokens = reference.input("input_ids", report)?;
    let points = model.points();
    let (logits, cache) = model.run(&tokens, &Hooks::new().capture_all(points))?;
    reference.compare("logits", &logits, report)?;
    reference.compare("loss", &model.loss(&tokens)?, report)?;
    for (point, activation) in cache.iter() {
        if reference.has(&point.to_string()) {
            reference.compare(&point.to_string(), activation, report)?;
        }
    }
    for name in reference.names().filter(|name| name.starts_with("next_probs_")) {
        let sampling = sampling(name)?;
        let (batch, positions, vocab) = logits.dims3()?;
        let mut rows = Vec::new();
        for row in 0..batch {
            rows.extend(sampling.probabilities(&logits.get(row)?.get(positions - 1)?)?);
        }
        let found = Tensor::from_vec(rows, (batch, vocab), &Device::Cpu)?;
        reference.compare(name, &found, report)?;
    }
    Ok(())
}

/// `next_probs_t0.7_top5`: temperature 0.7, the 5 most probable tokens.
fn sampling(name: &str) -> Result<Sampling> {
    let settings = name.strip_prefix("next_probs_t").and_then(|rest| {
        let (temperature, top_k) = rest.split_once("_top")?;
        Some((temperature.parse().ok()?, top_k.parse().ok()?))
    });
    let (temperature, top_k) = settings
        .ok_or_else(|| Error::invalid("the name of a distribution", "next_probs_tT_topK", name))?;
    Ok(Sampling { temperature, top_k: Some(top_k), ..Sampling::default() })
}

pub(crate) fn autoencoder(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join("io.safetensors"), report)?;
    let sae = Sae::load(folder, &Device::Cpu)?;
    let x = reference.input("x", report)?;
    let codes = sae.encode(&x)?;
    reference.compare("acts", &codes.to_dense(&Device::Cpu)?, report)?;
    reference.compare("recon", &sae.decode(&codes)?, report)
}

pub(crate) fn tracer(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join("tracer.safetensors"), report)?;
    let model = Decoder::from_pretrained(
        &folder.parent().unwrap_or(folder).join("transformer").to_string_lossy(),
        &Device::Cpu,
    )?;
    let input = Sae::load(beside(folder, "-mlp-in-")?, &Device::Cpu)?;
    let output = Sae::load(beside(folder, "-mlp-out-")?, &Device::Cpu)?;
    let layer = input.point()?.layer().unwrap_or_default();
    let tracer = Tracer::new(&model, layer, &input, &output)?;
    for (name, directions) in [("encoder", Directions::Encoder), ("decoder", Directions::Decoder)] {
        let tracer = tracer.clone().with_directions(directions);
        interactions(&reference, name, &tracer, report)?;
    }
    for name in reference.names().filter(|name| name.starts_with("logit_influence_feature")) {
        let feature = number(name, "logit_influence_feature")?;
        reference.compare(name, &output.logit_influence(&model, feature)?, report)?;
    }
    Ok(())
}

fn interactions(
    reference: &Reference,
    prefix: &str,
    tracer: &Tracer,
    report: &mut Report,
) -> Result<()> {
    let name = |tensor: &str| format!("{prefix}.{tensor}");
    // Statistics to the last digit.
    let tracer = &tracer.clone().with_accuracy(0.0)?;
    let shown = reference.input(&name("q"), report)?.dim(0)?;
    reference.compare(&name("q"), &tracer.interactions(0..shown)?, report)?;
    let projected =
        (0..shown).map(|feature| tracer.projected(feature)).collect::<Result<Vec<_>>>()?;
    reference.compare(&name("q_projected"), &Tensor::stack(&projected, 0)?, report)?;
    let all = tracer.interactions(0..tracer.features())?;
    let symmetric = eigenlens::bilinear::symmetrise(&all)?;
    reference.compare(&name("eigvals_symmetrised"), &eigvalsh(&symmetric)?, report)?;
    let lower = eigvalsh(&lower_triangle(&all)?)?;
    for own in reference.names().filter(|own| own.starts_with(&name("truncated_eigenvalues_k"))) {
        let k = number(own, &name("truncated_eigenvalues_k"))?;
        let statistic = Statistic::TruncatedEigenvalues { k };
        if own.ends_with("_lower_triangle_only") {
            let sizes = lower.abs()?.sort_last_dim(false)?.0.narrow(1, 0, k)?.sum(1)?;
            reference.compare(own, &sizes, report)?;
        } else {
            reference.compare(own, &tracer.compute(statistic)?, report)?;
        }
    }
    let rank = tracer.compute(Statistic::EffectiveRank)?;
    reference.compare(&name("effective_rank_symmetrised"), &rank, report)?;
    reference.compare(&name("kurtosis"), &tracer.compute(Statistic::Kurtosis)?, report)?;
    outliers(reference, &name("outlier_"), tracer, report)?;

    for own in reference.names().filter(|own| own.starts_with(&name("feature"))) {
        let feature = number(own, &name("feature"))?;
        let count = number(own, &format!("{}{feature}_top", name("feature")))?;
        let inputs: Vec<i64> =
            tracer.strongest(feature, count)?.inputs.iter().map(|input| *input as i64).collect();
        reference.compare(own, &Tensor::new(inputs, &Device::Cpu)?, report)?;
    }
    Ok(())
}

/// The original reports a product of two dimensions at its place among the entries below the
/// diagonal, read as a place in the whole matrix.
fn outliers(
    reference: &Reference,
    prefix: &str,
    tracer: &Tracer,
    report: &mut Report,
) -> Result<()> {
    let d = tracer.output().d_model();
    let place = |outlier: &Outlier| match (outlier.row, outlier.column) {
        (row, column) if row == column => (row, column),
        (row, column) => {
            let at = column * (column - 1) / 2 + row;
            (at / d, at % d)
        }
    };
    let mut found = tracer.outliers(3.0)?;
    found.sort_by_key(|outlier| (outlier.feature, place(outlier)));
    let values: Vec<f32> = found.iter().map(|outlier| outlier.value).collect();
    let mut indices: Vec<i64> = found.iter().map(|outlier| outlier.feature as i64).collect();
    indices.extend(found.iter().map(|outlier| place(outlier).0 as i64));
    indices.extend(found.iter().map(|outlier| place(outlier).1 as i64));
    let indices = Tensor::from_vec(indices, (3, found.len()), &Device::Cpu)?;
    reference.compare(&format!("{prefix}values"), &Tensor::new(values, &Device::Cpu)?, report)?;
    reference.compare(&format!("{prefix}indices"), &indices, report)
}

/// The matrices `[features, d, d]` that a solver which reads one triangle sees.
fn lower_triangle(matrices: &Tensor) -> Result<Tensor> {
    let below = Tensor::tril2(matrices.dim(1)?, DType::F32, &Device::Cpu)?;
    let triangle = matrices.broadcast_mul(&below)?;
    let diagonal = Tensor::eye(matrices.dim(1)?, DType::F32, &Device::Cpu)?;
    let diagonal = matrices.broadcast_mul(&diagonal)?;
    Ok(((&triangle + triangle.transpose(1, 2)?)? - diagonal)?)
}

/// The one folder in `folder` whose name holds `part`.
fn beside(folder: &Path, part: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path.to_string_lossy().contains(part))
        .collect();
    found.sort();
    found.into_iter().next().ok_or_else(|| Error::NotFound {
        what: format!("an autoencoder whose name holds `{part}`"),
        hint: format!("{} has none.", folder.display()),
    })
}

/// The number that follows `prefix` in `name`.
fn number(name: &str, prefix: &str) -> Result<usize> {
    let digits: String = name
        .strip_prefix(prefix)
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    let expected = format!("`{prefix}` and a number");
    digits.parse().map_err(|_| Error::invalid("a tensor's name", expected, name))
}
