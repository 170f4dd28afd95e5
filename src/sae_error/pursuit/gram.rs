//! Pursuit by the products of all pairs of features.

use super::code::{
    AT_ONCE, Atoms, LANES, PursuitCode, StepMove, StepScratch, StepSpace, add_four, in_fours,
};
use super::step::{PursuitEngine, PursuitRule, STEPS_PER_REFRESH};
use crate::linalg::{Operand, ProductInto, with_avx2_if_present, with_avx512_if_present};
use crate::progress::SafePoint;

/// Entries among which one is the largest before the others are looked at.
const BLOCK: usize = 64;
/// Bytes of the processor's vectors, at most.
const VECTOR_BYTES: usize = 64;

/// D Dᵀ `[features, features]`, which begins where vectors do: steps do little else than to read it.
#[derive(Debug)]
pub(super) struct FeaturePairs {
    values: Vec<f32>,
    start: usize,
}

impl FeaturePairs {
    pub(super) fn new(atoms: Atoms<'_>) -> Self {
        /// Entries of a vector.
        const ENTRIES: usize = VECTOR_BYTES / size_of::<f32>();
        let n = atoms.count();
        let mut values = vec![0f32; n * n + ENTRIES];
        // Where this cannot be told, reading is slower and nothing else.
        let start = match values.as_ptr().align_offset(VECTOR_BYTES) {
            start if start <= ENTRIES => start,
            _ => 0,
        };
        let atoms = Operand::new(atoms.values, n, atoms.width);
        ProductInto::NT.write_slice(&mut values[start..][..n * n], atoms, atoms, true);
        Self { values, start }
    }

    /// The products of a feature with all `n`.
    fn row(&self, feature: u32, n: usize) -> &[f32] {
        &self.values[self.start + feature as usize * n..][..n]
    }
}

/// Rows whose gradient, h = D r `[features]`, is moved with the weights.
#[derive(Debug)]
pub(super) struct GramPursuit<'a> {
    pub(super) atoms: Atoms<'a>,
    pub(super) pairs: &'a FeaturePairs,
    pub(super) rule: PursuitRule,
    pub(super) safe: &'a SafePoint,
}

/// States are gradients h, and the vector of a feature is its row of D Dᵀ.
impl StepSpace for GramPursuit<'_> {
    fn gradient(&self, state: &[f32], feature: u32) -> f32 {
        state[feature as usize]
    }

    fn product(&self, a: u32, b: u32) -> f32 {
        self.pairs.row(a, self.atoms.count())[b as usize]
    }
}

impl PursuitEngine for GramPursuit<'_> {
    // The dictionary is laid out anew for the product of each task.
    const ROWS_PER_TASK: usize = 128;

    fn features(&self) -> usize {
        self.atoms.count()
    }

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
        let mut largest = with_avx2_if_present(|| self.largest(state));
        for step in 1..=STEPS_PER_REFRESH {
            self.rule.step(self, largest, code, state, scratch);
            if code.is_done || step == STEPS_PER_REFRESH {
                break;
            }
            largest = with_avx512_if_present(|| self.move_by(&scratch.moves, state));
        }
    }

    /// The first feature with the largest gradient.
    #[inline(always)]
    fn largest(&self, gradient: &[f32]) -> u32 {
        let mut search = LargestGradient::new(self.rule);
        for (at, block) in gradient.chunks(BLOCK).enumerate() {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            for values in block.chunks(LANES) {
                for (lane, value) in lanes.iter_mut().zip(values) {
                    *lane = lane.max(self.rule.key(*value));
                }
            }
            search.look(at, lanes);
        }
        search.feature(gradient)
    }

    /// Moves the gradient, and returns the first feature with the largest then.
    #[inline(always)]
    fn move_by(&self, moves: &[StepMove], gradient: &mut [f32]) -> u32 {
        let n = self.atoms.count();
        let rows = |four: [StepMove; AT_ONCE]| four.map(|(feature, _)| self.pairs.row(feature, n));
        let (fours, last) = in_fours(moves);
        for four in fours {
            add_four(gradient, four.map(|own| own.1), rows(*four), |_| ());
        }
        let Some(last) = last else { return self.largest(gradient) };
        let (by, rows) = (last.map(|own| own.1), rows(last));
        let mut search = LargestGradient::new(self.rule);
        for (at, block) in gradient.chunks_mut(BLOCK).enumerate() {
            let mut lanes = [f32::NEG_INFINITY; LANES];
            add_four(block, by, rows.map(|row| &row[at * BLOCK..]), |sums| {
                for (lane, sum) in lanes.iter_mut().zip(sums) {
                    *lane = lane.max(self.rule.key(sum));
                }
            });
            search.look(at, lanes);
        }
        search.feature(gradient)
    }
}

/// The largest gradient of all blocks so far.
struct LargestGradient {
    rule: PursuitRule,
    most: f32,
    block: usize,
}

impl LargestGradient {
    fn new(rule: PursuitRule) -> Self {
        Self { rule, most: f32::NEG_INFINITY, block: 0 }
    }

    /// Takes in a block, by the largest of some of its gradients each.
    #[inline(always)]
    fn look(&mut self, block: usize, lanes: [f32; LANES]) {
        let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        if largest > self.most {
            (self.most, self.block) = (largest, block);
        }
    }

    /// The first feature that has it.
    #[inline(always)]
    fn feature(self, gradient: &[f32]) -> u32 {
        let start = self.block * BLOCK;
        let block = gradient[start..].iter().take(BLOCK);
        let mut keys = block.map(|value| self.rule.key(*value));
        (start + keys.position(|key| key == self.most).unwrap_or(0)) as u32
    }
}
