//! A strip of the plane, and the share of points in it.

use std::f64::consts::PI;

use super::points::Points;

/// The strip `|n·x + c| ≤ ε σ`, with `σ² = ⟨(n·x + c)²⟩` over the points: its width is measured
/// against how far the points are from its middle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The unit vector `n` across the band.
    pub normal: [f64; 2],
    /// `c`: minus the place of the band's middle along `n`, in the unit of the points.
    pub offset: f64,
    /// `σ`, the points' root mean square distance from the band's middle.
    pub scale: f64,
    /// `ε`, half the width in units of `σ`.
    pub epsilon: f64,
    /// The share of the points inside, from 0 to 1.
    pub fraction: f64,
}

impl Band {
    /// The band of `a·x + b = 0`; nothing is inside if `a` is 0.
    pub(super) fn of(points: &Points, a: [f64; 2], b: f64, epsilon: f64) -> Self {
        let length = a[0].hypot(a[1]);
        let normal = a.map(|v| v / length);
        let offset = b / length;
        let at = |(x, y): (&f64, &f64)| normal[0] * x + normal[1] * y + offset;
        let distances: Vec<f64> = points.x.iter().zip(&points.y).map(at).collect();
        let n = distances.len() as f64;
        let scale = (distances.iter().map(|d| d * d).sum::<f64>() / n).sqrt();
        // Where all distances are 0 the ratio is 0/0, and no point counts.
        let inside = distances.iter().filter(|d| scale > 0.0 && d.abs() <= epsilon * scale);
        let fraction = inside.count() as f64 / n;
        Self { normal, offset, scale, epsilon, fraction }
    }

    /// Half the width, in the unit of the points.
    pub fn half_width(&self) -> f64 {
        self.epsilon * self.scale
    }

    /// The angle of the normal in `[0, π)`.
    pub fn angle(&self) -> f64 {
        let angle = self.normal[1].atan2(self.normal[0]).rem_euclid(PI);
        if angle < PI { angle } else { 0.0 }
    }

    /// `(n·x + c) / σ`, the place of a point across the band.
    pub fn place(&self, point: [f64; 2]) -> f64 {
        (self.normal[0] * point[0] + self.normal[1] * point[1] + self.offset) / self.scale
    }

    /// The same band for points that were `scale · (point − origin)`.
    pub(super) fn moved_back(mut self, origin: [f64; 2], scale: f64) -> Self {
        self.scale /= scale;
        self.offset = self.offset / scale - self.normal[0] * origin[0] - self.normal[1] * origin[1];
        self
    }
}
