//! Sums over the rows of one fold.

use candle_core::Tensor;

use super::panels::{AddOuter, DenseSums, Panels, Tiles};
use crate::Result;

/// Sums of inputs x `[n, d]` less an origin, of targets y `[n, m]` less another, and of their products.
#[derive(Debug, Clone)]
pub(super) struct FoldSums<M = Tiles> {
    pub(super) rows: usize,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    /// `Σ y²` of each target.
    pub(super) squares: Vec<f64>,
    pub(super) xx: M,
    pub(super) xy: M,
}

impl FoldSums {
    pub(super) fn new(width: usize, targets: usize) -> Self {
        Self {
            rows: 0,
            x: vec![0.0; width],
            y: vec![0.0; targets],
            squares: vec![0.0; targets],
            xx: Tiles::symmetric(width),
            xy: Tiles::new(width, targets),
        }
    }

    /// Takes in rows.
    pub(super) fn take(&mut self, x: &Panels, y: &Panels) {
        self.rows += x.rows();
        x.add_sums(&mut self.x);
        y.add_sums(&mut self.y);
        y.add_squares(&mut self.squares);
        self.xx.add_product(x, x);
        self.xy.add_product(x, y);
    }

    /// Takes in rows of f64 by products of matrices on their device.
    pub(super) fn take_by_products(&mut self, (x, y): (Tensor, Option<Tensor>)) -> Result<()> {
        let values = |tensor: Tensor| tensor.flatten_all()?.to_vec1::<f64>();
        let add = |sums: &mut [f64], more: Vec<f64>| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        };
        let columns = x.t()?;
        let (sums_x, xx) = (values(x.sum(0)?)?, values(columns.matmul(&x)?)?);
        if let Some(y) = y {
            let xy = values(columns.matmul(&y)?)?;
            let (sums_y, squares) = (values(y.sum(0)?)?, values(y.sqr()?.sum(0)?)?);
            add(&mut self.y, sums_y);
            add(&mut self.squares, squares);
            self.xy.add_dense(&xy);
        }
        self.rows += x.dim(0)?;
        add(&mut self.x, sums_x);
        self.xx.add_dense(&xx);
        Ok(())
    }

    /// Adds the sums of other rows, about the same origin.
    pub(super) fn add(&mut self, other: &Self) {
        self.add_columns(other);
        self.xx.add(&other.xx);
        self.xy.add(&other.xy);
    }

    pub(super) fn bytes(&self) -> usize {
        let vectors = self.x.len() + 2 * self.y.len();
        size_of::<f64>() * vectors + self.xx.bytes() + self.xy.bytes()
    }
}

impl FoldSums<DenseSums> {
    /// The sums of some folds of `width` inputs and `targets` targets, about the same origin; of
    /// products of inputs, the lower half.
    pub(super) fn of(width: usize, targets: usize, folds: &[&FoldSums]) -> Self {
        let mut sums = Self {
            rows: 0,
            x: vec![0.0; width],
            y: vec![0.0; targets],
            squares: vec![0.0; targets],
            xx: DenseSums::of([width, width], folds.iter().map(|fold| &fold.xx)),
            xy: DenseSums::of([width, targets], folds.iter().map(|fold| &fold.xy)),
        };
        folds.iter().for_each(|fold| sums.add_columns(fold));
        sums
    }
}

impl<M: AddOuter> FoldSums<M> {
    fn add_columns<N>(&mut self, other: &FoldSums<N>) {
        self.rows += other.rows;
        for (own, other) in
            [(&mut self.x, &other.x), (&mut self.y, &other.y), (&mut self.squares, &other.squares)]
        {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
    }

    /// Makes them the sums of `x + by_x` and `y + by_y`:
    ///
    /// ```text
    /// Σ (x + δ)(y + τ)ᵀ = Σ x yᵀ + δ (Σ y + n τ)ᵀ + (Σ x) τᵀ
    /// ```
    pub(super) fn shift(&mut self, by_x: &[f64], by_y: &[f64]) {
        let n = self.rows as f64;
        let moved = |sums: &[f64], by: &[f64]| -> Vec<f64> {
            sums.iter().zip(by).map(|(sum, by)| sum + n * by).collect()
        };
        let (x, y) = (moved(&self.x, by_x), moved(&self.y, by_y));
        self.xx.add_outer(by_x, &x);
        self.xx.add_outer(&self.x, by_x);
        self.xy.add_outer(by_x, &y);
        self.xy.add_outer(&self.x, by_y);
        for (square, ((own, moved), by)) in
            self.squares.iter_mut().zip(self.y.iter().zip(&y).zip(by_y))
        {
            *square += by * (own + moved);
        }
        (self.x, self.y) = (x, y);
    }
}
