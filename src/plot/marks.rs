//! Sizes and places of marks, the same in every output.

use super::panel::Panel;

/// Points of a diagonal on axes of which one is logarithmic, where it is a curve.
const CURVE: usize = 64;

/// Points along the line y = x: its ends, or more where it is a curve.
pub(super) fn diagonal_places(panel: &Panel) -> Option<Vec<f64>> {
    let (low, high) = panel.diagonal_ends()?;
    if panel.x.log == panel.y.log {
        return Some(vec![low, high]);
    }
    let low = low.max(high * 1e-6);
    let step = (high / low).ln() / (CURVE - 1) as f64;
    Some((0..CURVE).map(|k| low * (step * k as f64).exp()).collect())
}

/// Pixels across a point: many points are drawn small.
pub(super) fn point_size(count: usize) -> f64 {
    match count {
        0..=200 => 8.0,
        201..=2000 => 5.0,
        _ => 3.0,
    }
}
