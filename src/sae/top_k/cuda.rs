//! The kernel of `top_k.cu` on CUDA devices. nvrtc compiles it when it is first used, for every GPU
//! that it knows: the driver makes of it what the GPU at hand runs.

#![allow(unsafe_code, reason = "memory of the GPU that a kernel fills, and its launch")]

use std::ops::Range;
use std::sync::{Once, OnceLock};

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{CudaFunction, LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Error, Result};

const SOURCE: &str = include_str!("top_k.cu");
/// As in the source.
const THREADS: u32 = 256;

/// Whether the kernel can be had for `device`. Prints why not, once.
pub(super) fn works_on(device: &CudaDevice) -> bool {
    static SAID: Once = Once::new();
    match function(device) {
        Ok(_) => true,
        Err(reason) => {
            SAID.call_once(|| println!("top-k: chosen on the CPU, not on the GPU: {reason}"));
            false
        }
    }
}

fn function(device: &CudaDevice) -> Result<CudaFunction> {
    static COMPILED: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || match compile_ptx(SOURCE) {
        Ok(ptx) => Ok(ptx.to_src()),
        Err(reason) => Err(format!("nvrtc does not compile the kernel: {reason}")),
    };
    match COMPILED.get_or_init(compile) {
        Ok(ptx) => {
            let function = device.get_or_load_custom_func("top_k", "eigenlens_top_k", ptx)?;
            Ok(function.into_cuda_function())
        }
        Err(reason) => Err(Error::Msg(reason.clone())),
    }
}

/// Indices of the k largest of every row of `scores`, whose `entries` are `[rows, m]`.
pub(super) fn top_k(
    scores: &CudaStorage,
    entries: Range<usize>,
    [rows, m]: [usize; 2],
    k: usize,
) -> Result<CudaStorage> {
    let device = scores.device();
    let scores = scores.as_cuda_slice::<f32>()?.slice(entries);
    let narrow = |width: usize| u32::try_from(width).map_err(Error::wrap);
    let (width, kept, count) = (narrow(m)?, narrow(k)?, rows as u64);
    let function = function(device)?;
    // SAFETY: the kernel writes all k indices of every row.
    let mut indices = unsafe { device.alloc::<u32>(rows * k)? };
    let launch = LaunchConfig {
        // A block goes on to further rows where there are more rows than blocks.
        grid_dim: (rows.min(i32::MAX as usize) as u32, 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    };
    let stream = device.cuda_stream();
    let mut builder = stream.launch_builder(&function);
    builder.arg(&scores).arg(&mut indices).arg(&count).arg(&width).arg(&kept);
    // SAFETY: the arguments are the kernel's, in number, order and type; `scores` holds rows · m
    // entries and `indices` rows · k.
    unsafe { builder.launch(launch) }.w()?;
    Ok(CudaStorage::wrap_cuda_slice(indices, device.clone()))
}
