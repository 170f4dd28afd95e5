//! Sums about the means, and the regression that they give.

use candle_core::{Device, Tensor};
use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::fold::FoldSums;
use super::panels::DenseSums;
use super::solve::{Solution, in_column_groups, smallest_solution};
use crate::sae_error::linear_map::LinearMap;
use crate::{Error, Result};

/// What a column's sum of squares about its mean is at most, as a share of that about the origin, if it
/// is rounding.
const ROUNDING: f64 = 1e-13;

/// Sums of rows about their means, row-major.
#[derive(Debug, Clone)]
pub(in crate::sae_error) struct CentredSums {
    rows: usize,
    mean_x: Vec<f64>,
    mean_y: Vec<f64>,
    /// `Σ (x − x̄)(x − x̄)ᵀ`, `[d, d]`.
    xx: Vec<f64>,
    /// `Σ (x − x̄)(y − ȳ)ᵀ`, `[d, m]`.
    xy: Vec<f64>,
    /// `Σ (y − ȳ)²`, `[m]`; exactly 0 for a target that does not vary.
    yy: Vec<f64>,
}

impl CentredSums {
    /// Of sums of `x − origin_x` and `y − origin_y`, of at least one row.
    pub(super) fn new(mut sums: FoldSums<DenseSums>, origin_x: &[f64], origin_y: &[f64]) -> Self {
        let n = sums.rows as f64;
        let offset = |sums: &[f64]| sums.iter().map(|sum| -sum / n).collect::<Vec<f64>>();
        let (by_x, by_y) = (offset(&sums.x), offset(&sums.y));
        let mean = |origin: &[f64], by: &[f64]| -> Vec<f64> {
            origin.iter().zip(by).map(|(origin, by)| origin - by).collect()
        };
        let before = (sums.xx.diagonal(), sums.squares.clone());
        sums.shift(&by_x, &by_y);
        sums.xx.mirror();
        let (mut xx, mut xy, mut yy) = (sums.xx.values, sums.xy.values, sums.squares);
        let (d, m) = (by_x.len(), by_y.len());
        for (column, before) in before.0.iter().enumerate() {
            if xx[column * (d + 1)] <= ROUNDING * before {
                (0..d).for_each(|i| xx[column * d + i] = 0.0);
                (0..d).for_each(|i| xx[i * d + column] = 0.0);
                xy[column * m..][..m].fill(0.0);
            }
        }
        for (square, before) in yy.iter_mut().zip(before.1) {
            if *square <= ROUNDING * before {
                *square = 0.0;
            }
        }
        Self {
            rows: sums.rows,
            mean_x: mean(origin_x, &by_x),
            mean_y: mean(origin_y, &by_y),
            xx,
            xy,
            yy,
        }
    }

    pub(in crate::sae_error) fn rows(&self) -> usize {
        self.rows
    }

    fn width(&self) -> usize {
        self.mean_x.len()
    }

    fn targets(&self) -> usize {
        self.mean_y.len()
    }

    /// `Σ (y − ȳ)²` of each target.
    pub(in crate::sae_error) fn totals(&self) -> &[f64] {
        &self.yy
    }

    /// The mean of each input.
    pub(in crate::sae_error) fn input_means(&self) -> &[f64] {
        &self.mean_x
    }

    /// The mean of each target.
    pub(in crate::sae_error) fn target_means(&self) -> &[f64] {
        &self.mean_y
    }

    /// `Σ (x − x̄)(x − x̄)ᵀ`, `[d, d]`.
    pub(in crate::sae_error) fn xx_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.xx.clone(), (self.width(), self.width()), &Device::Cpu)?)
    }

    /// `Σ (x − x̄)(y − ȳ)ᵀ`, `[d, m]`.
    pub(in crate::sae_error) fn xy_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.xy.clone(), (self.width(), self.targets()), &Device::Cpu)?)
    }

    /// The least-squares map, see [`Moments::fit`](super::Moments::fit).
    pub(in crate::sae_error) fn fit(&self, intercept: bool) -> Result<LinearMap> {
        let (d, m) = (self.width(), self.targets());
        if self.rows < d + 1 {
            let expected = format!("at least {}, one more than there are inputs", d + 1);
            return Err(Error::invalid("the number of rows to fit on", expected, self.rows));
        }
        let about_zero = if intercept { None } else { Some(self.about_zero()) };
        let (xx, xy) = match &about_zero {
            Some((xx, xy)) => (xx, xy),
            None => (&self.xx, &self.xy),
        };
        let Solution { matrix, rank, condition } = smallest_solution(xx, xy, d, m)?;
        let intercept: Option<Vec<f64>> = intercept.then(|| {
            let predicted = self.mean_prediction(&matrix);
            self.mean_y.iter().zip(predicted).map(|(mean, own)| mean - own).collect()
        });
        let rss = self.residuals_of(&matrix, intercept.as_deref());
        Ok(LinearMap {
            matrix: Tensor::from_vec(matrix, (d, m), &Device::Cpu)?,
            intercept,
            rank,
            condition,
            rows: self.rows,
            rss,
            tss: self.yy.clone(),
        })
    }

    /// `Σ x xᵀ` and `Σ x yᵀ` about zero.
    fn about_zero(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.rows as f64;
        let plus = |sums: &[f64], means: &[f64]| -> Vec<f64> {
            let means = self.mean_x.iter().flat_map(|x| means.iter().map(move |y| n * x * y));
            sums.iter().zip(means).map(|(sum, mean)| sum + mean).collect()
        };
        (plus(&self.xx, &self.mean_x), plus(&self.xy, &self.mean_y))
    }

    /// `x̄ A`.
    fn mean_prediction(&self, matrix: &[f64]) -> Vec<f64> {
        let mut predicted = vec![0.0; self.targets()];
        for (x, row) in self.mean_x.iter().zip(matrix.chunks_exact(self.targets())) {
            predicted.iter_mut().zip(row).for_each(|(sum, a)| *sum += x * a);
        }
        predicted
    }

    /// `Σ (y − x A − b)²` of each target over these rows, which the map may not have seen:
    ///
    /// ```text
    /// S_yy − 2 aᵀS_xy + aᵀS_xx a + n (ȳ − x̄ a − b)²      for a target's column a of A
    /// ```
    pub(in crate::sae_error) fn residuals(&self, map: &LinearMap) -> Result<Vec<f64>> {
        let (d, m) = (self.width(), self.targets());
        if map.matrix.dims() != [d, m] {
            let expected = format!("[{d}, {m}], as the sums");
            return Err(Error::shape("the map", expected, map.matrix.dims()));
        }
        let matrix: Vec<f64> = map.matrix.flatten_all()?.to_vec1()?;
        Ok(self.residuals_of(&matrix, map.intercept()))
    }

    /// [`CentredSums::residuals`] of A `[d, m]`, row-major, and b.
    fn residuals_of(&self, matrix: &[f64], intercept: Option<&[f64]>) -> Vec<f64> {
        let (d, m) = (self.width(), self.targets());
        let gaps = self.mean_prediction(matrix);
        let groups = in_column_groups(m, |columns| {
            let width = columns.len();
            let a = Mat::from_fn(d, width, |i, j| matrix[i * m + columns.start + j]);
            let mut product = Mat::zeros(d, width);
            let xx = MatRef::from_row_major_slice(&self.xx, d, d);
            faer_matmul(product.as_mut(), Accum::Replace, xx, a.as_ref(), 1.0, Par::Seq);
            let column = |j: usize| -> f64 {
                let at = columns.start + j;
                let own = a.col_as_slice(j).iter().zip(product.col_as_slice(j)).enumerate();
                own.map(|(i, (a, product))| a * (product - 2.0 * self.xy[i * m + at])).sum()
            };
            (0..width).map(column).collect::<Vec<f64>>()
        });
        let left = groups.into_iter().flatten().enumerate().map(|(j, quadratic)| {
            let b = intercept.map_or(0.0, |intercept| intercept[j]);
            let gap = self.mean_y[j] - gaps[j] - b;
            (self.yy[j] + quadratic + self.rows as f64 * gap * gap).max(0.0)
        });
        left.collect()
    }
}
