//! How long a person waits: for the first result of a fresh kernel, and for typical cells.

use std::fs;
use std::process::Command;

use crate::report::Row;
use crate::{Result, root};

/// Times that `benches/notebook_latency.py` takes through Jupyter's own client.
///
/// The kernel is built as `cargo lab` builds it, not with the profile of benches.
pub(crate) fn rows() -> Result<Vec<Row>> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("rows.json");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--bin", "eigenlens", "--", "python", "--tests", "--"])
        .arg("benches/notebook_latency.py")
        .arg(&out)
        .current_dir(root())
        .status()?;
    if !status.success() {
        return Err(format!("benches/notebook_latency.py ended with {status}").into());
    }
    Ok(serde_json::from_slice(&fs::read(&out)?)?)
}
