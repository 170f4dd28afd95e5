//! Encoding and decoding.

use std::fmt;
use std::sync::Arc;

use candle_core::{D, DType, Device, Tensor};
use rayon::prelude::*;

use super::origin::Origin;
use super::{Activation, Architecture, Codes, Encoder, Normalization, Rescale};
use crate::linalg::{check_finite, matmul_nt};
use crate::model::HookPoint;
use crate::notebook::MimeBundle;
use crate::{Error, Result};

/// Entries of the dense activations that are held at a time while encoding.
const BLOCK: usize = 1 << 24;
/// What is added to a standard deviation before dividing by it.
const EPSILON: f64 = 1e-5;

/// A sparse autoencoder with m features of a d-dimensional activation, or a transcoder: what it
/// computes is its [`Architecture`]. A cheap handle: clones share weights.
///
/// ```
/// use eigenlens::prelude::*;
/// use eigenlens::sae::{Architecture, SaeWeights};
/// # fn main() -> Result<()> {
/// let matrix = |rows, columns| Tensor::randn(0f32, 1., (rows, columns), &Device::Cpu);
/// let bias = Tensor::zeros(4, DType::F32, &Device::Cpu)?;
/// let weights = SaeWeights::new(matrix(16, 4)?, matrix(4, 16)?, bias);
/// let sae = Sae::new(Architecture::top_k(3), weights)?;
/// let codes = sae.encode(&matrix(5, 4)?)?;
/// assert!(codes.rows() == 5 && codes.row(0).len() <= 3);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Sae(Arc<Inner>);

/// The weights of an [`Sae`] of m features of d-dimensional activations, all f32.
#[derive(Debug, Clone)]
pub struct SaeWeights {
    /// E `[m, d]`, or E₁ above E₂ `[2m, d]` where the encoder has two maps. Matching pursuit has
    /// the decoder's transpose here.
    pub encoder: Tensor,
    /// e, an entry a row of the encoder, if there is one.
    pub encoder_bias: Option<Tensor>,
    /// D `[d, m]`; a transcoder's may have another number of rows.
    pub decoder: Tensor,
    /// b, an entry a row of the decoder.
    pub bias: Tensor,
    /// What JumpReLU compares with, `[m]`; some top-k files hold a learned one too.
    pub thresholds: Option<Tensor>,
    /// What a gated autoencoder has beside.
    pub gate: Option<Gate>,
    /// S `[rows of D, d]`, of a transcoder with a skip connection.
    pub skip: Option<Tensor>,
}

/// The weights of a gated autoencoder beside its maps, `[m]` each.
#[derive(Debug, Clone)]
pub struct Gate {
    /// g: a feature is open where `hᵢ + gᵢ > 0`.
    pub bias: Tensor,
    /// r: an open feature's value is `hᵢ exp(rᵢ) + cᵢ`.
    pub log_gains: Tensor,
    /// c.
    pub magnitude: Tensor,
}

impl SaeWeights {
    /// Weights without an encoder's bias and other extras.
    pub fn new(encoder: Tensor, decoder: Tensor, bias: Tensor) -> Self {
        let (encoder_bias, thresholds, gate, skip) = (None, None, None, None);
        Self { encoder, encoder_bias, decoder, bias, thresholds, gate, skip }
    }

    /// Every tensor there is.
    pub fn tensors(&self) -> Vec<&Tensor> {
        let gate = self.gate.iter().flat_map(|gate| [&gate.bias, &gate.log_gains, &gate.magnitude]);
        let extras = [&self.encoder_bias, &self.thresholds, &self.skip].into_iter().flatten();
        [&self.encoder, &self.decoder, &self.bias].into_iter().chain(extras).chain(gate).collect()
    }

    /// What there is, by name, with its shape for `architecture`.
    fn shapes(
        &self,
        architecture: &Architecture,
    ) -> Result<Vec<(&'static str, &Tensor, Vec<usize>)>> {
        let (out, m) = match *self.decoder.dims() {
            [out, m] if m > 0 && out > 0 => (out, m),
            _ => return Err(Error::shape("the decoder", "[d, features]", self.decoder.dims())),
        };
        let d = match *self.encoder.dims() {
            [_, d] if architecture.transcoder => d,
            _ => out,
        };
        let rows = m * architecture.encoder.maps();
        let mut found = vec![
            ("the encoder", &self.encoder, vec![rows, d]),
            ("the decoder's bias", &self.bias, vec![out]),
            ("the decoder", &self.decoder, vec![out, m]),
        ];
        found.extend(self.encoder_bias.iter().map(|e| ("the encoder's bias", e, vec![rows])));
        found.extend(self.thresholds.iter().map(|t| ("the thresholds", t, vec![m])));
        found.extend(self.skip.iter().map(|s| ("the skip connection", s, vec![out, d])));
        if let Some(Gate { bias, log_gains, magnitude }) = &self.gate {
            found.push(("the gate's bias", bias, vec![m]));
            found.push(("the gate's log gains", log_gains, vec![m]));
            found.push(("the magnitudes' bias", magnitude, vec![m]));
        }
        Ok(found)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Inner {
    pub(super) architecture: Architecture,
    pub(super) weights: SaeWeights,
    /// The decoder's columns as rows, on the host, for sparse sums.
    pub(super) columns: Vec<f32>,
    /// Their lengths, where they weigh in.
    pub(super) lengths: Vec<f32>,
    pub(super) thresholds: Vec<f32>,
    pub(super) gate: Option<HostGate>,
    pub(super) origin: Origin,
}

/// A [`Gate`] on the host.
#[derive(Debug, Clone)]
pub(super) struct HostGate {
    pub(super) bias: Vec<f32>,
    pub(super) gains: Vec<f32>,
    pub(super) magnitude: Vec<f32>,
}

impl Sae {
    /// An autoencoder of these weights. Where in a model it belongs is said by [`Sae::at`].
    ///
    /// # Errors
    /// Shapes that do not match, weights that the architecture needs and are not there or the other
    /// way round, a k that cannot be, weights that hold NaN.
    pub fn new(architecture: Architecture, weights: SaeWeights) -> Result<Self> {
        for (what, tensor, shape) in weights.shapes(&architecture)? {
            if tensor.dims() != shape {
                return Err(Error::shape(what, format!("{shape:?}"), tensor.dims()));
            }
            if tensor.dtype() != DType::F32 {
                let what = format!("the dtype of {what}");
                return Err(Error::invalid(what, "f32", tensor.dtype().as_str()));
            }
            check_finite(what, tensor)?;
        }
        let missing = match architecture.activation {
            Activation::JumpRelu if weights.thresholds.is_none() => Some("thresholds"),
            Activation::Gated if weights.gate.is_none() => Some("a gate"),
            _ => None,
        };
        if let Some(missing) = missing {
            return Err(Error::invalid("the weights", format!("with {missing}"), "none"));
        }
        if architecture.centred && weights.encoder.dims()[1] != weights.decoder.dims()[0] {
            let expected = "not centred: its bias has another width than its input";
            return Err(Error::invalid("this transcoder", expected, "centred"));
        }
        architecture.activation.check(weights.decoder.dims()[1])?;
        let host = |tensor: &Tensor| -> Result<Vec<f32>> {
            Ok(tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
        };
        let columns = host(&weights.decoder.t()?)?;
        let lengths = match architecture.rescale {
            Rescale::None => Vec::new(),
            _ => {
                let columns = columns.chunks(weights.decoder.dims()[0]);
                let square = |x: &f32| f64::from(*x) * f64::from(*x);
                columns.map(|own| own.iter().map(square).sum::<f64>().sqrt() as f32).collect()
            }
        };
        if architecture.rescale == Rescale::Kept && lengths.contains(&0.0) {
            let expected = "of no length zero, by which decoding divides";
            return Err(Error::invalid("the decoder's columns", expected, "one of zeros"));
        }
        let thresholds = weights.thresholds.as_ref().map(host).transpose()?.unwrap_or_default();
        let gate = weights.gate.as_ref().map(|Gate { bias, log_gains, magnitude }| {
            let (bias, gains) = (host(bias)?, host(&log_gains.exp()?)?);
            Ok::<_, Error>(HostGate { bias, gains, magnitude: host(magnitude)? })
        });
        let gate = gate.transpose()?;
        let origin = Origin::default();
        let inner = Inner { architecture, weights, columns, lengths, thresholds, gate, origin };
        Ok(Self(Arc::new(inner)))
    }

    /// The same autoencoder, for activations at `point`.
    pub fn at(&self, point: HookPoint) -> Self {
        let mut inner = Inner::clone(&self.0);
        inner.origin.point = Some(point);
        Self(Arc::new(inner))
    }

    /// The same autoencoder, with activations multiplied by `scale` on the way in and divided by it
    /// on the way out: for files that say they expect scaled inputs, but not by how much.
    ///
    /// # Errors
    /// A scale that is not above zero; an autoencoder with a normalisation of its own.
    pub fn with_input_scale(&self, scale: f64) -> Result<Self> {
        if !scale.is_finite() || scale <= 0.0 {
            return Err(Error::invalid("the scale", "a number above 0", scale));
        }
        if self.architecture().normalization != Normalization::None {
            let expected = "of an autoencoder that has no normalisation of its own";
            return Err(Error::invalid("the scale", expected, self.architecture()));
        }
        let mut inner = Inner::clone(&self.0);
        inner.architecture.normalization = Normalization::Scale(scale);
        inner.origin.notes.retain(|note| !note.about_scale());
        Ok(Self(Arc::new(inner)))
    }

    pub(super) fn with_origin(mut self, origin: Origin) -> Self {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => inner.origin = origin,
            None => self = Self(Arc::new(Inner { origin, ..Inner::clone(&self.0) })),
        }
        self
    }

    /// Where it comes from, what it belongs to, and what is to be known about it.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// What it computes.
    pub fn architecture(&self) -> &Architecture {
        &self.0.architecture
    }

    /// Its weights.
    pub fn weights(&self) -> &SaeWeights {
        &self.0.weights
    }

    /// Number of features, m.
    pub fn features(&self) -> usize {
        self.0.weights.decoder.dims()[1]
    }

    /// Width of the activations, d.
    pub fn d_model(&self) -> usize {
        self.0.weights.encoder.dims()[1]
    }

    /// Width of what it predicts: d, but for some transcoders.
    pub fn d_out(&self) -> usize {
        self.0.weights.decoder.dims()[0]
    }

    /// How many features a code keeps at most, where that is fixed.
    pub fn k(&self) -> Option<usize> {
        self.architecture().activation.k()
    }

    /// Where in the model its activations come from.
    ///
    /// # Errors
    /// A file that does not say it: [`Sae::at`] does.
    pub fn point(&self) -> Result<HookPoint> {
        self.0.origin.point.ok_or_else(|| Error::NotFound {
            what: "the hook point of this autoencoder".to_owned(),
            hint: match &self.0.origin.hook {
                Some(hook) => format!(
                    "Its file says `{hook}`; say which point that is: sae.at(HookPoint::ResidPost(3))."
                ),
                None => "Its file does not say it: sae.at(HookPoint::ResidPost(3)).".to_owned(),
            },
        })
    }

    /// The encoder E `[m, d]`: row i is what feature i looks for. Where the encoder has two maps they
    /// lie above each other, `[2m, d]`.
    pub fn w_enc(&self) -> &Tensor {
        &self.0.weights.encoder
    }

    /// Whether the encoder multiplies two maps.
    pub fn is_bilinear(&self) -> bool {
        self.architecture().encoder == Encoder::Bilinear
    }

    /// The decoder D `[d, m]`: column i is what feature i adds.
    pub fn w_dec(&self) -> &Tensor {
        &self.0.weights.decoder
    }

    /// The bias b `[d]`, added after decoding, and taken off before encoding if the architecture is
    /// centred.
    pub fn b_dec(&self) -> &Tensor {
        &self.0.weights.bias
    }

    /// The encoder's bias e `[m]`, if it has one.
    pub fn encoder_bias(&self) -> Option<&Tensor> {
        self.0.weights.encoder_bias.as_ref()
    }

    /// Sparse codes of activations `x` `[…, d]`, a row a position; of heads' values
    /// `[…, heads, d_head]` where d is heads · d_head.
    ///
    /// Of equal entries the one of the lower index is kept.
    ///
    /// # Errors
    /// Another width than d; NaN.
    pub fn encode(&self, x: &Tensor) -> Result<Codes> {
        let (x, restore) = self.normalized(x)?;
        let (rows, m) = (x.dim(0)?, self.features());
        let mut codes = Vec::with_capacity(rows);
        if let Activation::MatchingPursuit { .. } = self.architecture().activation {
            let x: Vec<f32> = self.centred(&x)?.flatten_all()?.to_vec1()?;
            codes = self.0.pursue(&x, self.d_model());
        } else {
            let step = (BLOCK / m).max(1);
            for start in (0..rows).step_by(step) {
                let dense =
                    self.before_selection(&x.narrow(0, start, step.min(rows - start))?)?;
                let dense: Vec<f32> = dense.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
                codes.par_extend(dense.par_chunks(m).map(|row| self.0.select(row)));
            }
        }
        Ok(Codes::new(m, codes)?.restoring(restore))
    }

    /// What each feature says to activations `x` `[…, d]` before a code's few are chosen,
    /// `[rows, m]`: SAELens's `hidden_pre`.
    ///
    /// # Errors
    /// As [`Sae::encode`]; matching pursuit, which has none.
    pub fn hidden_pre(&self, x: &Tensor) -> Result<Tensor> {
        if let Activation::MatchingPursuit { .. } = self.architecture().activation {
            let expected = "one that encodes in one step";
            return Err(Error::invalid("the autoencoder", expected, self.architecture()));
        }
        self.before_selection(&self.normalized(x)?.0)
    }

    /// Activations `[rows, d]` as the encoder sees them, and what undoes that for each row: a factor
    /// and a shift.
    fn normalized(&self, x: &Tensor) -> Result<(Tensor, Option<Vec<[f32; 2]>>)> {
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
        let divide = self.architecture().rescale == Rescale::Kept;
        let mut out = vec![0f32; codes.rows() * d];
        out.par_chunks_mut(d).enumerate().for_each(|(row, out)| {
            out.copy_from_slice(&bias);
            for (feature, value) in codes.row(row) {
                let feature = feature as usize;
                let value = if divide { value / self.0.lengths[feature] } else { value };
                let column = &self.0.columns[feature * d..][..d];
                out.iter_mut().zip(column).for_each(|(out, entry)| *out += value * entry);
            }
            if let Some([factor, shift]) = restore.as_ref().map(|restore| restore[row]) {
                out.iter_mut().for_each(|out| *out = *out * factor + shift);
            }
        });
        Ok(Tensor::from_vec(out, (codes.rows(), d), self.w_dec().device())?)
    }

    /// What the autoencoder makes of `x` `[…, d]`, in the same shape; what a transcoder predicts,
    /// `[…, d_out]`.
    ///
    /// # Errors
    /// As [`Sae::encode`].
    pub fn reconstruct(&self, x: &Tensor) -> Result<Tensor> {
        let mut out = self.decode(&self.encode(x)?)?;
        if let Some(skip) = &self.0.weights.skip {
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

    /// Shows what it is as the value of a cell.
    pub fn evcxr_display(&self) {
        MimeBundle::text(self.to_string()).show_as_result();
    }

    /// Activations `[…, d]` or `[…, heads, d_head]` as `[rows, d]`.
    fn rows_of(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.d_model();
        match x.dims() {
            [.., last] if *last == width && x.elem_count() > 0 => Ok(x.reshape(((), width))?),
            [.., heads, d_head] if heads * d_head == width && x.elem_count() > 0 => {
                Ok(x.reshape(((), width))?)
            }
            dims => Err(Error::shape("the activations", format!("[…, {width}], not empty"), dims)),
        }
    }
}

impl fmt::Display for Sae {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (m, d) = (self.features(), self.d_model());
        write!(f, "{}: {m} features of {d} dimensions", self.architecture())?;
        if self.d_out() != d {
            write!(f, " for {}", self.d_out())?;
        }
        write!(f, "{}", self.origin())
    }
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
            let mut weights = sae.0.weights.clone();
            change(&mut weights);
            Sae::new(Architecture::signed_top_k(k), weights).unwrap_err().to_string()
        };
        assert!(message(6, &|_| ()).contains("between 1 and 5"));
        assert!(message(2, &|w| w.bias = w.decoder.clone()).contains("the decoder's bias"));
        assert!(message(2, &|w| w.bias = (&w.bias / 0.0).unwrap()).contains("NaN"));
    }
}
