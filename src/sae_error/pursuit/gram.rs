//! Pursuit by the products of all pairs of features.

use super::code::{Atoms, PursuitCode, StepScratch, StepSpace};
use super::step::{PursuitEngine, PursuitRule, STEPS_PER_REFRESH};
use crate::linalg::{Operand, ProductInto, with_avx2_if_present};
use crate::progress::SafePoint;

/// Entries among which one is the largest before the others are looked at.
const BLOCK: usize = 64;
const LANES: usize = 8;

/// Rows whose gradient, h = D r `[features]`, is moved with the weights.
#[derive(Debug)]
pub(super) struct GramPursuit<'a> {
    pub(super) atoms: Atoms<'a>,
    /// D Dᵀ `[features, features]`.
    pub(super) pairs: &'a [f32],
    pub(super) rule: PursuitRule,
    pub(super) safe: &'a SafePoint,
}

/// States are gradients h, and the vector of a feature is its row of D Dᵀ.
impl StepSpace for GramPursuit<'_> {
    fn vector(&self, feature: u32) -> &[f32] {
        let n = self.atoms.count();
        &self.pairs[feature as usize * n..][..n]
    }

    fn gradient(&self, state: &[f32], feature: u32) -> f32 {
        state[feature as usize]
    }

    fn squared_length(&self, features: &[u32], gradient: &[f32], direction: &[f32]) -> f64 {
        let terms = features.iter().zip(gradient);
        terms.map(|(i, g)| f64::from(*g) * f64::from(direction[*i as usize])).sum()
    }

    fn product(&self, a: u32, b: u32) -> f64 {
        f64::from(self.vector(a)[b as usize])
    }
}

impl PursuitEngine for GramPursuit<'_> {
    // Their gradients stay in the outer caches.
    const ROWS_PER_TASK: usize = 32;

    fn pursue(&self, signals: &[f32], steps: &[u32]) -> Vec<PursuitCode> {
        let (n, d) = (self.atoms.count(), self.atoms.width);
        let mut codes: Vec<PursuitCode> = steps.iter().copied().map(PursuitCode::new).collect();
        let mut open: Vec<usize> = (0..codes.len()).filter(|row| !codes[*row].is_done).collect();
        let mut residuals = vec![0f32; open.len() * d];
        let mut states = vec![0f32; open.len() * n];
        let mut scratch = StepScratch::default();
        while !open.is_empty() && !self.safe.is_stopped() {
            for (residual, &row) in residuals.chunks_mut(d).zip(&open) {
                codes[row].write_residual(&signals[row * d..][..d], self.atoms, residual);
            }
            let states = &mut states[..open.len() * n];
            let residuals = Operand::new(&residuals[..open.len() * d], open.len(), d);
            let atoms = Operand::new(self.atoms.values, n, d);
            ProductInto::NT.write_slice(states, residuals, atoms, false);
            for (state, &row) in states.chunks_mut(n).zip(&open) {
                self.go_on(&mut codes[row], state, &mut scratch);
            }
            open.retain(|row| !codes[*row].is_done);
        }
        codes
    }
}

impl GramPursuit<'_> {
    /// Takes steps until the gradient is to be computed anew.
    fn go_on(&self, code: &mut PursuitCode, state: &mut [f32], scratch: &mut StepScratch) {
        for _ in 0..STEPS_PER_REFRESH {
            let largest = with_avx2_if_present(|| largest(self.rule, state));
            self.rule.step(self, largest, code, state, scratch);
            if code.is_done {
                break;
            }
        }
    }
}

/// The first feature with the largest gradient.
#[inline(always)]
fn largest(rule: PursuitRule, gradient: &[f32]) -> u32 {
    let (mut most, mut block) = (f32::NEG_INFINITY, 0);
    for (at, own) in gradient.chunks(BLOCK).enumerate() {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for values in own.chunks(LANES) {
            for (lane, value) in lanes.iter_mut().zip(values) {
                *lane = lane.max(rule.key(*value));
            }
        }
        let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if largest > most {
            (most, block) = (largest, at);
        }
    }
    let own = gradient[block * BLOCK..].iter().take(BLOCK);
    let within = own.map(|value| rule.key(*value)).position(|value| value == most);
    (block * BLOCK + within.unwrap_or(0)) as u32
}
