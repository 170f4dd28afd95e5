//! Learning-rate schedules.

/// The factor `½ (1 + cos(π · step / total))` on the learning rate: 1 at the start, 0 at the end.
///
/// With a step an epoch this is PyTorch's `CosineAnnealingLR(T_max = total)`: epoch `e`, counted
/// from 0, trains at `cosine(e, total)` times the initial rate.
///
/// ```
/// use eigenlens::train::cosine;
/// assert_eq!((cosine(0, 4), cosine(4, 4)), (1.0, 0.0));
/// assert!((cosine(2, 4) - 0.5).abs() < 1e-12);
/// ```
pub fn cosine(step: usize, total: usize) -> f64 {
    if total == 0 {
        return 1.0;
    }
    0.5 * (1.0 + (std::f64::consts::PI * step.min(total) as f64 / total as f64).cos())
}
