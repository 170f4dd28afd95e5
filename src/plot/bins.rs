//! What a histogram is made from.

use std::sync::Arc;

/// What one series of a histogram counts.
#[derive(Debug, Clone)]
pub(crate) struct BinnedSeries {
    pub(super) name: String,
    pub(super) values: Arc<[f64]>,
}

/// Number of bins and their range, where they are chosen.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bins {
    pub(super) count: Option<usize>,
    pub(super) range: Option<(f64, f64)>,
}
