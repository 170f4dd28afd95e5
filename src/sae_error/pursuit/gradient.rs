//! A step of gradient pursuit.

use super::code::{PursuitCode, StepScratch, StepSpace, move_by, weighted_sum};

/// Goes along the gradient of the weights in the support and `largest`; false if that has no length.
pub(super) fn gradient_step<S: StepSpace>(
    space: &S,
    signed: bool,
    largest: u32,
    code: &mut PursuitCode,
    state: &mut [f32],
    scratch: &mut StepScratch,
) -> bool {
    code.admit(largest);
    let StepScratch { gradient, direction } = scratch;
    gradient.clear();
    gradient.extend(code.features.iter().map(|feature| space.gradient(state, *feature)));
    direction.resize(state.len(), 0.0);
    weighted_sum(space, &code.features, gradient, direction);
    // c·r = ‖g_S‖².
    let along: f64 = gradient.iter().map(|g| f64::from(*g) * f64::from(*g)).sum();
    let length = space.squared_length(&code.features, gradient, direction);
    let far = (along / length) as f32;
    if length <= 0.0 || !far.is_finite() {
        code.drop_zeros();
        code.has_stalled = true;
        return false;
    }
    move_by(state, -far, direction);
    let entries = code.features.iter().zip(&mut code.weights).zip(gradient.iter());
    for ((feature, weight), gradient) in entries {
        let moved = *weight + far * gradient;
        let kept = if signed { moved } else { moved.max(0.0) };
        if kept != moved {
            move_by(state, moved - kept, space.vector(*feature));
        }
        *weight = kept;
    }
    code.drop_zeros();
    true
}
