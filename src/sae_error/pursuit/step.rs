//! Steps of a pursuit, whatever its method.

use super::PursuitMethod;
use super::code::{PursuitCode, StepScratch, StepSpace};
use super::gradient::gradient_step;
use super::orthogonal::orthogonal_step;
use super::support::SupportProducts;

/// Steps after which the gradient is computed from what is left of a row, for rounding adds up.
pub(super) const STEPS_PER_REFRESH: u32 = 16;
/// Steps for each entry that a code should have, at most.
const MOST_STEPS_PER_ENTRY: u32 = 4;

/// What pursues some rows on one thread.
pub(super) trait PursuitEngine: Sync {
    /// Rows that one task takes, at most.
    const ROWS_PER_TASK: usize;

    /// Number of features of the dictionary.
    fn features(&self) -> usize;

    /// The codes of rows of signals `[rows, d]`, with the steps of each.
    fn pursue(&self, signals: &[f32], steps: &[u32]) -> Vec<PursuitCode>;
}

/// Which steps are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct PursuitRule {
    pub(super) signed: bool,
    pub(super) method: PursuitMethod,
    pub(super) until_support: bool,
}

impl PursuitRule {
    /// Takes a step, with the feature of the largest gradient and the state of the row. What the step
    /// does to the state is in `scratch` then.
    pub(super) fn step<S: StepSpace>(
        self,
        space: &S,
        largest: u32,
        code: &mut PursuitCode,
        state: &[f32],
        scratch: &mut StepScratch,
    ) {
        code.steps += 1;
        scratch.moves.clear();
        let went_on = match self.method {
            PursuitMethod::Gradient => {
                gradient_step(space, self.signed, largest, code, state, scratch)
            }
            PursuitMethod::Orthogonal => {
                orthogonal_step(space, self.signed, largest, code, state, scratch)
            }
        };
        let is_reached = match self.until_support {
            true => {
                code.features.len() >= code.target as usize
                    || code.steps >= code.target.saturating_mul(MOST_STEPS_PER_ENTRY)
            }
            false => code.steps >= code.target,
        };
        code.is_done = !went_on || is_reached;
        if code.is_done {
            code.products = SupportProducts::default();
        }
    }

    /// What is compared to find the next feature.
    #[inline(always)]
    pub(super) fn key(self, gradient: f32) -> f32 {
        // Without the bit of the sign, if either will do: one operation for a vector.
        let bits = if self.signed { i32::MAX as u32 } else { u32::MAX };
        f32::from_bits(gradient.to_bits() & bits)
    }
}
