//! The indices of the k largest entries of rows, on the device where these lie.
//!
//! candle's own sort, by which one might choose, takes rows of a few thousand entries at most; this
//! takes any.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod tests;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, bail};
use rayon::prelude::*;

use super::order::largest;
use crate::Result;

/// Whether `device` has a kernel of its own for [`top_k`].
pub(super) fn has_kernel(device: &Device) -> bool {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => cuda::works_on(device),
        _ => false,
    }
}

/// Indices of the k largest entries of every row of `scores` `[rows, m]`, f32, ascending, on their
/// device: `[rows, min(k, m)]`, u32. They are those that [`largest`] finds, which chooses for
/// devices that have no kernel.
pub(super) fn top_k(scores: &Tensor, k: usize) -> Result<Tensor> {
    let (rows, m) = scores.dims2()?;
    let device = scores.device();
    if !device.is_cpu() && !has_kernel(device) {
        return Ok(top_k(&scores.to_device(&Device::Cpu)?, k)?.to_device(device)?);
    }
    let k = k.min(m);
    if rows * k == 0 {
        return Ok(Tensor::zeros((rows, k), DType::U32, scores.device())?);
    }
    Ok(scores.contiguous()?.apply_op1_no_bwd(&TopKOp { k })?)
}

/// [`top_k`] of rows that lie one behind another, with `1 ≤ k ≤ m`.
struct TopKOp {
    k: usize,
}

impl CustomOp1 for TopKOp {
    fn name(&self) -> &'static str {
        "top-k"
    }

    fn cpu_fwd(
        &self,
        scores: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let ((rows, m), entries) = (layout.shape().dims2()?, entries(layout)?);
        let CpuStorage::F32(scores) = scores else {
            bail!("top-k takes f32 scores, not {:?}", scores.dtype())
        };
        let chosen = scores[entries].par_chunks(m).flat_map_iter(|row| {
            let mut kept: Vec<u32> = largest(row, self.k).into_iter().map(|(i, _)| i).collect();
            kept.sort_unstable();
            kept
        });
        Ok((CpuStorage::U32(chosen.collect()), (rows, self.k).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        scores: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let ((rows, m), entries) = (layout.shape().dims2()?, entries(layout)?);
        Ok((cuda::top_k(scores, entries, [rows, m], self.k)?, (rows, self.k).into()))
    }
}

/// Where the entries lie in their storage.
fn entries(layout: &Layout) -> candle_core::Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("top-k takes rows that lie one behind another, not {layout:?}"),
    }
}
