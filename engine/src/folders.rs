//! Folders below `$EIGENLENS_HOME` that the engine uses.

use std::fs;
use std::path::PathBuf;

use datafusion::common::{DataFusionError, Result};
use eigenlens_common::home::home;

/// Name of this program's file.
pub(crate) const PROGRAM: &str = "eigenlens-engine";

/// Where the library looks for this program.
pub(crate) fn bin() -> Result<PathBuf> {
    folder("bin")
}

/// Where answers wait until they are read.
pub(crate) fn results() -> Result<PathBuf> {
    folder("results")
}

/// Where queries put what does not fit in their memory.
pub(crate) fn spill() -> Result<PathBuf> {
    folder("spill")
}

/// Makes the folder if it is not there.
fn folder(name: &str) -> Result<PathBuf> {
    let folder = home().map_err(|error| DataFusionError::Execution(error.to_string()))?.join(name);
    fs::create_dir_all(&folder).map_err(|error| {
        DataFusionError::Execution(format!("could not create {}: {error}", folder.display()))
    })?;
    Ok(folder)
}
