//! A step of gradient pursuit.

use super::code::{PursuitCode, StepScratch, StepSpace};

/// Goes along the gradient of the weights in the support and `largest`; false if that has no length.
pub(super) fn gradient_step<S: StepSpace>(
    space: &S,
    signed: bool,
    largest: u32,
    code: &mut PursuitCode,
    state: &[f32],
    scratch: &mut StepScratch,
) -> bool {
    code.admit(space, largest);
    let StepScratch { gradient, moves } = scratch;
    gradient.clear();
    gradient.extend(code.features.iter().map(|feature| space.gradient(state, *feature)));
    // c·r = ‖g_S‖².
    let along: f64 = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
    let length = code.products.squared_length(gradient);
    let far = (along / length) as f32;
    if length <= 0.0 || !far.is_finite() {
        code.drop_zeros();
        code.has_stalled = true;
        return false;
    }
    let entries = code.features.iter().zip(&mut code.weights).zip(gradient.iter());
    for ((feature, weight), gradient) in entries {
        let moved = *weight + far * gradient;
        let kept = if signed { moved } else { moved.max(0.0) };
        moves.push((*feature, *weight - kept));
        *weight = kept;
    }
    code.drop_zeros();
    true
}
