//! How far a lens is from what the model says in the end.

use std::fmt;

use candle_core::{D, DType, Tensor};

use super::TunedLens;
use crate::check::check_sizes;
use crate::data::text::Tokens;
use crate::display::{ShownCell, ShownColumn, ShownTable};
use crate::model::{Decoder, HookPoint};
use crate::progress::Progress;
use crate::{Error, Result};

/// Windows of one pass.
const GROUP: usize = 4;

/// Divergences of a lens from the model at every place, in nats a token.
#[derive(Debug, Clone, PartialEq)]
pub struct LensDivergences {
    /// Before each layer.
    pub points: Vec<HookPoint>,
    /// `KL(model ‖ lens)` of the tuned lens.
    pub tuned: Vec<f64>,
    /// The same of the logit lens, which has no translators.
    pub logit: Vec<f64>,
}

/// `KL(model ‖ lens) = Σ p (ln p − ln q)` over the vocabulary for each token, in nats: p is the
/// softmax of the model's logits `[…, vocab]`, q that of a lens's. The result is `[…]`, at least f32,
/// and has gradients.
///
/// # Errors
/// [`Error::Shape`] unless both have one shape.
pub fn lens_divergence(model: &Tensor, lens: &Tensor) -> Result<Tensor> {
    if model.dims() != lens.dims() {
        return Err(Error::shape(
            "the logits of the lens",
            format!("{:?}", model.dims()),
            lens.dims(),
        ));
    }
    let logarithms = |logits: &Tensor| -> Result<Tensor> {
        let wide = match logits.dtype() {
            DType::F64 => logits.clone(),
            _ => logits.to_dtype(DType::F32)?,
        };
        Ok(candle_nn::ops::log_softmax(&wide, D::Minus1)?)
    };
    let (p, q) = (logarithms(model)?, logarithms(lens)?);
    Ok((p.exp()? * (p - q)?)?.sum(D::Minus1)?)
}

impl TunedLens {
    /// The mean divergence before each layer on `windows` windows of `length` tokens, spread over
    /// `text`, beside that of the logit lens.
    ///
    /// # Errors
    /// As [`Decoder::activations`]; windows longer than the text; a lens of another model;
    /// [`Error::Interrupted`] when Stop is pressed.
    pub fn divergences(
        &self,
        model: &Decoder,
        text: &Tokens,
        windows: usize,
        length: usize,
    ) -> Result<LensDivergences> {
        let mut progress = Progress::new("measuring the lens", windows as u64, "window");
        self.measured(model, text, [windows, length], |done| progress.advance(done as u64))
    }

    /// [`TunedLens::divergences`]; `advance` hears of windows that are done, and is true for Stop.
    pub(super) fn measured(
        &self,
        model: &Decoder,
        text: &Tokens,
        [windows, length]: [usize; 2],
        mut advance: impl FnMut(usize) -> bool,
    ) -> Result<LensDivergences> {
        self.check_model(model)?;
        check_sizes(&[("the number of windows", windows)])?;
        let layers = self.layers();
        let points: Vec<HookPoint> = (0..layers).map(HookPoint::ResidPre).collect();
        let mut sums = [vec![0.0; layers], vec![0.0; layers]];
        let tokens = text.windows(windows, length, model.device())?;
        let count = tokens.dim(0)?;
        for start in (0..count).step_by(GROUP) {
            let group = tokens.narrow(0, start, GROUP.min(count - start))?;
            let (streams, last) = streams(model, &group, &points)?;
            let logits = model.unembed(&last)?;
            for (at, (stream, point)) in streams.iter().zip(&points).enumerate() {
                let lenses = [self.transform(stream, *point)?, stream.clone()];
                for (sums, stream) in sums.iter_mut().zip(lenses) {
                    let divergence = lens_divergence(&logits, &model.unembed(&stream)?)?;
                    sums[at] += divergence.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
                }
            }
            if advance(group.dim(0)?) {
                return Err(Error::Interrupted { what: "measuring the lens".into() });
            }
        }
        let tokens = (count * length) as f64;
        let [tuned, logit] =
            sums.map(|sums| sums.into_iter().map(|sum| sum / tokens).collect::<Vec<f64>>());
        Ok(LensDivergences { points, tuned, logit })
    }
}

/// The streams at some points, and the one after the last layer.
pub(super) fn streams(
    model: &Decoder,
    tokens: &Tensor,
    points: &[HookPoint],
) -> Result<(Vec<Tensor>, Tensor)> {
    let last = HookPoint::ResidPost(model.config().layers - 1);
    let all: Vec<HookPoint> = points.iter().copied().chain([last]).collect();
    let cache = model.activations(tokens, &all)?;
    let streams = points.iter().map(|point| cache.get(*point).cloned());
    Ok((streams.collect::<Result<_>>()?, cache.get(last)?.clone()))
}

impl LensDivergences {
    /// Shows the table as the value of a cell.
    pub fn evcxr_display(&self) {
        self.shown().bundle(self.to_string()).show_as_result();
    }

    fn shown(&self) -> ShownTable {
        let numbers = ["tuned lens, nats", "logit lens, nats"].map(ShownColumn::right);
        let names = ShownColumn::right("").naming_rows();
        let mut shown = ShownTable::new(std::iter::once(names).chain(numbers));
        for ((point, tuned), logit) in self.points.iter().zip(&self.tuned).zip(&self.logit) {
            let numbers = [tuned, logit].map(|value| ShownCell::from(format!("{value:.3}")));
            shown.push(std::iter::once(ShownCell::from(*point)).chain(numbers));
        }
        shown
    }
}

impl fmt::Display for LensDivergences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shown().text())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn a_divergence_is_the_sum_that_it_says() {
        let p = Tensor::new(&[[0f64, 1.0, 2.0]], &Device::Cpu).unwrap();
        let q = Tensor::new(&[[1f64, 1.0, 0.0]], &Device::Cpu).unwrap();
        let shares = |logits: [f64; 3]| {
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            logits.map(|x| x.exp() / total)
        };
        let (a, b) = (shares([0.0, 1.0, 2.0]), shares([1.0, 1.0, 0.0]));
        let expected: f64 = a.iter().zip(b).map(|(p, q)| p * (p / q).ln()).sum();
        let found: Vec<f64> = lens_divergence(&p, &q).unwrap().to_vec1().unwrap();
        assert!((found[0] - expected).abs() < 1e-12, "{found:?} {expected}");
        assert_eq!(lens_divergence(&p, &p).unwrap().to_vec1::<f64>().unwrap(), [0.0]);
        assert!(lens_divergence(&p, &q.narrow(1, 0, 2).unwrap()).is_err());
    }
}
