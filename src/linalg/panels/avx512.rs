//! Twelve rows by two panels: twenty-four vectors of sixteen sums.

use std::arch::x86_64::*;

use super::super::simd::Avx512;
use super::avx2::both;
use super::{Pair, PanelLoop, WIDE};

/// Rows that are multiplied at a time.
pub(in super::super) const TALL: usize = 12;

impl PanelLoop<f32, TALL> for Avx512 {
    const BY_TWO: bool = true;

    fn multiply<const PANELS: usize>(
        self,
        a: [&[f32]; TALL],
        x: [&[[f32; WIDE]]; PANELS],
        target: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        // SAFETY: the processor has what it uses, or there were no `Avx512`.
        unsafe { multiply(a, x, target, stride, add) };
    }
}

impl PanelLoop<Pair, TALL> for Avx512 {
    const BY_TWO: bool = true;

    fn multiply<const PANELS: usize>(
        self,
        a: [&[Pair]; TALL],
        x: [&[[Pair; WIDE]]; PANELS],
        target: &mut [f32],
        stride: usize,
        add: bool,
    ) {
        match self.vnni {
            // SAFETY: the processor has what it uses, or `vnni` were false.
            true => unsafe { multiply_pairs_by_vnni(a, x, target, stride, add) },
            // SAFETY: the processor has what it uses, or there were no `Avx512`.
            false => unsafe { multiply_pairs(a, x, target, stride, add) },
        }
    }
}

#[target_feature(enable = "avx512f")]
fn multiply<const PANELS: usize>(
    a: [&[f32]; TALL],
    x: [&[[f32; WIDE]]; PANELS],
    target: &mut [f32],
    stride: usize,
    add: bool,
) {
    let terms = x[0].len();
    let (a, x) = (a.map(|row| &row[..terms]), x.map(|panel| &panel[..terms]));
    let mut sums = [[_mm512_setzero_ps(); PANELS]; TALL];
    for k in 0..terms {
        // SAFETY: each panel and each row was cut to as many terms; a panel's are sixteen wide.
        let x = x.map(|panel| unsafe { _mm512_loadu_ps(panel.get_unchecked(k).as_ptr()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: as above.
            let a = _mm512_set1_ps(unsafe { *a[row].get_unchecked(k) });
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm512_fmadd_ps(a, x, *sum);
            }
        }
    }
    write(sums, target, stride, add);
}

/// A loop over pairs of integers, with or without VNNI.
macro_rules! loop_over_pairs {
    ($name:ident, $features:literal, $add_products:expr) => {
        #[target_feature(enable = $features)]
        fn $name<const PANELS: usize>(
            a: [&[Pair]; TALL],
            x: [&[[Pair; WIDE]]; PANELS],
            target: &mut [f32],
            stride: usize,
            add: bool,
        ) {
            let terms = x[0].len();
            let (a, x) = (a.map(|row| &row[..terms]), x.map(|panel| &panel[..terms]));
            let mut sums = [[_mm512_setzero_si512(); PANELS]; TALL];
            for k in 0..terms {
                // SAFETY: each panel and each row was cut to as many terms; sixteen pairs are 64 bytes.
                let x = x.map(|panel| unsafe {
                    _mm512_loadu_si512(panel.get_unchecked(k).as_ptr().cast())
                });
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let a = _mm512_set1_epi32(both(unsafe { *a[row].get_unchecked(k) }));
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum = $add_products(*sum, a, x);
                    }
                }
            }
            write(sums.map(|sums| sums.map(|sum| _mm512_cvtepi32_ps(sum))), target, stride, add);
        }
    };
}

loop_over_pairs!(multiply_pairs_by_vnni, "avx512f,avx512bw,avx512vnni", |sum, a, x| {
    _mm512_dpwssd_epi32(sum, a, x)
});
loop_over_pairs!(multiply_pairs, "avx512f,avx512bw", |sum, a, x| {
    _mm512_add_epi32(sum, _mm512_madd_epi16(a, x))
});

#[target_feature(enable = "avx512f")]
fn write<const PANELS: usize>(
    sums: [[__m512; PANELS]; TALL],
    target: &mut [f32],
    stride: usize,
    add: bool,
) {
    let wide = PANELS * WIDE;
    for (row, sums) in sums.iter().enumerate() {
        let Some(target) = target.get_mut(row * stride..row * stride + wide) else { return };
        for (target, sum) in target.chunks_exact_mut(WIDE).zip(sums) {
            // SAFETY: a chunk is sixteen.
            unsafe {
                let before =
                    if add { _mm512_loadu_ps(target.as_ptr()) } else { _mm512_setzero_ps() };
                _mm512_storeu_ps(target.as_mut_ptr(), _mm512_add_ps(before, *sum));
            }
        }
    }
}
