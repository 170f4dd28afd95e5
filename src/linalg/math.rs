//! Exponential, hyperbolic tangent and error function of whole slices.

use candle_core::WithDType;
use candle_core::cpu::erf::erf_f64;
use faer::traits::ComplexField;

use super::simd::vectorised;

/// f32 or f64.
pub(crate) trait Real: WithDType + ComplexField {
    /// The square root.
    fn root(self) -> Self;
    /// Replaces each value by its exponential, to about one unit in the last place.
    fn exp_all(values: &mut [Self]);
    /// Replaces each value by its hyperbolic tangent, to a few units in the last place.
    fn tanh_all(values: &mut [Self]);
    /// Replaces each value by its error function; in f32 to 6e-7.
    fn erf_all(values: &mut [Self]);
}

impl Real for f64 {
    fn root(self) -> Self {
        self.sqrt()
    }

    fn exp_all(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value = value.exp());
    }

    fn tanh_all(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value = value.tanh());
    }

    fn erf_all(values: &mut [Self]) {
        values.iter_mut().for_each(|value| *value = erf_f64(*value));
    }
}

impl Real for f32 {
    fn root(self) -> Self {
        self.sqrt()
    }

    /// Without a call or a branch, so that the compiler does several at once.
    fn exp_all(values: &mut [Self]) {
        exp_of_each(values);
    }

    fn tanh_all(values: &mut [Self]) {
        tanh_of_each(values);
    }

    fn erf_all(values: &mut [Self]) {
        erf_of_each(values);
    }
}

/// Partial sums that run side by side, so that the compiler adds several at once.
const LANES: usize = 32;

/// Folds pairs of `a` and `b`, which are as long, in [`LANES`] lanes that begin with `start`.
#[inline(always)]
fn fold_lanes<T: Real>(
    a: &[T],
    b: &[T],
    start: T,
    step: impl Fn(T, T, T) -> T,
    join: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [start; LANES];
    let (a, b) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.0.iter().zip(b.0) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = step(*lane, *a, *b);
        }
    }
    let rest = a.1.iter().zip(b.1).fold(start, |rest, (a, b)| step(rest, *a, *b));
    lanes.into_iter().fold(rest, join)
}

/// `Σ f(a, b)` over pairs of entries, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn sum_of_pairs<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    fold_lanes(a, b, T::zero(), |sum, a, b| sum + f(a, b), |a, b| a + b)
}

/// `Σ f(x)`, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn sum_of<T: Real>(values: &[T], f: impl Fn(T) -> T) -> T {
    sum_of_pairs(values, values, |x, _| f(x))
}

vectorised! {
    fn exp_of_each(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = exp(*value));
    }
}

vectorised! {
    fn tanh_of_each(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = tanh(*value));
    }
}

vectorised! {
    fn erf_of_each(values: &mut [f32]) {
        values.iter_mut().for_each(|value| *value = erf(*value));
    }
}

vectorised! {
    /// Replaces each of `row` by `exp(x − m)`, m the largest; returns m and the sum. A NaN makes the sum
    /// NaN; both are zero of no entries.
    pub(crate) fn softmax_parts<T: Real>(row: &mut [T]) -> (T, T) {
        let Some(first) = row.first().copied() else { return (T::zero(), T::zero()) };
        // Without NaN, which comparisons leave out and which comes back with the exponentials.
        let more = |most: T, x: T| if x > most { x } else { most };
        let most = fold_lanes(row, row, first, |most, x, _| more(most, x), more);
        row.iter_mut().for_each(|x| *x -= most);
        T::exp_all(row);
        (most, sum_of(row, |x| x))
    }
}

vectorised! {
    /// Replaces each of `row` by `exp(x − m)`, m the largest; returns their sum S and `m + ln S`, which
    /// is `ln Σ exp(x)`.
    pub(crate) fn exponentials(row: &mut [f32]) -> [f64; 2] {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = exp(*x - most));
        let mut sums = [0f64; LANES];
        let (lanes, rest) = row.as_chunks::<LANES>();
        for lane in lanes {
            sums.iter_mut().zip(lane).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let rest: f64 = rest.iter().map(|x| f64::from(*x)).sum();
        let sum = sums.iter().sum::<f64>() + rest;
        [sum, f64::from(most) + sum.ln()]
    }
}

/// `eˣ = 2ⁿ eʳ` with `n` the integer nearest to `x/ln 2`, and `eʳ` by its Taylor polynomial on
/// `|r| ≤ ln 2/2`. NaN stays NaN.
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Added to a number, it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts: n times the first is exact.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * LN_2.0 - n * LN_2.1;
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let power = series.iter().fold(1.0 / 5040.0, |sum, term| sum * r + term);
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    power * f32::from_bits(exponent << 23)
}

/// `1 − 2/(e^(2x) + 1)`, which cancels for small x: there the Taylor series.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    const SERIES: [f32; 7] = [
        -929_569.0 / 638_512_875.0,
        21_844.0 / 6_081_075.0,
        -1_382.0 / 155_925.0,
        62.0 / 2_835.0,
        -17.0 / 315.0,
        2.0 / 15.0,
        -1.0 / 3.0,
    ];
    let size = x.abs();
    let large = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
    let square = size * size;
    let small = size + size * square * SERIES.iter().fold(0.0, |sum, term| sum * square + term);
    (if size < 0.5 { small } else { large }).copysign(x)
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const TERMS: [f32; 5] = [1.061_405_4, -1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6];
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let series = t * TERMS.iter().fold(0.0, |sum, term| sum * t + term);
    (1.0 - series * exp(-size * size)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_lanes_are_plain_sums() {
        for n in [0, 1, 31, 32, 33, 100, 1_000] {
            let a: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 / 7.0 - 5.0).collect();
            let b: Vec<f32> = (0..n).map(|i| ((i * 53) % 97) as f32 / 9.0 - 4.0).collect();
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let size: f64 = a.iter().zip(&b).map(|(a, b)| f64::from((a * b).abs())).sum();
            let found = sum_of_pairs(&a, &b, |a, b| a * b);
            assert!((f64::from(found) - plain).abs() <= 1e-6 * size, "{n}");
            let found = sum_of(&a, |x| x * x);
            let plain: f64 = a.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((f64::from(found) - plain).abs() <= 1e-6 * plain, "{n}");
        }
    }

    #[test]
    fn softmax_in_lanes_is_that_in_f64() {
        for n in [1, 5, 32, 77, 4_096] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 1_001) as f32 / 50.0 - 90.0).collect();
            let most = f64::from(x.iter().copied().fold(f32::MIN, f32::max));
            let mut row = x.clone();
            let (found, sum) = softmax_parts(&mut row);
            assert_eq!(f64::from(found), most);
            let plain: f64 = x.iter().map(|x| (f64::from(*x) - most).exp()).sum();
            assert!((f64::from(sum) / plain - 1.0).abs() < 1e-6, "{n}");
            assert!((f64::from(row[n - 1]) - (f64::from(x[n - 1]) - most).exp()).abs() < 1e-6);
            for at in [0, n / 2, n - 1] {
                let mut row = x.clone();
                row[at] = f32::NAN;
                assert!(softmax_parts(&mut row).1.is_nan(), "{n}, NaN at {at}");
            }
        }
        assert_eq!(softmax_parts::<f32>(&mut []), (0.0, 0.0));
        let mut row = [f64::NEG_INFINITY, 0.0];
        assert_eq!(softmax_parts(&mut row), (0.0, 1.0));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn all_versions_give_the_same_bits() {
        use crate::linalg::simd::tests::{assert_same_bits, bits, samples};
        for (length, with_nan) in (0..=100).flat_map(|n| [(n, false), (n, true)]) {
            let x = samples(length, with_nan);
            assert_same_bits(|| {
                let mut row = x.clone();
                let (most, sum) = softmax_parts(&mut row);
                bits(row.into_iter().chain([most, sum]).map(f64::from))
            });
            assert_same_bits(|| {
                let mut row: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                let (most, sum) = softmax_parts(&mut row);
                bits(row.into_iter().chain([most, sum]))
            });
            assert_same_bits(|| {
                let mut row = x.clone();
                let sums = exponentials(&mut row);
                bits(row.into_iter().map(f64::from).chain(sums))
            });
            for function in [<f32 as Real>::tanh_all, <f32 as Real>::erf_all] {
                assert_same_bits(|| {
                    let mut row = x.clone();
                    function(&mut row);
                    bits(row.into_iter().map(f64::from))
                });
            }
        }
    }

    #[test]
    fn exponentials_are_right_to_the_last_digits() {
        let mut worst = 0f64;
        for i in -8700..=8800 {
            let x = i as f32 / 100.0;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / expected - 1.0).abs());
        }
        assert!(worst < 2.5e-7, "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn tangents_and_error_functions_are_right() {
        let (mut tangent, mut error) = (0f64, 0f64);
        for i in -2000..=2000 {
            let x = i as f32 / 200.0;
            let exact = f64::from(x).tanh();
            let gap = (f64::from(tanh(x)) - exact).abs();
            tangent = tangent.max(gap / exact.abs().max(1e-30));
            error = error.max((f64::from(erf(x)) - erf_f64(f64::from(x))).abs());
        }
        assert!(tangent < 5e-7, "{tangent}");
        assert!(error < 6e-7, "{error}");
        assert!(tanh(f32::NAN).is_nan() && erf(f32::NAN).is_nan());
        assert_eq!((tanh(100.0), tanh(-100.0), erf(10.0)), (1.0, -1.0, 1.0));
    }
}
