//! Sums over the rows of one fold.

use super::panels::{Panels, Tiles};

/// Sums of inputs x `[n, d]` less an origin, of targets y `[n, m]` less another, and of their products.
#[derive(Debug, Clone)]
pub(super) struct FoldSums {
    pub(super) rows: usize,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    /// `Σ y²` of each target.
    pub(super) squares: Vec<f64>,
    pub(super) xx: Tiles,
    pub(super) xy: Tiles,
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

    /// Adds the sums of other rows, about the same origin.
    pub(super) fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        for (own, other) in
            [(&mut self.x, &other.x), (&mut self.y, &other.y), (&mut self.squares, &other.squares)]
        {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        }
        self.xx.add(&other.xx);
        self.xy.add(&other.xy);
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

    pub(super) fn bytes(&self) -> usize {
        let vectors = self.x.len() + 2 * self.y.len();
        size_of::<f64>() * vectors + self.xx.bytes() + self.xy.bytes()
    }
}
