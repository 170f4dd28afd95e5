//! Pursuit in a dictionary whose pairs of features are too many to keep.

use super::code::{Atoms, PursuitCode, StepScratch, add_four, in_fours};
use super::step::{PursuitEngine, PursuitRule, STEPS_PER_REFRESH};
use crate::linalg::{Packed, TileKernel, with_avx2_if_present};
use crate::progress::SafePoint;

/// Rows that step together. What is left of them is multiplied with tiles of features that stay in
/// the cache, of which only the largest product of each row is kept.
#[derive(Debug)]
pub(super) struct TiledPursuit<'a> {
    pub(super) atoms: Atoms<'a>,
    pub(super) kernel: TileKernel,
    pub(super) rule: PursuitRule,
    pub(super) safe: &'a SafePoint,
}

impl PursuitEngine for TiledPursuit<'_> {
    const ROWS_PER_TASK: usize = 64;

    fn features(&self) -> usize {
        self.atoms.count()
    }

    fn pursue(&self, signals: &[f32], steps: &[u32]) -> Vec<PursuitCode> {
        let d = self.atoms.width;
        let mut codes: Vec<PursuitCode> = steps.iter().copied().map(PursuitCode::new).collect();
        let mut open: Vec<usize> = (0..codes.len()).filter(|row| !codes[*row].is_done).collect();
        let mut residuals: Vec<f32> =
            open.iter().flat_map(|row| &signals[row * d..][..d]).copied().collect();
        let mut scratch = StepScratch::default();
        while !open.is_empty() && !self.safe.is_stopped() {
            let largest = self.largest(&residuals);
            for ((residual, &row), largest) in residuals.chunks_mut(d).zip(&open).zip(largest) {
                let code = &mut codes[row];
                self.rule.step(&self.atoms, largest, code, residual, &mut scratch);
                if code.steps.is_multiple_of(STEPS_PER_REFRESH) {
                    code.write_residual(&signals[row * d..][..d], self.atoms, residual);
                } else {
                    let (fours, last) = in_fours(&scratch.moves);
                    for four in fours.iter().chain(&last) {
                        let (by, atoms) = (four.map(|own| own.1), four.map(|own| own.0));
                        let atoms = atoms.map(|feature| self.atoms.get(feature));
                        with_avx2_if_present(|| add_four(residual, by, atoms, |_| ()));
                    }
                }
            }
            // The rows that go on move up.
            let mut kept = 0;
            for (at, row) in open.iter().enumerate() {
                if !codes[*row].is_done {
                    residuals.copy_within(at * d..(at + 1) * d, kept * d);
                    kept += 1;
                }
            }
            residuals.truncate(kept * d);
            open.retain(|row| !codes[*row].is_done);
        }
        codes
    }
}

impl TiledPursuit<'_> {
    /// The first feature with the largest gradient, for each row that is left.
    fn largest(&self, residuals: &[f32]) -> Vec<u32> {
        let d = self.atoms.width;
        let rows = Packed::new(self.kernel, residuals, d, None);
        let (width, tall) = (rows.width(), self.kernel.tall());
        let mut tile = vec![0f32; tall * width];
        let (mut most, mut found) = (vec![f32::NEG_INFINITY; width], vec![0u32; width]);
        let mut feature = 0;
        for atoms in self.atoms.values.chunks(tall * d) {
            let tile = &mut tile[..atoms.len() / d * width];
            rows.multiply(atoms, tile);
            with_avx2_if_present(|| {
                for gradients in tile.chunks(width) {
                    let best = most.iter_mut().zip(&mut found);
                    for ((most, found), gradient) in best.zip(gradients) {
                        let key = self.rule.key(*gradient);
                        // Chosen rather than skipped, so that eight are compared at a time.
                        let is_more = key > *most;
                        *most = if is_more { key } else { *most };
                        *found = if is_more { feature } else { *found };
                    }
                    feature += 1;
                }
            });
        }
        found.truncate(rows.rows());
        found
    }
}
