//! Many eigenvectors of one large symmetric matrix that is known by its products alone.
//!
//! Block Lanczos with the whole basis kept orthogonal, as in [`lanczos`](super::lanczos), but by
//! products of matrices: hundreds of eigenvectors need a basis of thousands of vectors, and to keep
//! that orthogonal is most of the work. For a basis Q (rows `[m, n]`) and T = Q S Qᵀ, the pair of
//! an eigenvalue θ of T and Qᵀs misses being one of S by `‖B s‖` over the last block.

use candle_core::{DType, Device, Tensor};

use super::{eigh, matmul, matmul_nt, qr};
use crate::progress::Progress;
use crate::random::Rng;
use crate::{Error, Result};

/// Vectors that are multiplied together: an eighth of those asked for, and no fewer and no more.
const BLOCK: [usize; 2] = [8, 64];
/// The size of a basis at each look, over the number of eigenvectors, or over so many blocks.
const LOOKS: [usize; 3] = [2, 3, 4];
const BLOCKS: usize = 16;
/// Below this share of a product's length, what is left of it is rounding.
const LOST: f64 = 1e-4;
/// The seed of the vectors to begin with.
const SEED: u64 = 0;

/// The largest eigenvalues of a matrix, with their eigenvectors.
#[derive(Debug)]
pub(crate) struct TopEigenvectors {
    /// From the largest down.
    pub(crate) values: Vec<f64>,
    /// Rows of length 1, `[k, n]`, f32.
    pub(crate) vectors: Tensor,
    /// `‖S v − θ v‖` of each.
    pub(crate) residuals: Vec<f64>,
}

/// The `k` largest eigenvalues of a symmetric matrix `[n, n]`, whose products with rows `[b, n]` (f32,
/// on the CPU) are `multiply`'s. It ends when nine tenths of the residuals are below `accuracy` times
/// the k-th eigenvalue, or with a basis of 4k vectors (512 at least). A matrix of which that is half or
/// more is made whole and decomposed.
///
/// # Errors
/// Those of `multiply`; [`Error::Interrupted`] when Stop is pressed.
pub(crate) fn top_eigenvectors(
    n: usize,
    k: usize,
    accuracy: f64,
    multiply: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<TopEigenvectors> {
    let block = (k / 8).clamp(BLOCK[0], BLOCK[1]);
    let unit = k.max(BLOCKS * block);
    if 2 * (LOOKS[2] * unit + 2 * block) > n {
        return whole(n, k, multiply);
    }
    let mut basis = BlockBasis::new(n, block)?;
    let total = (LOOKS[2] * unit).div_ceil(block);
    let mut progress = Progress::new("eigenvectors", total as u64, "block");
    for look in LOOKS {
        while basis.multiplied() < look * unit {
            basis.grow(multiply)?;
            if progress.advance(1) {
                return Err(Error::Interrupted { what: "the search of eigenvectors".to_owned() });
            }
        }
        let found = basis.largest(k)?;
        let bar = accuracy * found.values[k - 1].abs();
        let good = found.residuals.iter().filter(|residual| **residual <= bar).count();
        if 10 * good >= 9 * k || look == LOOKS[LOOKS.len() - 1] {
            progress.finish();
            return basis.rotate(found);
        }
    }
    unreachable!("the last look ends it")
}

/// By the matrix itself.
fn whole(
    n: usize,
    k: usize,
    multiply: &dyn Fn(&Tensor) -> Result<Tensor>,
) -> Result<TopEigenvectors> {
    let matrix = multiply(&Tensor::eye(n, DType::F32, &Device::Cpu)?)?.to_dtype(DType::F64)?;
    // Rounding differs on both sides of the diagonal.
    let spectrum = eigh(&((&matrix + matrix.t()?)? * 0.5)?)?;
    let values: Vec<f64> = spectrum.values.to_vec1()?;
    let order: Vec<u32> = (0..n as u32).rev().take(k).collect();
    let vectors = spectrum.vectors.index_select(&Tensor::new(order, &Device::Cpu)?, 1)?.t()?;
    Ok(TopEigenvectors {
        values: values.into_iter().rev().take(k).collect(),
        vectors: vectors.to_dtype(DType::F32)?.contiguous()?,
        residuals: vec![0.0; k],
    })
}

/// A basis that grows a block at a time.
struct BlockBasis {
    n: usize,
    /// Vectors a block, b.
    block: usize,
    /// Orthonormal rows `[b, n]`; the last block has not been multiplied.
    blocks: Vec<Tensor>,
    /// `T[i][j]`, `[b, b]` for block i ≤ j, in f64.
    products: Vec<Vec<Vec<f64>>>,
    /// From the last block that was multiplied to the one that follows, `[b, b]`: row c holds
    /// what product c has along the new block.
    coupling: Vec<f64>,
}

/// Eigenvalues of T.
struct Ritz {
    values: Vec<f64>,
    residuals: Vec<f64>,
    /// `[k, m]`, f32.
    combinations: Tensor,
}

impl BlockBasis {
    fn new(n: usize, block: usize) -> Result<Self> {
        let start = Rng::seed(SEED).normal((block, n), &Device::Cpu)?;
        let (first, _) = orthonormal(&start)?;
        Ok(Self { n, block, blocks: vec![first], products: Vec::new(), coupling: Vec::new() })
    }

    fn multiplied(&self) -> usize {
        self.products.len() * self.block
    }

    fn grow(&mut self, multiply: &dyn Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let block = self.block;
        let last = &self.blocks[self.blocks.len() - 1];
        let product = multiply(last)?;
        let long = product.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?.sqrt();
        let (rest, inner) = self.take_out(product)?;
        self.products.push(inner);
        let (mut next, coupling) = orthonormal(&rest)?;
        self.coupling = coupling;
        let weak = |c: usize| self.coupling[c * block + c].abs() <= LOST * long / block as f64;
        if (0..block).any(weak) {
            // Where only rounding is left, directions need not be orthogonal to the basis.
            let mut noise = Rng::stream(SEED, self.blocks.len() as u64);
            let keep: Vec<f32> = (0..block).map(|c| f32::from(u8::from(!weak(c)))).collect();
            let keep = Tensor::new(keep, &Device::Cpu)?.unsqueeze(1)?;
            let random = noise.normal((block, self.n), &Device::Cpu)?;
            let random = (random / (self.n as f64).sqrt())?;
            let mixed = (next.broadcast_mul(&keep)?
                + random.broadcast_mul(&(keep.ones_like()? - &keep)?)?)?;
            let (rest, _) = self.take_out(mixed)?;
            next = orthonormal(&rest)?.0;
            let (rest, _) = self.take_out(next)?;
            next = orthonormal(&rest)?.0;
        }
        self.blocks.push(next);
        Ok(())
    }

    /// Takes out of rows what they have along the basis, twice, and returns what that was: for each
    /// block i the products `[rows, b]`, f64.
    fn take_out(&self, rows: Tensor) -> Result<(Tensor, Vec<Vec<f64>>)> {
        let mut rest = rows;
        let mut inner = vec![vec![0f64; self.block * self.block]; self.blocks.len()];
        for _ in 0..2 {
            for (own, inner) in self.blocks.iter().zip(&mut inner) {
                let along = matmul_nt(&rest, own)?;
                rest = (rest - matmul(&along, own)?)?;
                let along: Vec<f32> = along.flatten_all()?.to_vec1()?;
                inner.iter_mut().zip(along).for_each(|(sum, along)| *sum += f64::from(along));
            }
        }
        Ok((rest, inner))
    }

    /// The `k` largest eigenvalues of T.
    fn largest(&self, k: usize) -> Result<Ritz> {
        let (m, block) = (self.multiplied(), self.block);
        let mut t = vec![0f64; m * m];
        for (j, column) in self.products.iter().enumerate() {
            for (i, inner) in column.iter().enumerate() {
                for (c, row) in inner.chunks(block).enumerate() {
                    for (r, value) in row.iter().enumerate() {
                        let (a, b) = (i * block + r, j * block + c);
                        // Each pair of a block with itself is there twice, up to rounding.
                        let value = if i == j { value / 2.0 } else { *value };
                        t[a * m + b] += value;
                        t[b * m + a] += value;
                    }
                }
            }
        }
        let spectrum = eigh(&Tensor::from_vec(t, (m, m), &Device::Cpu)?)?;
        let values: Vec<f64> = spectrum.values.to_vec1()?;
        let order: Vec<u32> = (0..m as u32).rev().take(k).collect();
        let order = Tensor::new(order, &Device::Cpu)?;
        let vectors = spectrum.vectors.index_select(&order, 1)?.t()?;
        // ‖Σ_c s_c B_c‖ over the last block.
        let last = vectors.narrow(1, m - block, block)?.contiguous()?;
        let coupling = Tensor::from_slice(&self.coupling, (block, block), &Device::Cpu)?;
        let residuals = matmul(&last, &coupling)?.sqr()?.sum(1)?.sqrt()?.to_vec1::<f64>()?;
        let combinations = vectors.to_dtype(DType::F32)?.contiguous()?;
        Ok(Ritz { values: values.into_iter().rev().take(k).collect(), residuals, combinations })
    }

    /// The eigenvectors themselves.
    fn rotate(&self, ritz: Ritz) -> Result<TopEigenvectors> {
        let known = self.products.len();
        let basis = Tensor::cat(&self.blocks[..known], 0)?;
        let vectors = matmul(&ritz.combinations, &basis)?;
        Ok(TopEigenvectors { values: ritz.values, vectors, residuals: ritz.residuals })
    }
}

/// Orthonormal rows that span `rows` `[b, n]`, and the factors `[b, b]` whose row c says what row c of
/// `rows` is of them.
fn orthonormal(rows: &Tensor) -> Result<(Tensor, Vec<f64>)> {
    let parts = qr(&rows.to_dtype(DType::F64)?.t()?.contiguous()?)?;
    let q = parts.q.t()?.contiguous()?.to_dtype(DType::F32)?;
    let factors: Vec<f64> = parts.r.t()?.contiguous()?.flatten_all()?.to_vec1()?;
    Ok((q, factors))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of these eigenvalues, and its eigenvectors as rows in their order.
    fn with_spectrum(values: &[f64]) -> (Tensor, Tensor) {
        let n = values.len();
        let random = Rng::seed(3).normal((n, n), &Device::Cpu).unwrap();
        let q = qr(&random.to_dtype(DType::F64).unwrap()).unwrap().q;
        let scaled = q.broadcast_mul(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
        let matrix = matmul_nt(&scaled, &q).unwrap();
        (matrix.to_dtype(DType::F32).unwrap(), q.t().unwrap().contiguous().unwrap())
    }

    #[test]
    fn the_largest_are_found_with_their_vectors() {
        // One far out, some apart, and a bulk; of 40 and of so many that a basis is not the whole.
        for n in [40usize, 1_100] {
            let value = |i: usize| match i {
                0 => 1.0,
                1..6 => 0.3 - 0.02 * i as f64,
                _ => 0.1 * (1.0 - i as f64 / n as f64),
            };
            let values: Vec<f64> = (0..n).map(value).collect();
            let (matrix, vectors) = with_spectrum(&values);
            let found = top_eigenvectors(n, 6, 1e-3, &|x| matmul(x, &matrix)).unwrap();
            for (i, value) in values.iter().enumerate().take(6) {
                let gap = (found.values[i] - value).abs();
                assert!(gap < 1e-5 + found.residuals[i], "{n}: {i} {gap}");
            }
            let found = found.vectors.to_dtype(DType::F64).unwrap();
            let overlap = matmul_nt(&found, &vectors.narrow(0, 0, 6).unwrap()).unwrap();
            let overlap: Vec<Vec<f64>> = overlap.to_vec2().unwrap();
            for i in 0..5 {
                assert!((overlap[i][i].abs() - 1.0).abs() < 1e-4, "{n}: {i} {overlap:?}");
            }
        }
    }

    #[test]
    fn a_space_that_is_used_up_does_no_harm() {
        // Rank 70: soon no direction is left.
        let values: Vec<f64> =
            (0..1_100).map(|i| if i < 70 { 1.0 - 0.01 * i as f64 } else { 0.0 }).collect();
        let (matrix, _) = with_spectrum(&values);
        let found = top_eigenvectors(1_100, 30, 1e-3, &|x| matmul(x, &matrix)).unwrap();
        for (found, value) in found.values.iter().zip(&values) {
            assert!((found - value).abs() < 1e-4, "{found} {value}");
        }
        let gram = matmul_nt(&found.vectors, &found.vectors).unwrap();
        let gram: Vec<Vec<f32>> = gram.to_vec2().unwrap();
        for (i, row) in gram.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                assert!((value - f32::from(u8::from(i == j))).abs() < 1e-3, "{i} {j} {value}");
            }
        }
    }
}
