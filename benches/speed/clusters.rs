//! The search of multi-dimensional features at the size of GPT-2's autoencoder: neighbours, clusters,
//! clouds; and at smaller sizes beside PyTorch, SciPy and scikit-learn.

use std::time::Instant;

use eigenlens::features::{
    CloudOptions, Clusters, FeatureCloud, GraphOptions, Neighbours, SpectralOptions,
};
use eigenlens::prelude::*;

use crate::language::again;
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, timed};

/// Features and width of a dictionary.
const SIZE: [usize; 2] = [24_576, 768];
/// Neighbours of each, as many as the study's settings need.
const NEIGHBOURS: usize = 4;
/// Planted groups, and features in each.
const GROUPS: [usize; 2] = [200, 16];
/// Vectors and clusters of the spectral method that is timed, and of a smaller one, whose times tell
/// how it grows.
const SPECTRAL: [[usize; 2]; 2] = [[6_144, 250], [24_576, 1_000]];
/// Tokens whose codes are gone over, and active features at each.
const TOKENS: [usize; 2] = [100_000, 54];
/// Features of what is done in Python too, and vectors and clusters of its spectral method.
const COMPARED: usize = 8_192;
const COMPARED_SPECTRAL: [usize; 2] = [3_072, 125];
/// Tokens that a loop in Python goes over.
const LOOPED: usize = 2_000;

pub(crate) fn rows() -> Result<Vec<Row>> {
    let [features, width] = SIZE;
    let decoder = dictionary(features)?;
    let start = Instant::now();
    let near = Neighbours::of(&decoder, NEIGHBOURS)?;
    let size = format!("{features} × {width}, {NEIGHBOURS} of each");
    let mut rows = vec![Row::new("neighbours", size, start.elapsed().as_secs_f64(), "s")];

    let planted: Vec<usize> = (0..GROUPS[1]).collect();
    let seconds = timed(|| Clusters::stability(&near, &planted).map(drop))?;
    rows.push(Row::new("graph clusterings", format!("{} settings", settings()), seconds, "s"));

    for spectral in SPECTRAL {
        let some = decoder.narrow(0, 0, spectral[0])?;
        let start = Instant::now();
        Clusters::spectral(&some, &spectral_options(spectral))?;
        let seconds = start.elapsed().as_secs_f64();
        rows.push(Row::new("spectral clusters", spectral_size(spectral), seconds, "s"));
    }

    let codes = codes(features)?;
    let seconds = timed(|| cloud(&codes, &decoder, &planted).map(drop))?;
    let each = seconds * 1e9 / codes.entries() as f64;
    let size = format!("{} activations, {} features", codes.entries(), planted.len());
    rows.push(Row::new("occurrences of a cluster", size, each, "ns/activation"));
    rows.extend(compared(&decoder, &codes, &planted)?);
    Ok(rows)
}

/// The same beside Python.
fn compared(decoder: &Tensor, codes: &Codes, planted: &[usize]) -> Result<Vec<Row>> {
    let width = SIZE[1];
    let some = &decoder.narrow(0, 0, COMPARED)?.contiguous()?;
    let near = &Neighbours::of(some, NEIGHBOURS)?;
    let few = &decoder.narrow(0, 0, COMPARED_SPECTRAL[0])?.contiguous()?;
    let options = spectral_options(COMPARED_SPECTRAL);
    let points = move |times| again(times, || cloud(codes, decoder, planted)?.points().map(drop));
    let occurrences = |name, request| {
        let size = format!("{} activations, {} features", codes.entries(), planted.len());
        Work::new(name, request, points).size(size).turn(1, codes.entries(), "activations/s")
    };
    let works = [
        Work::new("neighbours of all pairs", "neighbours", |times| {
            again(times, || Neighbours::of(some, NEIGHBOURS).map(drop))
        })
        .size(format!("{COMPARED} × {width}, {NEIGHBOURS} of each"))
        .turn(1, COMPARED, "vectors/s"),
        Work::new("graphs of neighbours", "graphs", |times| {
            again(times, || Clusters::stability(near, planted).map(drop))
        })
        .size(format!("{} settings, {COMPARED} vectors", settings()))
        .turn(1, settings(), "settings/s"),
        Work::new("spectral clusters, small", "spectral", |times| {
            again(times, || Clusters::spectral(few, &options).map(drop))
        })
        .size(spectral_size(COMPARED_SPECTRAL)),
        occurrences("points of a cluster", "occurrences"),
        occurrences("points of a cluster, by a loop in Python", "occurrences-loop")
            .sampled(LOOPED * TOKENS[1]),
    ];
    let sizes = [
        ("cluster_vectors", COMPARED),
        ("cluster_width", width),
        ("cluster_groups", GROUPS[0]),
        ("cluster_each", GROUPS[1]),
        ("spectral_vectors", COMPARED_SPECTRAL[0]),
        ("spectral_clusters", COMPARED_SPECTRAL[1]),
        ("occurrence_features", SIZE[0]),
        ("occurrence_active", TOKENS[1]),
        ("occurrence_tokens", TOKENS[0]),
        ("occurrence_sampled", LOOPED),
    ];
    pytorch::rows(works, &sizes)
}

/// Cut-offs and numbers of neighbours that the study goes through.
fn settings() -> usize {
    GraphOptions::studied_cutoffs().len() * 3
}

fn spectral_options([_, clusters]: [usize; 2]) -> SpectralOptions {
    SpectralOptions { clusters, ..SpectralOptions::default() }
}

fn spectral_size([vectors, clusters]: [usize; 2]) -> String {
    format!("{vectors} × {}, {clusters} clusters", SIZE[1])
}

/// What a cluster writes at every token where it is active.
fn cloud(codes: &Codes, decoder: &Tensor, members: &[usize]) -> eigenlens::Result<FeatureCloud> {
    let options = CloudOptions { limit: usize::MAX, ..CloudOptions::default() };
    FeatureCloud::from_codes(codes, decoder, members, &options)
}

/// Directions, the first of them in groups.
fn dictionary(features: usize) -> Result<Tensor> {
    let ([groups, each], width) = (GROUPS, SIZE[1]);
    let mut rng = Rng::seed(0);
    let centres = rng.normal((groups, width), &Device::Cpu)?;
    let index: Vec<u32> = (0..(groups * each) as u32).map(|i| i / each as u32).collect();
    let own = centres.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?;
    let around = (rng.normal((groups * each, width), &Device::Cpu)? * 0.7)?;
    let rest = rng.normal((features - groups * each, width), &Device::Cpu)?;
    Ok(Tensor::cat(&[&(own + around)?, &rest], 0)?)
}

/// Random codes.
fn codes(features: usize) -> Result<Codes> {
    let mut rng = Rng::seed(1);
    let [tokens, active] = TOKENS;
    let pitch = features / active;
    // One of each stretch of features, so that none is drawn twice.
    let rows = (0..tokens).map(|_| {
        let feature = |i: usize, share: f32| (i * pitch + (share * pitch as f32) as usize) as u32;
        (0..active).map(|i| (feature(i, rng.unit()), 1.0)).collect()
    });
    Ok(Codes::new(features, rows.collect::<Vec<_>>())?)
}
