//! Encoding and decoding.

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::codes::CodesPart;
use super::top_k::has_kernel;
use super::{Codes, Encoder, Normalization, Rescale, Sae};
use crate::check::check_finite;
use crate::linalg::matmul_nt;
use crate::progress::safe_point;
use crate::{Error, Result};

/// Entries of the dense activations that are held at a time while encoding.
const BLOCK: usize = 1 << 24;
/// Rows whose codes one thread chooses at a time.
const SHARE: usize = 16;
/// What is added to a standard deviation before dividing by it.
const EPSILON: f64 = 1e-5;

impl Sae {
    /// Sparse codes of activations `x` `[…, d]`, a row a position; of heads' values
    /// `[…, heads, d_head]` where d is heads · d_head.
    ///
    /// Of equal entries the one of the lower index is kept, and a feature is in the code if it is above
    /// its threshold, not at it. Activations of an f16, bf16 or f64 model
    /// are converted to f32, in which the autoencoder computes.
    ///
    /// # Errors
    /// Another width than d; NaN; activations that are not floating point; [`Error::Interrupted`] when
    /// Stop is pressed.
    pub fn encode(&self, x: &Tensor) -> Result<Codes> {
        let (x, restore) = self.normalized(x)?;
        safe_point("encoding")?;
        let parts = if let Some(pursuit) = self.architecture().activation.pursuit() {
            let x: Vec<f32> = self.centred(&x)?.flatten_all()?.to_vec1()?;
            pursuit.pursue(self.inner(), &x, self.d_model())
        } else if self.scans(&x) {
            self.scan(&x)?
        } else {
            self.choose(&x)?
        };
        // The codes may be cut short if Stop came while they were chosen.
        safe_point("encoding")?;
        Ok(Codes::join(self.features(), parts).restoring(restore))
    }

    /// Codes of rows `x`, chosen from all their activations.
    pub(super) fn choose(&self, x: &Tensor) -> Result<Vec<CodesPart>> {
        let (rows, m) = (x.dim(0)?, self.features());
        let (step, mut parts) = ((BLOCK / m).max(1), Vec::new());
        for start in (0..rows).step_by(step) {
            safe_point("encoding")?;
            let dense = self.before_selection(&x.narrow(0, start, step.min(rows - start))?)?;
            if has_kernel(dense.device())
                && let Some(part) = self.inner().codes_by_top_k(&dense)?
            {
                parts.push(part);
                continue;
            }
            let dense: Vec<f32> = dense.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
            parts.par_extend(dense.par_chunks(m * SHARE).map(|rows| {
                let mut part = CodesPart::default();
                rows.chunks(m).for_each(|h| part.push_unsorted(self.inner().code(h)));
                part
            }));
        }
        Ok(parts)
    }

    /// What each feature says to activations `x` `[…, d]` before a code's few are chosen,
    /// `[rows, m]`: SAELens's `hidden_pre`.
    ///
    /// # Errors
    /// As [`Sae::encode`]; matching pursuit, which has none.
    pub fn hidden_pre(&self, x: &Tensor) -> Result<Tensor> {
        if self.architecture().activation.pursuit().is_some() {
            let expected = "one that encodes in one step";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        self.before_selection(&self.normalized(x)?.0)
    }

    /// Activations `[rows, d]` as the encoder sees them, and what undoes that for each row: a factor
    /// and a shift.
    pub(crate) fn normalized(&self, x: &Tensor) -> Result<(Tensor, Option<Vec<[f32; 2]>>)> {
        let x = self.rows_of(x)?;
        check_finite("the activations", &x)?;
        let d = self.d_model() as f64;
        let pairs = |factors: &Tensor, shifts: Option<&Tensor>| -> Result<_> {
            let factors: Vec<f32> = factors.flatten_all()?.to_vec1()?;
            let shifts = shifts.map(|shifts| shifts.flatten_all()?.to_vec1()).transpose()?;
            let shifts: Vec<f32> = shifts.unwrap_or_else(|| vec![0.0; factors.len()]);
            Ok(Some(
                factors.into_iter().zip(shifts).map(|(factor, shift)| [factor, shift]).collect(),
            ))
        };
        Ok(match self.architecture().normalization {
            Normalization::None => (x, None),
            Normalization::Scale(scale) => ((x * scale)?, None),
            Normalization::LayerNorm => {
                let mean = x.mean_keepdim(D::Minus1)?;
                let centred = x.broadcast_sub(&mean)?;
                let deviation = (centred.sqr()?.sum_keepdim(D::Minus1)? / (d - 1.0))?.sqrt()?;
                let restore = pairs(&deviation, Some(&mean))?;
                (centred.broadcast_div(&(deviation + EPSILON)?)?, restore)
            }
            Normalization::Centre => {
                let mean = x.mean_keepdim(D::Minus1)?;
                let restore = pairs(&mean.ones_like()?, Some(&mean))?;
                (x.broadcast_sub(&mean)?, restore)
            }
            Normalization::UnitNorm => {
                let length = x.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                let restore = pairs(&(&length * d.powf(-0.5))?, None)?;
                // A row of zeros stays one.
                let length = length.maximum(f64::from(f32::MIN_POSITIVE))?;
                ((x.broadcast_div(&length)? * d.sqrt())?, restore)
            }
        })
    }

    fn centred(&self, x: &Tensor) -> Result<Tensor> {
        match self.architecture().centred {
            true => Ok(x.broadcast_sub(self.b_dec())?),
            false => Ok(x.clone()),
        }
    }

    fn before_selection(&self, x: &Tensor) -> Result<Tensor> {
        let mut dense = matmul_nt(&self.centred(x)?, self.w_enc())?;
        if let Some(bias) = self.encoder_bias() {
            dense = dense.broadcast_add(bias)?;
        }
        let m = self.features();
        let half = |start| dense.narrow(1, start, m);
        Ok(match self.architecture().encoder {
            Encoder::Linear => dense,
            Encoder::Bilinear => (half(0)? * half(m)?)?,
            Encoder::Glu => (half(0)? * candle_nn::ops::sigmoid(&half(m)?)?)?,
        })
    }

    /// The activations `[rows, d]` that `codes` stand for. A skip connection is no part of them:
    /// that is in [`Sae::reconstruct`].
    ///
    /// # Errors
    /// Codes of another number of features; where rows are normalised one by one, codes that do not
    /// come from [`Sae::encode`] and so do not know how to undo it.
    pub fn decode(&self, codes: &Codes) -> Result<Tensor> {
        let (d, m) = (self.d_out(), self.features());
        if codes.width() != m {
            return Err(Error::invalid(
                "the codes' width",
                format!("{m}, the features"),
                codes.width(),
            ));
        }
        let restore = match self.architecture().normalization {
            Normalization::None => None,
            Normalization::Scale(scale) => Some(vec![[(1.0 / scale) as f32, 0.0]; codes.rows()]),
            _ => Some(codes.restore().map(<[_]>::to_vec).ok_or_else(|| {
                let expected = "from this autoencoder's encode: they hold each row's scale";
                Error::invalid("the codes", expected, "codes made otherwise")
            })?),
        };
        let bias: Vec<f32> = self.b_dec().to_vec1()?;
        let own = self.inner();
        let divided: Option<Vec<f32>> = (self.architecture().rescale == Rescale::Kept).then(|| {
            let entries = codes.layout().1.iter().zip(codes.values());
            entries.map(|(feature, value)| value / own.lengths[*feature as usize]).collect()
        });
        let values = divided.as_deref().unwrap_or(codes.values());
        let line = |row: usize| restore.as_ref().map(|restore| restore[row]);
        let out = own.columns.sums(codes, values, &bias, line);
        Ok(Tensor::from_vec(out, (codes.rows(), d), self.w_dec().device())?)
    }

    /// What the autoencoder makes of `x` `[…, d]`, in the same shape and dtype; what a transcoder
    /// predicts, `[…, d_out]`.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.reconstruct_wide(x)?.to_dtype(x.dtype())?)
    }

    /// [`Sae::reconstruct`] in f32, whatever the dtype of `x`.
    pub(super) fn reconstruct_wide(&self, x: &Tensor) -> Result<Tensor> {
        let mut out = self.decode(&self.encode(x)?)?;
        if let Some(skip) = &self.weights().skip {
            out = (out + matmul_nt(&self.rows_of(x)?, skip)?)?;
        }
        match (x.dims(), self.d_out()) {
            ([outer @ .., last], width) if *last == self.d_model() => {
                let shape: Vec<usize> = outer.iter().copied().chain([width]).collect();
                Ok(out.reshape(shape)?)
            }
            _ => Ok(out.reshape(x.shape())?),
        }
    }

    /// Activations `[…, d]` or `[…, heads, d_head]` as `[rows, d]`, in f32.
    fn rows_of(&self, x: &Tensor) -> Result<Tensor> {
        if !x.dtype().is_float() {
            let found = x.dtype().as_str();
            return Err(Error::invalid("the activations", "floating point numbers", found));
        }
        let width = self.d_model();
        let rows = || Ok(x.reshape(((), width))?.to_dtype(DType::F32)?);
        match x.dims() {
            [.., last] if *last == width && x.elem_count() > 0 => rows(),
            [.., heads, d_head] if heads * d_head == width && x.elem_count() > 0 => rows(),
            dims => Err(Error::shape("the activations", format!("[…, {width}], not empty"), dims)),
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights};

    fn sae(m: usize, d: usize, k: usize, bilinear: bool) -> Sae {
        let mut rng = Rng::seed(2);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let rows = if bilinear { 2 * m } else { m };
        let weights = SaeWeights {
            encoder: normal(&[rows, d]),
            encoder_bias: Some(normal(&[rows])),
            ..SaeWeights::new(normal(&[0, 0]), normal(&[d, m]), normal(&[d]))
        };
        let encoder = if bilinear { Encoder::Bilinear } else { Encoder::Linear };
        let architecture = Architecture { encoder, ..Architecture::signed_top_k(k) };
        Sae::new(architecture, weights).unwrap()
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
    fn bad_input_is_named() {
        let sae = sae(5, 4, 2, false);
        let wide = Tensor::zeros((2, 5), DType::F32, &Device::Cpu).unwrap();
        assert!(sae.encode(&wide).unwrap_err().to_string().contains("[…, 4]"));
        let nan = (Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap() / 0.0).unwrap();
        assert!(sae.encode(&nan).unwrap_err().to_string().contains("NaN"));
        let codes = Codes::new(6, [vec![]]).unwrap();
        assert!(sae.decode(&codes).unwrap_err().to_string().contains("features"));
        let message = |k, change: &dyn Fn(&mut SaeWeights)| {
            let mut weights = sae.weights().clone();
            change(&mut weights);
            Sae::new(Architecture::signed_top_k(k), weights).unwrap_err().to_string()
        };
        assert!(message(6, &|_| ()).contains("between 1 and 5"));
        assert!(message(2, &|w| w.bias = w.decoder.clone()).contains("the decoder's bias"));
        assert!(message(2, &|w| w.bias = (&w.bias / 0.0).unwrap()).contains("NaN"));
    }
}
