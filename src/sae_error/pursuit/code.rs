//! The code of a row so far, and the dictionary as a step sees it.

use super::support::SupportProducts;
use crate::linalg::{add_scaled, dot, squares, with_avx2_if_present};

/// Rows dᵢ of a dictionary, `[features, width]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Atoms<'a> {
    pub(super) values: &'a [f32],
    pub(super) width: usize,
}

impl<'a> Atoms<'a> {
    pub(super) fn get(&self, feature: u32) -> &'a [f32] {
        &self.values[feature as usize * self.width..][..self.width]
    }

    /// Number of features.
    pub(super) fn count(&self) -> usize {
        self.values.len() / self.width
    }
}

/// A dictionary as a step sees it. What a step moves is the state of a row, a vector from which the
/// gradient follows; a unit of a feature's weight takes that feature's own vector off it.
pub(super) trait StepSpace {
    /// The vector of a feature, as long as a state.
    fn vector(&self, feature: u32) -> &[f32];

    /// `dᵢ·r`.
    fn gradient(&self, state: &[f32], feature: u32) -> f32;

    /// `‖c‖²` for `c = Σ gᵢ dᵢ`, of which `direction` is `Σ gᵢ vectorᵢ`.
    fn squared_length(&self, features: &[u32], gradient: &[f32], direction: &[f32]) -> f64;

    /// `dᵢ·dⱼ`.
    fn product(&self, a: u32, b: u32) -> f64;
}

/// States are what is left of a row, r `[d]`.
impl StepSpace for Atoms<'_> {
    fn vector(&self, feature: u32) -> &[f32] {
        self.get(feature)
    }

    fn gradient(&self, state: &[f32], feature: u32) -> f32 {
        with_avx2_if_present(|| dot(self.get(feature), state))
    }

    fn squared_length(&self, _features: &[u32], _gradient: &[f32], direction: &[f32]) -> f64 {
        with_avx2_if_present(|| squares(direction))
    }

    fn product(&self, a: u32, b: u32) -> f64 {
        f64::from(with_avx2_if_present(|| dot(self.get(a), self.get(b))))
    }
}

/// Memory of a step, used again by the next.
#[derive(Debug, Default)]
pub(super) struct StepScratch {
    pub(super) gradient: Vec<f32>,
    pub(super) direction: Vec<f32>,
}

/// The code of a row so far. No weight is zero between steps.
#[derive(Debug, Default)]
pub(super) struct PursuitCode {
    pub(super) features: Vec<u32>,
    pub(super) weights: Vec<f32>,
    /// Products of the features, for the orthogonal method.
    pub(super) products: SupportProducts,
    /// Steps (or entries) that it should have.
    pub(super) target: u32,
    /// Steps so far.
    pub(super) steps: u32,
    /// Whether there are no more steps.
    pub(super) is_done: bool,
    /// Whether it ended because a step had no length.
    pub(super) has_stalled: bool,
}

impl PursuitCode {
    /// An empty code with that many steps to go.
    pub(super) fn new(target: u32) -> Self {
        Self { target, is_done: target == 0, ..Self::default() }
    }

    /// Features and weights, in the order in which they came.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, f32)> {
        self.features.iter().copied().zip(self.weights.iter().copied())
    }

    /// Adds a feature of weight zero, unless it is there.
    pub(super) fn admit(&mut self, feature: u32) {
        if !self.features.contains(&feature) {
            self.features.push(feature);
            self.weights.push(0.0);
        }
    }

    /// Removes features whose weight is zero.
    pub(super) fn drop_zeros(&mut self) {
        let mut kept = 0;
        for at in 0..self.features.len() {
            if self.weights[at] != 0.0 {
                self.features[kept] = self.features[at];
                self.weights[kept] = self.weights[at];
                kept += 1;
            }
        }
        self.features.truncate(kept);
        self.weights.truncate(kept);
    }

    /// Writes what is left of `signal`: `s − w D`.
    pub(super) fn write_residual(&self, signal: &[f32], atoms: Atoms<'_>, residual: &mut [f32]) {
        residual.copy_from_slice(signal);
        for (feature, weight) in self.entries() {
            move_by(residual, -weight, atoms.get(feature));
        }
    }
}

/// `to ← to + by · vector`.
#[inline]
pub(super) fn move_by(to: &mut [f32], by: f32, vector: &[f32]) {
    with_avx2_if_present(|| add_scaled(to, by, vector));
}

/// `to ← Σ factorᵢ vectorᵢ`.
pub(super) fn weighted_sum<S: StepSpace>(
    space: &S,
    features: &[u32],
    factors: &[f32],
    to: &mut [f32],
) {
    to.fill(0.0);
    // Four vectors at a time, so that the sum is read and written once for all of them.
    let ((fours, rest), (by, rest_by)) = (features.as_chunks::<4>(), factors.as_chunks::<4>());
    for (features, by) in fours.iter().zip(by) {
        let vectors = features.map(|feature| space.vector(feature));
        with_avx2_if_present(|| add_four(to, *by, vectors));
    }
    for (feature, by) in rest.iter().zip(rest_by) {
        move_by(to, *by, space.vector(*feature));
    }
}

#[inline(always)]
fn add_four(to: &mut [f32], by: [f32; 4], [a, b, c, d]: [&[f32]; 4]) {
    let four = a.iter().zip(b).zip(c).zip(d);
    for (to, (((a, b), c), d)) in to.iter_mut().zip(four) {
        *to += by[0] * a + by[1] * b + by[2] * c + by[3] * d;
    }
}
