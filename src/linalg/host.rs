//! The numbers of a tensor on the host, without a copy.

use candle_core::{CpuStorage, Layout, Storage, Tensor, bail};

use crate::{Error, Result};

/// What `look` makes of the values of an f32 tensor on the CPU, row by row.
pub(crate) fn with_values<R>(tensor: &Tensor, look: impl FnOnce(&[f32]) -> R) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => Ok(look(dense(values, layout)?)),
        _ => Err(Error::invalid("a tensor", "f32 on the CPU", tensor.dtype().as_str())),
    }
}

/// The numbers of a contiguous tensor.
pub(super) fn dense<'a, T>(values: &'a [T], layout: &Layout) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => bail!("numbers in a row need a contiguous tensor"),
    }
}
