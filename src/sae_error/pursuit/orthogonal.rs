//! A step of orthogonal matching pursuit.

use super::code::{PursuitCode, StepScratch, StepSpace, move_by, weighted_sum};

/// A row ends when no gradient is above this share of the first.
const LEAST_GRADIENT: f64 = 1e-6;

/// Takes `largest` into the support and solves for all weights; false if that changes nothing.
pub(super) fn orthogonal_step<S: StepSpace>(
    space: &S,
    signed: bool,
    largest: u32,
    code: &mut PursuitCode,
    state: &mut [f32],
    scratch: &mut StepScratch,
) -> bool {
    let gain = f64::from(space.gradient(state, largest));
    let gain = if signed { gain.abs() } else { gain };
    let first = *code.products.first.get_or_insert(gain);
    let is_small = gain <= LEAST_GRADIENT * first || gain <= 0.0;
    if is_small || code.features.contains(&largest) {
        return false;
    }
    code.admit(largest);
    let own = code.features.iter().map(|feature| space.product(largest, *feature)).collect();
    code.products.rows.push(own);
    let gradient: Vec<f64> =
        code.features.iter().map(|feature| f64::from(space.gradient(state, *feature))).collect();
    let before: Vec<f64> = code.weights.iter().map(|weight| f64::from(*weight)).collect();
    let Some(weights) = code.products.least_squares(&gradient, &before, signed) else {
        code.products.rows.pop();
        code.drop_zeros();
        return false;
    };
    let StepScratch { gradient: changes, direction } = scratch;
    changes.clear();
    for (weight, next) in code.weights.iter_mut().zip(weights) {
        changes.push(next as f32 - *weight);
        *weight = next as f32;
    }
    direction.resize(state.len(), 0.0);
    weighted_sum(space, &code.features, changes, direction);
    move_by(state, -1.0, direction);
    let weights = &code.weights;
    let zeros = (0..weights.len()).rev().filter(|at| weights[*at] == 0.0);
    zeros.for_each(|at| code.products.remove(at));
    code.drop_zeros();
    true
}
