//! Encoding and decoding.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Codes;
use crate::linalg::{check_finite, matmul_nt};
use crate::model::HookPoint;
use crate::notebook::MimeBundle;
use crate::{Error, Result};

/// Entries of the dense activations that are held at a time while encoding.
const BLOCK: usize = 1 << 24;

/// A top-k sparse autoencoder with m features of a d-dimensional activation x:
///
/// $$f(x) = \mathrm{top}_k(E\,(x - b) + e),\qquad \hat x = D f(x) + b.$$
///
/// The k largest entries are kept as they are, without a ReLU, so that codes can be negative. A
/// bilinear encoder keeps the largest of $(E_1 (x-b) + e_1) \circ (E_2 (x-b) + e_2)$ instead. A
/// cheap handle: clones share weights.
#[derive(Debug, Clone)]
pub struct Sae(Arc<Inner>);

/// The weights of an [`Sae`] of m features of d-dimensional activations, all f32.
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// E `[m, d]`, or E₁ above E₂ `[2m, d]` where the encoder is bilinear.
    pub encoder: Tensor,
    /// e, an entry a row of the encoder, if there is one.
    pub encoder_bias: Option<Tensor>,
    /// Whether the encoder multiplies two maps.
    pub bilinear: bool,
    /// D `[d, m]`.
    pub decoder: Tensor,
    /// b `[d]`.
    pub bias: Tensor,
}

#[derive(Debug)]
struct Inner {
    weights: SaeWeights,
    /// The decoder's columns as rows, on the host, for sparse sums.
    columns: Vec<f32>,
    k: usize,
    point: HookPoint,
}

impl Sae {
    /// An autoencoder of activations at `point` that keeps `k` features.
    ///
    /// # Errors
    /// Shapes that do not match, k of zero or above m, weights that hold NaN.
    pub fn from_weights(point: HookPoint, k: usize, weights: SaeWeights) -> Result<Self> {
        let SaeWeights { encoder, encoder_bias, bilinear, decoder, bias } = &weights;
        let (d, m) = match *decoder.dims() {
            [d, m] if m > 0 && d > 0 => (d, m),
            _ => return Err(Error::shape("the decoder", "[d, features]", decoder.dims())),
        };
        let rows = if *bilinear { 2 * m } else { m };
        let shapes = [
            ("the encoder", Some(encoder), vec![rows, d]),
            ("the encoder's bias", encoder_bias.as_ref(), vec![rows]),
            ("the decoder's bias", Some(bias), vec![d]),
            ("the decoder", Some(decoder), vec![d, m]),
        ];
        for (what, tensor, shape) in &shapes {
            let Some(tensor) = tensor else { continue };
            if tensor.dims() != shape {
                return Err(Error::shape(*what, format!("{shape:?}"), tensor.dims()));
            }
            if tensor.dtype() != DType::F32 {
                let what = format!("the dtype of {what}");
                return Err(Error::invalid(what, "f32", tensor.dtype().as_str()));
            }
            check_finite(what, tensor)?;
        }
        if k == 0 || k > m {
            return Err(Error::invalid("k", format!("between 1 and {m}, the features"), k));
        }
        let columns = decoder.to_device(&Device::Cpu)?.t()?.flatten_all()?.to_vec1()?;
        Ok(Self(Arc::new(Inner { weights, columns, k, point })))
    }

    /// Number of features, m.
    pub fn features(&self) -> usize {
        self.0.weights.decoder.dims()[1]
    }

    /// Width of the activations, d.
    pub fn d_model(&self) -> usize {
        self.0.weights.decoder.dims()[0]
    }

    /// How many features a code keeps.
    pub fn k(&self) -> usize {
        self.0.k
    }

    /// Where in the model its activations come from.
    pub fn point(&self) -> HookPoint {
        self.0.point
    }

    /// The encoder E `[m, d]`: row i is what feature i looks for. A bilinear encoder's two maps lie
    /// above each other, `[2m, d]`.
    pub fn w_enc(&self) -> &Tensor {
        &self.0.weights.encoder
    }

    /// Whether the encoder multiplies two maps.
    pub fn is_bilinear(&self) -> bool {
        self.0.weights.bilinear
    }

    /// The decoder D `[d, m]`: column i is what feature i adds.
    pub fn w_dec(&self) -> &Tensor {
        &self.0.weights.decoder
    }

    /// The bias b `[d]`, taken off before encoding and added after decoding.
    pub fn b_dec(&self) -> &Tensor {
        &self.0.weights.bias
    }

    /// The encoder's bias e `[m]`, if it has one.
    pub fn encoder_bias(&self) -> Option<&Tensor> {
        self.0.weights.encoder_bias.as_ref()
    }

    /// Sparse codes of activations `x` `[…, d]`, a row a position.
    ///
    /// Of equal entries the one of the lower index is kept.
    ///
    /// # Errors
    /// Another width than d; NaN.
    pub fn encode(&self, x: &Tensor) -> Result<Codes> {
        let x = self.rows_of(x)?;
        check_finite("the activations", &x)?;
        let (rows, m, k) = (x.dim(0)?, self.features(), self.0.k);
        let mut codes = Vec::with_capacity(rows);
        let step = (BLOCK / m).max(1);
        for start in (0..rows).step_by(step) {
            let dense = self.before_top_k(&x.narrow(0, start, step.min(rows - start))?)?;
            let dense: Vec<f32> = dense.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
            codes.par_extend(dense.par_chunks(m).map(|row| largest(row, k)));
        }
        Codes::new(m, codes)
    }

    /// What each feature says to activations `x` `[…, d]` before only the k largest are kept,
    /// `[rows, m]`: SAELens's `hidden_pre`.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn hidden_pre(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.rows_of(x)?;
        check_finite("the activations", &x)?;
        self.before_top_k(&x)
    }

    fn before_top_k(&self, x: &Tensor) -> Result<Tensor> {
        let mut dense = matmul_nt(&x.broadcast_sub(self.b_dec())?, self.w_enc())?;
        if let Some(bias) = self.encoder_bias() {
            dense = dense.broadcast_add(bias)?;
        }
        if self.is_bilinear() {
            let m = self.features();
            dense = (dense.narrow(1, 0, m)? * dense.narrow(1, m, m)?)?;
        }
        Ok(dense)
    }

    /// The activations `[rows, d]` that `codes` stand for.
    ///
    /// # Errors
    /// Codes of another number of features.
    pub fn decode(&self, codes: &Codes) -> Result<Tensor> {
        let (d, m) = (self.d_model(), self.features());
        if codes.width() != m {
            return Err(Error::invalid(
                "the codes' width",
                format!("{m}, the features"),
                codes.width(),
            ));
        }
        let bias: Vec<f32> = self.b_dec().to_vec1()?;
        let mut out = vec![0f32; codes.rows() * d];
        out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
            out.copy_from_slice(&bias);
            for (feature, value) in codes.row(row) {
                let column = &self.0.columns[feature as usize * d..][..d];
                out.iter_mut().zip(column).for_each(|(out, entry)| *out += value * entry);
            }
        });
        Ok(Tensor::from_vec(out, (codes.rows(), d), self.w_dec().device())?)
    }

    /// What the autoencoder makes of `x` `[…, d]`, in the same shape.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.decode(&self.encode(x)?)?.reshape(x.shape())?)
    }

    /// Shows what it is as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }

    /// Activations `[…, d]` as `[rows, d]`.
    fn rows_of(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.d_model();
        match x.dims() {
            [.., last] if *last == width && x.elem_count() > 0 => Ok(x.reshape(((), width))?),
            dims => Err(Error::shape("the activations", format!("[…, {width}], not empty"), dims)),
        }
    }
}

impl fmt::Display for Sae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoder = if self.is_bilinear() { "bilinear" } else { "linear" };
        let (m, d, k) = (self.features(), self.d_model(), self.k());
        write!(
            f,
            "top-{k} autoencoder of {}: {m} features of {d} dimensions, {encoder} encoder",
            self.point()
        )
    }
}

/// Index and value of the k largest entries.
pub(super) fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let room = (2 * k).max(64);
    let mut kept: Vec<(u32, f32)> = Vec::with_capacity(room);
    let keep_best = |kept: &mut Vec<(u32, f32)>| {
        if kept.len() > k {
            kept.select_nth_unstable_by(k - 1, |(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            kept.truncate(k);
        }
    };
    // Most entries fall short of the k-th best so far: a comparison each.
    let mut bar = f32::NEG_INFINITY;
    for (i, value) in row.iter().enumerate() {
        // Of equal entries the earlier is kept, and NaN counts as large: it must not get lost.
        if kept.len() >= k && *value <= bar {
            continue;
        }
        kept.push((i as u32, *value));
        if kept.len() == room {
            keep_best(&mut kept);
            bar = kept[k - 1].1;
        }
    }
    keep_best(&mut kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn sae(m: usize, d: usize, k: usize, bilinear: bool) -> Sae {
        let mut rng = Rng::seed(2);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let rows = if bilinear { 2 * m } else { m };
        let weights = SaeWeights {
            encoder: normal(&[rows, d]),
            encoder_bias: Some(normal(&[rows])),
            bilinear,
            decoder: normal(&[d, m]),
            bias: normal(&[d]),
        };
        Sae::from_weights(HookPoint::MlpIn(1), k, weights).unwrap()
    }

    #[test]
    fn it_is_its_formula() {
        for bilinear in [false, true] {
            let sae = sae(11, 4, 3, bilinear);
            let x = Rng::seed(5).normal((2, 3, 4), &Device::Cpu).unwrap();
            let codes = sae.encode(&x).unwrap();
            let pre = sae.hidden_pre(&x).unwrap().to_vec2::<f32>().unwrap();
            let centred = x.reshape((6, 4)).unwrap().broadcast_sub(sae.b_dec()).unwrap();
            let dense = centred.matmul(&sae.w_enc().t().unwrap()).unwrap();
            let dense = dense.broadcast_add(sae.encoder_bias().unwrap()).unwrap();
            let half = |start| dense.narrow(1, start, 11).unwrap();
            let dense = if bilinear { (half(0) * half(11)).unwrap() } else { dense.clone() };
            for (row, dense) in dense.to_vec2::<f32>().unwrap().iter().enumerate() {
                let mut sorted = dense.clone();
                sorted.sort_by(|a, b| b.total_cmp(a));
                assert_eq!(codes.row(row).len(), 3);
                for (feature, value) in codes.row(row) {
                    assert!((value - dense[feature as usize]).abs() < 1e-5);
                    assert_eq!(value, pre[row][feature as usize]);
                    assert!(value > sorted[3] - 1e-5);
                }
            }
            let full = codes.to_dense(&Device::Cpu).unwrap();
            let expected = full.matmul(&sae.w_dec().t().unwrap()).unwrap();
            let expected = expected.broadcast_add(sae.b_dec()).unwrap().reshape((2, 3, 4)).unwrap();
            let gap = (sae.reconstruct(&x).unwrap() - expected).unwrap().abs().unwrap();
            assert!(gap.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn of_equals_the_first_are_kept() {
        assert_eq!(largest(&[1., 2., 2., 2.], 2), [(1, 2.), (2, 2.)]);
        assert_eq!(largest(&[-1., -2.], 2).len(), 2);
    }

    #[test]
    fn the_largest_of_many_are_those_of_a_sort() {
        let mut rng = Rng::seed(8);
        for (n, k) in [(1000, 3), (1000, 40), (1000, 999), (70, 70), (5, 1)] {
            // Few different values: ties.
            let row: Vec<f32> = (0..n).map(|_| (20.0 * rng.unit()).floor() - 10.0).collect();
            let mut sorted: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
            sorted.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            sorted.truncate(k);
            let mut found = largest(&row, k);
            found.sort_by(|(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
            assert_eq!(found, sorted, "{k} of {n}");
        }
        assert!(largest(&[1.0, f32::NAN, 2.0], 1)[0].1.is_nan());
    }

    #[test]
    fn bad_input_is_named() {
        let sae = sae(5, 4, 2, false);
        let wide = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(sae.encode(&wide).unwrap_err().to_string().contains("[…, 4]"));
        let nan = (Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap() / 0.0).unwrap();
        assert!(sae.encode(&nan).unwrap_err().to_string().contains("NaN"));
        let codes = Codes::new(6, [vec![]]).unwrap();
        assert!(sae.decode(&codes).unwrap_err().to_string().contains("features"));
        let message = |k, change: &dyn Fn(&mut SaeWeights)| {
            let mut weights = sae.0.weights.clone();
            change(&mut weights);
            Sae::from_weights(HookPoint::MlpIn(0), k, weights).unwrap_err().to_string()
        };
        assert!(message(6, &|_| ()).contains("between 1 and 5"));
        assert!(message(2, &|weights| weights.bilinear = true).contains("[10, 4]"));
        assert!(message(2, &|w| w.bias = w.decoder.clone()).contains("the decoder's bias"));
        assert!(message(2, &|w| w.bias = (&w.bias / 0.0).unwrap()).contains("NaN"));
    }
}
