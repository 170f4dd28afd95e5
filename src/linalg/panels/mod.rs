//! Products of rows with panels of rows, held in registers.
//!
//! Rows x lie in panels of [`WIDE`]: the rows' first entries side by side, then their second, and so
//! on. A [`PanelLoop`] multiplies a few rows a with a panel or two at a time, all sums staying in
//! registers; each sum goes over its terms in ascending order, one fused multiplication a term, so
//! that all loops over f32 give the same bits.

#![allow(
    unsafe_code,
    reason = "vector instructions of the processor, on slices whose lengths are checked"
)]

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;

/// Rows whose entries lie side by side in a panel.
pub(super) const WIDE: usize = 16;

/// Two entries of a row of integers.
pub(super) type Pair = [i16; 2];

/// A loop over the terms of products of entries `T`, for `TALL` rows a at a time.
pub(super) trait PanelLoop<T, const TALL: usize>: Copy {
    /// Whether two panels are multiplied at a time.
    const BY_TWO: bool;
    /// Writes, or adds if `add`, the products of rows `a` and `PANELS` panels to as many rows of
    /// `target`, `stride` apart, as there are; panels side by side. Rows and panels have the same
    /// number of terms.
    fn multiply<const PANELS: usize>(
        self,
        a: [&[T]; TALL],
        x: [&[[T; WIDE]]; PANELS],
        target: &mut [f32],
        stride: usize,
        add: bool,
    );
}

/// Rows a `[count, depth]`, of whose entries `terms` count.
#[derive(Debug, Clone)]
pub(super) struct TermsOfRows<'a, T> {
    pub(super) values: &'a [T],
    pub(super) depth: usize,
    pub(super) terms: std::ops::Range<usize>,
}

/// Writes, or adds if `add`, A Xᵀ `[rows of a, width]` to `target`, for panels `x`, each
/// `[depth][WIDE]`.
pub(super) fn multiply_panels<T, L: PanelLoop<T, TALL>, const TALL: usize>(
    panel_loop: L,
    a: &TermsOfRows<'_, T>,
    x: &[[T; WIDE]],
    target: &mut [f32],
    add: bool,
) {
    let TermsOfRows { values, depth, terms } = a;
    let (count, panels) = (values.len() / depth, x.len() / depth);
    let width = panels * WIDE;
    let panel = |at: usize| &x[at * depth..][terms.clone()];
    let mut at = 0;
    while at < panels {
        let by_two = L::BY_TWO && at + 1 < panels;
        for row in (0..count).step_by(TALL) {
            // At the end the last row stands in for those that are not there.
            let rows = std::array::from_fn(|next| {
                &values[(row + next).min(count - 1) * depth..][terms.clone()]
            });
            let target = &mut target[row * width..count * width][at * WIDE..];
            match by_two {
                true => {
                    panel_loop.multiply(rows, [panel(at), panel(at + 1)], target, width, add);
                }
                false => panel_loop.multiply(rows, [panel(at)], target, width, add),
            }
        }
        at += 1 + usize::from(by_two);
    }
}
