//! Cosines of all pairs of rows, tile by tile: the square matrix is never there.

use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::check::check_finite;
use crate::linalg::{Packed, TileKernel, matmul_nt, with_values};
use crate::progress::Progress;
use crate::{Error, Result};

/// Rows that are laid out together, for all rows before them to be multiplied with.
pub(super) const BLOCK: usize = 576;
/// Rows that one thread multiplies with a block; a part of a block.
const TASK: usize = BLOCK / 3;

/// Vectors of length 1, and of length 0 where the vector was 0.
#[derive(Debug, Clone)]
pub(crate) struct UnitVectors {
    /// `[n, d]`, f32.
    rows: Tensor,
}

/// Who looks at the cosines of pairs. A task has pairs (i, j), i < j, with i of a part of a block and
/// j of a block.
pub(crate) trait PairVisitor: Sync {
    /// What a task collects.
    type Part: Send;

    /// The start of a task.
    fn begin(&self, rows: &Range<usize>, columns: &Range<usize>) -> Self::Part;

    /// The cosines of row `i` with the rows from `first` on, which come after i.
    fn look(&self, part: &mut Self::Part, i: usize, first: usize, cosines: &[f32]);

    /// The end of a task.
    fn end(&self, part: Self::Part);
}

impl UnitVectors {
    /// The rows of `vectors` `[n, d]`, each divided by its length.
    ///
    /// # Errors
    /// A tensor that is no matrix of floating point numbers, has no rows, or holds NaN.
    pub(crate) fn of(vectors: &Tensor) -> Result<Self> {
        const WHAT: &str = "the vectors";
        match *vectors.dims() {
            [n, d] if n > 0 && d > 0 => {}
            _ => return Err(Error::shape(WHAT, "[n, d], a vector a row", vectors.dims())),
        }
        if !vectors.dtype().is_float() {
            let found = vectors.dtype().as_str();
            return Err(Error::invalid("the dtype of the vectors", "a floating point type", found));
        }
        let rows = vectors.to_dtype(DType::F32)?.contiguous()?;
        check_finite(WHAT, &rows)?;
        // By the largest entry first: squares of small entries would vanish.
        let largest = rows.abs()?.max_keepdim(1)?;
        let rows = rows.broadcast_div(&or_one(&largest)?)?;
        let lengths = rows.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(Self { rows: rows.broadcast_div(&or_one(&lengths)?)? })
    }

    /// n and d.
    pub(crate) fn dims(&self) -> [usize; 2] {
        [self.rows.dims()[0], self.rows.dims()[1]]
    }

    /// The rows, `[n, d]`.
    pub(crate) fn rows(&self) -> &Tensor {
        &self.rows
    }

    /// All cosines, `[n, n]`.
    pub(super) fn cosines(&self) -> Result<Tensor> {
        Ok(matmul_nt(&self.rows, &self.rows)?.clamp(-1f32, 1f32)?)
    }

    /// Shows every pair to `visitor`, with a progress bar named `label`.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when Stop is pressed.
    pub(crate) fn visit(&self, label: &str, visitor: &impl PairVisitor) -> Result<()> {
        match self.rows.device().is_cpu() {
            true => with_values(&self.rows, |rows| self.visit_on_host(rows, label, visitor))?,
            false => self.visit_by_products(label, visitor),
        }
    }

    fn visit_on_host(&self, rows: &[f32], label: &str, visitor: &impl PairVisitor) -> Result<()> {
        let [n, d] = self.dims();
        let kernel = TileKernel::best();
        let tall = kernel.tall().min(TASK);
        for_each_block(n, label, |columns, tasks| {
            let own = &rows[columns.start * d..columns.end * d];
            let packed = Packed::new(kernel, own, d, None);
            let width = packed.width();
            tasks.into_par_iter().for_each(|task| {
                let mut part = visitor.begin(&task, &columns);
                let mut tile = vec![0f32; tall * width];
                for start in task.clone().step_by(tall) {
                    let own = start..task.end.min(start + tall);
                    let tile = &mut tile[..own.len() * width];
                    packed.multiply(&rows[start * d..own.end * d], tile);
                    show(visitor, &mut part, own, &columns, tile, width);
                }
                visitor.end(part);
            });
            Ok(())
        })
    }

    /// The same by products of tensors, of which the host looks at a tile at a time: on an
    /// accelerator.
    fn visit_by_products(&self, label: &str, visitor: &impl PairVisitor) -> Result<()> {
        let part_of = |own: &Range<usize>| self.rows.narrow(0, own.start, own.len());
        for_each_block(self.dims()[0], label, |columns, tasks| {
            let all = 0..columns.end;
            let products = matmul_nt(&part_of(&all)?, &part_of(&columns)?)?;
            let products = products.to_device(&Device::Cpu)?;
            let width = columns.len();
            with_values(&products, |products| {
                tasks.into_par_iter().for_each(|task| {
                    let mut part = visitor.begin(&task, &columns);
                    let tile = &products[task.start * width..task.end * width];
                    show(visitor, &mut part, task, &columns, tile, width);
                    visitor.end(part);
                });
            })
        })
    }
}

/// 1 in place of each 0.
fn or_one(lengths: &Tensor) -> Result<Tensor> {
    Ok(lengths.eq(0f32)?.where_cond(&lengths.ones_like()?, lengths)?)
}

/// Calls `work` with each block of rows, and all rows up to its end in tasks.
fn for_each_block(
    n: usize,
    label: &str,
    mut work: impl FnMut(Range<usize>, Vec<Range<usize>>) -> Result<()>,
) -> Result<()> {
    let tasks = |end: usize| (0..end).step_by(TASK).map(move |at| at..end.min(at + TASK));
    let ends = || (0..n).step_by(BLOCK).map(|start| n.min(start + BLOCK));
    let total: usize = ends().map(|end| end.div_ceil(TASK)).sum();
    let mut progress = Progress::new(label, total as u64, "tile");
    for (start, end) in (0..n).step_by(BLOCK).zip(ends()) {
        let own: Vec<Range<usize>> = tasks(end).collect();
        let count = own.len() as u64;
        work(start..end, own)?;
        if progress.advance(count) && end < n {
            return Err(Error::Interrupted { what: label.to_owned() });
        }
    }
    progress.finish();
    Ok(())
}

/// Shows the pairs of a tile, `[own, width]`, that lie above the diagonal.
fn show<V: PairVisitor>(
    visitor: &V,
    part: &mut V::Part,
    own: Range<usize>,
    columns: &Range<usize>,
    tile: &[f32],
    width: usize,
) {
    for (i, row) in own.zip(tile.chunks(width)) {
        let first = columns.start.max(i + 1);
        if first < columns.end {
            let row = &row[first - columns.start..columns.len()];
            visitor.look(part, i, first, row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::random::Rng;

    struct Everything(Mutex<Vec<(usize, usize, f32)>>);

    impl PairVisitor for Everything {
        type Part = Vec<(usize, usize, f32)>;

        fn begin(&self, _: &Range<usize>, _: &Range<usize>) -> Self::Part {
            Vec::new()
        }

        fn look(&self, part: &mut Self::Part, i: usize, first: usize, cosines: &[f32]) {
            part.extend(cosines.iter().enumerate().map(|(at, cosine)| (i, first + at, *cosine)));
        }

        fn end(&self, part: Self::Part) {
            self.0.lock().unwrap().extend(part);
        }
    }

    #[test]
    fn every_pair_is_shown_once_with_its_cosine() {
        for n in [1, 2, TASK, TASK + 1, BLOCK + 3] {
            let vectors = Rng::seed(n as u64).normal((n, 5), &Device::Cpu).unwrap();
            let unit = UnitVectors::of(&vectors).unwrap();
            let rows: Vec<Vec<f32>> = vectors.to_vec2().unwrap();
            for by_products in [false, true] {
                let all = Everything(Mutex::new(Vec::new()));
                match by_products {
                    true => unit.visit_by_products("pairs", &all).unwrap(),
                    false => unit.visit("pairs", &all).unwrap(),
                }
                let mut pairs = all.0.into_inner().unwrap();
                pairs.sort_by_key(|(i, j, _)| (*i, *j));
                let expected = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
                assert!(pairs.iter().map(|(i, j, _)| (*i, *j)).eq(expected), "{n}");
                for (i, j, cosine) in pairs.iter().step_by(97) {
                    let product = |a: &[f32], b: &[f32]| -> f64 {
                        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
                    };
                    let (a, b) = (&rows[*i], &rows[*j]);
                    let expected = product(a, b) / (product(a, a) * product(b, b)).sqrt();
                    assert!((f64::from(*cosine) - expected).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn lengths_play_no_part_and_zeros_stay() {
        let rows = [[3f32, 4.0], [0.0, 0.0], [-3e-30, -4e-30], [3e30, -4e30]];
        let unit = UnitVectors::of(&Tensor::new(&rows, &Device::Cpu).unwrap()).unwrap();
        let cosines: Vec<Vec<f32>> = unit.cosines().unwrap().to_vec2().unwrap();
        let expected = [1.0, 0.0, -1.0, -0.28];
        assert!(cosines[0].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{cosines:?}");
        assert_eq!(cosines[1], [0.0; 4]);
    }

    #[test]
    fn bad_vectors_are_named() {
        let message = |rows: &Tensor| UnitVectors::of(rows).unwrap_err().to_string();
        let cpu = &Device::Cpu;
        let flat = Tensor::zeros(3, DType::F32, cpu).unwrap();
        assert!(message(&flat).contains("[n, d]"));
        assert!(message(&Tensor::zeros((0, 3), DType::F32, cpu).unwrap()).contains("[n, d]"));
        let whole = Tensor::zeros((2, 3), DType::U32, cpu).unwrap();
        assert!(message(&whole).contains("u32"));
        let nan = Tensor::new(&[[0f32, f32::NAN]], cpu).unwrap();
        assert!(message(&nan).contains("index 1"));
    }
}
