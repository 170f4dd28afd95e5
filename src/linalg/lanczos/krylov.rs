//! The growing basis of one matrix.

use faer::Mat;

use crate::linalg::{add_scaled, dot, squares, with_avx2_if_present};
use crate::random::Rng;

/// What is left of a product, as a share of its length, when it is rounding and no direction.
const LOST: f32 = 1e-6;
/// Below this share, rounding is enough of what is left to lean on the basis: it is taken out again.
const SMALL: f32 = 1e-2;

pub(super) struct Krylov {
    /// Which of the matrices it is.
    pub(super) place: usize,
    pub(super) d: usize,
    /// Vectors a block.
    pub(super) block: usize,
    /// Orthonormal rows `[m, d]`; the last block has not been multiplied.
    basis: Vec<f32>,
    /// T, of all but the last block: a row of `columns[i]` holds `T[..=i, i]`.
    columns: Vec<Vec<f64>>,
    /// B, from the last block that was multiplied to the one that follows.
    pub(super) coupling: Mat<f64>,
    /// The number of multiplied vectors at which eigenvalues are looked at next.
    pub(super) look: usize,
    /// The number at the last look, and what was found to be left then.
    pub(super) seen: Option<(usize, f64)>,
}

impl Krylov {
    /// A basis that begins with `start`, rows `[block, d]`.
    pub(super) fn new(place: usize, start: &[f32], d: usize) -> Self {
        let block = start.len() / d;
        let (basis, columns, coupling) = (Vec::new(), Vec::new(), Mat::new());
        let mut new = Self { place, d, block, basis, columns, coupling, look: 0, seen: None };
        for row in start.chunks(d) {
            new.push(row.to_vec(), length(row));
        }
        new
    }

    /// How many vectors have been multiplied.
    pub(super) fn multiplied(&self) -> usize {
        self.columns.len()
    }

    /// The vectors that are to be multiplied next.
    pub(super) fn last(&self) -> &[f32] {
        &self.basis[self.basis.len() - self.block * self.d..]
    }

    /// T.
    pub(super) fn projected(&self) -> Mat<f64> {
        let m = self.columns.len();
        Mat::from_fn(m, m, |i, j| self.columns[i.max(j)][i.min(j)])
    }

    /// The combination of the multiplied vectors with these coefficients, `[d]`.
    pub(super) fn along(&self, coefficients: &[f32]) -> Vec<f32> {
        let mut sum = vec![0f32; self.d];
        for (vector, by) in self.basis.chunks(self.d).zip(coefficients) {
            add_scaled(&mut sum, *by, vector);
        }
        sum
    }

    /// Whether the next step would make the basis grow beyond half of d.
    pub(super) fn is_full(&self) -> bool {
        2 * (self.columns.len() + 2 * self.block) > self.d
    }

    /// Takes the products of [`Krylov::last`].
    pub(super) fn grow(&mut self, products: &[f32]) {
        let (d, block) = (self.d, self.block);
        let known = self.basis.len() / d;
        let mut rest = products.to_vec();
        let mut inner = vec![0f32; known * block];
        for _ in 0..2 {
            self.take_out(&mut rest, &mut inner);
        }
        let first = known - block;
        for (own, inner) in inner.chunks(known).enumerate() {
            let column = inner[..=first + own].iter().map(|value| f64::from(*value)).collect();
            self.columns.push(column);
        }
        let mut coupling = Mat::zeros(block, block);
        for (column, (row, product)) in rest.chunks(d).zip(products.chunks(d)).enumerate() {
            let along = self.push(row.to_vec(), length(product));
            for (line, value) in along.into_iter().enumerate() {
                coupling[(line, column)] = f64::from(value);
            }
        }
        self.coupling = coupling;
    }

    /// Takes the components along the basis out of `rest`, and adds them to `inner`
    /// `[rows of rest, m]`.
    fn take_out(&self, rest: &mut [f32], inner: &mut [f32]) {
        let known = self.basis.len() / self.d;
        with_avx2_if_present(|| {
            for (rest, inner) in rest.chunks_mut(self.d).zip(inner.chunks_mut(known)) {
                let found: Vec<f32> =
                    self.basis.chunks(self.d).map(|vector| dot(vector, rest)).collect();
                for ((vector, found), inner) in self.basis.chunks(self.d).zip(&found).zip(inner) {
                    add_scaled(rest, -found, vector);
                    *inner += found;
                }
            }
        });
    }

    /// Adds a vector's direction to the basis. Returns its components along the new block so far,
    /// itself included: a column of B. Where nothing but rounding is left of a product that was
    /// `long`, a random direction takes its place.
    fn push(&mut self, vector: Vec<f32>, long: f32) -> Vec<f32> {
        let (d, block) = (self.d, self.block);
        let within = (self.basis.len() / d) % block;
        let start = self.basis.len() - within * d;
        let mut vector = vector;
        let mut column = vec![0f32; block];
        for _ in 0..2 {
            for (own, column) in self.basis[start..].chunks(d).zip(&mut column) {
                let along = dot(own, &vector);
                add_scaled(&mut vector, -along, own);
                *column += along;
            }
        }
        let rest = length(&vector);
        column[within] = rest;
        if rest > LOST * long {
            vector.iter_mut().for_each(|value| *value /= rest);
        } else {
            let mut rng = Rng::stream(super::SEED, 1 + self.basis.len() as u64);
            vector.fill(0.0);
            rng.add_normal(&mut vector, 1.0);
        }
        if rest <= SMALL * long {
            self.make_orthogonal(&mut vector);
        }
        self.basis.extend(vector);
        column
    }

    /// Makes a vector one of length 1 that is orthogonal to the basis.
    fn make_orthogonal(&self, vector: &mut [f32]) {
        let mut unused = vec![0f32; self.basis.len() / self.d];
        for _ in 0..3 {
            if !unused.is_empty() {
                self.take_out(vector, &mut unused);
            }
            let length = length(vector);
            vector.iter_mut().for_each(|value| *value /= length);
        }
    }
}

/// In f64: squares of small entries would vanish.
fn length(vector: &[f32]) -> f32 {
    squares(vector).sqrt() as f32
}
