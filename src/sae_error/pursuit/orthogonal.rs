//! A step of orthogonal matching pursuit.

use super::code::{PursuitCode, StepScratch, StepSpace};

/// A row ends when no gradient is above this share of the first.
const LEAST_GRADIENT: f64 = 1e-6;

/// Takes `largest` into the support and solves for all weights; false if that changes nothing.
pub(super) fn orthogonal_step<S: StepSpace>(
    space: &S,
    signed: bool,
    largest: u32,
    code: &mut PursuitCode,
    state: &[f32],
    scratch: &mut StepScratch,
) -> bool {
    let gain = f64::from(space.gradient(state, largest));
    let gain = if signed { gain.abs() } else { gain };
    let first = *code.products.first.get_or_insert(gain);
    let is_small = gain <= LEAST_GRADIENT * first || gain <= 0.0;
    if is_small || code.features.contains(&largest) {
        return false;
    }
    code.admit(space, largest);
    let gradient: Vec<f64> =
        code.features.iter().map(|feature| f64::from(space.gradient(state, *feature))).collect();
    let before: Vec<f64> = code.weights.iter().map(|weight| f64::from(*weight)).collect();
    let Some(weights) = code.products.least_squares(&gradient, &before, signed) else {
        code.drop_zeros();
        return false;
    };
    for ((feature, weight), next) in code.features.iter().zip(&mut code.weights).zip(weights) {
        let next = next as f32;
        scratch.moves.push((*feature, *weight - next));
        *weight = next;
    }
    code.drop_zeros();
    true
}
