//! Sums of products of columns, tile by tile.
//!
//! Rows come in panels: f64, less a shift, and cut into groups of columns, each in memory of its own.
//! A tile of the sums is the product of two panels and is computed on one thread, so that its numbers
//! do not depend on how many threads there are. Of a symmetric matrix only the tiles on and below the
//! diagonal are kept.

use std::ops::Range;

use candle_core::{DType, Tensor};
use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use crate::Result;
use crate::linalg::with_values;

/// Columns of a tile: a multiple of the registers' tiles on every machine. Two panels of it and what they
/// are packed to fit into a core's cache.
pub(super) const COLUMNS_PER_TILE: usize = 192;

/// Rows that are multiplied at once.
pub(super) const ROWS_PER_PANEL: usize = 512;

/// The columns of a tile, of `width` in all.
fn columns_of(tile: usize, width: usize) -> Range<usize> {
    let start = tile * COLUMNS_PER_TILE;
    start..(start + COLUMNS_PER_TILE).min(width)
}

fn tiles_of(width: usize) -> usize {
    width.div_ceil(COLUMNS_PER_TILE)
}

/// Some rows less a shift.
#[derive(Debug)]
pub(super) struct Panels {
    width: usize,
    rows: usize,
    /// `[rows, columns of the tile]` of each tile, row-major.
    panels: Vec<Vec<f64>>,
}

impl Panels {
    /// Of rows of `width` columns, before the first.
    pub(super) fn new(width: usize) -> Self {
        Self { width, rows: 0, panels: vec![Vec::new(); tiles_of(width)] }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Puts `rows`, `[n, width]` on the CPU, less `shift` in place of what was there.
    pub(super) fn fill(&mut self, rows: &Tensor, shift: &[f64]) -> Result<()> {
        match rows.dtype() {
            DType::F64 => self.take(&rows.flatten_all()?.to_vec1::<f64>()?, shift),
            _ => with_values(&rows.to_dtype(DType::F32)?, |values| self.take(values, shift))?,
        }
        Ok(())
    }

    fn take<T: Copy + Into<f64> + Sync>(&mut self, values: &[T], shift: &[f64]) {
        let width = self.width;
        self.rows = values.len() / width;
        self.panels.par_iter_mut().enumerate().for_each(|(tile, panel)| {
            let columns = columns_of(tile, width);
            let shift = &shift[columns.clone()];
            panel.clear();
            for row in values.chunks_exact(width) {
                let row = row[columns.clone()].iter().zip(shift);
                panel.extend(row.map(|(&value, shift)| value.into() - shift));
            }
        });
    }

    /// Adds what `term` makes of each value to the sum of its column.
    fn add_terms(&self, sums: &mut [f64], term: impl Fn(f64) -> f64 + Sync) {
        let tiles = sums.par_chunks_mut(COLUMNS_PER_TILE).zip(&self.panels);
        tiles.for_each(|(sums, panel)| {
            for row in panel.chunks_exact(sums.len()) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += term(value));
            }
        });
    }

    /// Adds each column's sum to `sums`.
    pub(super) fn add_sums(&self, sums: &mut [f64]) {
        self.add_terms(sums, |value| value);
    }

    /// Adds each column's sum of squares to `sums`.
    pub(super) fn add_squares(&self, sums: &mut [f64]) {
        self.add_terms(sums, |value| value * value);
    }
}

#[derive(Debug, Clone)]
struct Tile {
    row: usize,
    column: usize,
    /// Row-major.
    values: Vec<f64>,
}

/// A matrix of sums in tiles.
#[derive(Debug, Clone)]
pub(super) struct Tiles {
    rows: usize,
    columns: usize,
    tiles: Vec<Tile>,
}

impl Tiles {
    /// Zeros, `[rows, columns]`.
    pub(super) fn new(rows: usize, columns: usize) -> Self {
        Self::zeros(rows, columns, false)
    }

    /// Zeros, `[width, width]`, of which the lower half is kept.
    pub(super) fn symmetric(width: usize) -> Self {
        Self::zeros(width, width, true)
    }

    fn zeros(rows: usize, columns: usize, is_symmetric: bool) -> Self {
        let mut tiles = Vec::new();
        for row in 0..tiles_of(rows) {
            let end = if is_symmetric { row + 1 } else { tiles_of(columns) };
            tiles.extend((0..end).map(|column| {
                let size = columns_of(row, rows).len() * columns_of(column, columns).len();
                Tile { row, column, values: vec![0.0; size] }
            }));
        }
        Self { rows, columns, tiles }
    }

    /// Adds `AᵀB` of two blocks of the same rows.
    pub(super) fn add_product(&mut self, a: &Panels, b: &Panels) {
        let (height, width, inner) = (self.rows, self.columns, a.rows);
        self.tiles.par_iter_mut().for_each(|tile| {
            let rows = columns_of(tile.row, height).len();
            let columns = columns_of(tile.column, width).len();
            let left = MatRef::from_row_major_slice(&a.panels[tile.row], inner, rows);
            let right = MatRef::from_row_major_slice(&b.panels[tile.column], inner, columns);
            let target = MatMut::from_row_major_slice_mut(&mut tile.values, rows, columns);
            faer_matmul(target, Accum::Add, left.transpose(), right, 1.0, Par::Seq);
        });
    }

    /// Adds a row-major matrix of as many rows and columns.
    pub(super) fn add_dense(&mut self, matrix: &[f64]) {
        let (rows, columns) = (self.rows, self.columns);
        self.tiles.par_iter_mut().for_each(|tile| {
            let own = columns_of(tile.column, columns);
            let lines = tile.values.chunks_exact_mut(own.len());
            for (line, row) in lines.zip(columns_of(tile.row, rows)) {
                let more = &matrix[row * columns..][own.clone()];
                line.iter_mut().zip(more).for_each(|(value, more)| *value += more);
            }
        });
    }

    /// Adds the sums of `other`, which has the same tiles.
    pub(super) fn add(&mut self, other: &Self) {
        self.tiles.par_iter_mut().zip(&other.tiles).for_each(|(own, other)| {
            own.values.iter_mut().zip(&other.values).for_each(|(own, other)| *own += other);
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.tiles.iter().map(|tile| size_of_val(tile.values.as_slice())).sum()
    }
}

/// A matrix that outer products can be added to.
pub(super) trait AddOuter {
    /// Adds `u vᵀ`.
    fn add_outer(&mut self, u: &[f64], v: &[f64]);
}

impl AddOuter for Tiles {
    fn add_outer(&mut self, u: &[f64], v: &[f64]) {
        let (rows, columns) = (self.rows, self.columns);
        self.tiles.par_iter_mut().for_each(|tile| {
            let v = &v[columns_of(tile.column, columns)];
            let lines = tile.values.chunks_exact_mut(v.len());
            for (line, u) in lines.zip(&u[columns_of(tile.row, rows)]) {
                line.iter_mut().zip(v).for_each(|(value, v)| *value += u * v);
            }
        });
    }
}

/// A matrix of sums, row-major.
#[derive(Debug)]
pub(super) struct DenseSums {
    pub(super) values: Vec<f64>,
    columns: usize,
}

impl DenseSums {
    /// The sum of matrices in the same tiles, `[rows, columns]`; of symmetric ones, the lower half of
    /// it.
    pub(super) fn of<'a>(
        [rows, columns]: [usize; 2],
        parts: impl Iterator<Item = &'a Tiles>,
    ) -> Self {
        let mut values = vec![0.0; rows * columns];
        for part in parts {
            let bands = values.par_chunks_mut(COLUMNS_PER_TILE * columns.max(1));
            bands.enumerate().for_each(|(row, band)| {
                for tile in part.tiles.iter().filter(|tile| tile.row == row) {
                    let own = columns_of(tile.column, columns);
                    let lines = band.chunks_exact_mut(columns);
                    for (line, more) in lines.zip(tile.values.chunks_exact(own.len())) {
                        let line = line[own.clone()].iter_mut().zip(more);
                        line.for_each(|(value, more)| *value += more);
                    }
                }
            });
        }
        Self { values, columns }
    }

    /// The entries on the diagonal.
    pub(super) fn diagonal(&self) -> Vec<f64> {
        self.values.iter().copied().step_by(self.columns + 1).collect()
    }

    /// Makes what is above the diagonal what is below it.
    pub(super) fn mirror(&mut self) {
        for row in 0..self.columns {
            for column in row + 1..self.columns {
                self.values[row * self.columns + column] = self.values[column * self.columns + row];
            }
        }
    }
}

impl AddOuter for DenseSums {
    fn add_outer(&mut self, u: &[f64], v: &[f64]) {
        let lines = self.values.par_chunks_exact_mut(v.len().max(1)).zip(u);
        lines.for_each(|(line, u)| {
            line.iter_mut().zip(v).for_each(|(value, v)| *value += u * v);
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Rng;

    /// Wider than a tile, and no multiple of it.
    const WIDTH: usize = COLUMNS_PER_TILE + 5;

    fn panels(seed: u64, rows: usize, width: usize, shift: f64) -> (Panels, Vec<Vec<f64>>) {
        let x = Rng::seed(seed).normal((rows, width), &Device::Cpu).unwrap();
        let mut panels = Panels::new(width);
        panels.fill(&x, &vec![shift; width]).unwrap();
        let x: Vec<Vec<f64>> = x.to_dtype(DType::F64).unwrap().to_vec2().unwrap();
        (panels, x.into_iter().map(|row| row.into_iter().map(|x| x - shift).collect()).collect())
    }

    fn sums(tiles: &Tiles) -> DenseSums {
        DenseSums::of([tiles.rows, tiles.columns], [tiles].into_iter())
    }

    fn mirrored(tiles: &Tiles) -> Vec<f64> {
        let mut sums = sums(tiles);
        sums.mirror();
        sums.values
    }

    fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<f64> {
        let width = b[0].len();
        let entry = |at: usize| {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| a[at / width] * b[at % width]).sum::<f64>()
        };
        (0..a[0].len() * width).map(entry).collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-11 * expected.abs().max(1.0));
        }
    }

    #[test]
    fn tiles_are_the_products_of_all_columns() {
        let ((a, x), (b, y)) = (panels(1, 37, WIDTH, 0.5), panels(2, 37, 3, 0.0));
        let mut cross = Tiles::new(WIDTH, 3);
        cross.add_product(&a, &b);
        assert_close(&sums(&cross).values, &product(&x, &y));
        let mut own = Tiles::symmetric(WIDTH);
        own.add_product(&a, &a);
        own.add_product(&a, &a);
        let twice: Vec<f64> = product(&x, &x).iter().map(|value| 2.0 * value).collect();
        assert_close(&mirrored(&own), &twice);
        let diagonal: Vec<f64> = (0..WIDTH).map(|i| twice[i * (WIDTH + 1)]).collect();
        assert_close(&sums(&own).diagonal(), &diagonal);
        assert_eq!(own.bytes(), 8 * (COLUMNS_PER_TILE * (COLUMNS_PER_TILE + 5) + 25));
        let (mut totals, mut squares) = (vec![0.0; WIDTH], vec![0.0; WIDTH]);
        a.add_sums(&mut totals);
        a.add_squares(&mut squares);
        let one = vec![vec![1.0]; 37];
        assert_close(&totals, &product(&one, &x));
        squares.iter_mut().for_each(|square| *square *= 2.0);
        assert_close(&squares, &diagonal);
    }

    #[test]
    fn outer_products_and_other_sums_are_added() {
        let u: Vec<f64> = (0..WIDTH).map(|i| i as f64).collect();
        let mut own = Tiles::symmetric(WIDTH);
        own.add_outer(&u, &u);
        let mut all = own.clone();
        all.add(&own);
        let mut both = DenseSums::of([WIDTH; 2], [&own, &own].into_iter());
        both.add_outer(&u, &u);
        let expected: Vec<f64> =
            (0..WIDTH * WIDTH).map(|at| 2.0 * u[at / WIDTH] * u[at % WIDTH]).collect();
        assert_eq!(mirrored(&all), expected);
        let thrice: Vec<f64> = expected.iter().map(|value| 1.5 * value).collect();
        both.mirror();
        assert_eq!(both.values, thrice);
        let mut cross = Tiles::new(2, WIDTH);
        cross.add_outer(&[1.0, -1.0], &u);
        assert_eq!(sums(&cross).values[WIDTH..], u.iter().map(|u| -u).collect::<Vec<f64>>());
    }

    #[test]
    fn the_number_of_threads_changes_no_bit() {
        let (a, _) = panels(3, ROWS_PER_PANEL, 2 * WIDTH, 0.1);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut own = Tiles::symmetric(2 * WIDTH);
                own.add_product(&a, &a);
                mirrored(&own)
            })
        };
        assert_eq!(on(1), on(3));
    }
}
