//! The codes of top-k autoencoders, chosen on the device where h lies: only what they keep goes to
//! the host.
//!
//! candle's own sort, by which one might choose, takes rows of a few thousand entries at most; this
//! takes any.

#[cfg(feature = "cuda")]
mod cuda;
#[cfg(test)]
mod emulated;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Shape, Tensor, bail};
use rayon::prelude::*;

use super::autoencoder::Inner;
use super::codes::Part;
use super::select::largest;
use super::{Activation, Rescale};
use crate::Result;

impl Inner {
    /// Whether [`Inner::select_there`] chooses on `device`: CUDA, for codes of the k largest.
    pub(super) fn selects_on(&self, device: &Device) -> bool {
        let activation = self.architecture.activation;
        matches!(activation, Activation::TopK { .. } | Activation::AbsTopK { .. })
            && has_kernel(device)
    }

    /// Codes of `h` `[rows, m]`, those of [`Inner::select`] of each row.
    pub(super) fn select_there(&self, h: &Tensor) -> Result<Part> {
        let weighed = || -> Result<Tensor> {
            let lengths = Tensor::from_slice(&self.lengths, self.lengths.len(), h.device())?;
            Ok(h.broadcast_mul(&lengths)?)
        };
        let (scores, k) = match (self.architecture.activation, self.architecture.rescale) {
            (Activation::TopK { k, .. }, Rescale::None) => (h.clone(), k),
            (Activation::TopK { k, .. }, _) => (weighed()?, k),
            (Activation::AbsTopK { k }, Rescale::Kept) => (weighed()?.abs()?, k),
            (Activation::AbsTopK { k }, _) => (h.abs()?, k),
            _ => (h.clone(), 0),
        };
        let indices = top_k(&scores, k)?;
        let values = h.contiguous()?.gather(&indices, D::Minus1)?;
        let (indices, values) = (indices.to_vec2::<u32>()?, values.to_vec2::<f32>()?);
        let mut part = Part::default();
        for (indices, values) in indices.into_iter().zip(values) {
            let kept = indices.into_iter().zip(values);
            part.push(kept.filter_map(|(i, h)| Some((i, self.admit(i, h)?))));
        }
        Ok(part)
    }
}

fn has_kernel(device: &Device) -> bool {
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
    Ok(scores.contiguous()?.apply_op1_no_bwd(&TopK { k })?)
}

/// [`top_k`] of rows that lie one behind another, with `1 ≤ k ≤ m`.
struct TopK {
    k: usize,
}

impl CustomOp1 for TopK {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;
    use crate::sae::{Architecture, Codes, Sae, SaeWeights};

    /// An autoencoder of whole numbers, whose products every device sums without rounding; many are
    /// equal.
    fn sae(activation: Activation, rescale: Rescale, m: usize, device: &Device) -> Sae {
        let mut rng = Rng::seed(6);
        let mut whole = |shape: &[usize]| {
            let numbers = (rng.normal(shape, &Device::Cpu).unwrap() * 2.0).unwrap();
            numbers.round().unwrap().to_device(device).unwrap()
        };
        let (encoder, decoder) = (whole(&[m, 6]), whole(&[6, m]));
        // No column of zeros.
        let decoder = (decoder + 0.5).unwrap();
        let architecture = Architecture { activation, rescale, ..Architecture::top_k(1) };
        Sae::new(architecture, SaeWeights::new(encoder, decoder, whole(&[6]))).unwrap()
    }

    fn kinds() -> Vec<(Activation, Rescale)> {
        let activations = [
            Activation::TopK { k: 30, relu: true },
            Activation::TopK { k: 30, relu: false },
            Activation::AbsTopK { k: 30 },
        ];
        let rescales = [Rescale::None, Rescale::Kept, Rescale::Undone];
        activations.iter().flat_map(|own| rescales.map(|rescale| (*own, rescale))).collect()
    }

    #[test]
    fn it_chooses_what_the_host_chooses() {
        for (activation, rescale) in kinds() {
            let sae = sae(activation, rescale, 500, &Device::Cpu);
            let x = Rng::seed(7).normal((20, 6), &Device::Cpu).unwrap();
            let whole = (x * 2.0).unwrap().round().unwrap();
            let h = sae.hidden_pre(&whole).unwrap();
            let mut expected = Part::default();
            for row in h.to_vec2::<f32>().unwrap() {
                expected.push_unsorted(sae.inner().select(&row));
            }
            // Not one row behind another.
            let h = h.t().unwrap().contiguous().unwrap().t().unwrap();
            let found = sae.inner().select_there(&h).unwrap();
            let codes = |part| Codes::join(500, vec![part]);
            let (found, expected) = (codes(found), codes(expected));
            assert_eq!(found.layout(), expected.layout(), "{activation:?} {rescale:?}");
            assert_eq!(found.values(), expected.values(), "{activation:?} {rescale:?}");
            assert!(found.values().len() > 5 * 20);
        }
    }

    #[test]
    fn none_and_more_than_all() {
        let scores = Tensor::new(&[[1f32, 3., 2.], [0., -1., 5.]], &Device::Cpu).unwrap();
        let found = |k: usize| top_k(&scores, k).unwrap();
        assert_eq!(found(0).dims(), [2, 0]);
        assert_eq!(found(2).to_vec2::<u32>().unwrap(), [[1, 2], [0, 2]]);
        assert_eq!(found(9).to_vec2::<u32>().unwrap(), [[0, 1, 2]; 2]);
        assert_eq!(top_k(&scores.narrow(0, 0, 0).unwrap(), 2).unwrap().dims(), [0, 2]);
        let whole = scores.to_dtype(DType::F64).unwrap();
        assert!(top_k(&whole, 1).unwrap_err().to_string().contains("f32"));
    }

    #[cfg(feature = "cuda")]
    #[test]
    fn codes_on_cuda_are_those_on_the_cpu() {
        let device = match Device::new_cuda(0) {
            Ok(device) => device,
            Err(reason) => return println!("skipped, there is no GPU: {reason}"),
        };
        assert!(has_kernel(&device));
        for m in [500, 8193, 70_001] {
            for (activation, rescale) in kinds() {
                let codes = |device: &Device| {
                    let x = Rng::seed(7).normal((300, 6), &Device::Cpu).unwrap();
                    let whole = (x * 2.0).unwrap().round().unwrap().to_device(device).unwrap();
                    sae(activation, rescale, m, device).encode(&whole).unwrap()
                };
                let (here, there) = (codes(&Device::Cpu), codes(&device));
                assert_eq!(there.layout(), here.layout(), "{m} {activation:?} {rescale:?}");
                assert_eq!(there.values(), here.values(), "{m} {activation:?} {rescale:?}");
            }
        }
        let scores = emulated::case(3, 8193);
        let on = |device: &Device| Tensor::from_slice(&scores, (3, 8193), device).unwrap();
        for k in [1, 30, 8192, 8193] {
            let found = |device| top_k(&on(device), k).unwrap().to_vec2::<u32>().unwrap();
            assert_eq!(found(&device), found(&Device::Cpu), "{k}");
        }
    }
}
