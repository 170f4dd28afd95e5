//! Products that are looked at once: tile by tile, on the core that asks.
//!
//! A matrix that is thrown away once its few largest entries are known need never be in memory as a
//! whole. Rows x are laid out once, and rows a come by, some at a time, each tile of products
//! staying in the cache.

#![allow(
    unsafe_code,
    reason = "vector instructions of the processor, on slices whose lengths are checked"
)]

use super::matmul::{Operand, ProductInto};

/// Rows whose entries lie side by side: two vectors of AVX2.
pub(super) const WIDE: usize = 16;
/// Rows a that are multiplied at a time: with these, all sums are in registers.
#[cfg(target_arch = "x86_64")]
pub(super) const TALL: usize = 6;
/// Terms of a sum at a time: more of a panel than this does not stay in the cache.
#[cfg(target_arch = "x86_64")]
const DEPTH: usize = 1024;

/// Who multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileKernel {
    /// faer, on any processor.
    Faer,
    /// The loop of this file, which holds [`TALL`] rows by [`WIDE`] of products in registers.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
}

/// Made where the processor has AVX2 and fused multiplication.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

impl TileKernel {
    /// The fastest one here: faer's own loop for AVX-512 has vectors twice as long.
    pub(crate) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = Avx2::detect().filter(|_| !is_x86_feature_detected!("avx512f")) {
            return Self::Avx2(avx2);
        }
        Self::Faer
    }

    /// How many rows a product should have for a tile to stay in the cache.
    pub(crate) fn tall(self) -> usize {
        match self {
            // It lays x out anew for each product.
            Self::Faer => 512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => 8 * TALL,
        }
    }
}

/// Rows x `[count, depth]`, laid out to be multiplied with many others: in panels of rows, and in a
/// panel the rows' first entries, then their second, and so on.
#[derive(Debug)]
pub(crate) struct Packed {
    values: Vec<f32>,
    rows: usize,
    depth: usize,
    width: usize,
    kernel: TileKernel,
}

impl Packed {
    /// The rows `x` less `shift`, if there is one.
    pub(crate) fn new(kernel: TileKernel, x: &[f32], depth: usize, shift: Option<&[f32]>) -> Self {
        /// Entries of a row that are moved at a time.
        const RUN: usize = 64;
        let rows = x.len() / depth;
        let width = rows.next_multiple_of(WIDE);
        let panel = match kernel {
            TileKernel::Faer => width,
            #[cfg(target_arch = "x86_64")]
            TileKernel::Avx2(_) => WIDE,
        };
        let mut values = vec![0f32; width * depth];
        for (values, x) in values.chunks_mut(panel * depth).zip(x.chunks(panel * depth)) {
            for start in (0..depth).step_by(RUN) {
                for (column, row) in x.chunks(depth).enumerate() {
                    let run = &row[start..depth.min(start + RUN)];
                    let values = values[start * panel + column..].iter_mut().step_by(panel);
                    match shift {
                        Some(shift) => values
                            .zip(run.iter().zip(&shift[start..]))
                            .for_each(|(value, (x, shift))| *value = x - shift),
                        None => values.zip(run).for_each(|(value, x)| *value = *x),
                    }
                }
            }
        }
        Self { values, rows, depth, width, kernel }
    }

    /// Number of rows x.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of rows x, those of zeros at the end that fill a panel included.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Writes A Xᵀ `[rows of a, width]` for rows `a` `[…, depth]`.
    pub(crate) fn multiply(&self, a: &[f32], target: &mut [f32]) {
        let rows = a.len() / self.depth;
        match self.kernel {
            TileKernel::Faer => {
                let x = Operand::new(&self.values, self.depth, self.width);
                let a = Operand::new(a, rows, self.depth);
                ProductInto::NN.write_slice(target, a, x, false);
            }
            #[cfg(target_arch = "x86_64")]
            TileKernel::Avx2(_) => {
                let block = block(self.depth);
                for start in (0..self.depth).step_by(block) {
                    let terms = start..self.depth.min(start + block);
                    for (panel, x) in self.values.chunks(WIDE * self.depth).enumerate() {
                        let x = &x.as_chunks().0[terms.clone()];
                        for row in (0..rows).step_by(TALL) {
                            // At the end the last row stands in for those that are not there.
                            let a = std::array::from_fn(|next| {
                                let row = (row + next).min(rows - 1);
                                &a[row * self.depth..][terms.clone()]
                            });
                            let target =
                                &mut target[row * self.width..rows * self.width][panel * WIDE..];
                            // SAFETY: the processor has what the loop uses, or there were no `Avx2`.
                            unsafe { sums(a, x, target, self.width, start > 0) };
                        }
                    }
                }
            }
        }
    }
}

/// Writes or adds the products of rows `a` and a panel of rows x, `[depth][WIDE]`, to as many rows
/// of `target`, `stride` apart, as there are.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn sums(a: [&[f32]; TALL], x: &[[f32; WIDE]], target: &mut [f32], stride: usize, add: bool) {
    use std::arch::x86_64::*;
    let a = a.map(|row| &row[..x.len()]);
    let mut sums = [[_mm256_setzero_ps(); 2]; TALL];
    for (k, x) in x.iter().enumerate() {
        // SAFETY: both halves of sixteen are eight.
        let x = [&x[..8], &x[8..]].map(|half| unsafe { _mm256_loadu_ps(half.as_ptr()) });
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: each row was cut to as many entries as x has.
            let a = _mm256_set1_ps(unsafe { *a[row].get_unchecked(k) });
            sums[0] = _mm256_fmadd_ps(a, x[0], sums[0]);
            sums[1] = _mm256_fmadd_ps(a, x[1], sums[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let Some(target) = target.get_mut(row * stride..row * stride + WIDE) else { return };
        for (target, sum) in target.chunks_exact_mut(8).zip(sums) {
            // SAFETY: a chunk is eight.
            unsafe {
                let before =
                    if add { _mm256_loadu_ps(target.as_ptr()) } else { _mm256_setzero_ps() };
                _mm256_storeu_ps(target.as_mut_ptr(), _mm256_add_ps(before, *sum));
            }
        }
    }
}

/// All that this processor can run.
#[cfg(test)]
pub(crate) fn kernels() -> Vec<TileKernel> {
    #[cfg(target_arch = "x86_64")]
    return Avx2::detect().map(TileKernel::Avx2).into_iter().chain([TileKernel::Faer]).collect();
    #[cfg(not(target_arch = "x86_64"))]
    vec![TileKernel::Faer]
}

/// Products with x of as many rows as are given, each as exactly what [`Packed::multiply`] makes of
/// the two by the loop of this file.
#[cfg(target_arch = "x86_64")]
pub(crate) fn products<const N: usize>(_: Avx2, a: [&[f32]; N], x: &[f32]) -> [f32; N] {
    // SAFETY: the processor has what it uses, or there were no `Avx2`.
    unsafe { products_fused(a, x) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn products_fused<const N: usize>(a: [&[f32]; N], x: &[f32]) -> [f32; N] {
    let block = block(x.len());
    let mut sums = [0f32; N];
    for start in (0..x.len()).step_by(block) {
        let x = &x[start..x.len().min(start + block)];
        let a = a.map(|row| &row[start..][..x.len()]);
        let mut own = [0f32; N];
        for (k, x) in x.iter().enumerate() {
            own.iter_mut().zip(a).for_each(|(sum, row)| *sum = row[k].mul_add(*x, *sum));
        }
        sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
    }
    sums
}

/// Terms of a sum that are summed on their own.
#[cfg(target_arch = "x86_64")]
fn block(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn tiles_of_any_size_are_the_products_in_f64() {
        let sizes = [1, 2, 5, 6, 7, 13, 16, 17, 48, 50];
        for (case, (rows, count)) in sizes.iter().flat_map(|a| sizes.map(|b| (*a, b))).enumerate() {
            for depth in [1, 3, 63, 65, 2_050].into_iter().skip(case % 2).step_by(2) {
                let mut rng = Rng::seed(case as u64);
                let mut normal = |rows| -> Vec<f32> {
                    let values = rng.normal((rows, depth), &Device::Cpu).unwrap();
                    values.flatten_all().unwrap().to_vec1().unwrap()
                };
                let (a, x, shift) = (normal(rows), normal(count), normal(1));
                for (kernel, shift) in kernels()
                    .into_iter()
                    .flat_map(|kernel| [(kernel, None), (kernel, Some(&shift))])
                {
                    let packed = Packed::new(kernel, &x, depth, shift.map(Vec::as_slice));
                    assert!(packed.width() >= count && packed.width() < count + WIDE);
                    let mut target = vec![f32::NAN; rows * packed.width()];
                    packed.multiply(&a, &mut target);
                    for (row, target) in target.chunks(packed.width()).enumerate() {
                        for (column, found) in target.iter().enumerate().take(count) {
                            let term = |k: usize| {
                                let shift = shift.map_or(0.0, |shift| shift[k]);
                                f64::from(a[row * depth + k])
                                    * f64::from(x[column * depth + k] - shift)
                            };
                            let expected: f64 = (0..depth).map(term).sum();
                            let size: f64 = (0..depth).map(|k| term(k).abs()).sum();
                            let gap = (f64::from(*found) - expected).abs();
                            assert!(
                                gap <= 1e-6 * size,
                                "{kernel:?}, {rows}×{count}×{depth}: {gap}"
                            );
                        }
                        assert!(target[count..].iter().all(|rest| *rest == 0.0));
                    }
                }
            }
        }
    }
}
