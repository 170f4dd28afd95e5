//! Repositories, wherever they are.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Hub, embedded};
use crate::store::Blob;
use crate::{Error, Result};

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

/// A model or data set by name: one that is part of this library, a folder, or a repository of the
/// hub (`owner/name`, or `datasets/owner/name`), looked for in this order.
#[derive(Debug, Clone)]
pub struct Repository {
    name: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Embedded,
    Folder(PathBuf),
    Hub(Hub),
}

/// The content of a file, and where it was.
#[derive(Debug, Clone)]
pub(crate) struct Content<T = Bytes> {
    /// A name for messages.
    pub(crate) path: PathBuf,
    pub(crate) bytes: T,
    pub(crate) source: Source,
}

impl Repository {
    /// The repository `name`. The network is asked only when a file is read.
    ///
    /// # Errors
    /// A name that is neither embedded nor a folder, where there is no hub cache folder.
    pub fn find(name: &str) -> Result<Self> {
        let plain = name.strip_prefix("datasets/").unwrap_or(name);
        let place = if embedded::holds(plain) {
            Place::Embedded
        } else if Path::new(name).is_dir() {
            Place::Folder(name.into())
        } else {
            Place::Hub(Hub::from_env()?)
        };
        Ok(Self { name: name.to_owned(), place })
    }

    /// A folder.
    pub(crate) fn folder(path: &Path) -> Self {
        Self { name: path.display().to_string(), place: Place::Folder(path.to_owned()) }
    }

    /// The repository `name` of a hub of your choice.
    pub fn on(hub: Hub, name: &str) -> Self {
        Self { name: name.to_owned(), place: Place::Hub(hub) }
    }

    /// The same repository without the network: of a hub, what is in the cache.
    pub(crate) fn without_network(&self) -> Self {
        let place = match &self.place {
            Place::Hub(hub) => Place::Hub(hub.clone().offline()),
            other => other.clone(),
        };
        Self { name: self.name.clone(), place }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The repository beside this one whose name ends in `ending` too: of `owner/name` and
    /// `-scope`, `owner/name-scope`.
    pub fn sibling(&self, ending: &str) -> Self {
        let name = format!("{}{ending}", self.name.trim_end_matches('/'));
        let place = match &self.place {
            Place::Folder(_) => Place::Folder(name.clone().into()),
            other => other.clone(),
        };
        Self { name, place }
    }

    /// Another repository in the same place: embedded, on the same hub; for a folder, as
    /// [`Repository::find`] finds it.
    pub(crate) fn neighbour(&self, name: &str) -> Result<Self> {
        match &self.place {
            Place::Hub(hub) => Ok(Self::on(hub.clone(), name)),
            _ => Self::find(name),
        }
    }

    /// The file `name`.
    ///
    /// # Errors
    /// As [`Hub::file`]; a file that cannot be read.
    pub(crate) fn read(&self, name: &str) -> Result<Content> {
        self.content(name, |path| Ok(fs::read(path).map_err(Error::io("read", path))?.into()))
    }

    /// The file `name`, to be read part by part: for large ones.
    ///
    /// # Errors
    /// As [`Repository::read`].
    pub(crate) fn open(&self, name: &str) -> Result<Content<Blob>> {
        self.content(name, Blob::open)
    }

    /// [`Repository::read`], or nothing where there is no such file.
    ///
    /// # Errors
    /// A file that is there and cannot be read; a hub that cannot be asked.
    pub(crate) fn read_if(&self, name: &str) -> Result<Option<Content>> {
        if_there(self.read(name))
    }

    /// Whether there is a file `name`; nothing of it is read.
    ///
    /// # Errors
    /// As [`Repository::read_if`].
    pub(crate) fn has(&self, name: &str) -> Result<bool> {
        Ok(if_there(self.open(name))?.is_some())
    }

    fn content<T: From<Bytes>>(
        &self,
        name: &str,
        read: impl Fn(&Path) -> Result<T>,
    ) -> Result<Content<T>> {
        let (path, source) = match &self.place {
            Place::Embedded => {
                let plain = self.name.strip_prefix("datasets/").unwrap_or(&self.name);
                let (bytes, what) = embedded::file(plain, name).ok_or_else(|| Error::NotFound {
                    what: format!("{name} of {}", self.name),
                    hint: "It is not among the files that are part of eigenlens.".to_owned(),
                })?;
                let path = Path::new(&self.name).join(name);
                let source = Source::Embedded { what };
                return Ok(Content { path, bytes: Bytes::from_static(bytes).into(), source });
            }
            Place::Folder(folder) => (folder.join(name), Source::Folder(folder.clone())),
            Place::Hub(hub) => {
                let (path, fetched) = hub.find(&self.name, name)?;
                let source = if fetched { Source::Hub } else { Source::Cache };
                (path, source(self.name.clone()))
            }
        };
        let bytes = read(&path)?;
        Ok(Content { path, bytes, source })
    }
}

/// Nothing where a file is not there.
fn if_there<T>(found: Result<Content<T>>) -> Result<Option<Content<T>>> {
    match found {
        Ok(content) => Ok(Some(content)),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(Error::Io { source, .. })
            if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&source.kind()) =>
        {
            Ok(None)
        }
        Err(other) => Err(other),
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
