//! Codes chosen in tiles against those chosen from all activations, and against f64.

use candle_core::{Device, Tensor};

use super::properties::{architectures, random, wide};
use crate::linalg::tile_kernels;
use crate::random::Rng;
use crate::sae::codes::CodesPart;
use crate::sae::*;

/// Width, features, rows and k of what is encoded in tiles: all of a tile, less and more.
const TILED: [[usize; 4]; 8] = [
    [1, 1, 1, 1],
    [3, 5, 2, 5],
    [4, 49, 1, 3],
    [2, 48, 16, 48],
    [7, 130, 17, 100],
    [33, 97, 35, 7],
    [5, 600, 130, 4],
    [1030, 55, 20, 9],
];

fn rows(sae: &Sae, parts: Vec<CodesPart>) -> Vec<Vec<(u32, f32)>> {
    let codes = Codes::join(sae.features(), parts);
    (0..codes.rows()).map(|row| codes.row(row).collect()).collect()
}

#[test]
fn codes_from_tiles_are_those_of_all_activations_ties_included() {
    for (seed, [d, m, count, k]) in TILED.into_iter().enumerate() {
        for architecture in architectures(k.min(m)) {
            let sizes = [d, m, d];
            if architecture.activation.check(m).is_err()
                || architecture.encoder == Encoder::Glu
                || architecture.normalization != Normalization::None
            {
                continue;
            }
            // Small whole numbers: sums are exact in any order, and many are equal.
            let mut sae = random(&architecture, sizes, false, seed as u64);
            let whole = |tensor: &Tensor| (tensor * 1.3).unwrap().round().unwrap();
            let mut weights = sae.weights().clone();
            weights.encoder = whole(&weights.encoder);
            weights.bias = whole(&weights.bias);
            weights.encoder_bias = weights.encoder_bias.as_ref().map(whole);
            weights.thresholds = weights.thresholds.as_ref().map(whole);
            if let Some(gate) = &mut weights.gate {
                gate.bias = whole(&gate.bias);
            }
            sae = Sae::new(architecture.clone(), weights).unwrap();
            for shift in [0.0, -3.0] {
                let x = Rng::seed(seed as u64 + 50).normal((count, d), &Device::Cpu).unwrap();
                let x = (whole(&x) + shift).unwrap();
                if !sae.scans(&x.repeat((16, 1)).unwrap()) {
                    continue;
                }
                let expected = rows(&sae, sae.choose(&x).unwrap());
                for kernel in tile_kernels() {
                    let found = rows(&sae, sae.scan_by(kernel, false, &x).unwrap());
                    assert_eq!(found, expected, "{architecture}, {kernel:?}, {d}, {m}, {count}");
                }
            }
        }
    }
}

#[test]
fn codes_from_tiles_are_the_largest_in_f64() {
    for (seed, [d, m, count, k]) in TILED.into_iter().enumerate() {
        for (scale, relu) in [(1.0, false), (1e-18, true), (1e15, false)] {
            let activation = SaeActivation::TopK { k, relu };
            let architecture = Architecture { activation, ..Architecture::standard() };
            let sae = random(&architecture, [d, m, d], false, seed as u64);
            let x = Rng::seed(seed as u64 + 70).normal((count, d), &Device::Cpu).unwrap();
            let x = (x * scale).unwrap();
            let (e, b) = (wide(sae.w_enc()), wide(sae.b_dec()));
            let bias = sae.encoder_bias().map(wide).unwrap();
            for kernel in tile_kernels() {
                let codes = rows(&sae, sae.scan_by(kernel, false, &x).unwrap());
                for (x, code) in wide(&x).chunks(d).zip(codes) {
                    // What x − b is in f32, as far as rounding goes.
                    let term = |i: usize, j: usize| e[i * d + j] * f64::from((x[j] - b[j]) as f32);
                    let h = |i: usize| (0..d).map(|j| term(i, j)).sum::<f64>() + bias[i];
                    let size = |i: usize| (0..d).map(|j| term(i, j).abs()).sum::<f64>();
                    let slack = 1e-6 * (0..m).map(|i| size(i) + bias[i].abs()).fold(0.0, f64::max);
                    let mut sorted: Vec<f64> = (0..m).map(h).collect();
                    sorted.sort_by(|a, b| b.total_cmp(a));
                    let bar = if relu { sorted[k - 1].max(0.0) } else { sorted[k - 1] };
                    let sure = sorted.iter().filter(|h| **h > bar + slack).count();
                    assert!(sure <= code.len() && code.len() <= k);
                    assert!(relu || code.len() == k);
                    for (i, value) in code {
                        let h = h(i as usize);
                        assert!((f64::from(value) - h).abs() <= slack && h >= bar - slack);
                    }
                }
            }
        }
    }
}

#[test]
fn what_a_screen_chooses_is_what_tiles_choose_bit_for_bit() {
    for (seed, [d, m, count, k]) in
        [[1, 64, 1, 1], [5, 300, 33, 3], [64, 900, 40, 14], [1030, 130, 20, 2]]
            .into_iter()
            .enumerate()
    {
        for relu in [false, true] {
            let activation = SaeActivation::TopK { k, relu };
            let architecture = Architecture { activation, ..Architecture::standard() };
            let mut sae = random(&architecture, [d, m, d], false, seed as u64);
            for case in 0..5 {
                let mut rng = Rng::seed(10 * seed as u64 + case);
                let mut x = rng.normal((count, d), &Device::Cpu).unwrap();
                let mut weights = sae.weights().clone();
                match case {
                    0 => {}
                    // Few values: ties.
                    1 => {
                        let whole = |tensor: &Tensor| tensor.round().unwrap();
                        x = whole(&x);
                        weights.encoder = whole(&weights.encoder);
                        weights.bias = whole(&weights.bias);
                        weights.encoder_bias = weights.encoder_bias.as_ref().map(whole);
                    }
                    // Features that hardly differ: what rounding tells apart.
                    2 => {
                        let one = rng.normal((1, d), &Device::Cpu).unwrap();
                        let change = rng.normal((m, d), &Device::Cpu).unwrap();
                        let change = ((change * 2e-7).unwrap() + 1.0).unwrap();
                        weights.encoder = change.broadcast_mul(&one).unwrap();
                        weights.encoder_bias = None;
                    }
                    // One dimension far larger than all others.
                    3 => {
                        let large = Tensor::full(3e4f32, (count, 1), &Device::Cpu).unwrap();
                        x = x.slice_assign(&[0..count, 0..1], &large).unwrap();
                    }
                    _ => x = (x * 1e-7).unwrap(),
                }
                sae = Sae::new(architecture.clone(), weights).unwrap();
                for kernel in tile_kernels() {
                    let found = rows(&sae, sae.scan_by(kernel, true, &x).unwrap());
                    let expected = rows(&sae, sae.scan_by(kernel, false, &x).unwrap());
                    assert_eq!(found, expected, "{kernel:?}, {d}, {m}, case {case}");
                }
            }
        }
    }
}

#[test]
fn in_tiles_nan_is_not_lost() {
    let architecture = Architecture { encoder: Encoder::Bilinear, ..Architecture::signed_top_k(2) };
    let mut weights = random(&architecture, [2, 60, 2], false, 3).weights().clone();
    weights.encoder_bias = None;
    // Infinity times zero, in features far apart.
    for feature in [7, 50] {
        let row = |value: f32| Tensor::full(value, (1, 2), &Device::Cpu).unwrap();
        for (row, at) in [(row(f32::MAX), feature), (row(0.0), 60 + feature)] {
            weights.encoder = weights.encoder.slice_assign(&[at..at + 1, 0..2], &row).unwrap();
        }
    }
    let sae = Sae::new(architecture, weights).unwrap();
    let x = Tensor::full(8f32, (20, 2), &Device::Cpu).unwrap();
    for kernel in tile_kernels() {
        for code in rows(&sae, sae.scan_by(kernel, false, &x).unwrap()) {
            let features: Vec<u32> = code.iter().map(|(feature, _)| *feature).collect();
            assert!(
                features == [7, 50] && code.iter().all(|(_, value)| value.is_nan()),
                "{code:?}"
            );
        }
    }
}
