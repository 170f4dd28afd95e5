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

/// The factor on the learning rate that rises to 1 over the first `steps` steps:
/// `min(1, (step + 1) / steps)`.
///
/// ```
/// use eigenlens::train::warmup;
/// assert_eq!((warmup(0, 4), warmup(3, 4), warmup(9, 4)), (0.25, 1.0, 1.0));
/// assert_eq!(warmup(0, 0), 1.0);
/// ```
pub fn warmup(step: usize, steps: usize) -> f64 {
    if step < steps { (step + 1) as f64 / steps as f64 } else { 1.0 }
}
