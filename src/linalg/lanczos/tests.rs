use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{Device, Tensor};

use super::*;
use crate::linalg::{eigvalsh, matmul, matmul_nt, qr};
use crate::random::Rng;

/// Matrices that are held whole.
struct Whole(Vec<Tensor>);

impl Symmetric for Whole {
    fn size(&self) -> usize {
        self.0[0].dims()[0]
    }

    fn together(&self) -> usize {
        512
    }

    fn products(&self, which: &[usize], block: usize, vectors: &[f32]) -> Result<Vec<f32>> {
        let d = self.size();
        let mut all = Vec::new();
        for (which, vectors) in which.iter().zip(vectors.chunks(block * d)) {
            let vectors = Tensor::from_slice(vectors, (block, d), &Device::Cpu)?;
            all.extend(matmul(&vectors, &self.0[*which])?.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(all)
    }

    fn products_with_same(&self, which: &[usize], vectors: &[f32]) -> Result<Vec<f32>> {
        self.products(which, vectors.len() / self.size(), &vectors.repeat(which.len()))
    }
}

/// A matrix of these eigenvalues.
fn with_spectrum(values: &[f32], seed: u64) -> Tensor {
    let d = values.len();
    let q = qr(&Rng::seed(seed).normal((d, d), &Device::Cpu).unwrap()).unwrap().q;
    let scaled = q.broadcast_mul(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
    matmul_nt(&scaled, &q).unwrap()
}

fn spectrum(of: impl Fn(usize) -> f32) -> Vec<f32> {
    (0..192).map(of).collect()
}

fn exact(matrix: &Tensor, k: usize) -> f64 {
    let symmetric = ((matrix + matrix.t().unwrap()).unwrap() * 0.5).unwrap();
    let values: Vec<f32> = eigvalsh(&symmetric).unwrap().to_vec1().unwrap();
    let mut sizes: Vec<f64> = values.iter().map(|value| f64::from(value.abs())).collect();
    sizes.sort_by(|a, b| b.total_cmp(a));
    sizes[..k].iter().sum()
}

/// Power laws, equal eigenvalues, such of opposite signs, near ties at the end of what is asked
/// for, low rank, zero, tiny and huge.
fn spectra() -> Vec<(&'static str, Vec<f32>)> {
    let sign = |i: usize| if i.is_multiple_of(3) { -1.0 } else { 1.0 };
    vec![
        ("power law", spectrum(|i| sign(i) / (1.0 + i as f32))),
        ("equal pair", spectrum(|i| if i < 2 { 2.0 } else { 1.0 / (1.0 + i as f32) })),
        ("opposite pair", spectrum(|i| [3.0, -3.0].get(i).copied().unwrap_or(0.5))),
        ("three equal", spectrum(|i| if i < 3 { -1.0 } else { 0.3 })),
        (
            "more near ties than a block has vectors",
            spectrum(|i| match i {
                0..12 => 1.0 - 1e-4 * i as f32,
                _ => 0.9 - 0.005 * i as f32,
            }),
        ),
        ("near ties", spectrum(|i| sign(i) * (1.0 - 1e-4 * i as f32).max(0.9))),
        ("all equal", spectrum(|_| 0.7)),
        ("rank one", spectrum(|i| if i == 0 { -4.0 } else { 0.0 })),
        ("zero", spectrum(|_| 0.0)),
        ("flat", spectrum(|i| 1.0 - 2.0 * i as f32 / 191.0)),
        ("tiny", spectrum(|i| 1e-25 / (1.0 + i as f32))),
        ("huge", spectrum(|i| 1e25 / (1.0 + i as f32))),
    ]
}

#[test]
fn sums_are_right_within_their_bound_for_every_spectrum() {
    let spectra = spectra();
    let matrices: Vec<Tensor> =
        spectra.iter().zip(0..).map(|((_, values), seed)| with_spectrum(values, seed)).collect();
    let which: Vec<usize> = (0..matrices.len()).collect();
    for (k, accuracy) in [(1, 1e-4), (2, 1e-4), (2, 1e-3), (4, 1e-5), (10, 1e-4)] {
        let mut progress = Progress::silent();
        let whole = Whole(matrices.clone());
        let until = Until { accuracy, bar: 0.0 };
        let mut start = start(&whole, k).unwrap();
        let found = largest(&whole, &which, k, until, &mut start, &mut progress).unwrap();
        let mut solved = 0;
        for (((name, _), matrix), found) in spectra.iter().zip(&matrices).zip(found) {
            let Some(found) = found else { continue };
            solved += 1;
            let expected = exact(matrix, k);
            // f32 products, each right to about 1e-6.
            let room = found.bound + 4e-6 * expected;
            assert!((found.sum() - expected).abs() <= room, "{name}, {k}: {found:?} {expected}");
            assert!(found.bound <= accuracy * found.sum(), "{name}: {found:?}");
            assert!(found.values.is_sorted_by(|a, b| a.abs() >= b.abs()));
        }
        assert!(solved >= 5, "k {k} at {accuracy}: {solved} of {} solved", which.len());
    }
}

/// Iterations that a bar ends early say so of no matrix whose sum is above it.
#[test]
fn nothing_is_taken_for_below_a_bar_that_it_is_above() {
    let mut left_early = 0;
    for (seed, (name, values)) in spectra().into_iter().enumerate() {
        let seeds = (0..8).map(|at| (8 * seed + at) as u64);
        let whole = Whole(seeds.map(|seed| with_spectrum(&values, seed)).collect());
        let which: Vec<usize> = (0..whole.0.len()).collect();
        for k in [1, 2, 4] {
            let expected = exact(&whole.0[0], k);
            for share in [0.999, 2.0] {
                let until = Until { accuracy: 1e-4, bar: share * expected };
                let (mut start, mut progress) = (start(&whole, k).unwrap(), Progress::silent());
                let found = largest(&whole, &which, k, until, &mut start, &mut progress).unwrap();
                let early = found.iter().flatten().filter(|found| !found.is_within(1e-4)).count();
                assert!(share > 1.0 || early == 0, "{name}, {k}: {found:?} {expected}");
                left_early += early;
            }
        }
    }
    assert!(left_early > 100, "{left_early}");
}

#[test]
fn the_order_asked_for_is_kept_when_more_are_asked_for_than_fit_together() {
    let matrices: Vec<Tensor> = (0..5)
        .map(|i| with_spectrum(&spectrum(|j| (i + 1) as f32 / (1.0 + j as f32)), i))
        .collect();
    let which: Vec<usize> = (0..600).map(|i| (7 * i) % 5).collect();
    let until = Until { accuracy: 1e-4, bar: 0.0 };
    let whole = Whole(matrices);
    let mut start = start(&whole, 2).unwrap();
    let found = largest(&whole, &which, 2, until, &mut start, &mut Progress::silent()).unwrap();
    for (which, found) in which.iter().zip(found) {
        let sum = found.unwrap().sum();
        assert!((sum / (1.5 * (which + 1) as f64) - 1.0).abs() < 1e-4, "{which}: {sum}");
    }
}

/// What the first matrices have in common spares the later ones products, and costs those that lack
/// it no accuracy: their largest eigenvectors are orthogonal to all that was learned.
#[test]
fn later_matrices_begin_with_what_the_first_ones_have_in_common() {
    let bulk = |i: usize| 0.6 - 0.005 * i as f32;
    let with =
        |first: [f32; 4]| with_spectrum(&spectrum(|i| first.get(i).copied().unwrap_or(bulk(i))), 3);
    let matrices = vec![with([0.8, -0.75, 0.1, 0.1]), with([0.0, 0.0, -0.8, 0.75])];
    let whole = Counting(Whole(matrices), AtomicUsize::new(0));
    // With a bar, it looks at every turn whether it is done.
    let until = Until { accuracy: 1e-4, bar: 1e-9 };
    let mut start = start(&whole, 2).unwrap();
    let mut products = |which: &[usize], sum: f64| {
        let found = largest(&whole, which, 2, until, &mut start, &mut Progress::silent()).unwrap();
        for found in found {
            assert!((found.unwrap().sum() / sum - 1.0).abs() < 1e-4);
        }
        whole.1.swap(0, Ordering::Relaxed) as f64 / which.len() as f64
    };
    let random = products(&[0; PILOTS], 1.55);
    let learned = products(&[0; 20], 1.55);
    assert!(learned < 0.9 * random, "{learned} {random}");
    products(&[1; 20], 1.55);
}

/// Matrices that count the vectors they are multiplied with.
struct Counting(Whole, AtomicUsize);

impl Symmetric for Counting {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn together(&self) -> usize {
        self.0.together()
    }

    fn products(&self, which: &[usize], block: usize, vectors: &[f32]) -> Result<Vec<f32>> {
        self.1.fetch_add(which.len() * block, Ordering::Relaxed);
        self.0.products(which, block, vectors)
    }

    fn products_with_same(&self, which: &[usize], vectors: &[f32]) -> Result<Vec<f32>> {
        self.0.products_with_same(which, vectors)
    }
}

#[test]
fn estimated_magnitudes_are_off_by_as_much_as_their_errors_say() {
    const TIMES: usize = 24;
    let which: Vec<usize> = (0..TIMES).collect();
    for (name, values) in spectra() {
        if ["tiny", "huge"].contains(&name) {
            continue;
        }
        // The same vectors to begin with mean something else to each matrix.
        let matrices = which.iter().map(|seed| with_spectrum(&values, *seed as u64)).collect();
        let whole = Whole(matrices);
        let exact: f64 = values.iter().map(|value| f64::from(value.abs())).sum();
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        for probes in [2, 6] {
            let mut progress = Progress::silent();
            let all = [squares; TIMES];
            let found = magnitudes(&whole, &which, &all, probes, &mut progress).unwrap();
            let gaps: Vec<[f64; 2]> =
                found.iter().flatten().map(|found| [found.sum - exact, found.error()]).collect();
            assert!(gaps.len() == TIMES || name.contains("equal"), "{name}: {}", gaps.len());
            let mean = |of: fn(&[f64; 2]) -> f64| {
                (gaps.iter().map(of).sum::<f64>() / gaps.len().max(1) as f64).sqrt()
            };
            let typical = mean(|[gap, error]| (gap / error.max(1e-30)).powi(2));
            assert!(typical < 1.7, "{name}, {probes} probes: {typical}");
            let (d, c) = (values.len() as f64, 2.0 / probes as f64);
            let expected = (c * (squares - exact * exact / d)).max(0.0).sqrt();
            let error = mean(|[_, error]| error * error);
            let room = 2.0 * c * (squares / d).sqrt();
            assert!(
                error <= 2.0 * expected + room,
                "{name}, {probes}: {error} {expected} {found:?}"
            );
        }
    }
}
