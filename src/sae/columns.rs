//! The decoder on the host, laid out for sums of few of its columns.

#![allow(
    unsafe_code,
    reason = "calls code compiled for AVX2, once the processor is known to have it, and prefetches"
)]

use rayon::prelude::*;

use super::Codes;
#[cfg(target_arch = "x86_64")]
use crate::linalg::simd::Version;

/// Dimensions that are summed together: as many as stay in registers. Of all columns these make a
/// block that outer caches hold while the rows of a batch come by, so that memory is read once
/// and not once a row.
const BLOCK: usize = 64;
/// Entries of a code by which memory is asked ahead.
const AHEAD: usize = 16;

/// The columns of a decoder `[d, features]`: all columns' first [`BLOCK`] entries, one column after
/// the other, then all columns' next.
#[derive(Debug, Clone)]
pub(super) struct Columns {
    values: Vec<f32>,
    features: usize,
    d: usize,
}

/// A factor and a shift.
type Line = [f32; 2];

impl Columns {
    /// From columns that lie one after the other, each `[d]`.
    pub(super) fn new(columns: &[f32], d: usize) -> Self {
        let features = columns.len() / d.max(1);
        let mut values = vec![0f32; columns.len()];
        let blocks = values.par_chunks_mut((BLOCK * features).max(1));
        blocks.zip((0..d).into_par_iter().step_by(BLOCK)).for_each(|(block, start)| {
            let width = BLOCK.min(d - start);
            for (part, column) in block.chunks_mut(width).zip(columns.chunks(d)) {
                part.copy_from_slice(&column[start..start + width]);
            }
        });
        Self { values, features, d }
    }

    /// The entries of a column, in runs, each with where in the column it begins.
    fn runs(&self, feature: usize) -> impl Iterator<Item = (usize, &[f32])> {
        (0..self.d).step_by(BLOCK).map(move |start| {
            let width = BLOCK.min(self.d - start);
            (start, &self.values[start * self.features + feature * width..][..width])
        })
    }

    /// The product of each column with `x` `[d]`.
    pub(super) fn products(&self, x: &[f32]) -> Vec<f32> {
        let product = |feature| {
            let terms = self.runs(feature).flat_map(|(start, run)| x[start..].iter().zip(run));
            terms.map(|(x, entry)| f64::from(*x) * f64::from(*entry)).sum::<f64>() as f32
        };
        (0..self.features).map(product).collect()
    }

    /// Adds `factor` times a column to `x` `[d]`.
    pub(super) fn add(&self, feature: usize, factor: f32, x: &mut [f32]) {
        for (start, run) in self.runs(feature) {
            x[start..].iter_mut().zip(run).for_each(|(x, entry)| *x += factor * entry);
        }
    }

    /// For each row of `codes` the sum of `bias` and its columns times `values`, which are the codes'
    /// own or stand for them, `[rows, d]`; of row r times and plus what `lines(r)` says.
    pub(super) fn sums(
        &self,
        codes: &Codes,
        values: &[f32],
        bias: &[f32],
        lines: impl Fn(usize) -> Option<Line> + Sync,
    ) -> Vec<f32> {
        let mut out = vec![0f32; codes.rows() * self.d];
        let share = codes.rows().div_ceil(rayon::current_num_threads()).max(1);
        out.par_chunks_mut((share * self.d).max(1)).enumerate().for_each(|(part, out)| {
            let sums = SumsOfRows { columns: self, codes, values, bias, first: part * share };
            sums.write(out);
            for (row, out) in (sums.first..).zip(out.chunks_mut(self.d)) {
                if let Some([factor, shift]) = lines(row) {
                    out.iter_mut().for_each(|out| *out = *out * factor + shift);
                }
            }
        });
        out
    }
}

/// What a thread does: the rows from `first` on.
struct SumsOfRows<'a> {
    columns: &'a Columns,
    codes: &'a Codes,
    values: &'a [f32],
    bias: &'a [f32],
    first: usize,
}

impl SumsOfRows<'_> {
    fn write(&self, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        match Version::widest() {
            // SAFETY: the processor has just said that it has what it uses.
            Version::Avx512 => return unsafe { self.write_avx512(out) },
            // SAFETY: as above.
            Version::Avx2 => return unsafe { self.write_avx2(out) },
            Version::Baseline => {}
        }
        self.write_with::<false>(out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn write_avx512(&self, out: &mut [f32]) {
        self.write_with::<true>(out);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn write_avx2(&self, out: &mut [f32]) {
        self.write_with::<true>(out);
    }

    #[inline(always)]
    fn write_with<const FUSED: bool>(&self, out: &mut [f32]) {
        let Columns { values: columns, features, d } = self.columns;
        let (offsets, indices) = self.codes.layout();
        for start in (0..*d).step_by(BLOCK) {
            let width = BLOCK.min(d - start);
            let block = &columns[start * features..][..width * features];
            let bias = &self.bias[start..start + width];
            for (row, out) in (self.first..).zip(out.chunks_mut(*d)) {
                let entries = offsets[row]..offsets[row + 1];
                let out = &mut out[start..start + width];
                let (Ok(bias), (columns, [])) =
                    (<&[f32; BLOCK]>::try_from(bias), block.as_chunks())
                else {
                    out.copy_from_slice(bias);
                    for at in entries {
                        let column = &block[indices[at] as usize * width..][..width];
                        let sums = out.iter_mut().zip(column);
                        sums.for_each(|(sum, entry)| {
                            *sum = term::<FUSED>(*sum, self.values[at], *entry)
                        });
                    }
                    continue;
                };
                let mut sums = *bias;
                for at in entries {
                    let column: &[f32; BLOCK] = &columns[indices[at] as usize];
                    if let Some(next) =
                        indices.get(at + AHEAD).and_then(|next| columns.get(*next as usize))
                    {
                        fetch(next);
                    }
                    let value = self.values[at];
                    for (sum, entry) in sums.iter_mut().zip(column) {
                        *sum = term::<FUSED>(*sum, value, *entry);
                    }
                }
                out.copy_from_slice(&sums);
            }
        }
    }
}

#[inline(always)]
fn term<const FUSED: bool>(sum: f32, a: f32, b: f32) -> f32 {
    if FUSED { a.mul_add(b, sum) } else { sum + a * b }
}

/// Asks for memory that will be read soon.
#[inline(always)]
fn fetch(run: &[f32; BLOCK]) {
    #[cfg(not(target_arch = "x86_64"))]
    let _ = run;
    #[cfg(target_arch = "x86_64")]
    for line in run.as_chunks::<16>().0 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it reads nothing, and where it points to is there.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn sums_of_any_width_are_those_in_f64() {
        let mut rng = Rng::seed(6);
        for (d, features) in [(1, 1), (63, 5), (64, 40), (65, 9), (200, 30)] {
            let mut normal = |count: usize| -> Vec<f32> {
                rng.normal(count, &Device::Cpu).unwrap().to_vec1().unwrap()
            };
            let (flat, bias) = (normal(d * features), normal(d));
            let columns = Columns::new(&flat, d);
            // Rows of no feature, of all, and of each number between.
            let rows = (0..70).map(|row| {
                let kept = (0..features as u32).filter(|i| (i * 7 + row) % 11 < row % 13);
                kept.map(|i| (i, i as f32 - 3.5 * row as f32)).collect()
            });
            let codes = Codes::new(features, rows.collect::<Vec<_>>()).unwrap();
            let line = |row: usize| (row % 2 == 1).then_some([0.5, row as f32]);
            let found = columns.sums(&codes, codes.values(), &bias, line);
            let sums = SumsOfRows {
                columns: &columns,
                codes: &codes,
                values: codes.values(),
                bias: &bias,
                first: 0,
            };
            let mut plain = vec![f32::NAN; found.len()];
            sums.write_with::<false>(&mut plain);
            for (row, (found, plain)) in found.chunks(d).zip(plain.chunks_mut(d)).enumerate() {
                for j in 0..d {
                    let term =
                        |(i, v): (u32, f32)| f64::from(v) * f64::from(flat[i as usize * d + j]);
                    let sum = codes.row(row).map(term).sum::<f64>() + f64::from(bias[j]);
                    let size = codes.row(row).map(|entry| term(entry).abs()).sum::<f64>() + 1.0;
                    let [factor, shift] = line(row).unwrap_or([1.0, 0.0]).map(f64::from);
                    let gap = (f64::from(found[j]) - (sum * factor + shift)).abs();
                    assert!(gap <= 1e-6 * (size + shift), "{d}, {features}, row {row}: {gap}");
                    assert!((f64::from(plain[j]) - sum).abs() <= 1e-6 * size);
                }
            }
        }
    }

    #[test]
    fn columns_come_back_from_their_blocks() {
        let (d, features) = (130, 3);
        let flat: Vec<f32> = (0..d * features).map(|i| (i % 17) as f32 - 8.0).collect();
        let columns = Columns::new(&flat, d);
        let x: Vec<f32> = (0..d).map(|i| (i % 5) as f32).collect();
        for (feature, product) in columns.products(&x).into_iter().enumerate() {
            let own = &flat[feature * d..][..d];
            assert_eq!(product, own.iter().zip(&x).map(|(a, b)| a * b).sum::<f32>());
            let mut sum = x.clone();
            columns.add(feature, -2.0, &mut sum);
            assert!(sum.iter().zip(x.iter().zip(own)).all(|(sum, (x, own))| *sum == x - 2.0 * own));
        }
    }
}
