//! `multidim/clustering` and `multidim/cluster_activations`.

use std::path::Path;

use eigenlens::candle::{DType, Device, Tensor};
use eigenlens::data::text::Contexts;
use eigenlens::features::{
    Centring, CloudOptions, Clusters, FeatureCloud, Filing, GraphOptions, Neighbours,
    SpectralOptions, angular_affinity, cosines, mean_pairwise_cosine, singular_values,
};
use eigenlens::linalg::eigvalsh;
use eigenlens::sae::Codes;
use eigenlens::{Error, Result};
use serde_json::Value;

use crate::report::{Reference, Report};

/// The file that holds a case's tensors.
const TENSORS: &str = "io.safetensors";
/// Codes at or below this in magnitude are none.
const SILENT: f32 = 1e-6;
/// Components of a cloud, as the study has them.
const COMPONENTS: usize = 5;

pub(crate) fn clustering(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = described(folder)?;
    let decoder = reference.input("in.decoder", report)?;
    let sims = with_diagonal(&cosines(&decoder)?, 0.0)?;
    reference.compare("out.sims", &sims, report)?;
    // The diagonal was taken to be at a right angle.
    let angular = with_diagonal(&angular_affinity(&decoder)?, 0.5)?;
    reference.compare("out.angular", &angular, report)?;

    let planted = ragged(&reference, "in.planted", report)?;
    let configs = case["configs"].as_array().cloned().unwrap_or_default();
    let most = configs.iter().filter_map(|config| size(&config["top_k"])).max().unwrap_or(1);
    let near = Neighbours::of(&decoder, most)?;
    for config in &configs {
        let name = config["name"].as_str().unwrap_or_default();
        let options = GraphOptions {
            k: size(&config["top_k"]).unwrap_or(0),
            cutoff: config["cutoff"].as_f64().unwrap_or(f64::NAN),
            prune: None,
        };
        let pruned = config["prune"].as_bool() == Some(true);
        let clusters = Clusters::graph(&near, &if pruned { options.pruned() } else { options })?;
        let sizes: Vec<i64> = clusters.sizes().into_iter().map(|size| size as i64).collect();
        let members: Vec<i64> = clusters.iter().flatten().map(|member| *member as i64).collect();
        whole(&reference, &format!("out.{name}.sizes"), &sizes, report)?;
        whole(&reference, &format!("out.{name}.members"), &members, report)?;
        let jaccard = |own: &Vec<usize>| match clusters.is_empty() {
            true => Ok(0.0),
            false => Ok(clusters.best_match(own)?.1),
        };
        let jaccard: Vec<f64> = planted.iter().map(jaccard).collect::<Result<_>>()?;
        let jaccard = Tensor::new(jaccard, &Device::Cpu)?;
        reference.compare(&format!("aux.{name}.best_jaccard"), &jaccard, report)?;
    }

    let first: Vec<u32> = planted[0].iter().map(|member| *member as u32).collect();
    let first = decoder.index_select(&Tensor::new(first, &Device::Cpu)?, 0)?;
    for (name, centring) in [
        ("out.cluster0.singular_values", Centring::None),
        ("out.cluster0.singular_values_centered", Centring::OwnMean),
        ("right.cluster0.singular_values_centered", Centring::MeanVector),
    ] {
        let values = Tensor::new(singular_values(&first, centring)?, &Device::Cpu)?;
        reference.compare(name, &values, report)?;
    }
    let mean = Tensor::new(&[mean_pairwise_cosine(&first)?], &Device::Cpu)?;
    reference.compare("aux.cluster0.mean_pairwise_cosine", &mean, report)?;
    spectral(&reference, size(&case["n_clusters"]).unwrap_or(0), report)
}

fn spectral(reference: &Reference, clusters: usize, report: &mut Report) -> Result<()> {
    let vectors = reference.input("in.separated_decoder", report)?;
    let affinity = angular_affinity(&vectors)?;
    let angular = with_diagonal(&affinity, 0.5)?;
    reference.compare("out.separated.angular", &angular, report)?;
    let wide = with_diagonal(&affinity, 0.0)?.to_dtype(DType::F64)?;
    let scale = wide.sum(1)?.powf(-0.5)?;
    let normal = wide.broadcast_mul(&scale)?.broadcast_mul(&scale.unsqueeze(1)?)?;
    let values: Vec<f64> = eigvalsh(&normal)?.to_vec1()?;
    let values: Vec<f64> = values.iter().rev().map(|value| 1.0 - value).collect();
    let name = "aux.separated.laplacian_eigenvalues";
    let options = SpectralOptions { clusters, restarts: 10, ..SpectralOptions::default() };
    let (found, spectrum) = Clusters::spectral_with_report(&vectors, &options)?;
    // What the clusters were made of, in place of the first of these.
    let own = spectrum.eigenvalues.iter().chain(&values[clusters.min(values.len())..]);
    let own: Vec<f64> = own.copied().collect();
    reference.compare(name, &Tensor::new(own, &Device::Cpu)?, report)?;
    let mut labels = vec![0i64; vectors.dims()[0]];
    for (label, members) in found.iter().enumerate() {
        members.iter().for_each(|member| labels[*member] = label as i64);
    }
    whole(reference, "out.separated.labels", &labels, report)
}

pub(crate) fn activations(folder: &Path, report: &mut Report) -> Result<()> {
    let reference = Reference::read(&folder.join(TENSORS), report)?;
    let case = described(folder)?;
    let number = |name: &str| size(&case[name]).unwrap_or(0);
    let hidden = reference.input("in.hidden", report)?;
    let texts = ragged_named(&reference, "in.text_tokens", "in.text_lengths", report)?;
    let texts = texts.into_iter().map(|text| text.into_iter().map(|id| id as u32).collect());
    let contexts = Contexts::heads_of(texts, number("context_length"), None)?;
    // It ends with the batch in which it has enough; a batch is whole.
    let tokens = contexts.as_slice().iter().take(hidden.dims()[0]);
    let tokens: Vec<i64> = tokens.map(|id| i64::from(*id)).collect();
    whole(&reference, "out.occurrence.tokens", &tokens, report)?;

    // The study writes a number of entries, whatever token the last belongs to.
    let (features, mut left) = (hidden.dims()[1], number("cap"));
    let mut entries = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = Vec::new();
    for (token, row) in hidden.to_vec2::<f32>()?.into_iter().enumerate() {
        let active = (0..).zip(row).filter(|(_, value)| value.abs() > SILENT);
        let active: Vec<(u32, f32)> = active.take(left).collect();
        left -= active.len();
        for (feature, value) in &active {
            entries.0.push(f64::from(*value));
            entries.1.push(i64::from(*feature));
            entries.2.push(token as i64);
        }
        rows.push(active);
    }
    reference.compare("out.occurrence.values", &Tensor::new(entries.0, &Device::Cpu)?, report)?;
    whole(&reference, "out.occurrence.feature_indices", &entries.1, report)?;
    whole(&reference, "out.occurrence.token_indices", &entries.2, report)?;

    let codes = Codes::new(features, rows)?;
    let decoder = reference.input("in.decoder", report)?;
    let threshold = case["threshold"].as_f64().unwrap_or(f64::NAN) as f32;
    let original = |compensate| CloudOptions {
        filing: Filing::Original { compensate },
        ..CloudOptions::default()
    };
    for cluster in case["clusters"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let members = list(&reference.input(&format!("in.{cluster}.cluster"), report)?)?;
        let cloud =
            |options: CloudOptions| FeatureCloud::from_codes(&codes, &decoder, &members, &options);
        let limited = CloudOptions { limit: number("sample_limit"), ..original(1) };
        let above = |above| CloudOptions { above: Some(above), ..original(0) };
        for (name, options) in [
            ("out.X.gpt2", original(0)),
            ("out.X.threshold", above(threshold)),
            ("out.X.threshold0", above(0.0)),
            ("out.X.mistral", original(1)),
            ("out.X.mistral_limited", limited),
            ("right.X", CloudOptions::default()),
        ] {
            let (name, found) = (name.replace('X', cluster), cloud(options)?);
            let tokens: Vec<i64> = found.tokens().iter().map(|token| *token as i64).collect();
            whole(&reference, &format!("{name}.token_indices"), &tokens, report)?;
            let points = format!("{name}.reconstructions");
            if reference.has(&points) {
                reference.compare(&points, &found.points()?, report)?;
            }
        }
        let found = cloud(original(0))?;
        let parts = found.pca(COMPONENTS.min(members.len()))?;
        let name = |part: &str| format!("out.{cluster}.pca.{part}");
        let variance = (parts.scores.sqr()?.sum(0)? / (found.len() - 1) as f64)?;
        let ratio = Tensor::new(parts.explained.as_slice(), &Device::Cpu)?;
        reference.compare(&name("components"), &parts.components, report)?;
        reference.compare(&name("mean"), &parts.mean, report)?;
        reference.compare(&name("projections"), &parts.scores, report)?;
        reference.compare(&name("explained_variance"), &variance, report)?;
        reference.compare(&name("explained_variance_ratio"), &ratio, report)?;
    }
    Ok(())
}

/// The description of a case.
fn described(folder: &Path) -> Result<Value> {
    let path = folder.join("case.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text).map_err(|error| Error::format(&path, "JSON", error.to_string()))
}

fn size(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|size| usize::try_from(size).ok())
}

/// A matrix with another diagonal.
fn with_diagonal(matrix: &Tensor, value: f32) -> Result<Tensor> {
    let mut rows: Vec<Vec<f32>> = matrix.to_vec2()?;
    rows.iter_mut().enumerate().for_each(|(i, row)| row[i] = value);
    Ok(Tensor::new(rows, &Device::Cpu)?)
}

/// Compares whole numbers, which must be the same.
fn whole(reference: &Reference, name: &str, found: &[i64], report: &mut Report) -> Result<()> {
    report.absolute(0.0);
    let found = Tensor::new(found, &Device::Cpu)?;
    let result = reference.compare(name, &found, report);
    report.standard();
    result
}

/// The lists `X.members`, of the lengths `X.sizes`.
fn ragged(reference: &Reference, name: &str, report: &mut Report) -> Result<Vec<Vec<usize>>> {
    ragged_named(reference, &format!("{name}.members"), &format!("{name}.sizes"), report)
}

fn ragged_named(
    reference: &Reference,
    members: &str,
    sizes: &str,
    report: &mut Report,
) -> Result<Vec<Vec<usize>>> {
    let all = list(&reference.input(members, report)?)?;
    let sizes = list(&reference.input(sizes, report)?)?;
    let mut rest = all.as_slice();
    let lists = sizes.into_iter().map(|size| {
        let (own, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        own.to_vec()
    });
    Ok(lists.collect())
}

fn list(tensor: &Tensor) -> Result<Vec<usize>> {
    Ok(tensor.to_vec1::<i64>()?.into_iter().map(|number| number as usize).collect())
}
