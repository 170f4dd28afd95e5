//! The place of a store: files that get their name when they are whole, and records that are put once.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::disk::Disk;
use super::files::{NewFile, OpenFile, in_hexadecimal};
use super::place::{FolderLock, PART, StoreFiles};
use crate::progress::safe_point;
use crate::{Error, Result};

/// Begins the path of a store that is in a bucket.
const S3: &str = "s3://";
/// Bytes of one read when a whole file is read.
const PIECE: usize = 4 << 20;

/// A place in which harvests write and of which stores read: a folder, or a prefix in a bucket.
#[derive(Debug, Clone)]
pub(super) struct StoreFolder {
    root: PathBuf,
    files: Arc<dyn StoreFiles>,
}

impl StoreFolder {
    /// # Errors
    /// If the path is `s3://…` and has no bucket, or if this build reads none.
    pub(super) fn new(root: &Path) -> Result<Self> {
        let files: Arc<dyn StoreFiles> = match place_in_bucket(root) {
            None => Arc::new(Disk { root: root.to_owned() }),
            Some(place) => in_bucket(place)?,
        };
        Ok(Self { root: root.to_owned(), files })
    }

    /// The place itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the file `name`, for errors.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The path by which another process finds the place.
    ///
    /// # Errors
    /// If there is no such folder.
    pub(super) fn address(&self) -> Result<PathBuf> {
        match place_in_bucket(&self.root) {
            Some(_) => Ok(self.root.clone()),
            None => self.root.canonicalize().map_err(Error::io("read", &self.root)),
        }
    }

    /// Makes the place if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or if there is a file of its name.
    pub(super) fn create(&self) -> Result<()> {
        self.files.create().map_err(Error::io("create", &self.root))
    }

    /// Begins a file that has no name yet.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn begin(&self) -> Result<NewFile> {
        let scratch = self.files.scratch();
        let part = tempfile::Builder::new().prefix(PART).tempfile_in(scratch);
        let part = part.map_err(Error::io("write", scratch))?;
        Ok(NewFile::new(Arc::clone(&self.files), &self.root, part))
    }

    /// Writes a record that must not be there yet. Returns whether it was put; false if there is one.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub(super) fn put_new(&self, name: &str, content: &[u8]) -> Result<bool> {
        self.files.put_new(name, content).map_err(Error::io("write", &self.path(name)))
    }

    /// The content of a file; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.files.read(name).map_err(Error::io("read", &self.path(name)))
    }

    /// A file of which a part is read.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn open(&self, name: &str) -> Result<OpenFile> {
        let path = self.path(name);
        let content = self.files.open(name).map_err(Error::io("read", &path))?;
        Ok(OpenFile::new(path, content))
    }

    /// A file of which most is read, in small pieces.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn open_whole(&self, name: &str) -> Result<OpenFile> {
        let path = self.path(name);
        let content = self.files.open_whole(name).map_err(Error::io("read", &path))?;
        Ok(OpenFile::new(path, content))
    }

    /// The names of the files in a folder and those below it, sorted, without those that are being
    /// written; all if it is empty.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn names(&self, under: &str) -> Result<Vec<String>> {
        self.files.names(under).map_err(Error::io("read", &self.path(under)))
    }

    /// The names of the files that no harvest is about to name in a record, with those that a process
    /// did not finish. In a folder, [`StoreFolder::alone`] must be held.
    ///
    /// # Errors
    /// If the place cannot be read.
    pub(super) fn settled_names(&self) -> Result<Vec<String>> {
        self.files.settled_names().map_err(Error::io("read", &self.root))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.files.remove(name).map_err(Error::io("remove", &self.path(name)))
    }

    /// Joins the harvests of this place, and waits while it is being tidied.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub(super) fn share(&self) -> Result<FolderLock> {
        self.files.share().map_err(Error::io("write", &self.root))
    }

    /// Keeps harvests out, where the place has locks.
    ///
    /// # Errors
    /// If a harvest is running, or if the place cannot be written.
    pub(super) fn alone(&self) -> Result<FolderLock> {
        self.files.alone().map_err(Error::io("write", &self.root))?.ok_or_else(|| {
            let expected = "a store into which no process is harvesting (wait until it is done)";
            Error::format(&self.root, expected, "that one is")
        })
    }

    /// How many files are read at a time.
    pub(super) fn readers(&self) -> usize {
        self.files.readers()
    }

    /// Calls `read` with every item, several at a time where that is faster, and returns what came of
    /// them in their order.
    ///
    /// # Errors
    /// The first.
    pub(super) fn for_each<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        read: impl Fn(T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let readers = self.readers().min(items.len());
        if readers < 2 {
            return items.into_iter().map(read).collect();
        }
        let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
        let work = || {
            let mut done = Vec::new();
            while failed.load(Ordering::Relaxed) == 0 {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(at) else { break };
                let item = item.lock().ok().and_then(|mut item| item.take());
                let Some(item) = item else { break };
                let outcome = read(item);
                failed.fetch_add(usize::from(outcome.is_err()), Ordering::Relaxed);
                done.push((at, outcome));
            }
            done
        };
        let mut all: Vec<(usize, Result<R>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..readers).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .flat_map(|own| own.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        all.sort_unstable_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// [`StoreFolder::for_each`] that listens to Stop.
    ///
    /// # Errors
    /// The first, or [`Error::Interrupted`] when Stop is pressed.
    pub(super) fn for_each_until_stop<T: Send, R: Send>(
        &self,
        what: &'static str,
        items: impl IntoIterator<Item = T>,
        read: impl Fn(T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let (mut items, mut done) = (items.into_iter(), Vec::new());
        loop {
            let some: Vec<T> = items.by_ref().take(16 * self.readers()).collect();
            if some.is_empty() {
                return Ok(done);
            }
            safe_point(what)?;
            done.extend(self.for_each(some, &read)?);
        }
    }

    /// The SHA-256 sum of a file in hexadecimal, and its length.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn sum(&self, name: &str) -> Result<(String, u64)> {
        let file = self.open(name)?;
        let length = file.length()?;
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE.min(length as usize)];
        let mut offset = 0;
        while offset < length {
            let count = PIECE.min((length - offset) as usize);
            file.read_at(&mut piece[..count], offset)?;
            hash.update(&piece[..count]);
            offset += count as u64;
        }
        Ok((in_hexadecimal(&hash.finalize()), length))
    }
}

/// What comes after `s3://`, if that is how the path begins.
fn place_in_bucket(root: &Path) -> Option<&str> {
    root.to_str()?.strip_prefix(S3)
}

#[cfg(feature = "s3")]
fn in_bucket(place: &str) -> Result<Arc<dyn StoreFiles>> {
    Ok(Arc::new(super::bucket::Bucket::new(place)?))
}

#[cfg(not(feature = "s3"))]
fn in_bucket(place: &str) -> Result<Arc<dyn StoreFiles>> {
    Err(Error::NotFound {
        what: format!("a reader for {S3}{place}"),
        hint: "This build has none: start the notebooks with `cargo lab --features s3`, or build with the \
               feature `s3`."
            .to_owned(),
    })
}
