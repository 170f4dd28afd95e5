//! What a bilinear MLP does between two sets of features.
//!
//! For an output direction o of the MLP, a feature of the output autoencoder, the MLP computes the
//! quadratic form `xᵀ Q_o x` of its input x, with
//!
//! ```text
//! Q_o = Lᵀ diag(Pᵀo) R      S_o = ½ (Q_o + Q_oᵀ)
//! ```
//!
//! Written in the features of the input autoencoder, with decoder D, it is `Dᵀ S_o D`: entry
//! (i, j) is how strongly input features i and j act together on the output feature. After Pearce,
//! Dooms, Rigg, Oramas and Sharkey (2024), section 5.

mod forms;
mod outliers;
mod pairs;
mod rank;
mod statistic;
mod strongest;
mod top;

use crate::display::show_as_text;
use candle_core::{DType, Tensor};
use std::fmt;

pub use outliers::Outlier;
pub use rank::RankEstimate;
pub use statistic::Statistic;
pub use strongest::Strongest;
pub use top::Top;

use super::{interactions, symmetrise};
use crate::check::check_not_negative;
use crate::linalg::{matmul, matmul_tn};
use crate::model::{Decoder, HookPoint, Mlp};
use crate::sae::{Encoder, Family, Normalization, Sae, SaeLoader};
use crate::{Error, Result};

/// Which vectors stand for the output features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Directions {
    /// Rows of the output encoder: what makes a feature active.
    #[default]
    Encoder,
    /// Columns of the output decoder: what a feature writes.
    Decoder,
}

/// The interactions of input features in an MLP, for each output feature. A cheap handle.
#[derive(Debug, Clone)]
pub struct Tracer {
    layer: usize,
    left: Tensor,
    right: Tensor,
    out: Tensor,
    input: Sae,
    output: Sae,
    directions: Directions,
    accuracy: f64,
}

/// How far statistics may be off, relative to themselves, if nothing else is asked for.
const ACCURACY: f64 = 1e-4;
/// Below this, iterations in f32 prove nothing: every eigenvalue is computed, in f64.
const FINEST: f64 = 2e-6;

impl Tracer {
    /// The MLP of `layer` between an autoencoder of its input and one of its output.
    ///
    /// # Errors
    /// A layer the model does not have; an MLP that is not bilinear; autoencoders that belong to
    /// other places or widths.
    pub fn new(model: &Decoder, layer: usize, input: &Sae, output: &Sae) -> Result<Self> {
        let [left, right, out] = [model.w_l(layer)?, model.w_r(layer)?, model.w_p(layer)?];
        // The autoencoders compute in f32.
        let [left, right, out] = [left, right, out].map(|map| map.to_dtype(DType::F32));
        let config = model.config();
        if config.mlp != Mlp::Gated(None) || config.mlp_bias {
            let found = "one with an activation or biases";
            return Err(Error::invalid("the MLP", "bilinear without biases", found));
        }
        if config.mlp_norm || config.post_norms || config.residual_scale != 1.0 {
            let expected = "written to the residual stream as its output map makes it";
            let found = "with norms or a scale behind the product";
            return Err(Error::invalid("what the MLP makes", expected, found));
        }
        let places = [
            ("the input autoencoder", input, HookPoint::MlpIn(layer)),
            ("the output autoencoder", output, HookPoint::MlpOut(layer)),
        ];
        for (what, sae, point) in places {
            if sae.point()? != point {
                return Err(Error::invalid(what, format!("one of {point}"), sae.point()?));
            }
            let own = sae.architecture();
            if own.normalization != Normalization::None
                || own.transcoder
                || own.encoder == Encoder::Glu
            {
                let expected = "an autoencoder of the activations as they are";
                return Err(Error::invalid(what, expected, own));
            }
            if sae.d_model() != model.config().d_model {
                let expected = format!("d_model {}", model.config().d_model);
                return Err(Error::shape(what, expected, sae.d_model()));
            }
        }
        Ok(Self {
            layer,
            left: left?.contiguous()?,
            right: right?.contiguous()?,
            out: out?,
            input: input.clone(),
            output: output.clone(),
            directions: Directions::default(),
            accuracy: ACCURACY,
        })
    }

    /// The MLP of `layer` between autoencoders of the model's `-scope` repository, whose names are
    /// `{layer}-mlp-in-{input}` and `{layer}-mlp-out-{output}`, as `x8-k30`.
    ///
    /// # Errors
    /// A model that was not loaded from a repository; autoencoders that are not there; as
    /// [`Tracer::new`].
    pub fn from_pretrained(
        model: &Decoder,
        layer: usize,
        input: &str,
        output: &str,
    ) -> Result<Self> {
        let scope = model.scope()?;
        let loader = SaeLoader::new().family(Family::Scope);
        let sae = |name: String| loader.from_repository(&scope, &name, model.device());
        let input = sae(format!("{layer}-mlp-in-{input}"))?;
        let output = sae(format!("{layer}-mlp-out-{output}"))?;
        Self::new(model, layer, &input, &output)
    }

    /// The same with other output directions; [`Directions::Encoder`] by default.
    #[must_use]
    pub fn with_directions(self, directions: Directions) -> Self {
        Self { directions, ..self }
    }

    /// The same with statistics that are right within `accuracy` times themselves; 1e-4 otherwise.
    /// Below 2e-6, as with 0, all eigenvalues are computed in f64, which takes far longer.
    ///
    /// # Errors
    /// An accuracy that is negative or not a number.
    pub fn with_accuracy(self, accuracy: f64) -> Result<Self> {
        check_not_negative("`accuracy`", accuracy)?;
        Ok(Self { accuracy, ..self })
    }

    /// The autoencoder of the MLP's input.
    pub fn input(&self) -> &Sae {
        &self.input
    }

    /// The autoencoder of the MLP's output.
    pub fn output(&self) -> &Sae {
        &self.output
    }

    /// Number of output features.
    pub fn features(&self) -> usize {
        self.output.features()
    }

    /// The interaction matrix Q of an output feature, `[d_model, d_model]`, as the weights have it:
    /// not symmetric.
    ///
    /// # Errors
    /// A feature the output autoencoder does not have.
    pub fn interaction(&self, feature: usize) -> Result<Tensor> {
        Ok(self.interactions([feature])?.squeeze(0)?)
    }

    /// Interaction matrices of several output features, `[features, d_model, d_model]`.
    ///
    /// # Errors
    /// No feature, or one that the output autoencoder does not have; a bilinear encoder, which has
    /// no direction a feature.
    pub fn interactions(&self, features: impl IntoIterator<Item = usize>) -> Result<Tensor> {
        self.interactions_of(&self.directions(&self.checked(features)?)?)
    }

    /// The directions of output features, `[features, d_model]`.
    fn directions(&self, features: &[u32]) -> Result<Tensor> {
        let rows = Tensor::new(features, self.out.device())?;
        match self.directions {
            Directions::Encoder if self.output.is_bilinear() => {
                let found = "bilinear: take the decoder's directions";
                Err(Error::invalid("the output encoder", "linear", found))
            }
            Directions::Encoder => Ok(self.output.w_enc().index_select(&rows, 0)?),
            Directions::Decoder => {
                Ok(self.output.w_dec().index_select(&rows, 1)?.t()?.contiguous()?)
            }
        }
    }

    /// The directions of all of them.
    fn all_directions(&self) -> Result<Tensor> {
        self.directions(&self.checked(0..self.features())?)
    }

    /// Interaction matrices of output directions `[n, d_model]`, `[n, d_model, d_model]`.
    fn interactions_of(&self, directions: &Tensor) -> Result<Tensor> {
        interactions(&matmul(directions, &self.out)?, &self.left, &self.right)
    }

    /// The interaction of input features for an output feature, `Dᵀ S D`, symmetric,
    /// `[input features, input features]`.
    ///
    /// # Errors
    /// As [`Tracer::interaction`].
    pub fn projected(&self, feature: usize) -> Result<Tensor> {
        matmul_tn(self.input.w_dec(), &self.half_projected(feature)?)
    }

    /// `S D`, `[d_model, input features]`.
    fn half_projected(&self, feature: usize) -> Result<Tensor> {
        matmul(&symmetrise(&self.interaction(feature)?)?, self.input.w_dec())
    }

    fn checked(&self, features: impl IntoIterator<Item = usize>) -> Result<Vec<u32>> {
        let count = self.features();
        let features: Vec<usize> = features.into_iter().collect();
        if features.is_empty() {
            return Err(Error::invalid("the output features", "at least one", "none"));
        }
        if let Some(feature) = features.iter().find(|feature| **feature >= count) {
            return Err(Error::invalid("an output feature", format!("below {count}"), feature));
        }
        Ok(features.into_iter().map(|feature| feature as u32).collect())
    }

    /// Symmetric interaction matrices of all output features, some at a time.
    fn groups(&self) -> impl Iterator<Item = Result<Tensor>> {
        // A matrix for each core, and a few more to wait for none.
        let step = 4 * rayon::current_num_threads().max(1);
        let count = self.features();
        (0..count)
            .step_by(step)
            .map(move |start| symmetrise(&self.interactions(start..count.min(start + step))?))
    }
}

/// Entries that are printed.
const SHOWN: usize = 12;

/// Writes a heading and the first entries below it, a line each, and how many more there are.
fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    heading: impl fmt::Display,
    entries: &[T],
    line: impl Fn(&T) -> String,
) -> fmt::Result {
    writeln!(f, "{heading}")?;
    for entry in entries.iter().take(SHOWN) {
        writeln!(f, "{}", line(entry))?;
    }
    if entries.len() > SHOWN {
        writeln!(f, "       … {} more", entries.len() - SHOWN)?;
    }
    Ok(())
}

show_as_text!(Tracer);

impl fmt::Display for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (inputs, layer) = (self.input.features(), self.layer);
        write!(
            f,
            "{inputs} input and {} output features of the MLP of layer {layer}",
            self.features()
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::Config;
    use crate::random::Rng;
    use crate::sae::{Architecture, SaeWeights};

    pub(in crate::bilinear::tracer) fn tracer() -> Tracer {
        of_width(8, 12)
    }

    /// One whose eigenvalues are found by iteration.
    pub(in crate::bilinear::tracer) fn wide() -> Tracer {
        of_width(72, 100)
    }

    fn of_width(d: usize, hidden: usize) -> Tracer {
        let config = Config { vocab: 11, ..Config::bilinear(2, 2, d, hidden) };
        let model = Decoder::random(config, 5, &Device::Cpu).unwrap();
        let (input, output) = (sae(HookPoint::MlpIn(1), 1, d), sae(HookPoint::MlpOut(1), 2, d));
        Tracer::new(&model, 1, &input, &output).unwrap()
    }

    fn sae(point: HookPoint, seed: u64, d: usize) -> Sae {
        let mut rng = Rng::seed(seed);
        let mut normal = |shape: &[usize]| rng.normal(shape, &Device::Cpu).unwrap();
        let weights = SaeWeights::new(normal(&[2 * d, d]), normal(&[d, 2 * d]), normal(&[d]));
        Sae::new(Architecture::signed_top_k(3), weights).unwrap().at(point)
    }

    /// The feature's direction times the MLP's output is the quadratic form of its input, in both
    /// bases.
    #[test]
    fn interactions_are_what_the_mlp_computes() {
        let tracer = tracer();
        let codes = Rng::seed(9).normal((1, 16), &Device::Cpu).unwrap();
        let x = codes.matmul(&tracer.input.w_dec().t().unwrap()).unwrap();
        let linear = |w: &Tensor, x: &Tensor| x.matmul(&w.t().unwrap()).unwrap();
        let hidden = (linear(&tracer.left, &x) * linear(&tracer.right, &x)).unwrap();
        let y = linear(&tracer.out, &hidden);
        for directions in [Directions::Encoder, Directions::Decoder] {
            let tracer = tracer.clone().with_directions(directions);
            let direction = match directions {
                Directions::Encoder => tracer.output.w_enc().get(6).unwrap(),
                Directions::Decoder => tracer.output.w_dec().t().unwrap().get(6).unwrap(),
            };
            let expected = (y.get(0).unwrap() * direction).unwrap().sum_all().unwrap();
            let form = |x: &Tensor, q: &Tensor| {
                x.matmul(q).unwrap().matmul(&x.t().unwrap()).unwrap().sum_all().unwrap()
            };
            let raw = form(&x, &tracer.interaction(6).unwrap());
            let projected = form(&codes, &tracer.projected(6).unwrap());
            for found in [raw, projected] {
                let gap = (&found - &expected).unwrap().abs().unwrap();
                assert!(gap.to_scalar::<f32>().unwrap() < 1e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let config = Config { vocab: 11, ..Config::bilinear(2, 2, 8, 12) };
        let (input, output) = (sae(HookPoint::MlpIn(1), 1, 8), sae(HookPoint::MlpOut(1), 2, 8));
        let message = |config: Config, layer, input: &Sae, output: &Sae| {
            let model = Decoder::random(config, 5, &Device::Cpu).unwrap();
            Tracer::new(&model, layer, input, output).unwrap_err().to_string()
        };
        assert!(message(config.clone(), 2, &input, &output).contains("below 2"));
        assert!(message(config.clone(), 0, &input, &output).contains("one of 0.mlp_in"));
        assert!(message(config.clone(), 1, &output, &input).contains("one of 1.mlp_in"));
        let plain = Config { mlp: Mlp::Plain(None), ..config.clone() };
        assert!(message(plain, 1, &input, &output).contains("gated"));
        let biased = Config { mlp_bias: true, ..config.clone() };
        assert!(message(biased, 1, &input, &output).contains("bilinear without"));
        let scaled = Config { residual_scale: 0.5, ..config.clone() };
        assert!(message(scaled, 1, &input, &output).contains("behind the product"));
        let wide = Config { vocab: 11, ..Config::bilinear(2, 2, 12, 12) };
        assert!(message(wide, 1, &input, &output).contains("d_model 12"));
        assert!(tracer().interaction(16).unwrap_err().to_string().contains("below 16"));
        assert!(tracer().interactions([]).unwrap_err().to_string().contains("at least one"));
    }
}
