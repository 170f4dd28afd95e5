//! The files of a store in a folder of this machine.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::place::{FolderLock, PART, StoreFiles, StoredContent};

const LOCK: &str = ".lock";

/// A folder.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: PathBuf,
}

impl Disk {
    fn all_names(&self, under: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![under.to_owned()];
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(self.root.join(&folder)) {
                Err(error) if is_absent(&error) && folder == under && !under.is_empty() => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                match entry.file_type().is_ok_and(|own| own.is_dir()) {
                    true => folders.push(name),
                    false => found.push(name),
                }
            }
        }
        found.retain(|name| name != LOCK);
        found.sort_unstable();
        Ok(found)
    }

    fn lock_file(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.root.join(LOCK))
    }
}

impl StoreFiles for Disk {
    fn create(&self) -> io::Result<()> {
        fs::create_dir_all(&self.root)
    }

    fn scratch(&self) -> &Path {
        &self.root
    }

    fn keep(&self, written: NamedTempFile, name: &str) -> io::Result<()> {
        written.as_file().sync_all()?;
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        written.persist(&path).map_err(|error| error.error)?;
        sync_folder(folder)
    }

    fn put_new(&self, name: &str, content: &[u8]) -> io::Result<bool> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let mut part = tempfile::Builder::new().prefix(PART).tempfile_in(&self.root)?;
        part.write_all(content)?;
        part.as_file().sync_all()?;
        match part.persist_noclobber(&path) {
            Ok(_) => sync_folder(folder).map(|()| true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(name)) {
            Err(error) if is_absent(&error) => Ok(None),
            other => other.map(Some),
        }
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn StoredContent>> {
        Ok(Box::new(File::open(self.root.join(name))?))
    }

    fn open_whole(&self, name: &str) -> io::Result<Box<dyn StoredContent>> {
        self.open(name)
    }

    fn names(&self, under: &str) -> io::Result<Vec<String>> {
        let mut names = self.all_names(under)?;
        names.retain(|name| !name.starts_with(PART));
        Ok(names)
    }

    fn settled_names(&self) -> io::Result<Vec<String>> {
        self.all_names("")
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn share(&self) -> io::Result<FolderLock> {
        let file = self.lock_file()?;
        let is_first = file.try_lock().is_ok();
        // A file system without locks has no harvests that share a folder safely with `tidy`.
        let _ = file.lock_shared();
        Ok(FolderLock { _file: Some(file), is_first })
    }

    fn alone(&self) -> io::Result<Option<FolderLock>> {
        let file = self.lock_file()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            Ok(()) | Err(TryLockError::Error(_)) => {
                Ok(Some(FolderLock { _file: Some(file), is_first: true }))
            }
        }
    }

    fn readers(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

impl StoredContent for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }
}

/// Whether a file is not there, or its folder is none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes names that were given to files in a folder outlive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
