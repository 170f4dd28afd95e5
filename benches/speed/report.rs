//! Rows of results, as a table and as JSON.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Result, median};

/// One computation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Of what size, or how often.
    pub(crate) size: String,
    /// The result, in `unit`.
    pub(crate) value: f64,
    /// `s`, `MB`, something a second such as `tokens/s`, or what it counts.
    pub(crate) unit: String,
    /// PyTorch's result, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pytorch: Option<f64>,
    /// Ours over PyTorch's, or over that of another library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<Spread>,
    /// Operations a second, as a share of what a product of matrices reaches on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peak_share: Option<f64>,
    /// The largest relative error found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<f64>,
}

/// How a ratio varies from turn to turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Spread {
    pub(crate) fn of(ratios: Vec<f64>) -> Self {
        let extreme = |pick: fn(f64, f64) -> f64| ratios.iter().copied().fold(f64::NAN, pick);
        let (lowest, highest) = (extreme(f64::min), extreme(f64::max));
        Self { median: median(ratios), lowest, highest }
    }
}

impl Row {
    /// A result without anything beside it.
    pub(crate) fn new(
        name: impl Into<String>,
        size: impl Into<String>,
        value: f64,
        unit: &str,
    ) -> Self {
        Self {
            name: name.into(),
            size: size.into(),
            value,
            unit: unit.to_owned(),
            pytorch: None,
            ratio: None,
            peak_share: None,
            error: None,
        }
    }
}

const HEADING: [&str; 8] =
    ["name", "ours", "unit", "PyTorch", "ratio (lowest–highest)", "of GEMM peak", "error", "size"];
/// The columns of numbers, which end below one another.
const NUMBERS: [usize; 5] = [1, 3, 4, 5, 6];

/// Rows under a heading, in aligned columns; sizes, which are long, come last.
pub(crate) fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 8]> =
        std::iter::once(HEADING.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let widths: [usize; 8] = std::array::from_fn(|column| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    });
    let mut text = String::new();
    for line in &lines {
        let padded =
            line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                match NUMBERS.contains(&column) {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:width$}"),
                }
            });
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn cells(row: &Row) -> [String; 8] {
    let ratio = row.ratio.map(|Spread { median, lowest, highest }| {
        format!("{} ({}–{})", digits(median), digits(lowest), digits(highest))
    });
    [
        row.name.clone(),
        digits(row.value),
        row.unit.clone(),
        row.pytorch.map(digits).unwrap_or_default(),
        ratio.unwrap_or_default(),
        row.peak_share.map(|share| format!("{} %", digits(100.0 * share))).unwrap_or_default(),
        row.error.map(|error| format!("{error:.1e}")).unwrap_or_default(),
        row.size.clone(),
    ]
}

/// Three digits that count.
fn digits(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size > 0.0 && size < 1e-3 => return format!("{value:.1e}"),
        _ => 3,
    };
    format!("{value:.places$}")
}

/// Makes `path` an array of the rows; an earlier file stays whole until the new one is.
pub(crate) fn write_json(path: &Path, rows: &[Row]) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    Ok(eigenlens_common::files::write(path, text + "\n")?)
}
