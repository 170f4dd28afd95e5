//! The largest entries of a projected matrix, which is never held whole.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use crate::Result;
use crate::linalg::matmul_nt;

/// Rows and columns that are looked at together.
const TILE: usize = 512;
/// How much f32 may make an entry larger than its bound.
const ROUNDING: f32 = 1.0001;

/// Row, column and value of an entry.
pub(super) type MatrixEntry = (usize, usize, f32);

/// The `count` largest entries by magnitude of `Dᵀ S D`, from the largest down, of equal ones
/// the first; `columns` are D, `[d, m]`, and `half` is S D.
///
/// The matrix is symmetric, so half of it is enough, and an entry is at most
///
/// ```text
/// |dᵢᵀ S dⱼ| ≤ gᵢ gⱼ      gᵢ = √(‖dᵢ‖ ‖S dᵢ‖)
/// ```
///
/// so that with features in the order of g, tiles whose first entry cannot reach what is there need
/// not be computed.
pub(super) fn largest(columns: &Tensor, half: &Tensor, count: usize) -> Result<Vec<MatrixEntry>> {
    let lengths = |matrix: &Tensor| matrix.sqr()?.sum(0)?.sqrt()?.to_vec1::<f32>();
    let bounds: Vec<f32> = lengths(columns)?
        .iter()
        .zip(lengths(half)?)
        .map(|(own, image)| (own * image).sqrt())
        .collect();
    let m = bounds.len();
    let mut order: Vec<u32> = (0..m as u32).collect();
    order.sort_by(|a, b| bounds[*b as usize].total_cmp(&bounds[*a as usize]));
    let sorted = Tensor::new(&*order, columns.device())?;
    let rows = |matrix: &Tensor| matrix.t()?.contiguous()?.index_select(&sorted, 0);
    let (columns, half) = (rows(columns)?, rows(half)?);
    let bound = |place: usize| bounds[order[place] as usize] * ROUNDING;

    let mut best = Best { count, bar: 0.0, entries: Vec::new() };
    for right in (0..m).step_by(TILE) {
        if bound(0) * bound(right) < best.bar {
            break;
        }
        let width = TILE.min(m - right);
        let images = half.narrow(0, right, width)?;
        for left in (0..=right).step_by(TILE) {
            if bound(left) * bound(right) < best.bar {
                break;
            }
            let tile = matmul_nt(&columns.narrow(0, left, TILE.min(m - left))?, &images)?;
            let tile: Vec<f32> = tile.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?;
            best.merge(&tile, width, |row, column| {
                let (row, column) = (left + row, right + column);
                (row <= column).then(|| (order[row] as usize, order[column] as usize))
            });
        }
    }
    Ok(best.entries)
}

struct Best {
    count: usize,
    /// The magnitude of the last of `count` entries, 0 while there are fewer.
    bar: f32,
    entries: Vec<MatrixEntry>,
}

impl Best {
    /// Takes in the entries of a tile that `place` places, each with its mirror image.
    fn merge(
        &mut self,
        tile: &[f32],
        width: usize,
        place: impl Fn(usize, usize) -> Option<(usize, usize)> + Sync,
    ) {
        let bar = self.bar;
        let found = tile.par_chunks(width).enumerate().flat_map_iter(|(row, values)| {
            let high = values.iter().enumerate().filter(move |(_, value)| value.abs() >= bar);
            let place = &place;
            high.filter_map(move |(column, value)| Some((place(row, column)?, *value)))
        });
        let found: Vec<((usize, usize), f32)> = found.collect();
        for ((row, column), value) in found {
            self.entries.push((row, column, value));
            if row != column {
                self.entries.push((column, row, value));
            }
        }
        let order = |a: &MatrixEntry, b: &MatrixEntry| {
            b.2.abs().total_cmp(&a.2.abs()).then((a.0, a.1).cmp(&(b.0, b.1)))
        };
        if self.entries.len() >= self.count {
            self.entries.select_nth_unstable_by(self.count - 1, order);
            self.entries.truncate(self.count);
            self.bar = self.entries[self.count - 1].2.abs();
        }
        self.entries.sort_by(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::{matmul, matmul_tn};
    use crate::random::Rng;

    /// More features than a tile has, of very different lengths, with ties.
    #[test]
    fn entries_are_the_largest_of_all_across_tiles() {
        let (d, m) = (6, 1_100);
        let random = Rng::seed(2).normal((d, m), &Device::Cpu).unwrap();
        let s = Rng::seed(3).normal((d, d), &Device::Cpu).unwrap();
        let s = (&s + s.t().unwrap()).unwrap();
        let falling: Vec<f32> = (0..m).map(|i| 1.0 / (1 + (i * 7) % 50) as f32).collect();
        let falling = random.broadcast_mul(&Tensor::new(falling, &Device::Cpu).unwrap()).unwrap();
        let coarse = (random.round().unwrap(), s.round().unwrap());
        for (columns, s) in [(random, s.clone()), (falling, s), coarse] {
            let half = matmul(&s, &columns).unwrap();
            let full: Vec<f32> =
                matmul_tn(&columns, &half).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let mut sizes: Vec<f32> = full.iter().map(|value| value.abs()).collect();
            sizes.sort_by(|a, b| b.total_cmp(a));
            for count in [1, 2, 37, 3_000] {
                let found = largest(&columns, &half, count).unwrap();
                assert_eq!(found.len(), count);
                for ((row, column, value), size) in found.iter().zip(&sizes) {
                    assert!((value.abs() - size).abs() <= 1e-5 * size, "{value} {size}");
                    assert!((full[row * m + column] - value).abs() <= 1e-5 * sizes[0]);
                }
                let mut places: Vec<_> =
                    found.iter().map(|(row, column, _)| (row, column)).collect();
                places.sort();
                places.dedup();
                assert_eq!(places.len(), count);
            }
        }
    }
}
