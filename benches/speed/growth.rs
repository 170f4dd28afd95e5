//! How time grows with a size.

use crate::report::Row;
use crate::{Result, timed};

/// The exponent e with which `time`, in seconds, grows as sizeᵉ over three sizes; `of` names the size.
pub(crate) fn row(
    name: &str,
    of: &str,
    sizes: [usize; 3],
    fixed: &str,
    time: impl Fn(usize) -> Result<f64>,
) -> Result<Row> {
    let points = sizes.map(|size| Ok((size as f64, time(size)?)));
    let points = points.into_iter().collect::<Result<Vec<_>>>()?;
    let name = format!("{name}: growth with {of}");
    Ok(Row::new(name, format!("{of} {sizes:?}, {fixed}"), slope(&points), "exponent"))
}

/// The slope of the line through the logarithms of `points`, by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / logs.len() as f64;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let spread: f64 = logs.iter().map(|point| (point.0 - x).powi(2)).sum();
    along / spread
}

/// Seconds that `run` takes, the median of some after a first one.
pub(crate) fn seconds(run: impl Fn() -> eigenlens::Result<()>) -> Result<f64> {
    run()?;
    timed(run)
}
