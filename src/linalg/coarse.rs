//! Products of rows to within a bound, at two thirds of the cost.
//!
//! Rows are rounded to whole numbers of sixteen bits, `x̂ = s x + …`, whose products the
//! processor sums twice as many at a time as those of f32. With δ what rounding takes away,
//! measured in units of x itself,
//!
//! ```text
//! |x·a − x̂·â| ≤ ‖δ_x‖ ‖â‖ + ‖x‖ ‖δ_a‖
//! ```
//!
//! and a bound on the rounding of f32 on either side comes on top. Whoever looks for the largest
//! products leaves out what the bound excludes and computes the rest again.

#![allow(
    unsafe_code,
    reason = "vector instructions of the processor, on slices whose lengths are checked"
)]

use std::arch::x86_64::*;

use rayon::prelude::*;

use super::tile::{Avx2, TALL, WIDE};

/// The longest a rounded row may be, less what rounding can add: no sum of products then exceeds
/// 2³¹.
const LENGTH: f32 = 46_338.0;
/// Added to a number, it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Half the distance of 1 from the next number.
const UNIT: f32 = f32::EPSILON / 2.0;

/// A row's entries, two by two.
type Pair = [i16; 2];

/// What is known about a rounded row.
#[derive(Debug, Clone, Copy, Default)]
struct RoundedRow {
    /// What its whole numbers are multiples of.
    unit: f32,
    length: f32,
    /// The length of what was rounded off.
    rest: f32,
}

/// Rounded rows a `[rows, depth]`.
#[derive(Debug)]
pub(crate) struct Coarse {
    values: Vec<Pair>,
    rows: Vec<RoundedRow>,
    /// The largest length and rest of all.
    length: f32,
    rest: f32,
    avx2: Avx2,
}

/// Rounded rows x, in panels of [`WIDE`] whose first pairs lie side by side, then their second.
#[derive(Debug)]
pub(crate) struct CoarsePacked {
    values: Vec<[Pair; WIDE]>,
    rows: Vec<RoundedRow>,
    units: Vec<f32>,
    depth: usize,
}

impl Coarse {
    /// None where a row is too long or too short to tell what f32 makes of it.
    pub(crate) fn new(avx2: Avx2, a: &[f32], depth: usize) -> Option<Self> {
        let pairs = depth.div_ceil(2);
        let mut values = vec![Pair::default(); a.len() / depth * pairs];
        let rows = values.par_chunks_mut(pairs).zip(a.par_chunks(depth));
        let rows: Option<Vec<RoundedRow>> =
            rows.map(|(values, a)| round(a, |k, value| values[k / 2][k % 2] = value)).collect();
        let rows = rows?;
        let most = |of: fn(&RoundedRow) -> f32| rows.iter().map(of).fold(0.0, f32::max);
        let (length, rest) = (most(|row| row.length), most(|row| row.rest));
        Some(Self { values, rows, length, rest, avx2 })
    }

    /// The largest length over the mean length.
    pub(crate) fn inequality(&self) -> f32 {
        let sum: f32 = self.rows.iter().map(|row| row.length).sum();
        if sum == 0.0 { 1.0 } else { self.length * self.rows.len() as f32 / sum }
    }
}

impl CoarsePacked {
    /// The rows `x` less `shift`, if there is one; as [`Coarse::new`].
    pub(crate) fn new(x: &[f32], depth: usize, shift: Option<&[f32]>) -> Option<Self> {
        let (count, pairs) = (x.len() / depth, depth.div_ceil(2));
        let mut values = vec![[Pair::default(); WIDE]; count.div_ceil(WIDE) * pairs];
        let (mut rows, mut shifted) = (Vec::with_capacity(count), vec![0f32; depth]);
        for (values, x) in values.chunks_mut(pairs).zip(x.chunks(WIDE * depth)) {
            for (column, x) in x.chunks(depth).enumerate() {
                less(x, shift, &mut shifted);
                rows.push(round(&shifted, |k, value| values[k / 2][column][k % 2] = value)?);
            }
        }
        let mut units: Vec<f32> = rows.iter().map(|row| row.unit).collect();
        units.resize(count.next_multiple_of(WIDE), 0.0);
        Some(Self { values, rows, units, depth })
    }

    /// Number of rows x.
    pub(crate) fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The same in whole panels.
    pub(crate) fn width(&self) -> usize {
        self.units.len()
    }

    /// Writes what A Xᵀ is about, for `count` rows of `a` from `first` on, to `target`
    /// `[count, width]`, where the width is the number of rows x in whole panels.
    pub(crate) fn multiply(&self, a: &Coarse, first: usize, count: usize, target: &mut [f32]) {
        let (pairs, width) = (self.depth.div_ceil(2), self.units.len());
        let units = self.units.as_chunks::<WIDE>().0;
        for (panel, (x, units)) in self.values.chunks(pairs).zip(units).enumerate() {
            for row in (0..count).step_by(TALL) {
                // At the end the last row stands in for those that are not there.
                let at = |next: usize| first + (row + next).min(count - 1);
                let rows = std::array::from_fn(|next| &a.values[at(next) * pairs..][..pairs]);
                let scales = std::array::from_fn(|next| a.rows[at(next)].unit);
                let target = &mut target[row * width..count * width][panel * WIDE..];
                let Avx2 { .. } = a.avx2;
                // SAFETY: the processor has what the loop uses, or there were no `Avx2`.
                unsafe { sums(rows, x, scales, units, target, width) };
            }
        }
    }

    /// How far at most what [`CoarsePacked::multiply`] says of row x number `row`, plus a number up
    /// to `bias` in size, is from the same in f32 arithmetic, in any order.
    pub(crate) fn slack(&self, row: usize, a: &Coarse, bias: f32) -> f32 {
        let RoundedRow { length, rest, .. } = self.rows[row];
        let longest = a.length + a.rest;
        // Sums of as many products err by so many units on one side, a few on the other; as much
        // again for the arithmetic of this bound.
        let units = 2.0 * (self.depth as f32 + 16.0) * UNIT;
        1.001 * (rest * longest + length * a.rest + units * length * longest) + 8.0 * UNIT * bias
    }
}

/// Writes `x` less `shift`, if there is one.
pub(crate) fn less(x: &[f32], shift: Option<&[f32]>, target: &mut [f32]) {
    match shift {
        Some(shift) => {
            target.iter_mut().zip(x.iter().zip(shift)).for_each(|(y, (x, shift))| *y = x - shift);
        }
        None => target.copy_from_slice(x),
    }
}

/// Rounds a row: entry k goes to `put`.
fn round(x: &[f32], mut put: impl FnMut(usize, i16)) -> Option<RoundedRow> {
    let largest = x.iter().fold(0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return Some(RoundedRow::default());
    }
    let length = length(x.len(), |k| x[k]);
    // Squares and products are then far from the ends of f32.
    if !(1e-15..1e15).contains(&length) {
        return None;
    }
    let room = LENGTH - (x.len() as f32).sqrt();
    let scale = (f32::from(i16::MAX) / largest).min(room / length);
    let unit = 1.0 / scale;
    let whole = |x: f32| x * scale + ROUND;
    for (k, x) in x.iter().enumerate() {
        put(k, whole(*x).to_bits().wrapping_sub(ROUND.to_bits()) as i16);
    }
    let rest = self::length(x.len(), |k| x[k] - (whole(x[k]) - ROUND) * unit);
    Some(RoundedRow { unit, length, rest })
}

/// The length of a vector.
fn length(depth: usize, entry: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0f32; LANES];
    let whole = depth / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            let entry = entry(start + lane);
            *sum += entry * entry;
        }
    }
    let rest: f32 = (whole..depth).map(|k| entry(k) * entry(k)).sum();
    (sums.iter().sum::<f32>() + rest).sqrt()
}

/// Writes the products of rows `a` and a panel of rows x, times the units of both.
#[target_feature(enable = "avx2,fma")]
fn sums(
    a: [&[Pair]; TALL],
    x: &[[Pair; WIDE]],
    scales: [f32; TALL],
    units: &[f32; WIDE],
    target: &mut [f32],
    stride: usize,
) {
    let a = a.map(|row| &row[..x.len()]);
    let mut sums = [[_mm256_setzero_si256(); 2]; TALL];
    for (k, x) in x.iter().enumerate() {
        // SAFETY: both halves of sixteen pairs are 32 bytes.
        let x = [&x[..8], &x[8..]].map(|half| unsafe { _mm256_loadu_si256(half.as_ptr().cast()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row was cut to as many entries as x has.
            let [low, high] = unsafe { *a[row].get_unchecked(k) };
            let both = (i32::from(high) << 16) | i32::from(low as u16);
            let a = _mm256_set1_epi32(both);
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(a, x[0]));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(a, x[1]));
        }
    }
    for (row, (sums, scale)) in sums.iter().zip(scales).enumerate() {
        let Some(target) = target.get_mut(row * stride..row * stride + WIDE) else { return };
        let scale = _mm256_set1_ps(scale);
        let halves = target.chunks_exact_mut(8).zip(units.chunks_exact(8)).zip(sums);
        for ((target, units), sum) in halves {
            // SAFETY: chunks are eight.
            unsafe {
                let product = _mm256_mul_ps(_mm256_cvtepi32_ps(*sum), scale);
                let product = _mm256_mul_ps(product, _mm256_loadu_ps(units.as_ptr()));
                _mm256_storeu_ps(target.as_mut_ptr(), product);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn products_are_within_their_bound() {
        let Some(avx2) = Avx2::detect() else { return };
        for (case, depth) in [1, 2, 7, 64, 129, 1_024, 3_000].into_iter().enumerate() {
            let mut rng = Rng::seed(case as u64);
            let mut normal = |count: usize, scale: f64| -> Vec<f32> {
                let values = rng.normal(count * depth, &Device::Cpu).unwrap();
                (values * scale).unwrap().to_vec1().unwrap()
            };
            for (wide, scale) in [(false, 1.0), (true, 1.0), (false, 1e-10), (false, 1e10)] {
                let (mut a, mut x, shift) = (normal(13, 1.0), normal(20, scale), normal(1, scale));
                if wide {
                    // One entry far above the others, and rows that are all the same sign.
                    a.iter_mut().step_by(depth).for_each(|a| *a *= 1e4);
                    x.iter_mut().skip(depth).for_each(|x| *x = x.abs());
                }
                // A row of zeros.
                x[..depth].copy_from_slice(&shift);
                let coarse = Coarse::new(avx2, &a, depth).unwrap();
                let packed = CoarsePacked::new(&x, depth, Some(&shift)).unwrap();
                assert_eq!((packed.rows(), packed.width()), (20, 32));
                let mut found = vec![f32::NAN; 11 * packed.width()];
                packed.multiply(&coarse, 2, 11, &mut found);
                for (row, found) in found.chunks(packed.width()).enumerate() {
                    for (column, found) in found.iter().enumerate().take(20) {
                        let a = &a[(row + 2) * depth..][..depth];
                        let x = x[column * depth..][..depth].iter().zip(&shift);
                        let terms = a.iter().zip(x.map(|(x, shift)| x - shift));
                        let expected: f64 = terms.map(|(a, x)| f64::from(*a) * f64::from(x)).sum();
                        let gap = (f64::from(*found) - expected).abs();
                        let slack = f64::from(packed.slack(column, &coarse, 0.0));
                        assert!(gap <= slack, "{depth}, row {row}, {column}: {gap} above {slack}");
                        let size = f64::from(packed.rows[column].length * coarse.length);
                        assert!(slack <= 0.01 * size, "{depth}: {slack} of {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_longest_rows_do_not_overflow() {
        let Some(avx2) = Avx2::detect() else { return };
        for depth in [1, 2, 3, 4, 17, 4_097] {
            // Products of one sign: nothing is larger for rows of this length.
            for sign in [1f32, -1.0] {
                let (a, x) = (vec![sign * 0.7; depth], vec![0.3f32; depth]);
                let coarse = Coarse::new(avx2, &a, depth).unwrap();
                let packed = CoarsePacked::new(&x, depth, None).unwrap();
                let mut found = vec![0f32; packed.width()];
                packed.multiply(&coarse, 0, 1, &mut found);
                let expected = sign * 0.21 * depth as f32;
                assert!((found[0] / expected - 1.0).abs() < 1e-3, "{depth}: {}", found[0]);
            }
        }
        assert!(Coarse::new(avx2, &[f32::MAX, 1.0], 2).is_none());
        assert!(CoarsePacked::new(&[1e-30, 0.0], 2, None).is_none());
    }
}
