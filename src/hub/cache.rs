//! What the cache holds of a repository, in the layout of Python's `huggingface_hub`.
//!
//! | path | content |
//! | --- | --- |
//! | `models--owner--name/refs/<revision>` | the commit of a branch or tag |
//! | `models--owner--name/blobs/<etag>` | the content of a file |
//! | `models--owner--name/snapshots/<commit>/<file>` | a link to it |
//! | `models--owner--name/.no_exist/<commit>/<file>` | that the commit has no such file |
//! | `.locks/models--owner--name/<etag>.lock` | locked by whoever fetches the file |

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::names::Repo;
use crate::{Error, Result};

/// A repository's folder in the cache; it need not exist.
#[derive(Debug)]
pub(super) struct CacheFolder {
    cache: PathBuf,
    name: String,
    revision: String,
}

impl CacheFolder {
    pub(super) fn new(cache: &Path, repo: &Repo) -> Self {
        let name = format!("{}--{}", repo.kind(), repo.name.replace('/', "--"));
        Self { cache: cache.to_owned(), name, revision: repo.revision.clone() }
    }

    fn path(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    fn snapshots(&self) -> PathBuf {
        self.path().join("snapshots")
    }

    /// The commit that the revision stands for, if it is known: the one in its reference, the
    /// revision itself if it is a commit (or the start of one), and for `main` without a reference
    /// the newest snapshot that no other revision has a reference to.
    fn commit(&self) -> Option<String> {
        let reference = fs::read_to_string(self.path().join("refs").join(&self.revision));
        if let Some(commit) = reference.ok().map(|text| text.trim().to_owned())
            && !commit.is_empty()
        {
            return Some(commit);
        }
        if self.snapshots().join(&self.revision).is_dir() {
            return Some(self.revision.clone());
        }
        let snapshots = fs::read_dir(self.snapshots()).into_iter().flatten().flatten();
        let is_main = self.revision == "main";
        let is_short =
            self.revision.len() >= 7 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        let others = if is_main { references(&self.path().join("refs")) } else { Vec::new() };
        let fits = |name: &str| match is_main {
            true => !others.iter().any(|other| other == name),
            false => is_short && name.starts_with(&self.revision),
        };
        let found = snapshots.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let age = entry.metadata().and_then(|about| about.modified());
            fits(&name).then(|| (age.unwrap_or(SystemTime::UNIX_EPOCH), name))
        });
        found.max().map(|(_, name)| name)
    }

    /// Whether there is anything of the revision.
    pub(super) fn is_known(&self) -> bool {
        self.commit().is_some_and(|commit| self.snapshots().join(commit).is_dir())
    }

    /// The path of the file `name`, if it is there.
    pub(super) fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self.snapshots().join(self.commit()?).join(name);
        path.is_file().then_some(path)
    }

    /// Whether the commit at hand is known to have no file `name`.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.commit().is_some_and(|commit| self.mark(&commit, name).is_file())
    }

    fn mark(&self, commit: &str, name: &str) -> PathBuf {
        self.path().join(".no_exist").join(commit).join(name)
    }

    /// Remembers that `commit` has no file `name`. A cache that cannot be written only means that
    /// the hub is asked again.
    pub(super) fn remember_missing(&self, commit: &str, name: &str) {
        let mark = self.mark(commit, name);
        if let Some(folder) = mark.parent() {
            let _ = fs::create_dir_all(folder).and_then(|()| fs::write(&mark, ""));
        }
    }

    /// Names of files in the snapshot's folder `folder`.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let path = self.commit().map(|commit| self.snapshots().join(commit).join(folder));
        path.map(|path| names_in(&path)).unwrap_or_default()
    }

    /// Where the content of a file is kept.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub(super) fn blob(&self, key: &str) -> Result<PathBuf> {
        let folder = self.path().join("blobs");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        Ok(folder.join(key))
    }

    /// The files that Python's client and `hf-hub` lock while they fetch the same content.
    ///
    /// # Errors
    /// A folder that cannot be made.
    pub(super) fn locks(&self, key: &str) -> Result<[PathBuf; 2]> {
        let folder = self.cache.join(".locks").join(&self.name);
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        let lock = format!("{key}.lock");
        Ok([folder.join(&lock), self.path().join("blobs").join(lock)])
    }

    /// Puts a fetched file into its snapshot and returns its path there.
    ///
    /// # Errors
    /// Places that cannot be written.
    pub(super) fn link(&self, blob: &Path, commit: &str, name: &str) -> Result<PathBuf> {
        let path = self.snapshots().join(commit).join(name);
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        // From `snapshots/<commit>/` and the file's own folders up to the repository's.
        let steps = 2 + name.matches('/').count();
        let key = blob.file_name().unwrap_or_default();
        let target = PathBuf::from("../".repeat(steps)).join("blobs").join(key);
        let points_here = fs::canonicalize(&path).ok() == fs::canonicalize(blob).ok();
        if !points_here {
            // A link that leads nowhere, or to the content of before.
            if let Err(reason) = fs::remove_file(&path)
                && reason.kind() != ErrorKind::NotFound
            {
                return Err(Error::io("replace", &path)(reason));
            }
            match symlink(&target, &path) {
                // Another process was quicker.
                Err(reason) if reason.kind() == ErrorKind::AlreadyExists => {}
                // A file system without links, such as exFAT.
                Err(_) => fs::rename(blob, &path).map_err(Error::io("write", &path))?,
                Ok(()) => {}
            }
        }
        if self.revision != commit {
            let reference = self.path().join("refs").join(&self.revision);
            let folder = reference.parent().unwrap_or(&reference);
            fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
            crate::store::replace(&reference, |place| fs::write(place, commit))?;
        }
        Ok(path)
    }
}

/// The commits in a folder of references, whose names may have parts.
fn references(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(references(&path)),
            false => found.extend(fs::read_to_string(&path).map(|text| text.trim().to_owned())),
        }
    }
    found
}

/// Names of what a folder holds, in alphabetical order.
pub(super) fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
