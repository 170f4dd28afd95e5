//! Codes chosen by [`top_k`] against those of the host.

mod emulated;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::random::Rng;
use crate::sae::codes::CodesPart;
use crate::sae::{Architecture, Codes, Rescale, Sae, SaeActivation, SaeWeights};

/// An autoencoder of whole numbers, whose products every device sums without rounding; many are
/// equal.
fn sae(activation: SaeActivation, rescale: Rescale, m: usize, device: &Device) -> Sae {
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

fn kinds() -> Vec<(SaeActivation, Rescale)> {
    let activations = [
        SaeActivation::TopK { k: 30, relu: true },
        SaeActivation::TopK { k: 30, relu: false },
        SaeActivation::AbsTopK { k: 30 },
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
        let mut expected = CodesPart::default();
        for row in h.to_vec2::<f32>().unwrap() {
            expected.push_unsorted(sae.inner().code(&row));
        }
        // Not one row behind another.
        let h = h.t().unwrap().contiguous().unwrap().t().unwrap();
        let found = sae.inner().codes_by_top_k(&h).unwrap().unwrap();
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
