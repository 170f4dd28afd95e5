//! Products that are looked at once: tile by tile, on the core that asks.
//!
//! A matrix that is thrown away once its few largest entries are known need never be in memory as a
//! whole. Rows x are laid out once, and rows a come by, some at a time, each tile of products
//! staying in the cache.

#![allow(
    unsafe_code,
    reason = "vector instructions of the processor, on slices whose lengths are checked"
)]

use std::sync::OnceLock;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use super::coarse::CoarseKernel;
use super::matmul::{Operand, ProductInto};
use super::panels::{self, PanelLoop, TermsOfRows, WIDE, multiply_panels};
#[cfg(target_arch = "aarch64")]
use super::simd::Neon;
#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};

/// Terms of a sum at a time: more of a panel than this does not stay in the cache.
const DEPTH: usize = 1024;
/// Groups of rows that are multiplied at a time in a tile.
const GROUPS_PER_TILE: usize = 8;

/// Who multiplies. All but faer give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileKernel {
    /// faer, on any processor.
    Faer,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

impl TileKernel {
    /// The fastest one here. On some processors vectors of AVX-512 are slower than those of AVX2, so
    /// both are tried, once.
    pub(crate) fn best() -> Self {
        static BEST: OnceLock<TileKernel> = OnceLock::new();
        *BEST.get_or_init(|| {
            let timed = fused_kernels().into_iter().map(|own| (own.seconds_of_a_tile(), own));
            fastest(timed).unwrap_or(Self::Faer)
        })
    }

    /// Who multiplies rounded rows for the same processor: with VNNI, if it has that, whoever
    /// multiplies those that are not rounded.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn coarse(self) -> Option<CoarseKernel> {
        match (self, Avx512::detect()) {
            (Self::Faer, _) => None,
            (_, Some(avx512)) if avx512.vnni => Some(CoarseKernel::Avx512(avx512)),
            (Self::Avx2(avx2), _) => Some(CoarseKernel::Avx2(avx2)),
            (Self::Avx512(avx512), _) => Some(CoarseKernel::Avx512(avx512)),
        }
    }

    /// How many rows a product should have for a tile to stay in the cache.
    pub(crate) fn tall(self) -> usize {
        match self {
            // It lays x out anew for each product.
            Self::Faer => 512,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => GROUPS_PER_TILE * panels::avx2::TALL,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => GROUPS_PER_TILE * panels::avx512::TALL,
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => GROUPS_PER_TILE * panels::neon::TALL,
        }
    }

    /// The least time of a few turns of a small product.
    fn seconds_of_a_tile(self) -> f64 {
        const ROWS: usize = 96;
        const TURNS: usize = 5;
        const TERMS: usize = 256;
        let (a, x) = (vec![1f32; ROWS * TERMS], vec![1f32; 4 * WIDE * TERMS]);
        let x = Packed::new(self, &x, TERMS, None);
        let mut target = vec![0f32; ROWS * x.width()];
        let turn = || {
            let start = Instant::now();
            x.multiply(&a, std::hint::black_box(&mut target));
            start.elapsed().as_secs_f64()
        };
        std::iter::repeat_with(turn).take(TURNS).fold(f64::INFINITY, f64::min)
    }
}

/// The first of some that are timed, or a later one that is clearly faster: what is less is noise.
fn fastest<T>(timed: impl Iterator<Item = (f64, T)>) -> Option<T> {
    /// The share of the time of an earlier one that a later one may take.
    const CLEAR: f64 = 0.95;
    timed
        .reduce(|best, other| if other.0 < CLEAR * best.0 { other } else { best })
        .map(|(_, own)| own)
}

/// The instructions that products of an autoencoder's rows use here, in words: for reports of speed.
pub fn simd_in_use() -> String {
    let best = TileKernel::best();
    let name = match best {
        TileKernel::Faer => return format!("those of every {}", std::env::consts::ARCH),
        #[cfg(target_arch = "x86_64")]
        TileKernel::Avx2(_) => "AVX2",
        #[cfg(target_arch = "x86_64")]
        TileKernel::Avx512(_) => "AVX-512",
        #[cfg(target_arch = "aarch64")]
        TileKernel::Neon(_) => "NEON",
    };
    #[cfg(target_arch = "x86_64")]
    if let Some(CoarseKernel::Avx512(avx512)) = best.coarse()
        && avx512.vnni
    {
        return format!("{name} with VNNI");
    }
    name.to_owned()
}

/// All loops of our own that this processor can run, those of the longest vectors first.
fn fused_kernels() -> Vec<TileKernel> {
    #[cfg(target_arch = "x86_64")]
    return Avx512::detect()
        .map(TileKernel::Avx512)
        .into_iter()
        .chain(Avx2::detect().map(TileKernel::Avx2))
        .collect();
    #[cfg(target_arch = "aarch64")]
    return Neon::detect().map(TileKernel::Neon).into_iter().collect();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    Vec::new()
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
            _ => WIDE,
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
            TileKernel::Avx2(avx2) => self.multiply_by(avx2, a, target),
            #[cfg(target_arch = "x86_64")]
            TileKernel::Avx512(avx512) => self.multiply_by(avx512, a, target),
            #[cfg(target_arch = "aarch64")]
            TileKernel::Neon(neon) => self.multiply_by(neon, a, target),
        }
    }

    fn multiply_by<const TALL: usize>(
        &self,
        panel_loop: impl PanelLoop<f32, TALL>,
        a: &[f32],
        target: &mut [f32],
    ) {
        let (block, x) = (block(self.depth), self.values.as_chunks().0);
        for start in (0..self.depth).step_by(block) {
            let terms = start..self.depth.min(start + block);
            let a = TermsOfRows { values: a, depth: self.depth, terms };
            multiply_panels(panel_loop, &a, x, target, start > 0);
        }
    }
}

/// All that this processor can run.
#[cfg(test)]
pub(crate) fn kernels() -> Vec<TileKernel> {
    fused_kernels().into_iter().chain([TileKernel::Faer]).collect()
}

/// Products with x of as many rows as are given, each exactly what [`Packed::multiply`] makes of the
/// two by any loop but faer's.
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
        let mut part = [0f32; N];
        for (k, x) in x.iter().enumerate() {
            part.iter_mut().zip(a).for_each(|(sum, row)| *sum = row[k].mul_add(*x, *sum));
        }
        sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Terms of a sum that are summed on their own.
fn block(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(DEPTH).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    #[test]
    fn a_later_kernel_must_be_clearly_faster() {
        let chosen = |second: f64| fastest([(1.0, 'a'), (second, 'b')].into_iter());
        assert_eq!([1.1, 0.96, 0.94].map(chosen), [Some('a'), Some('a'), Some('b')]);
        assert_eq!(fastest(std::iter::empty::<(f64, char)>()), None);
        assert!(!simd_in_use().is_empty());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn rounded_rows_have_vnni_where_there_is_any() {
        assert_eq!(TileKernel::Faer.coarse(), None);
        let has = Avx512::detect().is_some_and(|avx512| avx512.vnni);
        for kernel in fused_kernels() {
            let found = kernel.coarse().unwrap();
            assert_eq!(matches!(found, CoarseKernel::Avx512(avx512) if avx512.vnni), has);
        }
    }

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
