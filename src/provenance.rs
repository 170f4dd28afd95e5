//! Where data came from: what every loaded thing remembers.

use std::fmt;
use std::path::PathBuf;

/// Where data came from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// It is part of the library.
    Embedded {
        /// What of the whole that is.
        what: &'static str,
    },
    /// Files in a folder of this machine.
    Folder(PathBuf),
    /// One file of this machine.
    File(PathBuf),
    /// Files of a hub repository that were in this machine's cache.
    Cache(String),
    /// Files of a hub repository.
    Hub(String),
    /// Tensors made in memory.
    Memory,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { what } => write!(f, "embedded in eigenlens ({what})"),
            Self::Folder(path) => write!(f, "folder {}", path.display()),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Cache(repo) => write!(f, "hub {repo}, in this machine's cache"),
            Self::Hub(repo) => write!(f, "hub {repo}"),
            Self::Memory => f.write_str("tensors in memory"),
        }
    }
}
