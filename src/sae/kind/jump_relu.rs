//! JumpReLU: `fᵢ = hᵢ` where `hᵢ > θᵢ`, loss `‖t − x̂‖² + λ ‖f‖₀` (Rajamanoharan et al., 2024b).
//!
//! Neither the code nor its count has a gradient with respect to θ = exp of what is learned. Both get
//! one from straight-through estimators with a rectangle of width ε around the threshold: with the
//! gradient g of the loss with respect to fᵢ,
//!
//! ```text
//! ∂/∂θᵢ = −(θᵢ g + λ)/ε  where |hᵢ − θᵢ| < ε/2, else 0
//! ```

use std::fmt;

use candle_core::Tensor;

use super::code::{Code, ColumnLengths, Each, EntrywiseCode, Lengths, UnitLengths};
use super::extras::extras;
use super::rule::{Gradient, Penalty, TrainedEntry};
use super::training::{DeviceCodes, Learned, Masks, SaeKind, positive_mask};
use crate::check::check_not_negative;
use crate::sae::autoencoder::SaeData;
use crate::sae::order::{exceeds, keep_if, positive};
use crate::sae::{Rescale, SaeActivation, SaeWeights};
use crate::{Error, Result};

/// h where it is above its feature's threshold and above 0.
#[derive(Debug, Clone, Copy)]
pub(crate) struct JumpRelu;

/// [`JumpRelu`] with thresholds θ, an entry per feature.
#[derive(Debug)]
pub(crate) struct Thresholded<'a, L> {
    thresholds: &'a [f32],
    lengths: L,
}

impl<L: Lengths> EntrywiseCode for Thresholded<'_, L> {
    fn floor(&self, feature: usize) -> f32 {
        if self.lengths.are_one() { self.thresholds[feature].max(0.0) } else { 0.0 }
    }

    #[inline(always)]
    fn value(&self, feature: usize, h: f32) -> f32 {
        let above = exceeds(self.lengths.compared(feature, h), self.thresholds[feature]);
        keep_if(above & positive(h), self.lengths.kept(feature, h))
    }
}

impl fmt::Display for JumpRelu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JumpReLU")
    }
}

impl Code for JumpRelu {
    type Rule<'a> = Each<Thresholded<'a, ColumnLengths<'a>>>;

    fn rule<'a>(&self, sae: &'a SaeData) -> Self::Rule<'a> {
        Each(Thresholded { thresholds: &sae.thresholds, lengths: ColumnLengths::new(sae) })
    }

    fn missing(&self, weights: &SaeWeights) -> Option<&'static str> {
        weights.thresholds.is_none().then_some("thresholds")
    }

    fn is_free_of_lengths(&self, _rescale: Rescale) -> bool {
        true
    }
}

extras! {
    /// The weights that JumpReLU has in addition to its maps.
    ThresholdWeights {
        /// log θ; θ itself as the rule reads it.
        thresholds: |sums| &sums.extras[0],
    }
}

/// What a JumpReLU penalises, as a function of the values of its codes.
pub(crate) trait SparsityMeasure: fmt::Debug + Clone + Copy + Send + Sync + 'static {
    /// What the kind is called.
    const NAME: &'static str;
    /// What λ is called among the options.
    const LAMBDA: &'static str;
    /// [`TrainingRule::PENALTY_NEEDS_SUM`](super::rule::TrainingRule::PENALTY_NEEDS_SUM).
    const NEEDS_SUM: bool = false;

    /// Fails for numbers that no fit can have.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What is penalised of a value.
    fn penalised(&self, value: f32) -> f32;

    /// The loss's gradient with respect to a value, of which `pull` is the squared error's and
    /// `lambda` what the penalty weighs.
    #[inline(always)]
    fn pull(&self, pull: f32, _lambda: f32, _value: f32) -> f32 {
        pull
    }

    /// How much the penalty rises at the threshold itself.
    #[inline(always)]
    fn step(&self, _lambda: f32) -> f32 {
        0.0
    }

    /// The sum of what is penalised, of codes whose mask with its gradient is `open`.
    fn sum_on_device(&self, values: &Tensor, open: &Tensor) -> Result<Tensor>;

    /// The penalty of a batch.
    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        Penalty::linear(lambda, sum, rows)
    }

    /// The same on a device.
    fn penalty_on_device(&self, lambda: f64, sum: &Tensor, _rows: usize) -> Result<Tensor> {
        Ok((sum * lambda)?)
    }
}

/// A JumpReLU in training, with what it penalises.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrainedJumpRelu<S> {
    /// λ.
    pub(crate) lambda: f64,
    /// ε.
    pub(crate) bandwidth: f64,
    /// θ at the start.
    pub(crate) threshold: f64,
    pub(crate) sparsity: S,
}

/// The rule of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jump<'a, S> {
    thresholds: &'a [f32],
    bandwidth: f32,
    sparsity: S,
}

impl<S: SparsityMeasure> Jump<'_, S> {
    /// How far h is above its threshold.
    #[inline(always)]
    fn above(&self, feature: usize, h: f32) -> f32 {
        h - self.thresholds[feature]
    }

    #[inline(always)]
    fn thresholded(&self) -> Thresholded<'_, UnitLengths> {
        Thresholded { thresholds: self.thresholds, lengths: UnitLengths }
    }
}

impl<S: SparsityMeasure> EntrywiseCode for Jump<'_, S> {
    fn floor(&self, feature: usize) -> f32 {
        self.thresholded().floor(feature)
    }

    #[inline(always)]
    fn value(&self, feature: usize, h: f32) -> f32 {
        self.thresholded().value(feature, h)
    }
}

impl<S: SparsityMeasure> TrainedEntry for Jump<'_, S> {
    const HAS_EXTRAS: bool = true;
    const PENALTY_NEEDS_SUM: bool = S::NEEDS_SUM;

    #[inline(always)]
    fn cut(self, features: usize) -> Self {
        Self { thresholds: &self.thresholds[..features], ..self }
    }

    #[inline(always)]
    fn touches(&self, feature: usize, h: f32) -> bool {
        exceeds(self.above(feature, h), -0.5 * self.bandwidth)
    }

    #[inline(always)]
    fn gradient(&self, feature: usize, h: f32, pull: f32, lambda: f32) -> Gradient {
        let (threshold, above) = (self.thresholds[feature], self.above(feature, h));
        let open = positive(above);
        let pull = self.sparsity.pull(pull, lambda, keep_if(open, h));
        let near = above.abs() < 0.5 * self.bandwidth;
        let step = self.sparsity.step(lambda);
        let smooth = -(threshold * pull + step) * threshold / self.bandwidth;
        Gradient { h: keep_if(open, pull), extras: [keep_if(near, smooth), 0.0] }
    }

    #[inline(always)]
    fn penalised(&self, value: f32) -> f32 {
        self.sparsity.penalised(value)
    }

    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        self.sparsity.penalty(lambda, sum, rows)
    }
}

impl<S: SparsityMeasure> SaeKind for TrainedJumpRelu<S> {
    type Extras = ThresholdWeights<()>;
    type Rule<'a> = Each<Jump<'a, S>>;

    fn name(&self) -> &'static str {
        S::NAME
    }

    fn check(&self) -> Result<()> {
        check_not_negative(&format!("the penalty `{}`", S::LAMBDA), self.lambda)?;
        check_positive("`bandwidth`, the bandwidth,", self.bandwidth)?;
        check_positive("`threshold`, the threshold at the start,", self.threshold)?;
        self.sparsity.check()
    }

    fn lambda(&self) -> Option<f64> {
        Some(self.lambda)
    }

    fn start(&self, offset: &[f32]) -> ThresholdWeights<Vec<f32>> {
        ThresholdWeights { thresholds: vec![self.threshold.ln() as f32; offset.len()] }
    }

    fn prepare(extras: &ThresholdWeights<&[f32]>) -> ThresholdWeights<Vec<f32>> {
        let thresholds = extras.thresholds.iter().map(|entry| entry.exp());
        ThresholdWeights { thresholds: thresholds.collect() }
    }

    fn rule<'a>(&'a self, extras: &'a ThresholdWeights<Vec<f32>>) -> Each<Jump<'a, S>> {
        let (bandwidth, sparsity) = (self.bandwidth as f32, self.sparsity);
        Each(Jump { thresholds: &extras.thresholds, bandwidth, sparsity })
    }

    fn masks(&self, h: &Tensor, extras: &ThresholdWeights<Tensor>, _dead: &[u32]) -> Result<Masks> {
        let thresholds = extras.thresholds.detach().exp()?;
        Ok(Masks::of(positive_mask(&h.broadcast_sub(&thresholds)?)?))
    }

    fn codes(
        &self,
        h: &Tensor,
        extras: &ThresholdWeights<Tensor>,
        masks: &Masks,
    ) -> Result<DeviceCodes> {
        let threshold = extras.thresholds.exp()?;
        let fixed = threshold.detach();
        let above = h.detach().broadcast_sub(&fixed)?;
        let window = above.abs()?.lt(0.5 * self.bandwidth)?.to_dtype(h.dtype())?;
        // Nothing in value; its gradient is that of a step smeared out over the window.
        let shift = (window.broadcast_mul(&(&threshold - &fixed)?)? / self.bandwidth)?;
        let values = ((h * &masks.main)? - shift.broadcast_mul(&fixed)?)?;
        let open = (&masks.main - &shift)?;
        let penalised = Some(self.sparsity.sum_on_device(&values, &open)?);
        Ok(DeviceCodes { penalised, ..DeviceCodes::of(values) })
    }

    fn penalty_on_device(&self, lambda: f64, sum: &Tensor, rows: usize) -> Result<Tensor> {
        self.sparsity.penalty_on_device(lambda, sum, rows)
    }

    fn finish(
        &self,
        extras: ThresholdWeights<Tensor>,
        learned: &Learned<'_>,
        weights: &mut SaeWeights,
    ) -> Result<SaeActivation> {
        weights.thresholds = Some((extras.thresholds.exp()? * learned.scale)?);
        Ok(SaeActivation::JumpRelu)
    }
}

impl TrainedJumpRelu<Count> {
    /// With the penalty `λ ‖f‖₀`.
    pub(crate) fn counting(l0: f64, bandwidth: f64, threshold: f64) -> Self {
        Self { lambda: l0, bandwidth, threshold, sparsity: Count }
    }
}

/// `‖f‖₀`: how many features a code has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count;

impl SparsityMeasure for Count {
    const NAME: &'static str = "JumpReLU";
    const LAMBDA: &'static str = "l0";

    #[inline(always)]
    fn penalised(&self, value: f32) -> f32 {
        keep_if(value != 0.0, 1.0)
    }

    #[inline(always)]
    fn step(&self, lambda: f32) -> f32 {
        lambda
    }

    fn sum_on_device(&self, _values: &Tensor, open: &Tensor) -> Result<Tensor> {
        Ok(open.sum_all()?)
    }
}

/// Fails unless `value` is finite and above 0.
pub(crate) fn check_positive(what: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::invalid(what, "a finite number above 0", value))
}
