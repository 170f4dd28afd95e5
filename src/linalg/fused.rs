//! Operations that go over memory once, with gradients.
//!
//! Composed of tensor operations, a softmax or a norm writes and reads its operands half a dozen
//! times, and training spends more time on that than on its matrix products.

use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Storage, Tensor, bail};

use super::host::dense;
use super::math::Real;
use crate::Result;

/// A function of one tensor, and its gradient.
pub(crate) trait Kernel: Send + Sync + 'static {
    /// A name for messages.
    const NAME: &'static str;

    /// The result's shape, for an argument of shape `dims`.
    fn shape(&self, dims: &[usize]) -> Shape;

    /// The result.
    fn forward<T: Real>(&self, x: &[T], dims: &[usize]) -> Vec<T>;

    /// The gradient with respect to `x`, from that with respect to the result.
    fn backward<T: Real>(&self, x: &[T], grad: &[T], dims: &[usize]) -> Vec<T>;
}

/// Whether [`fused`] can take `x`.
pub(crate) fn can_fuse(x: &Tensor) -> bool {
    x.device().is_cpu() && matches!(x.dtype(), DType::F32 | DType::F64)
}

/// `kernel` of `x`, f32 or f64 on the CPU.
pub(crate) fn fused<K: Kernel>(x: &Tensor, kernel: K) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(FusedOp(kernel))?)
}

struct FusedOp<K>(K);

impl<K: Kernel> CustomOp1 for FusedOp<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dims = layout.dims();
        let storage = match storage {
            CpuStorage::F32(x) => CpuStorage::F32(self.0.forward(dense(x, layout)?, dims)),
            CpuStorage::F64(x) => CpuStorage::F64(self.0.forward(dense(x, layout)?, dims)),
            _ => bail!("{} needs f32 or f64", K::NAME),
        };
        Ok((storage, self.0.shape(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _result: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let (x_storage, x_layout) = x.storage_and_layout();
        let (grad_storage, grad_layout) = grad.storage_and_layout();
        let dims = x.dims();
        let gradient = match (&*x_storage, &*grad_storage) {
            (Storage::Cpu(CpuStorage::F32(x)), Storage::Cpu(CpuStorage::F32(grad))) => {
                let (x, grad) = (dense(x, x_layout)?, dense(grad, grad_layout)?);
                Tensor::from_vec(self.0.backward(x, grad, dims), dims, &Device::Cpu)?
            }
            (Storage::Cpu(CpuStorage::F64(x)), Storage::Cpu(CpuStorage::F64(grad))) => {
                let (x, grad) = (dense(x, x_layout)?, dense(grad, grad_layout)?);
                Tensor::from_vec(self.0.backward(x, grad, dims), dims, &Device::Cpu)?
            }
            _ => bail!("the gradient of {} needs f32 or f64 on the CPU", K::NAME),
        };
        Ok(Some(gradient))
    }
}
