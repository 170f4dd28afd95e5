//! Six rows by one panel: twenty-four vectors of four sums.

use std::arch::aarch64::*;

use super::super::simd::Neon;
use super::{PanelLoop, WIDE};

/// Rows that are multiplied at a time.
pub(in super::super) const TALL: usize = 6;
/// Numbers in a vector.
const LANES: usize = 4;
/// Vectors in a panel.
const VECTORS: usize = WIDE / LANES;

impl PanelLoop<f32, TALL> for Neon {
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
            // SAFETY: the processor has what it uses, or there were no `Neon`.
            unsafe { multiply(a, x, &mut target[panel * WIDE..], stride, add) };
        }
    }
}

#[target_feature(enable = "neon")]
fn multiply(a: [&[f32]; TALL], x: &[[f32; WIDE]], target: &mut [f32], stride: usize, add: bool) {
    let a = a.map(|row| &row[..x.len()]);
    let mut sums = [[vdupq_n_f32(0.0); VECTORS]; TALL];
    for (k, x) in x.iter().enumerate() {
        let x: [float32x4_t; VECTORS] =
            // SAFETY: each quarter of sixteen is four.
            std::array::from_fn(|at| unsafe { vld1q_f32(x[at * LANES..][..LANES].as_ptr()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row was cut to as many entries as x has.
            let a = unsafe { *a[row].get_unchecked(k) };
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = vfmaq_n_f32(*sum, x, a);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let Some(target) = target.get_mut(row * stride..row * stride + WIDE) else { return };
        for (target, sum) in target.chunks_exact_mut(LANES).zip(sums) {
            // SAFETY: a chunk is four.
            unsafe {
                let before = if add { vld1q_f32(target.as_ptr()) } else { vdupq_n_f32(0.0) };
                vst1q_f32(target.as_mut_ptr(), vaddq_f32(before, *sum));
            }
        }
    }
}
