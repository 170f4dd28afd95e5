//! Matrix products that keep both cores busy.
//!
//! On the CPU faer multiplies about twice as fast as candle's own `matmul`, and training is little
//! else. The products here are differentiable, read transposed operands in place, and leave out
//! the gradients that nobody asks for (those of the data).

use std::any::Any;
use std::cell::Cell;

use candle_core::{
    CpuStorage, CustomOp2, DType, InplaceOp3, Layout, Shape, Tensor, WithDType, bail,
};
use faer::linalg::matmul::matmul as faer_matmul;
use faer::{Accum, ContiguousFwd, MatMut, MatRef, Par, traits::ComplexField};
use rayon::prelude::*;

use crate::{Error, Result};

/// Below this many multiplications, waking other threads costs more than it saves.
const PARALLEL_FROM: usize = 1 << 18;

/// `A B`, `[…, m, n]`, for `a` `[…, m, k]` and `b` `[k, n]`.
///
/// # Errors
/// Operands that are not matrices, or whose inner sizes differ.
pub fn matmul(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    product(a, b, Product { transpose_a: false, transpose_b: false })
}

/// `A Bᵀ`, `[…, m, n]`, for `a` `[…, m, k]` and `b` `[n, k]`: a linear layer with weights `b`.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_nt(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    product(a, b, Product { transpose_a: false, transpose_b: true })
}

/// `Aᵀ B`, `[m, n]`, for `a` `[k, m]` and `b` `[k, n]`.
///
/// # Errors
/// As [`matmul`].
pub fn matmul_tn(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    product(a, b, Product { transpose_a: true, transpose_b: false })
}

/// Side of the squares in which a matrix is transposed.
const TILE: usize = 32;

#[derive(Debug, Clone, Copy)]
struct Product {
    transpose_a: bool,
    transpose_b: bool,
}

fn product(a: &Tensor, b: &Tensor, op: Product) -> Result<Tensor> {
    let (&[.., a_rows, a_columns], &[b_rows, b_columns]) = (a.dims(), b.dims()) else {
        let found = (a.dims(), b.dims());
        return Err(Error::shape("a matrix product", "two tensors of rank 2", found));
    };
    if op.transpose_a && a.rank() > 2 {
        let found = (a.dims(), b.dims());
        return Err(Error::shape("a transposed matrix product", "two tensors of rank 2", found));
    }
    let inner_a = if op.transpose_a { a_rows } else { a_columns };
    let inner_b = if op.transpose_b { b_columns } else { b_rows };
    if inner_a != inner_b {
        let expected = format!("{inner_a} on the inner side of both operands");
        return Err(Error::shape("a matrix product", expected, (a.dims(), b.dims())));
    }
    let dtype = a.dtype();
    let fast = a.device().is_cpu()
        && b.device().is_cpu()
        && dtype == b.dtype()
        && matches!(dtype, DType::F32 | DType::F64);
    if fast {
        let dense = |tensor: &Tensor| match tensor.layout() {
            layout if layout.is_contiguous() => Ok(tensor.clone()),
            layout if tensor.rank() == 2 && layout.is_fortran_contiguous() => Ok(tensor.clone()),
            _ => tensor.contiguous(),
        };
        return Ok(dense(a)?.apply_op2(&dense(b)?, op)?);
    }
    let mut shape = a.dims().to_vec();
    let left = if op.transpose_a { a.t()? } else { folded(a)? };
    let b = if op.transpose_b { b.t()? } else { b.clone() };
    let product = left.matmul(&b)?;
    if shape.len() == 2 {
        return Ok(product);
    }
    if let Some(last) = shape.last_mut() {
        *last = product.dim(1)?;
    }
    Ok(product.reshape(shape)?)
}

/// The rows of a tensor of any rank, `[rows, columns]`.
fn folded(x: &Tensor) -> candle_core::Result<Tensor> {
    match x.rank() {
        2 => Ok(x.clone()),
        rank => x.flatten(0, rank - 2),
    }
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (values, shape) = match (a, b) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => {
                let (values, shape) = self.multiply(a, a_layout, b, b_layout)?;
                (CpuStorage::F32(values), shape)
            }
            (CpuStorage::F64(a), CpuStorage::F64(b)) => {
                let (values, shape) = self.multiply(a, a_layout, b, b_layout)?;
                (CpuStorage::F64(values), shape)
            }
            _ => bail!("a product needs two f32 or two f64 tensors"),
        };
        Ok((values, shape))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let wrap = |result: Result<Tensor>| result.map(Some).map_err(candle_core::Error::wrap);
        let grad_a = match (a.track_op(), self.transpose_a, self.transpose_b) {
            (false, ..) => None,
            (true, false, false) => wrap(matmul_nt(grad, b))?,
            (true, false, true) => wrap(matmul(grad, b))?,
            (true, true, _) => wrap(matmul_nt(b, grad))?,
        };
        let grad_b = match (b.track_op(), self.transpose_a, self.transpose_b) {
            (false, ..) => None,
            (true, false, false) => wrap(matmul_tn(&folded(a)?, &folded(grad)?))?,
            (true, false, true) => wrap(matmul_tn(&folded(grad)?, &folded(a)?))?,
            (true, true, _) => wrap(matmul(a, grad))?,
        };
        Ok((grad_a, grad_b))
    }
}

/// A product without a graph that writes to a tensor there already is.
///
/// Training allocates and faults in megabytes a step otherwise, which costs as much time as the
/// arithmetic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProductInto {
    product: Product,
    add: bool,
}

impl ProductInto {
    /// `C = A B`.
    pub(crate) const NN: Self = Self::new(false, false);
    /// `C = A Bᵀ`.
    pub(crate) const NT: Self = Self::new(false, true);
    /// `C = Aᵀ B`.
    pub(crate) const TN: Self = Self::new(true, false);

    const fn new(transpose_a: bool, transpose_b: bool) -> Self {
        Self { product: Product { transpose_a, transpose_b }, add: false }
    }

    /// `C = C + …` instead of `C = …`.
    pub(crate) const fn adding(self) -> Self {
        Self { add: true, ..self }
    }

    /// Writes the product of `a` and `b` to `target`; f32, contiguous, on the CPU.
    pub(crate) fn write(self, target: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
        Ok(target.inplace_op3(a, b, &self)?)
    }
}

impl InplaceOp3 for ProductInto {
    fn name(&self) -> &'static str {
        "product_into"
    }

    fn cpu_fwd(
        &self,
        target: &mut CpuStorage,
        layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (CpuStorage::F32(target), CpuStorage::F32(a), CpuStorage::F32(b)) = (target, a, b)
        else {
            bail!("a product into a tensor needs three f32 tensors")
        };
        let Some((from, to)) = layout.contiguous_offsets() else {
            bail!("a product into a tensor needs a contiguous one")
        };
        let (a, b) = self.product.operands(view(a, a_layout)?, view(b, b_layout)?);
        let (rows, columns) = layout.shape().dims2()?;
        if (rows, columns) != (a.nrows(), b.ncols()) || a.ncols() != b.nrows() {
            bail!("a product of {:?} into {rows}×{columns}", (a.shape(), b.shape()))
        }
        multiply_into(
            &mut target[from..to],
            a,
            b,
            if self.add { Accum::Add } else { Accum::Replace },
        );
        Ok(())
    }
}

/// One operand of [`ProductInto::write_slice`]: a row-major matrix `[rows, columns]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl<'a> Operand<'a> {
    /// `values`, which are as many as `rows × columns`.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        debug_assert_eq!(values.len(), rows * columns);
        Self { values, rows, columns }
    }

    fn view(self) -> MatRef<'a, f32> {
        MatRef::from_row_major_slice(self.values, self.rows, self.columns)
    }
}

impl ProductInto {
    /// Writes the product of two matrices to `target`, row-major, without tensors: for the many
    /// small products of a batch, each of which stays on the core that asks for it unless
    /// `spread` over all.
    pub(crate) fn write_slice(
        self,
        target: &mut [f32],
        a: Operand<'_>,
        b: Operand<'_>,
        spread: bool,
    ) {
        let (a, b) = self.product.operands(a.view(), b.view());
        let accum = if self.add { Accum::Add } else { Accum::Replace };
        if spread {
            multiply_into(target, a, b, accum);
        } else {
            let target = MatMut::from_row_major_slice_mut(target, a.nrows(), b.ncols());
            faer_matmul(target, accum, a, b, 1.0, Par::Seq);
        }
    }
}

fn multiply_into<T: WithDType + ComplexField>(
    target: &mut [T],
    a: MatRef<'_, T>,
    b: MatRef<'_, T>,
    accum: Accum,
) {
    let (rows, columns, inner) = (a.nrows(), b.ncols(), a.ncols());
    let parallel = rows * columns * inner >= PARALLEL_FROM;
    let target = MatMut::from_row_major_slice_mut(target, rows, columns);
    let par = if parallel { Par::rayon(0) } else { Par::Seq };
    let multiply = |a| faer_matmul(target, accum, a, b, T::one_impl(), par);
    // Where the inner dimension of `a` is not contiguous, faer walks both operands row by row and
    // falls out of the cache on long ones: a copy that is contiguous costs less.
    match a.try_as_col_major() {
        Some(by_columns) if parallel && rows > 1 && inner > 1 => {
            let mut scratch = take_scratch::<T>();
            scratch.resize(scratch.len().max(rows * inner), T::zero());
            let values = &mut scratch[..rows * inner];
            by_rows(by_columns, values);
            multiply(MatRef::from_row_major_slice(values, rows, inner));
            SCRATCH.set(Some(Box::new(scratch)));
        }
        _ => multiply(a),
    }
}

thread_local! {
    /// Memory that a product used and the next one can use again, a `Vec<T>`: fresh memory costs
    /// as much time as what is written to it.
    static SCRATCH: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

/// The thread's scratch memory, or new one if it is in use or of another type.
fn take_scratch<T: 'static>() -> Vec<T> {
    let scratch = SCRATCH.take().and_then(|scratch| scratch.downcast::<Vec<T>>().ok());
    scratch.map(|scratch| *scratch).unwrap_or_default()
}

/// Writes the entries of a matrix whose columns are contiguous row by row.
fn by_rows<T: WithDType>(a: MatRef<'_, T, usize, usize, ContiguousFwd>, values: &mut [T]) {
    let (rows, inner) = (a.nrows(), a.ncols());
    values.par_chunks_mut(TILE * inner).enumerate().for_each(|(tile, values)| {
        let start = tile * TILE;
        let height = TILE.min(rows - start);
        // By way of a small square: rows a power of two apart share few places of a cache.
        let mut square = [T::zero(); TILE * TILE];
        for left in (0..inner).step_by(TILE) {
            let width = TILE.min(inner - left);
            for column in 0..width {
                let entries = &a.col(left + column).as_slice()[start..start + height];
                for (row, entry) in entries.iter().enumerate() {
                    square[row * TILE + column] = *entry;
                }
            }
            for row in 0..height {
                values[row * inner + left..][..width]
                    .copy_from_slice(&square[row * TILE..][..width]);
            }
        }
    });
}

impl Product {
    fn operands<'a, T>(
        &self,
        a: MatRef<'a, T>,
        b: MatRef<'a, T>,
    ) -> (MatRef<'a, T>, MatRef<'a, T>) {
        (
            if self.transpose_a { a.transpose() } else { a },
            if self.transpose_b { b.transpose() } else { b },
        )
    }

    fn multiply<T: WithDType + ComplexField>(
        &self,
        a: &[T],
        a_layout: &Layout,
        b: &[T],
        b_layout: &Layout,
    ) -> candle_core::Result<(Vec<T>, Shape)> {
        let (a, b) = self.operands(view(a, a_layout)?, view(b, b_layout)?);
        let (rows, columns) = (a.nrows(), b.ncols());
        let mut values = vec![T::zero(); rows * columns];
        multiply_into(&mut values, a, b, Accum::Replace);
        let shape = match a_layout.dims() {
            [leading @ .., _] if leading.len() > 1 => [leading, &[columns]].concat(),
            _ => vec![rows, columns],
        };
        Ok((values, Shape::from(shape)))
    }
}

/// A matrix, or the rows of a contiguous tensor of a higher rank.
fn view<'a, T>(values: &'a [T], layout: &Layout) -> candle_core::Result<MatRef<'a, T>> {
    let [leading @ .., columns] = layout.dims() else { bail!("a product needs matrices") };
    let (rows, columns) = (leading.iter().product::<usize>(), *columns);
    let start = layout.start_offset();
    let values = &values[start..start + rows * columns];
    Ok(match layout.is_contiguous() {
        true => MatRef::from_row_major_slice(values, rows, columns),
        false => MatRef::from_column_major_slice(values, rows, columns),
    })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::Rng;

    type Multiply = fn(&Tensor, &Tensor) -> Result<Tensor>;
    type Size = (usize, usize);

    fn random(seed: u64, rows: usize, columns: usize, dtype: DType) -> Var {
        let values = Rng::seed(seed).normal((rows, columns), &Device::Cpu).unwrap();
        Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap()
    }

    fn gap(a: &Tensor, b: &Tensor) -> f64 {
        let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
        difference.max(0).unwrap().to_dtype(DType::F64).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn products_and_their_gradients_equal_candles() {
        let cases: [(Multiply, Multiply, Size, Size); 3] = [
            (matmul, |a, b| Ok(a.matmul(b)?), (5, 7), (7, 3)),
            (matmul_nt, |a, b| Ok(a.matmul(&b.t()?)?), (5, 7), (3, 7)),
            (matmul_tn, |a, b| Ok(a.t()?.matmul(b)?), (7, 5), (7, 3)),
        ];
        for dtype in [DType::F32, DType::F64] {
            for (ours, candles, a, b) in cases {
                let (a, b) = (random(0, a.0, a.1, dtype), random(1, b.0, b.1, dtype));
                let (x, y) = (ours(&a, &b).unwrap(), candles(&a, &b).unwrap());
                assert!(gap(&x, &y) < 1e-5);
                let x = x.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let y = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                for var in [&a, &b] {
                    assert!(gap(x.get(var).unwrap(), y.get(var).unwrap()) < 1e-4);
                }
            }
        }
    }

    #[test]
    fn operands_of_any_rank_are_products_of_their_rows() {
        for dtype in [DType::F32, DType::F64] {
            let flat = random(0, 2 * 3 * 4, 5, dtype);
            let tall = Var::from_tensor(&flat.reshape((2, 3, 4, 5)).unwrap()).unwrap();
            let cases: [(Multiply, Size); 2] = [(matmul, (5, 7)), (matmul_nt, (7, 5))];
            for (multiply, size) in cases {
                let b = random(1, size.0, size.1, dtype);
                let (x, y) = (multiply(&tall, &b).unwrap(), multiply(&flat, &b).unwrap());
                assert_eq!(x.dims(), [2, 3, 4, 7]);
                assert_eq!(gap(&x.reshape((24, 7)).unwrap(), &y), 0.0);
                let x = x.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let y = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
                let own = x.get(&tall).unwrap();
                assert_eq!(own.dims(), [2, 3, 4, 5]);
                assert_eq!(gap(&own.reshape((24, 5)).unwrap(), y.get(&flat).unwrap()), 0.0);
                assert_eq!(gap(x.get(&b).unwrap(), y.get(&b).unwrap()), 0.0);
                // Rows that do not lie one after another.
                let swapped = tall.transpose(0, 2).unwrap();
                let expected = multiply(&swapped.contiguous().unwrap(), &b).unwrap();
                assert_eq!(gap(&multiply(&swapped, &b).unwrap(), &expected), 0.0);
            }
            assert!(matmul_tn(&tall, &flat).is_err());
        }
    }

    #[test]
    fn large_products_of_transposed_operands() {
        let (a, b) = (random(0, 600, 35, DType::F32), random(1, 600, 30, DType::F32));
        let expected = a.t().unwrap().matmul(&b).unwrap();
        assert!(gap(&matmul_tn(&a, &b).unwrap(), &expected) < 1e-4);
        assert!(gap(&matmul(&a.t().unwrap(), &b).unwrap(), &expected) < 1e-4);
    }

    #[test]
    fn products_into_a_tensor_replace_or_add() {
        let (a, b) = (random(0, 4, 6, DType::F32), random(1, 4, 6, DType::F32));
        let target = Tensor::ones((6, 6), DType::F32, &Device::Cpu).unwrap();
        let product = matmul_tn(&a, &b).unwrap();
        ProductInto::TN.write(&target, &a, &b).unwrap();
        assert!(gap(&target, &product) == 0.0);
        ProductInto::TN.adding().write(&target, &a, &b).unwrap();
        assert!(gap(&target, &(&product + &product).unwrap()) < 1e-5);
        assert!(ProductInto::NT.write(&target, &a, &b).is_err());
    }

    #[test]
    fn products_of_slices_equal_those_of_tensors() {
        let (a, b) = (random(0, 90, 70, DType::F32), random(1, 90, 60, DType::F32));
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (x, y) = (flat(&a), flat(&b));
        let (x, y) = (Operand::new(&x, 90, 70), Operand::new(&y, 90, 60));
        for spread in [false, true] {
            let mut target = vec![1f32; 70 * 60];
            ProductInto::TN.write_slice(&mut target, x, y, spread);
            ProductInto::TN.adding().write_slice(&mut target, x, y, spread);
            let target = Tensor::from_vec(target, (70, 60), &Device::Cpu).unwrap();
            let product = a.t().unwrap().matmul(&b).unwrap();
            assert!(gap(&target, &(&product + &product).unwrap()) < 1e-4);
        }
    }

    #[test]
    fn views_are_read_in_place_or_copied() {
        let big = random(2, 40, 60, DType::F32);
        let columns = big.narrow(1, 10, 20).unwrap();
        let rows = big.narrow(0, 3, 20).unwrap();
        for (a, b) in
            [(rows.clone(), columns.t().unwrap().t().unwrap()), (columns.t().unwrap(), rows)]
        {
            if a.dim(1).unwrap() == b.dim(0).unwrap() {
                let expected = a.contiguous().unwrap().matmul(&b.contiguous().unwrap()).unwrap();
                assert!(gap(&matmul(&a, &b).unwrap(), &expected) < 1e-5);
            }
        }
        let t = big.t().unwrap();
        let expected = big.matmul(&t).unwrap();
        assert!(gap(&matmul(&big, &t).unwrap(), &expected) < 1e-4);
    }

    #[test]
    fn sizes_that_do_not_meet_are_refused() {
        let (a, b) = (random(0, 2, 3, DType::F32), random(0, 2, 3, DType::F32));
        let message = matmul(&a, &b).unwrap_err().to_string();
        assert!(message.contains("3 on the inner side"), "{message}");
        assert!(matmul(&a.get(0).unwrap(), &b).is_err());
    }
}
