//! Encoding and decoding with an autoencoder, beside PyTorch and beside f64.

use eigenlens::prelude::*;

use crate::language::{again, random_sae};
use crate::pytorch::{self, Work};
use crate::report::Row;
use crate::{Result, growth, largest};

/// Width, features, how many a code keeps, and activations.
const ONE: [usize; 4] = [768, 12_288, 32, 4_096];
/// A second autoencoder, for more activations.
const BATCH: [usize; 4] = [1_024, 8_192, 30, 8_192];
/// Activations whose codes and sums are computed in f64 as well.
const CHECKED: usize = 8;
/// Features with which encoding is timed to see how it grows, and how many a code keeps of which
/// decoding is.
const FEATURES: [usize; 3] = [3_072, 6_144, 12_288];
const KEPT: [usize; 3] = [16, 32, 64];
/// Activations of that.
const GROWING: usize = 1_024;

/// An autoencoder, activations, and their codes.
struct Case {
    sizes: [usize; 4],
    sae: Sae,
    x: Tensor,
    codes: Codes,
}

/// Speeds, errors and growth.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let (one, batch) = (Case::new(ONE)?, Case::new(BATCH)?);
    let works = [
        one.works([
            ("autoencoder, encoding", "encoding", 2),
            ("autoencoder, decoding", "decoding", 20),
        ])?,
        batch.works([
            ("autoencoder, encoding a batch", "encoding-batch", 1),
            ("autoencoder, decoding a batch", "decoding-batch", 10),
        ])?,
    ];
    let named = |[d_model, features, k, rows]: [&'static str; 4], sizes: [usize; 4]| {
        [(d_model, sizes[0]), (features, sizes[1]), (k, sizes[2]), (rows, sizes[3])]
    };
    let sizes = [
        named(["sae_d_model", "sae_features", "sae_k", "sae_rows"], ONE),
        named(["batch_d_model", "batch_features", "batch_k", "batch_rows"], BATCH),
    ];
    let mut rows = pytorch::rows(works.into_iter().flatten(), &sizes.concat())?;
    rows.extend(growths()?);
    Ok(rows)
}

fn growths() -> Result<[Row; 2]> {
    let [width, features, k, _] = ONE;
    let fixed = format!("top-{k}, d_model {width}, {GROWING} tokens");
    let encoding = growth::row("encoding", "features", FEATURES, &fixed, |features| {
        let case = Case::new([width, features, k, GROWING])?;
        growth::seconds(|| case.sae.encode(&case.x).map(drop))
    })?;
    let fixed = format!("{features} features, d_model {width}, {GROWING} tokens");
    let decoding = growth::row("decoding", "k", KEPT, &fixed, |k| {
        let case = Case::new([width, features, k, GROWING])?;
        growth::seconds(|| again(20, || case.sae.decode(&case.codes).map(drop)))
    })?;
    Ok([encoding, decoding])
}

impl Case {
    fn new(sizes: [usize; 4]) -> Result<Self> {
        let [width, features, k, rows] = sizes;
        let sae = random_sae(HookPoint::MlpOut(0), [features, width], k)?;
        let x = Rng::seed(1).normal((rows, width), &Device::Cpu)?;
        let codes = sae.encode(&x)?;
        Ok(Self { sizes, sae, x, codes })
    }

    /// Encoding and decoding, each by its name, what PyTorch calls it, and how often a turn does it.
    fn works(&self, named: [(&'static str, &'static str, usize); 2]) -> Result<[Work<'_>; 2]> {
        let [width, features, k, rows] = self.sizes;
        let size = format!("top-{k} of {features} features, d_model {width}, {rows} tokens");
        let [encoding, decoding] = named;
        let encode = |times| again(times, || self.sae.encode(&self.x).map(drop));
        let decode = |times| again(times, || self.sae.decode(&self.codes).map(drop));
        Ok([
            Work::new(encoding.0, encoding.1, encode)
                .size(&size)
                .turn(encoding.2, rows, "tokens/s")
                .flops((2 * width * features) as f64)
                .error(self.encoding_error()?),
            Work::new(decoding.0, decoding.1, decode)
                .size(&size)
                .turn(decoding.2, rows, "tokens/s")
                .flops((2 * width * k) as f64)
                .error(self.decoding_error()?),
        ])
    }

    /// The largest error of an entry of the first codes, against `h = E (x − b)` in f64: of what a
    /// feature kept says, and of the i-th largest kept against the i-th largest of all.
    fn encoding_error(&self) -> Result<f64> {
        let bias = wide(self.sae.b_dec())?;
        let x = wide(&self.x.narrow(0, 0, CHECKED)?)?.broadcast_sub(&bias)?;
        let said = x.matmul(&wide(self.sae.w_enc())?.t()?)?.to_vec2::<f64>()?;
        let mut errors = Vec::new();
        for (row, h) in said.iter().enumerate() {
            let mut kept: Vec<(u32, f32)> = self.codes.row(row).collect();
            kept.sort_by(|a, b| b.1.total_cmp(&a.1));
            let mut all = h.clone();
            all.sort_by(|a, b| b.total_cmp(a));
            let count = self.sae.k().unwrap_or_default();
            if kept.len() != count {
                let found = kept.len();
                return Err(format!("code {row} keeps {found} features instead of {count}").into());
            }
            for ((feature, value), ranked) in kept.into_iter().zip(all) {
                for exact in [h[feature as usize], ranked] {
                    errors.push((f64::from(value) / exact - 1.0).abs());
                }
            }
        }
        Ok(largest(errors))
    }

    /// The largest error of an entry of the first sums `D f + b`, over the largest entry of its sum,
    /// against the same in f64.
    fn decoding_error(&self) -> Result<f64> {
        let (found, bias) = (self.sae.decode(&self.codes)?, wide(self.sae.b_dec())?);
        let mut errors = Vec::new();
        for row in 0..CHECKED {
            let (features, values): (Vec<u32>, Vec<f32>) = self.codes.row(row).unzip();
            let values = Tensor::new(values, &Device::Cpu)?.unsqueeze(1)?;
            let features = Tensor::new(features, &Device::Cpu)?;
            let columns = self.sae.w_dec().index_select(&features, 1)?;
            let exact = (wide(&columns)?.matmul(&wide(&values)?)?.squeeze(1)? + &bias)?;
            let error = (wide(&found.get(row)?)? - &exact)?;
            let [error, whole] = [error, exact]
                .map(|entries| Ok::<f64, Error>(entries.abs()?.max_all()?.to_scalar()?));
            errors.push(error? / whole?);
        }
        Ok(largest(errors))
    }
}

fn wide(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_dtype(DType::F64)?)
}
