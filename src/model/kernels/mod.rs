//! The parts of a forward pass that are not matrix products, in one pass over memory each.

mod activation;
mod attention;
mod cap;
mod norm;

pub(super) use activation::{Act, GatedActivation};
pub(super) use attention::Attention;
pub(super) use cap::Cap;
pub(super) use norm::RowNorm;

use rayon::prelude::*;

/// Below this many entries, waking other threads costs more than it saves.
const PARALLEL_FROM: usize = 1 << 13;

/// `work` on rows of `out` of `width` entries and the rows of `x` beside them.
fn each_row<T: Send + Sync>(
    out: &mut [T],
    width: usize,
    (x, x_width): (&[T], usize),
    work: impl Fn(&mut [T], &[T]) + Send + Sync,
) {
    if out.len() < PARALLEL_FROM {
        out.chunks_mut(width).zip(x.chunks(x_width)).for_each(|(out, x)| work(out, x));
    } else {
        out.par_chunks_mut(width).zip(x.par_chunks(x_width)).for_each(|(out, x)| work(out, x));
    }
}
