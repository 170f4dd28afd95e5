//! What the library and the engine say to each other: one JSON object a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line from the library.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// What the reply is to carry.
    pub(crate) id: Value,
    /// The query to stop; then nothing else counts.
    #[serde(default)]
    pub(crate) cancel: Option<Value>,
    /// The folder to ask.
    #[serde(default)]
    pub(crate) store: Option<PathBuf>,
    /// The query.
    #[serde(default)]
    pub(crate) sql: Option<String>,
    /// Bytes that the query may take before it spills.
    #[serde(default)]
    pub(crate) memory: Option<usize>,
    /// The scheduler of the cluster to ask, as `df://host:port`.
    #[serde(default)]
    pub(crate) on: Option<String>,
}

/// A line to the library.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    /// The answer is in a file, which the reader removes.
    Done { id: Value, rows: usize, seconds: f64, path: PathBuf },
    /// There is no answer.
    Failed { id: Value, error: String },
}
