//! Products of rows to within a bound, at two thirds of the cost, or less than half with VNNI.
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

use rayon::prelude::*;

use super::panels::{Pair, TermsOfRows, WIDE, multiply_panels};
use super::simd::{Avx2, Avx512};

/// The longest a rounded row may be, less what rounding can add: no sum of products then exceeds
/// 2³¹.
const LENGTH: f32 = 46_338.0;
/// Added to a number, it leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Half the distance of 1 from the next number.
const UNIT: f32 = f32::EPSILON / 2.0;

/// Who multiplies rounded rows; all give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CoarseKernel {
    Avx2(Avx2),
    Avx512(Avx512),
}

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
    kernel: CoarseKernel,
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
    pub(crate) fn new(kernel: CoarseKernel, a: &[f32], depth: usize) -> Option<Self> {
        let pairs = depth.div_ceil(2);
        let mut values = vec![Pair::default(); a.len() / depth * pairs];
        let rows = values.par_chunks_mut(pairs).zip(a.par_chunks(depth));
        let rows: Option<Vec<RoundedRow>> =
            rows.map(|(values, a)| round(a, |k, value| values[k / 2][k % 2] = value)).collect();
        let rows = rows?;
        let most = |of: fn(&RoundedRow) -> f32| rows.iter().map(of).fold(0.0, f32::max);
        let (length, rest) = (most(|row| row.length), most(|row| row.rest));
        Some(Self { values, rows, length, rest, kernel })
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
        let values = &a.values[first * pairs..(first + count) * pairs];
        let rows = TermsOfRows { values, depth: pairs, terms: 0..pairs };
        match a.kernel {
            CoarseKernel::Avx2(avx2) => multiply_panels(avx2, &rows, &self.values, target, false),
            CoarseKernel::Avx512(avx512) => {
                multiply_panels(avx512, &rows, &self.values, target, false);
            }
        }
        for (target, row) in target.chunks_mut(width).zip(&a.rows[first..first + count]) {
            let both = target.iter_mut().zip(&self.units);
            both.for_each(|(product, unit)| *product = *product * row.unit * unit);
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
        // Comparisons leave out NaN.
        return x.iter().all(|x| *x == 0.0).then(RoundedRow::default);
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

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn products_are_within_their_bound() {
        for kernel in kernels() {
            products_of_a_kernel_are_within_their_bound(kernel);
        }
    }

    /// All that this processor can run.
    fn kernels() -> Vec<CoarseKernel> {
        let avx512 = Avx512::detect().into_iter().flat_map(|avx512| {
            // Without VNNI as well, where the processor has it.
            [avx512, Avx512 { vnni: false, ..avx512 }].map(CoarseKernel::Avx512)
        });
        avx512.chain(Avx2::detect().map(CoarseKernel::Avx2)).collect()
    }

    fn products_of_a_kernel_are_within_their_bound(kernel: CoarseKernel) {
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
                let coarse = Coarse::new(kernel, &a, depth).unwrap();
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
        for (kernel, depth) in kernels()
            .into_iter()
            .flat_map(|kernel| [1, 2, 3, 4, 17, 4_097].map(|depth| (kernel, depth)))
        {
            // Products of one sign: nothing is larger for rows of this length.
            for sign in [1f32, -1.0] {
                let (a, x) = (vec![sign * 0.7; depth], vec![0.3f32; depth]);
                let coarse = Coarse::new(kernel, &a, depth).unwrap();
                let packed = CoarsePacked::new(&x, depth, None).unwrap();
                let mut found = vec![0f32; packed.width()];
                packed.multiply(&coarse, 0, 1, &mut found);
                let expected = sign * 0.21 * depth as f32;
                assert!((found[0] / expected - 1.0).abs() < 1e-3, "{depth}: {}", found[0]);
            }
        }
        for kernel in kernels() {
            assert!(Coarse::new(kernel, &[f32::MAX, 1.0], 2).is_none());
        }
        assert!(CoarsePacked::new(&[1e-30, 0.0], 2, None).is_none());
        for nan in [[f32::NAN; 2], [0.0, f32::NAN], [1.0, f32::NAN]] {
            assert!(CoarsePacked::new(&nan, 2, None).is_none());
        }
        assert!(CoarsePacked::new(&[0.0, -0.0], 2, None).is_some());
    }
}
