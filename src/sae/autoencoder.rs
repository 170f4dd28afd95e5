//! Encoding and decoding.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::Codes;
use crate::linalg::{check_finite, matmul_nt};
use crate::model::HookPoint;
use crate::{Error, Result};

/// Entries of the dense activations that are held at a time while encoding.
const BLOCK: usize = 1 << 24;

/// A top-k sparse autoencoder with m features of a d-dimensional activation x:
///
/// $$f(x) = \mathrm{top}_k(E\,(x - b) + e),\qquad \hat x = D f(x) + b.$$
///
/// The k largest entries are kept as they are, without a ReLU, so that codes can be negative. A
/// cheap handle: clones share weights.
#[derive(Debug, Clone)]
pub struct Sae(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    encoder: Tensor,
    encoder_bias: Option<Tensor>,
    decoder: Tensor,
    /// The decoder's columns as rows, on the host, for sparse sums.
    columns: Vec<f32>,
    bias: Tensor,
    k: usize,
    point: HookPoint,
}

impl Sae {
    /// An autoencoder from its weights: `encoder` E `[m, d]`, `encoder_bias` e `[m]`, `decoder` D
    /// `[d, m]`, `bias` b `[d]`, all f32.
    ///
    /// # Errors
    /// Shapes that do not match, k of zero or above m, weights that hold NaN.
    pub fn from_weights(
        point: HookPoint,
        k: usize,
        encoder: &Tensor,
        encoder_bias: Option<&Tensor>,
        decoder: &Tensor,
        bias: &Tensor,
    ) -> Result<Self> {
        let (m, d) = match *encoder.dims() {
            [m, d] if m > 0 && d > 0 => (m, d),
            _ => return Err(Error::shape("the encoder", "[features, d]", encoder.dims())),
        };
        let shapes = [
            ("the decoder", Some(decoder), vec![d, m]),
            ("the decoder's bias", Some(bias), vec![d]),
            ("the encoder's bias", encoder_bias, vec![m]),
            ("the encoder", Some(encoder), vec![m, d]),
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
        Ok(Self(Arc::new(Inner {
            encoder: encoder.clone(),
            encoder_bias: encoder_bias.cloned(),
            decoder: decoder.clone(),
            columns,
            bias: bias.clone(),
            k,
            point,
        })))
    }

    /// Number of features, m.
    pub fn features(&self) -> usize {
        self.0.encoder.dims()[0]
    }

    /// Width of the activations, d.
    pub fn d_model(&self) -> usize {
        self.0.encoder.dims()[1]
    }

    /// How many features a code keeps.
    pub fn k(&self) -> usize {
        self.0.k
    }

    /// Where in the model its activations come from.
    pub fn point(&self) -> HookPoint {
        self.0.point
    }

    /// The encoder E `[m, d]`: row i is what feature i looks for.
    pub fn w_enc(&self) -> &Tensor {
        &self.0.encoder
    }

    /// The decoder D `[d, m]`: column i is what feature i adds.
    pub fn w_dec(&self) -> &Tensor {
        &self.0.decoder
    }

    /// The bias b `[d]`, taken off before encoding and added after decoding.
    pub fn b_dec(&self) -> &Tensor {
        &self.0.bias
    }

    /// The encoder's bias e `[m]`, if it has one.
    pub fn encoder_bias(&self) -> Option<&Tensor> {
        self.0.encoder_bias.as_ref()
    }

    /// Sparse codes of activations `x` `[…, d]`, a row a position.
    ///
    /// Of equal entries the one of the lower index is kept.
    ///
    /// # Errors
    /// Another width than d; NaN.
    pub fn encode(&self, x: &Tensor) -> Result<Codes> {
        let x = self.flat("the activations", x, self.d_model())?;
        check_finite("the activations", &x)?;
        let (rows, m, k) = (x.dim(0)?, self.features(), self.0.k);
        let mut codes = Vec::with_capacity(rows);
        let step = (BLOCK / m).max(1);
        for start in (0..rows).step_by(step) {
            let block = x.narrow(0, start, step.min(rows - start))?;
            let mut dense = matmul_nt(&block.broadcast_sub(&self.0.bias)?, &self.0.encoder)?;
            if let Some(bias) = &self.0.encoder_bias {
                dense = dense.broadcast_add(bias)?;
            }
            let dense: Vec<f32> = dense.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
            codes.par_extend(dense.par_chunks(m).map(|row| largest(row, k)));
        }
        Codes::new(m, codes)
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
        let bias: Vec<f32> = self.0.bias.to_vec1()?;
        let mut out = vec![0f32; codes.rows() * d];
        out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
            out.copy_from_slice(&bias);
            for (feature, value) in codes.row(row) {
                let column = &self.0.columns[feature as usize * d..][..d];
                out.iter_mut().zip(column).for_each(|(out, entry)| *out += value * entry);
            }
        });
        Ok(Tensor::from_vec(out, (codes.rows(), d), self.0.decoder.device())?)
    }

    /// What the autoencoder makes of `x` `[…, d]`, in the same shape.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.decode(&self.encode(x)?)?.reshape(x.shape())?)
    }

    fn flat(&self, what: &str, x: &Tensor, width: usize) -> Result<Tensor> {
        match x.dims() {
            [.., last] if *last == width && x.elem_count() > 0 => Ok(x.reshape(((), width))?),
            dims => Err(Error::shape(what, format!("[…, {width}], not empty"), dims)),
        }
    }
}

/// Index and value of the k largest entries.
fn largest(row: &[f32], k: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
    if k < all.len() {
        all.select_nth_unstable_by(k - 1, |(i, a), (j, b)| b.total_cmp(a).then(i.cmp(j)));
        all.truncate(k);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Rng;

    fn sae(m: usize, d: usize, k: usize) -> Sae {
        let mut rng = Rng::seed(2);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let (encoder, decoder) = (normal(&[m, d]), normal(&[d, m]));
        let (bias, encoder_bias) = (normal(&[d]), normal(&[m]));
        Sae::from_weights(HookPoint::MlpIn(1), k, &encoder, Some(&encoder_bias), &decoder, &bias)
            .unwrap()
    }

    #[test]
    fn it_is_its_formula() {
        let sae = sae(11, 4, 3);
        let x = Rng::seed(5).normal((2, 3, 4), &Device::Cpu).unwrap();
        let codes = sae.encode(&x).unwrap();
        let centred = x.reshape((6, 4)).unwrap().broadcast_sub(sae.b_dec()).unwrap();
        let dense = centred.matmul(&sae.w_enc().t().unwrap()).unwrap();
        let dense = dense.broadcast_add(sae.0.encoder_bias.as_ref().unwrap()).unwrap();
        for (row, dense) in dense.to_vec2::<f32>().unwrap().iter().enumerate() {
            let mut sorted = dense.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            assert_eq!(codes.row(row).len(), 3);
            for (feature, value) in codes.row(row) {
                assert!((value - dense[feature as usize]).abs() < 1e-5 && value > sorted[3] - 1e-5);
            }
        }
        let full = codes.to_dense(&Device::Cpu).unwrap();
        let expected = full.matmul(&sae.w_dec().t().unwrap()).unwrap();
        let expected = expected.broadcast_add(sae.b_dec()).unwrap().reshape((2, 3, 4)).unwrap();
        let gap = (sae.reconstruct(&x).unwrap() - expected).unwrap().abs().unwrap();
        assert!(gap.max_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5);
    }

    #[test]
    fn of_equals_the_first_are_kept() {
        assert_eq!(largest(&[1., 2., 2., 2.], 2), [(1, 2.), (2, 2.)]);
        assert_eq!(largest(&[-1., -2.], 2).len(), 2);
    }

    #[test]
    fn bad_input_is_named() {
        let sae = sae(5, 4, 2);
        let wide = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(sae.encode(&wide).unwrap_err().to_string().contains("[…, 4]"));
        let nan = (Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap() / 0.0).unwrap();
        assert!(sae.encode(&nan).unwrap_err().to_string().contains("NaN"));
        let codes = Codes::new(6, [vec![]]).unwrap();
        assert!(sae.decode(&codes).unwrap_err().to_string().contains("features"));
        let (e, d, b) = (sae.w_enc(), sae.w_dec(), sae.b_dec());
        let message = |k, d: &Tensor, b: &Tensor| {
            Sae::from_weights(HookPoint::MlpIn(0), k, e, None, d, b).unwrap_err().to_string()
        };
        assert!(message(6, d, b).contains("between 1 and 5"));
        assert!(message(2, e, b).contains("the decoder"));
        assert!(message(2, d, &(b / 0.0).unwrap()).contains("NaN"));
    }
}
