//! The most that this machine does: operations a second of a product of large matrices.

use std::sync::OnceLock;
use std::time::Instant;

use eigenlens::linalg::matmul;
use eigenlens::prelude::*;

use crate::Result;
use crate::pytorch::REST;
use crate::report::Row;

/// Rows and columns of both matrices.
const SIDE: usize = 2_048;
/// Products that are timed; the fastest counts.
const TRIES: usize = 8;

static PEAK: OnceLock<f64> = OnceLock::new();

/// Operations a second of a product of f32 matrices on all threads, `2 · 2048³` each; measured when
/// first asked for.
pub(crate) fn operations() -> Result<f64> {
    if let Some(peak) = PEAK.get() {
        return Ok(*peak);
    }
    std::thread::sleep(REST);
    let draw = |seed| Rng::seed(seed).normal((SIDE, SIDE), &Device::Cpu);
    let (a, b) = (draw(0)?, draw(1)?);
    let mut fastest = f64::INFINITY;
    for _ in 0..TRIES {
        let start = Instant::now();
        matmul(&a, &b)?;
        fastest = fastest.min(start.elapsed().as_secs_f64());
    }
    Ok(*PEAK.get_or_init(|| 2.0 * (SIDE as f64).powi(3) / fastest))
}

/// The peak, if some work was compared with it.
pub(crate) fn row() -> Option<Row> {
    let peak = PEAK.get()?;
    let size = format!("f32, {SIDE}×{SIDE}×{SIDE}, {} threads", rayon::current_num_threads());
    Some(Row::new("GEMM peak", format!("{size}, best of {TRIES}"), peak / 1e9, "GFLOP/s"))
}
