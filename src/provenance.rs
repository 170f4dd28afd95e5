//! Where data came from: what every loaded thing remembers.

use std::fmt;
use std::path::{Path, PathBuf};

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

/// The path with `~` for the user's home folder, so that a notebook that is passed on does not tell
/// whose it was.
fn from_home(path: &Path) -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) => Path::new("~").join(rest),
        None => path.to_owned(),
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded { what } => write!(f, "embedded in eigenlens ({what})"),
            Self::Folder(path) => write!(f, "folder {}", from_home(path).display()),
            Self::File(path) => write!(f, "file {}", from_home(path).display()),
            Self::Cache(repo) => write!(f, "hub {repo}, in this machine's cache"),
            Self::Hub(repo) => write!(f, "hub {repo}"),
            Self::Memory => f.write_str("tensors in memory"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_home_does_not_tell_whose_it_is() {
        let home = std::env::var("HOME").unwrap();
        let file = Source::File(Path::new(&home).join("models/model.gguf"));
        assert_eq!(file.to_string(), "file ~/models/model.gguf");
        let folder = Source::Folder(PathBuf::from("/elsewhere/model"));
        assert_eq!(folder.to_string(), "folder /elsewhere/model");
    }
}
