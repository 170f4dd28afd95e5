//! Every architecture against its formula in f64, and against itself after saving and loading.

use candle_core::{DType, Device, Tensor};

use crate::random::Rng;
use crate::sae::*;

/// Every architecture that an autoencoder can have, and some that are rare.
pub(super) fn architectures(k: usize) -> Vec<Architecture> {
    let base = Architecture::standard();
    let with = |activation| Architecture { activation, ..base.clone() };
    let mut all = vec![
        base.clone(),
        Architecture::jump_relu(),
        Architecture::top_k(k),
        Architecture::signed_top_k(k),
        with(SaeActivation::AbsTopK { k }),
        with(SaeActivation::GroupMax { k }),
        with(SaeActivation::Gated),
        with(SaeActivation::MatchingPursuit { threshold: 0.3, steps: 7, stop_on_repeat: true }),
    ];
    for rescale in [Rescale::Kept, Rescale::Undone] {
        all.push(Architecture { rescale, ..Architecture::top_k(k) });
        all.push(Architecture { rescale, ..Architecture::jump_relu() });
    }
    for encoder in [Encoder::Bilinear, Encoder::Glu] {
        all.push(Architecture { encoder, ..Architecture::signed_top_k(k) });
        all.push(Architecture { encoder, ..base.clone() });
    }
    for normalization in [
        Normalization::LayerNorm,
        Normalization::UnitNorm,
        Normalization::Centre,
        Normalization::Scale(0.3),
    ] {
        all.push(Architecture { normalization, ..Architecture::top_k(k) });
        all.push(Architecture { normalization, centred: false, ..base.clone() });
    }
    let transcoder = Architecture { transcoder: true, centred: false, ..base.clone() };
    all.push(Architecture { activation: SaeActivation::JumpRelu, ..transcoder.clone() });
    all.push(transcoder);
    all
}

pub(super) fn random(architecture: &Architecture, sizes: [usize; 3], skip: bool, seed: u64) -> Sae {
    let [d, m, out] = sizes;
    let mut rng = Rng::seed(seed);
    let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
    let rows = m * architecture.encoder.maps();
    let mut weights = SaeWeights::new(normal(&[rows, d]), normal(&[out, m]), normal(&[out]));
    match architecture.activation {
        SaeActivation::Gated => {
            let [bias, log_gains, magnitude] = [(); 3].map(|()| normal(&[m]));
            weights.gate = Some(Gate { bias, log_gains, magnitude });
        }
        SaeActivation::MatchingPursuit { .. } => {
            // Columns of length one, or the pursuit diverges.
            let lengths = weights.decoder.sqr().unwrap().sum_keepdim(0).unwrap().sqrt().unwrap();
            weights.decoder = weights.decoder.broadcast_div(&lengths).unwrap();
            weights.encoder = weights.decoder.t().unwrap().contiguous().unwrap();
        }
        SaeActivation::JumpRelu => {
            weights.encoder_bias = Some(normal(&[rows]));
            weights.thresholds = Some(normal(&[m]));
        }
        _ => weights.encoder_bias = Some(normal(&[rows])),
    }
    weights.skip = skip.then(|| normal(&[out, d]));
    Sae::new(architecture.clone(), weights).unwrap()
}

pub(super) fn wide(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Code and reconstruction of one row, by the formulas of [`Architecture`], entry by entry.
fn plain(sae: &Sae, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (d, m, out) = (sae.d_model(), sae.features(), sae.d_out());
    let own = sae.architecture();
    let weights = sae.weights();
    let (e, dec, b) = (wide(&weights.encoder), wide(&weights.decoder), wide(&weights.bias));
    let mean = x.iter().sum::<f64>() / d as f64;
    let deviation = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (d as f64 - 1.0)).sqrt();
    let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let (factor, shift) = match own.normalization {
        Normalization::None => (1.0, 0.0),
        Normalization::LayerNorm => (deviation, mean),
        Normalization::UnitNorm => (length / (d as f64).sqrt(), 0.0),
        Normalization::Centre => (1.0, mean),
        Normalization::Scale(scale) => (1.0 / scale, 0.0),
    };
    let eps = if own.normalization == Normalization::LayerNorm { 1e-5 } else { 0.0 };
    let y = |j: usize| (x[j] - shift) / (factor + eps) - if own.centred { b[j] } else { 0.0 };
    let norm = |i: usize| (0..out).map(|o| dec[o * m + i].powi(2)).sum::<f64>().sqrt();
    let bias = weights.encoder_bias.as_ref().map(wide);
    let map = |row: usize| {
        (0..d).map(|j| e[row * d + j] * y(j)).sum::<f64>() + bias.as_ref().map_or(0.0, |b| b[row])
    };
    let h = |i: usize| match own.encoder {
        Encoder::Linear => map(i),
        Encoder::Bilinear => map(i) * map(m + i),
        Encoder::Glu => map(i) / (1.0 + (-map(m + i)).exp()),
    };
    let weighed = |i: usize| if own.rescale == Rescale::None { h(i) } else { h(i) * norm(i) };
    let kept = |i: usize| if own.rescale == Rescale::Kept { weighed(i) } else { h(i) };
    let best = |k: usize, of: &dyn Fn(usize) -> f64| {
        let mut order: Vec<usize> = (0..m).collect();
        order.sort_by(|a, b| of(*b).total_cmp(&of(*a)));
        order.truncate(k);
        order
    };
    let mut f = vec![0.0; m];
    match own.activation {
        SaeActivation::Relu => (0..m).for_each(|i| f[i] = h(i).max(0.0)),
        SaeActivation::JumpRelu => {
            let thresholds = wide(weights.thresholds.as_ref().unwrap());
            let above = |i: &usize| weighed(*i) > thresholds[*i] && h(*i) > 0.0;
            (0..m).filter(above).for_each(|i| f[i] = kept(i));
        }
        SaeActivation::TopK { k, relu } => best(k, &weighed)
            .into_iter()
            .for_each(|i| f[i] = if relu { kept(i).max(0.0) } else { kept(i) }),
        SaeActivation::AbsTopK { k } => {
            best(k, &|i| weighed(i).abs()).into_iter().for_each(|i| f[i] = kept(i));
        }
        SaeActivation::GroupMax { k } => {
            for group in 0..k {
                let members = group * m / k..(group + 1) * m / k;
                let i = members.max_by(|a, b| h(*a).total_cmp(&h(*b))).unwrap();
                f[i] = h(i).max(0.0);
            }
        }
        SaeActivation::Gated => {
            let gate = weights.gate.as_ref().unwrap();
            let [g, r, c] = [&gate.bias, &gate.log_gains, &gate.magnitude].map(wide);
            let open = |i: &usize| h(*i) + g[*i] > 0.0;
            (0..m).filter(open).for_each(|i| f[i] = (h(i) * r[i].exp() + c[i]).max(0.0));
        }
        SaeActivation::MatchingPursuit { threshold, steps, .. } => {
            let mut rest: Vec<f64> = (0..d).map(y).collect();
            for _ in 0..steps {
                if rest.iter().map(|x| x * x).sum::<f64>().sqrt() < f64::from(threshold) {
                    break;
                }
                let score = |i: usize| (0..d).map(|j| dec[j * m + i] * rest[j]).sum::<f64>();
                let i = (0..m).max_by(|a, b| score(*a).total_cmp(&score(*b))).unwrap();
                let value = score(i).max(0.0);
                let known = f[i] != 0.0;
                f[i] += value;
                (0..d).for_each(|j| rest[j] -= value * dec[j * m + i]);
                if known {
                    break;
                }
            }
        }
    }
    let skip = weights.skip.as_ref().map(wide);
    let back = (0..out).map(|o| {
        let divide = |i: usize| if own.rescale == Rescale::Kept { f[i] / norm(i) } else { f[i] };
        let decoded = (0..m).map(|i| dec[o * m + i] * divide(i)).sum::<f64>() + b[o];
        let skipped = skip.as_ref().map_or(0.0, |s| (0..d).map(|j| s[o * d + j] * x[j]).sum());
        decoded * factor + shift + skipped
    });
    let back = back.collect();
    (f, back)
}

#[test]
fn every_architecture_is_its_formula_in_f64() {
    for seed in 0..6 {
        let sizes = [3 + seed as usize, 12 + 6 * (seed as usize % 3), 3 + seed as usize];
        for architecture in architectures(3) {
            let skip = architecture.transcoder && seed % 2 == 1;
            let out = if architecture.transcoder { 5 } else { sizes[2] };
            let sae = random(&architecture, [sizes[0], sizes[1], out], skip, seed);
            // Few rows are encoded by a product of all, many in tiles.
            let rows = if seed % 2 == 0 { 5 } else { 37 };
            let x = Rng::seed(100 + seed).normal((rows, sizes[0]), &Device::Cpu).unwrap();
            let x = (x * 2.0).unwrap();
            let codes = wide(&sae.encode(&x).unwrap().to_dense(&Device::Cpu).unwrap());
            let back = wide(&sae.reconstruct(&x).unwrap());
            for (row, x) in wide(&x).chunks(sizes[0]).enumerate() {
                let (f, expected) = plain(&sae, x);
                let gap = |a: &[f64], b: &[f64]| {
                    let size = b.iter().fold(1.0f64, |size, b| size.max(b.abs()));
                    a.iter().zip(b).fold(0.0f64, |gap, (a, b)| gap.max((a - b).abs())) / size
                };
                let (m, out) = (sae.features(), sae.d_out());
                let gaps =
                    [gap(&codes[row * m..][..m], &f), gap(&back[row * out..][..out], &expected)];
                assert!(gaps.iter().all(|gap| *gap < 2e-5), "{architecture}, row {row}: {gaps:?}");
            }
        }
    }
}

#[test]
fn nan_is_in_the_code_of_every_kind() {
    for architecture in architectures(3) {
        if architecture.activation.pursuit().is_some() {
            continue;
        }
        let sae = random(&architecture, [5, 12, 5], false, 1);
        let mut h = vec![-1.0; 12];
        h[7] = f32::NAN;
        let code = sae.inner().code(&h);
        let found = code.iter().any(|(feature, value)| *feature == 7 && value.is_nan());
        assert!(found, "{architecture}: {code:?}");
    }
}

#[test]
fn what_saelens_has_comes_back_bit_for_bit() {
    let mut saved = 0;
    for (seed, architecture) in architectures(3).into_iter().enumerate() {
        let skip = architecture.transcoder && seed % 2 == 0;
        let out = if architecture.transcoder { 7 } else { 5 };
        let sae = random(&architecture, [5, 12, out], skip, seed as u64);
        let folder = tempfile::tempdir().unwrap();
        let scaled = matches!(architecture.normalization, Normalization::Scale(_));
        if let Err(reason) = sae.save(folder.path()) {
            assert!(reason.to_string().contains("architecture that SAELens has"), "{reason}");
            continue;
        }
        saved += 1;
        let back = Sae::load(folder.path(), &Device::Cpu).unwrap();
        let x = Rng::seed(1).normal((8, 5), &Device::Cpu).unwrap();
        let dense = |sae: &Sae| wide(&sae.encode(&x).unwrap().to_dense(&Device::Cpu).unwrap());
        if scaled {
            // The scale is folded into the weights: the same up to rounding.
            let (own, back) = (dense(&sae), dense(&back));
            let gap = own.iter().zip(back).map(|(a, b)| (a - b).abs());
            assert!(gap.fold(0.0, f64::max) < 1e-5, "{architecture}");
            continue;
        }
        assert_eq!(back.architecture(), sae.architecture());
        assert_eq!(dense(&back), dense(&sae), "{architecture}");
        assert_eq!(wide(&back.reconstruct(&x).unwrap()), wide(&sae.reconstruct(&x).unwrap()));
    }
    assert!(saved > 12, "{saved}");
}

#[test]
fn heads_are_flattened_and_come_back() {
    let sae = random(&Architecture::standard(), [6, 12, 6], false, 0);
    let x = Rng::seed(3).normal((4, 2, 3), &Device::Cpu).unwrap();
    let flat = x.reshape((4, 6)).unwrap();
    assert_eq!(sae.reconstruct(&x).unwrap().dims(), [4, 2, 3]);
    assert_eq!(wide(&sae.reconstruct(&x).unwrap()), wide(&sae.reconstruct(&flat).unwrap()));
}

#[test]
fn codes_of_normalised_rows_need_their_scales() {
    let architecture =
        Architecture { normalization: Normalization::LayerNorm, ..Architecture::top_k(2) };
    let sae = random(&architecture, [4, 8, 4], false, 0);
    let bare = Codes::new(8, [vec![(1, 1.0)]]).unwrap();
    let message = sae.decode(&bare).unwrap_err().to_string();
    assert!(message.contains("each row's scale"), "{message}");
    assert!(sae.with_input_scale(2.0).unwrap_err().to_string().contains("of its own"));
    assert!(sae.with_input_scale(f64::NAN).unwrap_err().to_string().contains("above 0"));
}
