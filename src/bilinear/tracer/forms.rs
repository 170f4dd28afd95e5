//! The quadratic forms of output features, without their matrices.

use std::cell::RefCell;

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::Tracer;
use crate::Result;
use crate::linalg::lanczos::Symmetric;
use crate::linalg::{Packed, TileKernel, matmul, matmul_nt, with_values};

/// Output features' weights `w = Pᵀo` on the hidden neurons, and the maps they share:
///
/// ```text
/// S v = ½ (Lᵀ(w ∘ R v) + Rᵀ(w ∘ L v))
/// ```
///
/// which for many features and vectors are two products with `[L; R]` and `[R; L]`, 8 d h
/// operations a vector, where forming one S takes 2 d² h.
pub(super) struct Forms {
    /// `[L; R]`, `[2h, d]`.
    both: Tensor,
    /// `½ [R; L]`, `[2h, d]`.
    swapped: Tensor,
    /// `[features, h]`.
    weights: Tensor,
    /// The maps on the host.
    host: Option<HostMaps>,
    /// The last vectors that all forms were multiplied with, and their [`Forms::maps`].
    same: RefCell<Option<(Vec<f32>, Tensor)>>,
}

impl Forms {
    /// The forms of all output features.
    pub(super) fn new(tracer: &Tracer) -> Result<Self> {
        let weights = matmul(&tracer.all_directions()?, &tracer.out)?;
        let both = Tensor::cat(&[&tracer.left, &tracer.right], 0)?;
        let swapped = (Tensor::cat(&[&tracer.right, &tracer.left], 0)? * 0.5)?;
        let host = match both.device() {
            Device::Cpu => Some(HostMaps::new(&both, &swapped)?),
            _ => None,
        };
        Ok(Self { both, swapped, weights, host, same: RefCell::new(None) })
    }

    /// The weights of some features.
    fn weights_of(&self, which: &[usize]) -> Result<Tensor> {
        let which: Vec<u32> = which.iter().map(|which| *which as u32).collect();
        Ok(self.weights.index_select(&Tensor::new(which, self.weights.device())?, 0)?)
    }

    /// What weights are multiplied by for the products with some vectors, side by side,
    /// `[h, block · d]`.
    fn maps(&self, vectors: &[f32]) -> Result<Tensor> {
        let (double, d) = self.both.dims2()?;
        let rows = Tensor::from_slice(vectors, ((), d), self.both.device())?;
        let hidden = matmul_nt(&rows, &self.swapped)?;
        let map = |row: usize| -> Result<Tensor> {
            let all = self.both.broadcast_mul(&hidden.get(row)?.unsqueeze(1)?)?;
            Ok((all.narrow(0, 0, double / 2)? + all.narrow(0, double / 2, double / 2)?)?)
        };
        let maps = (0..hidden.dim(0)?).map(map).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&maps, 1)?.contiguous()?)
    }

    /// `‖S‖²`, the sum of the squares of a feature's entries, of every feature: `w G wᵀ` with
    ///
    /// ```text
    /// G = ½ (LLᵀ ∘ RRᵀ + LRᵀ ∘ (LRᵀ)ᵀ)
    /// ```
    ///
    /// each rounded up by as much as f32 may have lost.
    pub(super) fn squares(&self) -> Result<Vec<f64>> {
        let h = self.both.dim(0)? / 2;
        let (left, right) = (self.both.narrow(0, 0, h)?, self.both.narrow(0, h, h)?);
        let cross = matmul_nt(&left, &right)?;
        let own = (matmul_nt(&left, &left)? * matmul_nt(&right, &right)?)?;
        let gram = ((own + (&cross * cross.t()?)?)? * 0.5)?;
        let size = gram.sqr()?.sum_all()?.to_scalar::<f32>()?.sqrt();
        let forms = symmetric_forms(&gram, &self.weights, BLOCK)?;
        let lengths = f64_on_host(&self.weights)?.sqr()?.sum(D::Minus1)?.to_vec1::<f64>()?;
        let lost = 8.0 * f64::from(f32::EPSILON) * f64::from(size);
        Ok(forms.iter().zip(lengths).map(|(form, length)| form.max(0.0) + lost * length).collect())
    }
}

/// Columns of a symmetric matrix that are multiplied together.
const BLOCK: usize = 768;

/// `w G wᵀ` of every row w of `rows`, for a symmetric G, of which one half is multiplied.
fn symmetric_forms(symmetric: &Tensor, rows: &Tensor, block: usize) -> Result<Vec<f64>> {
    let (count, size) = rows.dims2()?;
    let mut forms = vec![0f64; count];
    for start in (0..size).step_by(block) {
        let own = block.min(size - start);
        let end = start + own;
        let columns = symmetric.narrow(1, start, own)?.narrow(0, 0, end)?;
        let times = (0..end).map(|row| if row < start { 2f32 } else { 1.0 });
        let times = Tensor::from_iter(times, rows.device())?.unsqueeze(1)?;
        let so_far = rows.narrow(1, 0, end)?.contiguous()?;
        let through = matmul(&so_far, &columns.broadcast_mul(&times)?)?;
        let products = (f64_on_host(&through)? * f64_on_host(&so_far.narrow(1, start, own)?)?)?;
        let sums = products.sum(D::Minus1)?.to_vec1::<f64>()?;
        forms.iter_mut().zip(sums).for_each(|(form, sum)| *form += sum);
    }
    Ok(forms)
}

/// In f64 on the host.
fn f64_on_host(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?)
}

/// Rows that one thread multiplies at a time, at most.
const ROWS: usize = 96;
/// Rows that a GPU is given at a time.
const ELSEWHERE: usize = 8_192;

/// The maps on the host, laid out for the many products that they take part in.
struct HostMaps {
    /// `½ [R; L]`, as rows.
    swapped: Packed,
    /// `[L; R]`, as columns, with zeros where `swapped` has them.
    both: Packed,
}

impl HostMaps {
    fn new(both: &Tensor, swapped: &Tensor) -> Result<Self> {
        let ((double, d), kernel) = (both.dims2()?, TileKernel::best());
        let packed = |rows: &Tensor, depth: usize| {
            with_values(rows, |rows| Packed::new(kernel, rows, depth, None))
        };
        let swapped = packed(swapped, d)?;
        let columns = both.t()?.pad_with_zeros(1, 0, swapped.width() - double)?;
        Ok(Self { both: packed(&columns, swapped.width())?, swapped })
    }

    /// [`Symmetric::products`] of features with `weights` and vectors `[…, d]`.
    fn products(
        &self,
        weights: &[f32],
        which: &[usize],
        block: usize,
        vectors: &[f32],
    ) -> Vec<f32> {
        let (d, double) = (self.both.rows(), self.swapped.rows());
        let (h, hidden_width, width) = (double / 2, self.swapped.width(), self.both.width());
        let mut products = vec![0f32; vectors.len()];
        let (all, threads) = (which.len() * block, rayon::current_num_threads());
        // Even shares, so that all threads end at about the same time.
        let rounds = all.div_ceil(threads * ROWS).max(1);
        let share = all.div_ceil(threads * rounds).max(1);
        let chunks = products.par_chunks_mut(share * d).zip(vectors.par_chunks(share * d));
        chunks.enumerate().for_each(|(chunk, (products, vectors))| {
            let rows = vectors.len() / d;
            let mut hidden = vec![0f32; rows * hidden_width];
            self.swapped.multiply(vectors, &mut hidden);
            for (row, hidden) in hidden.chunks_mut(hidden_width).enumerate() {
                let feature = which[(chunk * share + row) / block];
                let weights = &weights[feature * h..][..h];
                for hidden in hidden[..double].chunks_mut(h) {
                    hidden.iter_mut().zip(weights).for_each(|(hidden, weight)| *hidden *= weight);
                }
            }
            let mut padded = vec![0f32; rows * width];
            self.both.multiply(&hidden, &mut padded);
            for (product, padded) in products.chunks_mut(d).zip(padded.chunks(width)) {
                product.copy_from_slice(&padded[..d]);
            }
        });
        products
    }
}

impl Symmetric for Forms {
    fn size(&self) -> usize {
        self.both.dims()[1]
    }

    fn together(&self) -> usize {
        match self.host {
            // A few shares for each thread.
            Some(_) => 3 * rayon::current_num_threads().max(2) * ROWS,
            None => ELSEWHERE,
        }
    }

    fn products(&self, which: &[usize], block: usize, vectors: &[f32]) -> Result<Vec<f32>> {
        let (double, d) = self.both.dims2()?;
        let (h, rows) = (double / 2, which.len() * block);
        if let Some(host) = &self.host {
            return with_values(&self.weights, |weights| {
                host.products(weights, which, block, vectors)
            });
        }
        let vectors = Tensor::from_slice(vectors, (rows, d), self.both.device())?;
        let hidden = matmul_nt(&vectors, &self.swapped)?.reshape(((), block, 2, h))?;
        let weights = self.weights_of(which)?.reshape(((), 1, 1, h))?;
        let weighed = hidden.broadcast_mul(&weights)?;
        let products = matmul(&weighed.reshape((rows, double))?, &self.both)?;
        Ok(products.flatten_all()?.to_vec1()?)
    }

    /// For one vector v, Sv is linear in w: `w Mᵥ` with `Mᵥ = ½ (diag(Rv) L + diag(Lv) R)`, `[h, d]`,
    /// a quarter of the operations.
    fn products_with_same(&self, which: &[usize], vectors: &[f32]) -> Result<Vec<f32>> {
        let mut same = self.same.borrow_mut();
        let maps = match same.take() {
            Some((known, maps)) if known == vectors => maps,
            _ => self.maps(vectors)?,
        };
        let (_, maps) = same.insert((vectors.to_vec(), maps));
        Ok(matmul(&self.weights_of(which)?, maps)?.flatten_all()?.to_vec1()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tracer;
    use super::*;
    use crate::bilinear::symmetrise;
    use crate::random::Rng;

    #[test]
    fn half_of_a_symmetric_matrix_is_enough_for_its_forms() {
        let normal = |shape: (usize, usize)| Rng::seed(2).normal(shape, &Device::Cpu).unwrap();
        let (square, rows) = (normal((11, 11)), normal((3, 11)));
        let symmetric = (&square + square.t().unwrap()).unwrap();
        let through = rows.matmul(&symmetric).unwrap();
        let expected = (through * &rows).unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
        for block in [1, 4, 11, 20] {
            let found = symmetric_forms(&symmetric, &rows, block).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - f64::from(*expected)).abs() < 1e-4, "{block}: {found} {expected}");
            }
        }
    }

    #[test]
    fn products_and_squares_are_those_of_the_matrices() {
        let tracer = tracer();
        let forms = Forms::new(&tracer).unwrap();
        let elsewhere = Forms { host: None, ..Forms::new(&tracer).unwrap() };
        let vectors = Rng::seed(1).normal((6, 8), &Device::Cpu).unwrap();
        let flat: Vec<f32> = vectors.flatten_all().unwrap().to_vec1().unwrap();
        let found = forms.products(&[9, 0, 4], 2, &flat).unwrap();
        for shared in [&flat[..16], &flat[16..32]] {
            let same = forms.products_with_same(&[3, 9], shared).unwrap();
            let plain = forms.products(&[3, 9], 2, &[shared, shared].concat()).unwrap();
            assert!(same.iter().zip(plain).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs().max(0.01)));
        }
        let generic = elsewhere.products(&[9, 0, 4], 2, &flat).unwrap();
        let squares = forms.squares().unwrap();
        for (at, feature) in [9, 0, 4].into_iter().enumerate() {
            let s = symmetrise(&tracer.interaction(feature).unwrap()).unwrap();
            let own = vectors.narrow(0, 2 * at, 2).unwrap();
            let expected = own.matmul(&s).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let size = s.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
            for ((found, generic), expected) in
                found[16 * at..].iter().zip(&generic[16 * at..]).zip(expected)
            {
                assert!((found - expected).abs() < 1e-5 * size.sqrt());
                assert!((generic - expected).abs() < 1e-5 * size.sqrt());
            }
            let share = squares[feature] / f64::from(size);
            assert!((1.0 - 1e-7..1.001).contains(&share), "{share}");
        }
    }
}
