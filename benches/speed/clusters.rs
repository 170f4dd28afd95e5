//! The search of multi-dimensional features at the size of GPT-2's autoencoder: neighbours, clusters,
//! clouds.

use std::time::Instant;

use eigenlens::features::{
    CloudOptions, Clusters, FeatureCloud, GraphOptions, Neighbours, SpectralOptions,
};
use eigenlens::prelude::*;

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

pub(crate) fn rows() -> Result<Vec<Row>> {
    let [features, width] = SIZE;
    let decoder = dictionary(features)?;
    let start = Instant::now();
    let near = Neighbours::of(&decoder, NEIGHBOURS)?;
    let size = format!("{features} × {width}, {NEIGHBOURS} of each");
    let mut rows = vec![Row::new("neighbours", size, start.elapsed().as_secs_f64(), "s")];

    let planted: Vec<usize> = (0..GROUPS[1]).collect();
    let settings = GraphOptions::studied_cutoffs().len() * 3;
    let seconds = timed(|| Clusters::stability(&near, &planted).map(drop))?;
    rows.push(Row::new("graph clusterings", format!("{settings} settings"), seconds, "s"));

    for [vectors, clusters] in SPECTRAL {
        let options = SpectralOptions { clusters, ..SpectralOptions::default() };
        let some = decoder.narrow(0, 0, vectors)?;
        let start = Instant::now();
        Clusters::spectral(&some, &options)?;
        let size = format!("{vectors} × {width}, {clusters} clusters");
        rows.push(Row::new("spectral clusters", size, start.elapsed().as_secs_f64(), "s"));
    }

    let codes = codes(features)?;
    let members = planted.as_slice();
    let options = CloudOptions { limit: usize::MAX, ..CloudOptions::default() };
    let seconds =
        timed(|| FeatureCloud::from_codes(&codes, &decoder, members, &options).map(drop))?;
    let each = seconds * 1e9 / codes.entries() as f64;
    let size = format!("{} activations, {} features", codes.entries(), members.len());
    rows.push(Row::new("occurrences of a cluster", size, each, "ns/activation"));
    Ok(rows)
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
