//! [JumpReLU](super::jump_relu) with the penalty `λ Σ tanh(s f)`, which counts large values once and
//! small ones in part (Conerly et al., 2025; SAELens's `tanh`). With columns of length one there is
//! no length of a column in it.

use candle_core::Tensor;

use super::jump_relu::{SparsityMeasure, TrainedJumpRelu, check_positive};
use crate::Result;

/// `Σ tanh(s f)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SoftCount {
    /// s.
    pub(crate) scale: f64,
}

impl SparsityMeasure for SoftCount {
    const NAME: &'static str = "JumpReLU with tanh";
    const LAMBDA: &'static str = "l0";

    fn check(&self) -> Result<()> {
        check_positive("`scale`", self.scale)
    }

    #[inline(always)]
    fn penalised(&self, value: f32) -> f32 {
        (self.scale as f32 * value).tanh()
    }

    #[inline(always)]
    fn pull(&self, pull: f32, lambda: f32, value: f32) -> f32 {
        let (scale, share) = (self.scale as f32, self.penalised(value));
        pull + lambda * scale * (1.0 - share * share)
    }

    fn sum_on_device(&self, values: &Tensor, _open: &Tensor) -> Result<Tensor> {
        Ok((values * self.scale)?.tanh()?.sum_all()?)
    }
}

impl TrainedJumpRelu<SoftCount> {
    /// With the penalty `λ Σ tanh(s f)`.
    pub(crate) fn counting_softly(l0: f64, scale: f64, bandwidth: f64, threshold: f64) -> Self {
        Self { lambda: l0, bandwidth, threshold, sparsity: SoftCount { scale } }
    }
}
