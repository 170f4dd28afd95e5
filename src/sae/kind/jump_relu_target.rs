//! [JumpReLU](super::jump_relu) with the penalty `λ (L0/T − 1)²`, which asks for T features per code
//! instead of a λ that happens to lead there (Rajamanoharan et al., 2024b, appendix).
//!
//! L0 is the mean `‖f‖₀` over a step's activations, as in dictionary_learning; the paper takes the
//! square for each activation.

use candle_core::Tensor;

use super::jump_relu::{Count, SparsityMeasure, TrainedJumpRelu, check_positive};
use super::rule::Penalty;
use crate::Result;

/// How far the mean `‖f‖₀` is from a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TargetCount {
    /// T.
    pub(crate) target: f64,
}

impl SparsityMeasure for TargetCount {
    const NAME: &'static str = "JumpReLU with a target";
    const LAMBDA: &'static str = "weight";
    const NEEDS_SUM: bool = true;

    fn check(&self) -> Result<()> {
        check_positive("`target`", self.target)
    }

    #[inline(always)]
    fn penalised(&self, value: f32) -> f32 {
        Count.penalised(value)
    }

    #[inline(always)]
    fn step(&self, lambda: f32) -> f32 {
        lambda
    }

    fn sum_on_device(&self, values: &Tensor, open: &Tensor) -> Result<Tensor> {
        Count.sum_on_device(values, open)
    }

    fn penalty(&self, lambda: f64, sum: f64, rows: usize) -> Penalty {
        let (rows, target) = (rows as f64, self.target);
        let gap = sum / rows / target - 1.0;
        Penalty { value: rows * lambda * gap * gap, slope: 2.0 * lambda * gap / target / rows }
    }

    fn penalty_on_device(&self, lambda: f64, sum: &Tensor, rows: usize) -> Result<Tensor> {
        let rows = rows as f64;
        let gap = ((sum / (rows * self.target))? - 1.0)?;
        Ok((gap.sqr()? * (rows * lambda))?)
    }
}

impl TrainedJumpRelu<TargetCount> {
    /// With the penalty `λ (L0/T − 1)²`.
    pub(crate) fn aiming(weight: f64, target: f64, bandwidth: f64, threshold: f64) -> Self {
        Self { lambda: weight, bandwidth, threshold, sparsity: TargetCount { target } }
    }
}
