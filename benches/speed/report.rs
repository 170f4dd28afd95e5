//! Rows of results, as a table and as JSON.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Result;

/// One result.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) name: String,
    /// Of what size, or how often.
    pub(crate) size: String,
    /// The result, in `unit`.
    pub(crate) value: f64,
    /// `s`, `MB`, something a second such as `tokens/s`, `×` for a ratio, or what it counts.
    pub(crate) unit: String,
}

/// Rows under a heading, in aligned columns.
pub(crate) fn table(rows: &[Row]) -> String {
    let heading = ["name", "size", "value", "unit"].map(str::to_owned);
    let lines: Vec<[String; 4]> =
        std::iter::once(heading)
            .chain(rows.iter().map(|row| {
                [row.name.clone(), row.size.clone(), digits(row.value), row.unit.clone()]
            }))
            .collect();
    let width = |column: usize| {
        lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default()
    };
    let (names, sizes, values) = (width(0), width(1), width(2));
    let mut text = String::new();
    for [name, size, value, unit] in &lines {
        let _ = writeln!(text, "{name:names$}  {size:sizes$}  {value:>values$}  {unit}");
    }
    text
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
    let mut part = path.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let written = fs::write(&part, text + "\n").and_then(|()| fs::rename(&part, path));
    Ok(written.inspect_err(|_| drop(fs::remove_file(&part)))?)
}
