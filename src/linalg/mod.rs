//! Decompositions of matrices: [`eigh`], [`eigvalsh`], [`svd`], [`qr`], [`lstsq`], [`pinv`], [`pca`],
//! and a fast [`matmul`].
//!
//! For a symmetric `A` and any `M`, with orthonormal `Q`, `U`, `V`:
//!
//! ```text
//! A = Q Λ Qᵀ      M = U Σ Vᵀ      M = Q R
//! ```
//!
//! candle has none of these; faer computes them. Tensors are f32 or f64, on any device. The
//! arithmetic is f64 on the host and the result has the dtype and device of the input, so that an
//! f32 eigenvector is as good as f32 can hold. Signs are fixed (see each function), so that the
//! same matrix gives the same figure everywhere.
//!
//! ```
//! use eigenlens::prelude::*;
//! use eigenlens::linalg::eigh;
//! # fn main() -> Result<()> {
//! let a = Tensor::new(&[[2f32, 1.], [1., 2.]], &Device::Cpu)?;
//! let spectrum = eigh(&a)?;
//! assert_eq!(spectrum.values.to_vec1::<f32>()?, [1., 3.]); // ascending
//! let top = spectrum.vectors.i((.., 1))?; // a column
//! assert!((top.to_vec1::<f32>()?[0] - 0.5f32.sqrt()).abs() < 1e-6);
//! # Ok(())
//! # }
//! ```

#[cfg(target_arch = "x86_64")]
mod coarse;
mod eigen;
mod eigenvectors;
mod fused;
mod host;
pub(crate) mod lanczos;
mod lanes;
mod math;
mod matmul;
mod matrix;
mod memory;
mod panels;
mod pca;
mod qr;
pub(crate) mod simd;
mod svd;
mod tile;

#[cfg(target_arch = "x86_64")]
pub(crate) use coarse::{Coarse, CoarsePacked, less};
pub(crate) use eigen::eigvalsh_within;
pub use eigen::{Eigh, eigh, eigvalsh};
pub(crate) use eigenvectors::{TopEigenvectors, top_eigenvectors};
pub(crate) use fused::{Kernel, can_fuse, fused};
pub(crate) use host::with_values;
pub(crate) use lanes::{
    add_scaled, dot, squares, wide_dot, with_avx2_if_present, with_avx512_if_present,
};
pub(crate) use math::{Real, exponentials, softmax_parts, sum_of, sum_of_pairs};
pub(crate) use matmul::{Operand, ProductInto};
pub use matmul::{matmul, matmul_nt, matmul_tn};
pub(crate) use matrix::unit_rows;
pub use memory::keep_freed_memory;
pub use pca::{Pca, pca};
pub use qr::{Qr, qr};
#[cfg(target_arch = "x86_64")]
pub(crate) use simd::Avx2;
pub(crate) use simd::vectorised;
pub use svd::{RankCut, Svd, lstsq, pinv, pinv_with, svd};
#[cfg(test)]
pub(crate) use tile::kernels as tile_kernels;
#[cfg(target_arch = "x86_64")]
pub(crate) use tile::products;
pub use tile::simd_in_use;
pub(crate) use tile::{Packed, TileKernel};

/// Rows or columns from which one decomposition takes so long that it has to listen to Stop.
const MIN_INTERRUPTIBLE_SIZE: usize = 512;
