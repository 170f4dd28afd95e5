//! The directions nearest to a latent's. Matrices stay as they are stored: a request is the product of
//! one with a vector, and lengths are computed once.

use std::cmp::Ordering;
use std::sync::OnceLock;

use eigenlens::Result;
use eigenlens::prelude::{DType, Tensor};

/// A matrix of directions.
#[derive(Debug)]
pub(crate) struct Directions {
    matrix: Tensor,
    /// The dimension that counts directions: 0 where they are rows, 1 where they are columns.
    dimension: usize,
    lengths: OnceLock<Vec<f32>>,
}

impl Directions {
    /// The rows of a matrix `[n, d]`.
    pub(crate) fn rows(matrix: Tensor) -> Self {
        Self { matrix, dimension: 0, lengths: OnceLock::new() }
    }

    /// The columns of a matrix `[d, n]`.
    pub(crate) fn columns(matrix: Tensor) -> Self {
        Self { matrix, dimension: 1, lengths: OnceLock::new() }
    }

    /// One of them, `[d]`, in f32.
    pub(crate) fn one(&self, index: usize) -> Result<Tensor> {
        let own = self.matrix.narrow(self.dimension, index, 1)?.flatten_all()?;
        Ok(own.to_dtype(DType::F32)?)
    }

    /// The `count` directions that have the largest cosines with `direction` `[d]`, and the cosines,
    /// the nearest first. What has no length has the cosine 0 with everything.
    pub(crate) fn nearest(&self, direction: &Tensor, count: usize) -> Result<Vec<(u32, f32)>> {
        let matrix = self.matrix.to_dtype(DType::F32)?;
        let direction = direction.to_device(matrix.device())?;
        let length = direction.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?;
        let width = direction.elem_count();
        let products = match self.dimension {
            0 => matrix.matmul(&direction.reshape((width, 1))?)?,
            _ => direction.reshape((1, width))?.matmul(&matrix)?,
        };
        let products: Vec<f32> = products.flatten_all()?.to_vec1()?;
        let cosine = |(product, own): (f32, &f32)| {
            let cosine = product / (own * length);
            if cosine.is_finite() { cosine.clamp(-1.0, 1.0) } else { 0.0 }
        };
        let cosines = products.into_iter().zip(self.lengths()?).map(cosine);
        let mut found: Vec<(u32, f32)> = (0..).zip(cosines).collect();
        if count < found.len() {
            found.select_nth_unstable_by(count, nearer);
            found.truncate(count);
        }
        found.sort_unstable_by(nearer);
        Ok(found)
    }

    /// The length of each.
    fn lengths(&self) -> Result<&[f32]> {
        if let Some(found) = self.lengths.get() {
            return Ok(found);
        }
        let squares = self.matrix.to_dtype(DType::F32)?.sqr()?.sum(1 - self.dimension)?;
        let found = squares.sqrt()?.to_vec1()?;
        Ok(self.lengths.get_or_init(|| found))
    }
}

/// Larger cosines first, then smaller numbers.
fn nearer(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use eigenlens::multilayer::nearest_embeddings;
    use eigenlens::prelude::{Device, Rng};

    use super::*;

    fn close(found: &[(u32, f32)], expected: &[(u32, f32)]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(found.0, expected.0);
            assert!((found.1 - expected.1).abs() < 1e-5, "{found:?} {expected:?}");
        }
    }

    #[test]
    fn rows_and_columns_have_the_librarys_neighbours() {
        let columns = Rng::seed(1).normal((6, 40), &Device::Cpu).unwrap();
        let rows = columns.t().unwrap().contiguous().unwrap();
        let others = Rng::seed(2).normal((30, 6), &Device::Cpu).unwrap();
        // The second time with lengths that are there already.
        let own = Directions::columns(columns.clone());
        for latent in [0, 39] {
            let direction = own.one(latent).unwrap();
            let expected = nearest_embeddings(&columns, &rows, &[latent], 40).unwrap();
            for found in [&own, &Directions::rows(rows.clone())] {
                close(&found.nearest(&direction, 5).unwrap(), &expected[0][..5]);
                close(&found.nearest(&direction, 100).unwrap(), &expected[0]);
            }
            let expected = nearest_embeddings(&columns, &others, &[latent], 3).unwrap();
            close(&Directions::rows(others.clone()).nearest(&direction, 3).unwrap(), &expected[0]);
        }
        // A matrix that lies the other way round in memory.
        let turned = Directions::rows(columns.t().unwrap());
        let found = turned.nearest(&own.one(7).unwrap(), 4).unwrap();
        close(&found, &own.nearest(&own.one(7).unwrap(), 4).unwrap());
    }

    #[test]
    fn what_has_no_length_is_near_nothing() {
        let matrix = [[0f32, 0.0], [3.0, 4.0], [-1.0, 0.0]];
        let own = Directions::rows(Tensor::new(&matrix, &Device::Cpu).unwrap());
        let found = own.nearest(&own.one(1).unwrap(), 3).unwrap();
        close(&found, &[(1, 1.0), (0, 0.0), (2, -0.6)]);
        let none = own.nearest(&own.one(0).unwrap(), 3).unwrap();
        close(&none, &[(0, 0.0), (1, 0.0), (2, 0.0)]);
    }
}
