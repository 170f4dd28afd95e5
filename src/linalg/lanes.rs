//! Sums over rows of a matrix, eight entries at a time where the processor can.

#![allow(
    unsafe_code,
    reason = "calls code compiled for AVX2, once the processor is known to have it"
)]

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};

/// Runs `work` as compiled for AVX2 where the processor has it: the library itself is compiled for
/// every processor of its kind. What `work` calls must be inlined for that.
#[inline(always)]
pub(crate) fn with_avx2_if_present<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx2,fma")]
        fn with_avx2<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if Avx2::detect().is_some() {
            // SAFETY: the processor has just said that it has both.
            return unsafe { with_avx2(work) };
        }
    }
    work()
}

/// [`with_avx2_if_present`], as compiled for AVX-512 where the processor has it: for loops that need many
/// registers. Vectors are as long as there, so that numbers are the same.
#[inline(always)]
pub(crate) fn with_avx512_if_present<R>(work: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        fn with_avx512<R>(work: impl FnOnce() -> R) -> R {
            work()
        }
        if Avx512::detect().is_some() {
            // SAFETY: the processor has just said that it has them.
            return unsafe { with_avx512(work) };
        }
    }
    with_avx2_if_present(work)
}

/// Sums that run side by side in [`dot`]: enough to hide how long an addition takes.
const LANES: usize = 32;

/// `Σ a b`, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
}

/// `to ← to + by · row`.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], by: f32, row: &[f32]) {
    for (to, entry) in to.iter_mut().zip(row) {
        *to += by * entry;
    }
}

/// `Σ a b` in f64, of slices that are as long.
#[inline(always)]
pub(crate) fn wide_dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0f64; 8];
    let (a, b) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let rest: f64 = a.1.iter().zip(b.1).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    for (a, b) in a.0.iter().zip(b.0) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `Σ a²` in f64.
#[inline(always)]
pub(crate) fn squares(a: &[f32]) -> f64 {
    wide_dot(a, a)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn sums_are_those_of_plain_loops() {
        for n in [0, 1, 7, 8, 31, 32, 33, 100, 769] {
            let draw = |seed| -> Vec<f32> {
                Rng::seed(seed).normal(n, &Device::Cpu).unwrap().to_vec1().unwrap()
            };
            let (a, b) = (draw(1), draw(2));
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((f64::from(with_avx2_if_present(|| dot(&a, &b))) - plain).abs() < 1e-4, "{n}");
            assert!((with_avx2_if_present(|| wide_dot(&a, &b)) - plain).abs() < 1e-9, "{n}");
            let square: f64 = a.iter().map(|a| f64::from(*a).powi(2)).sum();
            assert!((with_avx2_if_present(|| squares(&a)) - square).abs() < 1e-9, "{n}");
            let mut sum = a.clone();
            with_avx2_if_present(|| add_scaled(&mut sum, -2.0, &b));
            let mut other = a.clone();
            with_avx512_if_present(|| add_scaled(&mut other, -2.0, &b));
            assert_eq!(sum, other);
            let gap = |(sum, (a, b)): (&f32, (&f32, &f32))| (sum - (a - 2.0 * b)).abs();
            assert!(sum.iter().zip(a.iter().zip(&b)).map(gap).all(|gap| gap < 1e-5));
        }
    }
}
