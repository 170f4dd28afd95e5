//! The code of a row so far, and the dictionary as a step sees it.

use super::support::SupportProducts;
use crate::linalg::{add_scaled, dot, with_avx2_if_present};

/// Sums that run side by side. The compiler keeps as many together, and no more.
pub(super) const LANES: usize = 8;
/// Vectors that are added at once, so that what they are added to is read and written once for all.
pub(super) const AT_ONCE: usize = 4;

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
/// gradient follows.
pub(super) trait StepSpace {
    /// `dᵢ·r`.
    fn gradient(&self, state: &[f32], feature: u32) -> f32;
    /// `dᵢ·dⱼ`.
    fn product(&self, a: u32, b: u32) -> f32;
}

/// States are what is left of a row, r `[d]`.
impl StepSpace for Atoms<'_> {
    fn gradient(&self, state: &[f32], feature: u32) -> f32 {
        with_avx2_if_present(|| dot(self.get(feature), state))
    }

    fn product(&self, a: u32, b: u32) -> f32 {
        with_avx2_if_present(|| dot(self.get(a), self.get(b)))
    }
}

/// A feature, and by how much its weight falls: what of its vector is added to the state.
pub(super) type StepMove = (u32, f32);

/// Memory of a step, used again by the next.
#[derive(Debug, Default)]
pub(super) struct StepScratch {
    pub(super) gradient: Vec<f32>,
    /// What the step does to the state, for whoever keeps it.
    pub(super) moves: Vec<StepMove>,
}

/// The code of a row so far. No weight is zero between steps.
#[derive(Debug, Default)]
pub(super) struct PursuitCode {
    pub(super) features: Vec<u32>,
    pub(super) weights: Vec<f32>,
    /// Products of the features; empty once there are no more steps.
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
    pub(super) fn admit<S: StepSpace>(&mut self, space: &S, feature: u32) {
        if !self.features.contains(&feature) {
            self.features.push(feature);
            self.weights.push(0.0);
            self.products.push(self.features.iter().map(|own| space.product(feature, *own)));
        }
    }

    /// Removes features whose weight is zero.
    pub(super) fn drop_zeros(&mut self) {
        if self.weights.iter().all(|weight| *weight != 0.0) {
            return;
        }
        self.products.keep(self.weights.iter().map(|weight| *weight != 0.0).collect());
        let mut weights = self.weights.iter();
        self.features.retain(|_| weights.next().is_some_and(|weight| *weight != 0.0));
        self.weights.retain(|weight| *weight != 0.0);
    }

    /// Writes what is left of `signal`: `s − w D`.
    pub(super) fn write_residual(&self, signal: &[f32], atoms: Atoms<'_>, residual: &mut [f32]) {
        residual.copy_from_slice(signal);
        for (feature, weight) in self.entries() {
            with_avx2_if_present(|| add_scaled(residual, -weight, atoms.get(feature)));
        }
    }
}

/// Moves four at a time, and the one to four that come last: a weight of zero stands in for those that
/// are not there.
pub(super) fn in_fours(
    moves: &[StepMove],
) -> (&[[StepMove; AT_ONCE]], Option<[StepMove; AT_ONCE]>) {
    let (fours, last) = moves.split_at(moves.len().saturating_sub(1) / AT_ONCE * AT_ONCE);
    let last = last.first().map(|(feature, _)| {
        std::array::from_fn(|at| last.get(at).copied().unwrap_or((*feature, 0.0)))
    });
    (fours.as_chunks().0, last)
}

/// `to ← to + Σ byᵢ vectorᵢ`. `look` gets the sums, some at a time; where fewer are left, the first of
/// these stands in for those that are not there.
#[inline(always)]
pub(super) fn add_four(
    to: &mut [f32],
    by: [f32; AT_ONCE],
    vectors: [&[f32]; AT_ONCE],
    mut look: impl FnMut([f32; LANES]),
) {
    let vectors = vectors.map(|vector| &vector[..to.len()]);
    let (chunks, rest) = to.as_chunks_mut::<LANES>();
    let start = LANES * chunks.len();
    let own = vectors.map(|vector| &vector.as_chunks::<LANES>().0[..chunks.len()]);
    for (at, to) in chunks.iter_mut().enumerate() {
        let [a, b, c, d] = own.map(|own| &own[at]);
        let mut sums = *to;
        for lane in 0..LANES {
            sums[lane] += by[0] * a[lane] + by[1] * b[lane] + by[2] * c[lane] + by[3] * d[lane];
        }
        *to = sums;
        look(sums);
    }
    for (at, to) in rest.iter_mut().enumerate() {
        let [a, b, c, d] = vectors.map(|vector| vector[start + at]);
        *to += by[0] * a + by[1] * b + by[2] * c + by[3] * d;
    }
    if let Some(first) = rest.first() {
        let mut sums = [*first; LANES];
        sums[..rest.len()].copy_from_slice(rest);
        look(sums);
    }
}
