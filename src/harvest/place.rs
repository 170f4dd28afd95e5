//! What a place has to do to hold a store.

use std::fs::File;
use std::path::Path;
use std::{fmt, io};

use tempfile::NamedTempFile;

/// Begins the names of files that are being written.
pub(super) const PART: &str = ".part-";
/// What holds the files of a store, whose names have parts that are separated by `/`. Errors are the
/// system's: `StoreFolder` says which file they are about.
pub(super) trait StoreFiles: fmt::Debug + Send + Sync {
    /// Makes the place, if it is not there.
    fn create(&self) -> io::Result<()>;
    /// The folder in which files are written before they are kept.
    fn scratch(&self) -> &Path;
    /// Puts a file in its place, whole.
    fn keep(&self, written: NamedTempFile, name: &str) -> io::Result<()>;
    /// Puts a record that must not be there yet. Returns false if there is one.
    fn put_new(&self, name: &str, content: &[u8]) -> io::Result<bool>;
    /// The content of a file; nothing if there is none.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// A file of which a part is read.
    fn open(&self, name: &str) -> io::Result<Box<dyn StoredContent>>;
    /// A file of which most is read, in small pieces.
    fn open_whole(&self, name: &str) -> io::Result<Box<dyn StoredContent>>;
    /// The names of the files in a folder and those below it, sorted; all if it is empty.
    fn names(&self, under: &str) -> io::Result<Vec<String>>;
    /// The names of the files that no harvest is about to name in a record.
    fn settled_names(&self) -> io::Result<Vec<String>>;
    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Joins the harvests, and waits while the place is being tidied.
    fn share(&self) -> io::Result<FolderLock>;
    /// Keeps harvests out; nothing if there are some.
    fn alone(&self) -> io::Result<Option<FolderLock>>;
    /// How many files are best read at a time.
    fn readers(&self) -> usize;
}

/// The bytes of a file, wherever they are.
pub(super) trait StoredContent: fmt::Debug + Send + Sync {
    fn length(&self) -> io::Result<u64>;
    /// Fills `bytes` with what is at `offset`.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

/// Shares the place with other harvests while it lives, and keeps [`StoreFiles::alone`] out.
#[derive(Debug)]
pub(super) struct FolderLock {
    pub(super) _file: Option<File>,
    /// Whether no other harvest was running when this one began.
    pub(super) is_first: bool,
}
