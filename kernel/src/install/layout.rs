//! Names in a build folder that set-up, kernels and the tools of a cell share.

/// Where a build folder keeps its cargo home; every process makes its own.
pub(crate) const TOOLBOX: &str = "toolbox";

/// The recorded command, in the folder of the cells' manifest.
pub(crate) const RECORD: &str = "target/cell-command.json";

pub(crate) const CELL_CRATE: &str = "ctx";
