//! Six rows by one panel: twelve vectors of eight sums.

use std::arch::x86_64::*;

use super::super::simd::Avx2;
use super::{Pair, PanelLoop, WIDE};

/// Rows that are multiplied at a time.
pub(in super::super) const TALL: usize = 6;
/// Numbers in a vector.
const LANES: usize = 8;
/// Vectors in a panel.
const VECTORS: usize = WIDE / LANES;

impl PanelLoop<f32, TALL> for Avx2 {
    const BY_TWO: bool = false;

    fn multiply<const PANELS: usize>(
        self,
        a: [&[f32]; TALL],
        x: [&[[f32; WIDE]]; PANELS],
        target: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        for (panel, x) in x.into_iter().enumerate() {
            // SAFETY: the processor has what it uses, or there were no `Avx2`.
            unsafe { multiply(a, x, &mut target[panel * WIDE..], stride, add) };
        }
    }
}

impl PanelLoop<Pair, TALL> for Avx2 {
    const BY_TWO: bool = false;

    fn multiply<const PANELS: usize>(
        self,
        a: [&[Pair]; TALL],
        x: [&[[Pair; WIDE]]; PANELS],
        target: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        for (panel, x) in x.into_iter().enumerate() {
            // SAFETY: the processor has what it uses, or there were no `Avx2`.
            unsafe { multiply_pairs(a, x, &mut target[panel * WIDE..], stride, add) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn multiply(a: [&[f32]; TALL], x: &[[f32; WIDE]], target: &mut [f32], stride: usize, add: bool) {
    let a = a.map(|row| &row[..x.len()]);
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; TALL];
    for (k, x) in x.iter().enumerate() {
        // SAFETY: both halves of sixteen are eight.
        let x = [&x[..LANES], &x[LANES..]].map(|half| unsafe { _mm256_loadu_ps(half.as_ptr()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row was cut to as many entries as x has.
            let a = _mm256_set1_ps(unsafe { *a[row].get_unchecked(k) });
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(a, x, *sum);
            }
        }
    }
    write(sums, target, stride, add);
}

#[target_feature(enable = "avx2,fma")]
fn multiply_pairs(
    a: [&[Pair]; TALL],
    x: &[[Pair; WIDE]],
    target: &mut [f32],
    stride: usize,
    add: bool,
) {
    let a = a.map(|row| &row[..x.len()]);
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; TALL];
    for (k, x) in x.iter().enumerate() {
        let x = [&x[..LANES], &x[LANES..]]
            // SAFETY: both halves of sixteen pairs are 32 bytes.
            .map(|half| unsafe { _mm256_loadu_si256(half.as_ptr().cast()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row was cut to as many entries as x has.
            let a = _mm256_set1_epi32(both(unsafe { *a[row].get_unchecked(k) }));
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, x));
            }
        }
    }
    write(sums.map(|sums| sums.map(|sum| _mm256_cvtepi32_ps(sum))), target, stride, add);
}

/// A pair as one number.
#[inline(always)]
pub(super) fn both([low, high]: Pair) -> i32 {
    (i32::from(high) << 16) | i32::from(low as u16)
}

#[target_feature(enable = "avx2,fma")]
fn write(sums: [[__m256; VECTORS]; TALL], target: &mut [f32], stride: usize, add: bool) {
    for (row, sums) in sums.iter().enumerate() {
        let Some(target) = target.get_mut(row * stride..row * stride + WIDE) else { return };
        for (target, sum) in target.chunks_exact_mut(LANES).zip(sums) {
            // SAFETY: a chunk is eight.
            unsafe {
                let before =
                    if add { _mm256_loadu_ps(target.as_ptr()) } else { _mm256_setzero_ps() };
                _mm256_storeu_ps(target.as_mut_ptr(), _mm256_add_ps(before, *sum));
            }
        }
    }
}
