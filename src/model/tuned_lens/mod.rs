//! Tuned lenses: a model's last residual stream, guessed from an earlier one.
//!
//! A [`TunedLens`] has an affine map for every layer, trained so that the unembedding of what it
//! makes of the stream says what the model says in the end. After Belrose et al. (2023), "Eliciting
//! Latent Predictions from Transformers with the Tuned Lens".

mod divergences;
mod files;
mod fit;
mod translator;

use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

pub use divergences::{LensDivergences, lens_divergence};
pub use fit::LensOptions;

use super::{Decoder, HookPoint};
use crate::display::show_as_text;
use crate::{Error, Result};
use translator::Translator;

/// An affine map for each layer, from its residual stream to the stream after the last layer:
///
/// ```text
/// transform(h) = h + W h + b            invert(y) = (W + 1)⁻¹ (y − b)
/// ```
///
/// Translator i belongs to [`HookPoint::ResidPre`] of layer i, where it was trained. The stream after
/// layer i is the one before layer i + 1 and has its translator; after the last layer there is
/// nothing to guess, and the stream stays as it is. A cheap handle.
///
/// ```
/// use eigenlens::prelude::*;
/// # fn main() -> Result<()> {
/// let model = Decoder::from_pretrained("eigenlens/classics", &Device::Cpu)?;
/// let lens = TunedLens::identity(&model)?; // the logit lens
/// let stream = Rng::seed(0).normal((3, 192), &Device::Cpu)?;
/// let there = lens.transform(&stream, HookPoint::ResidPost(1))?;
/// let back = lens.invert(&there, HookPoint::ResidPost(1))?;
/// assert!((stream - back)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-5);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TunedLens {
    translators: Arc<[Translator]>,
    variant: LensVariant,
    origin: Arc<str>,
}

/// Where translators are put, and how they are inverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LensVariant {
    /// As [`TunedLens`] says.
    #[default]
    Plain,
    /// As in the published code of Lawson et al. (2024): translator l at the stream **after** layer l,
    /// one place too late and after the last layer too, and of the inverse the diagonal alone,
    /// `diag((W + 1)⁻¹) ∘ (y − b)`, which brings no stream back.
    Original,
}

impl TunedLens {
    /// Weights `[d, d]`, which act on columns, and biases `[d]`, one pair for each layer.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no layers; [`Error::Shape`] unless all have one width;
    /// [`Error::NonFinite`] for NaN.
    pub fn of_translators(pairs: impl IntoIterator<Item = (Tensor, Tensor)>) -> Result<Self> {
        let pairs = pairs.into_iter().enumerate();
        let translators = pairs.map(|(i, (weight, bias))| Translator::new(i, weight, bias));
        let translators = translators.collect::<Result<Vec<_>>>()?;
        let Some(first) = translators.first() else {
            return Err(Error::invalid("the translators of a lens", "at least one", "none"));
        };
        if let Some(at) = translators.iter().position(|own| own.width() != first.width()) {
            let what = format!("translator {at}");
            let expected = format!("of width {}, as the first is", first.width());
            return Err(Error::shape(what, expected, translators[at].width()));
        }
        Ok(Self {
            translators: translators.into(),
            variant: LensVariant::Plain,
            origin: "made of tensors".into(),
        })
    }

    /// The lens that changes nothing, which makes its logits those of the logit lens.
    ///
    /// # Errors
    /// As [`TunedLens::of_translators`].
    pub fn identity(model: &Decoder) -> Result<Self> {
        let (d, device) = (model.config().d_model, model.device());
        let zero = |_| -> Result<(Tensor, Tensor)> {
            let dtype = candle_core::DType::F32;
            Ok((Tensor::zeros((d, d), dtype, device)?, Tensor::zeros(d, dtype, device)?))
        };
        let pairs = (0..model.config().layers).map(zero).collect::<Result<Vec<_>>>()?;
        Ok(Self { origin: "the logit lens".into(), ..Self::of_translators(pairs)? })
    }

    /// The same translators in another variant.
    #[must_use]
    pub fn variant(&self, variant: LensVariant) -> Self {
        Self { variant, ..self.clone() }
    }

    /// How it is used.
    pub(crate) fn used_variant(&self) -> LensVariant {
        self.variant
    }

    /// How many layers it is for.
    pub fn layers(&self) -> usize {
        self.translators.len()
    }

    /// Width of the stream, d.
    pub fn width(&self) -> usize {
        self.translators[0].width()
    }

    /// Weights and biases, one pair for each layer.
    pub fn translators(&self) -> Vec<(Tensor, Tensor)> {
        self.translators.iter().map(|own| (own.weight.clone(), own.bias.clone())).collect()
    }

    /// The number of the translator of a place, or `None` where the stream stays as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a place that is not [`HookPoint::ResidPre`] or
    /// [`HookPoint::ResidPost`] of a layer of the lens.
    pub fn translator_at(&self, point: HookPoint) -> Result<Option<usize>> {
        let place = match (point, self.variant) {
            (HookPoint::ResidPre(layer), _) if layer < self.layers() => layer,
            (HookPoint::ResidPost(layer), LensVariant::Plain) if layer < self.layers() => layer + 1,
            (HookPoint::ResidPost(layer), LensVariant::Original) if layer < self.layers() => layer,
            _ => {
                let expected =
                    format!("resid_pre or resid_post of a layer below {}", self.layers());
                return Err(Error::invalid("the place of a lens", expected, point));
            }
        };
        Ok((place < self.layers()).then_some(place))
    }

    /// The stream `[…, d]` at `point` as the lens sees it: a guess of the stream after the last layer.
    /// Gradients go through.
    ///
    /// # Errors
    /// As [`TunedLens::translator_at`]; [`Error::Shape`] for another width.
    pub fn transform(&self, stream: &Tensor, point: HookPoint) -> Result<Tensor> {
        self.check_width(stream)?;
        match self.translator_at(point)? {
            None => Ok(stream.clone()),
            Some(at) => self.translators[at].transform(stream),
        }
    }

    /// The stream that [`TunedLens::transform`] maps to `guess`, `[…, d]`, computed in f64.
    ///
    /// # Errors
    /// As [`TunedLens::transform`]; [`Error::Invalid`] for a translator that cannot be inverted.
    pub fn invert(&self, guess: &Tensor, point: HookPoint) -> Result<Tensor> {
        self.check_width(guess)?;
        match self.translator_at(point)? {
            None => Ok(guess.clone()),
            Some(at) => {
                self.translators[at].invert(guess, at, self.variant == LensVariant::Original)
            }
        }
    }

    /// How much [`TunedLens::invert`] may enlarge a relative error: the condition number of `W + 1`,
    /// its largest singular value over its smallest; 1 where the stream stays as it is.
    ///
    /// # Errors
    /// As [`TunedLens::translator_at`].
    pub fn condition(&self, point: HookPoint) -> Result<f64> {
        match self.translator_at(point)? {
            None => Ok(1.0),
            Some(at) => Ok(self.translators[at].inverse()?.condition),
        }
    }

    fn check_width(&self, stream: &Tensor) -> Result<()> {
        match stream.dims().last() {
            Some(&width) if width == self.width() => Ok(()),
            _ => {
                let expected = format!("[…, {}], the width of the lens", self.width());
                Err(Error::shape("the residual stream", expected, stream.dims()))
            }
        }
    }

    /// Fails unless it is a lens of models like this one.
    pub(crate) fn check_model(&self, model: &Decoder) -> Result<()> {
        let (config, own) = (model.config(), [self.layers(), self.width()]);
        if own == [config.layers, config.d_model] {
            return Ok(());
        }
        let expected = format!("of {} layers of width {}", config.layers, config.d_model);
        let found = format!("{} layers of width {}", own[0], own[1]);
        Err(Error::invalid("the tuned lens", format!("{expected}, as the model is"), found))
    }
}

show_as_text!(TunedLens);

impl fmt::Display for TunedLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tuned lens of {} layers of width {}", self.layers(), self.width())?;
        if self.variant == LensVariant::Original {
            write!(f, ", used as the original does")?;
        }
        write!(f, " ({})", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::random::Rng;

    pub(super) fn random(layers: usize, width: usize) -> TunedLens {
        let mut rng = Rng::seed(5);
        let pairs: Vec<_> = (0..layers)
            .map(|_| {
                let weight = (rng.normal((width, width), &Device::Cpu).unwrap() * 0.1).unwrap();
                (weight, rng.normal(width, &Device::Cpu).unwrap())
            })
            .collect();
        TunedLens::of_translators(pairs).unwrap()
    }

    fn gap(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
    }

    #[test]
    fn inverses_bring_the_stream_back_and_diagonals_do_not() {
        let lens = random(3, 12);
        let h = Rng::seed(1).normal((2, 4, 12), &Device::Cpu).unwrap();
        for point in [HookPoint::ResidPre(0), HookPoint::ResidPost(0), HookPoint::ResidPost(2)] {
            let there = lens.transform(&h, point).unwrap();
            let error = gap(&lens.invert(&there, point).unwrap(), &h);
            assert!(error < 1e-5, "{point}: {error}");
        }
        let (weight, bias) = lens.translators().swap_remove(1);
        let by_hand = h
            .broadcast_add(&h.broadcast_matmul(&weight.t().unwrap()).unwrap())
            .unwrap()
            .broadcast_add(&bias)
            .unwrap();
        assert!(gap(&by_hand, &lens.transform(&h, HookPoint::ResidPost(0)).unwrap()) < 1e-5);
        // After the last layer there is nothing to guess.
        assert_eq!(gap(&lens.transform(&h, HookPoint::ResidPost(2)).unwrap(), &h), 0.0);
        assert_eq!(lens.condition(HookPoint::ResidPost(2)).unwrap(), 1.0);
        assert!(lens.condition(HookPoint::ResidPre(2)).unwrap() > 1.0);
        let original = lens.variant(LensVariant::Original);
        let point = HookPoint::ResidPost(1);
        assert!(gap(&original.transform(&h, point).unwrap(), &by_hand) < 1e-5);
        let back = original.invert(&original.transform(&h, point).unwrap(), point).unwrap();
        assert!(gap(&back, &h) > 0.1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let lens = random(2, 4);
        let h = Tensor::zeros((1, 5), DType::F32, &Device::Cpu).unwrap();
        let text = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert!(text(lens.transform(&h, HookPoint::ResidPre(0))).contains("width of the lens"));
        let h = h.narrow(1, 0, 4).unwrap();
        assert!(text(lens.transform(&h, HookPoint::ResidPre(2))).contains("below 2"));
        assert!(text(lens.invert(&h, HookPoint::MlpOut(0))).contains("resid_pre"));
        let none = TunedLens::of_translators([]).unwrap_err().to_string();
        assert!(none.contains("at least one"), "{none}");
        // W = −1 maps everything to the bias.
        let minus = Tensor::eye(4, DType::F32, &Device::Cpu).unwrap().neg().unwrap();
        let bias = Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap();
        let lens = TunedLens::of_translators([(minus, bias)]).unwrap();
        assert!(text(lens.invert(&h, HookPoint::ResidPre(0))).contains("translator 0"));
    }
}
