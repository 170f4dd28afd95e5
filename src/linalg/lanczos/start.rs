//! The vectors that bases begin with.

use candle_core::{Device, Tensor};

use super::SEED;
use crate::Result;
use crate::linalg::svd;
use crate::random::Rng;

/// What the bases of many matrices begin with: random vectors, and from [`Start::learn`] on as much
/// of the directions that the first matrices' eigenvectors have in common.
///
/// Matrices of one origin often share some, and a basis that begins near them is done sooner. The
/// random half keeps what a random start is for: no eigenvector can be orthogonal to all of it.
#[derive(Debug)]
pub(crate) struct Start {
    /// Rows `[block, d]`.
    vectors: Vec<f32>,
    d: usize,
    learned: bool,
}

impl Start {
    /// Random ones.
    pub(super) fn random(block: usize, d: usize) -> Result<Self> {
        let vectors = Rng::stream(SEED, 0).normal((block, d), &Device::Cpu)?;
        Ok(Self { vectors: vectors.flatten_all()?.to_vec1()?, d, learned: false })
    }

    /// Rows `[block, d]`.
    pub(super) fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// Whether there is nothing more to learn.
    pub(super) fn has_learned(&self) -> bool {
        self.learned
    }

    /// Takes the main directions of `eigenvectors`, rows `[…, d]`, in.
    pub(super) fn learn(&mut self, eigenvectors: Vec<f32>) -> Result<()> {
        self.learned = true;
        if eigenvectors.is_empty() {
            return Ok(());
        }
        let rows = Tensor::from_vec(eigenvectors, ((), self.d), &Device::Cpu)?;
        let main = svd(&rows)?.v.t()?;
        let count = main.dim(0)?.min(self.vectors.len() / self.d);
        let main: Vec<f32> = main.narrow(0, 0, count)?.flatten_all()?.to_vec1()?;
        // As long as a random vector is.
        let long = (self.d as f32).sqrt();
        self.vectors.iter_mut().zip(main).for_each(|(own, main)| *own += long * main);
        Ok(())
    }
}
