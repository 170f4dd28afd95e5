//! The folder of a store: files that get their name when they are whole, and records that are put once.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Begins the names of files that are being written.
const PART: &str = ".part-";
const LOCK: &str = ".lock";

/// A folder in which harvests write and of which stores read.
#[derive(Debug, Clone)]
pub(super) struct StoreFolder {
    root: PathBuf,
}

/// Shares the folder with other harvests while it lives, and keeps [`StoreFolder::alone`] out.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
    /// Whether no other harvest was running when this one began.
    pub(super) is_first: bool,
}

impl StoreFolder {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the file `name`, whose parts are separated by `/`.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// If it cannot be made, or if there is a file of its name.
    pub(super) fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root).map_err(Error::io("create", &self.root))
    }

    /// Begins a file that has no name yet.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn begin(&self) -> Result<NewFile> {
        let part = tempfile::Builder::new().prefix(PART).tempfile_in(&self.root);
        let part = part.map_err(Error::io("write", &self.root))?;
        let hashed = Hashed { file: part, hash: Sha256::new(), bytes: 0 };
        Ok(NewFile { root: self.root.clone(), writer: BufWriter::with_capacity(1 << 20, hashed) })
    }

    /// Writes a record that must not be there yet. Returns whether it was put; false if there is one.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn put_new(&self, name: &str, content: &[u8]) -> Result<bool> {
        let path = self.path(name);
        let put = || -> io::Result<bool> {
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
        };
        put().map_err(Error::io("write", &path))
    }

    /// The content of a file; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        match fs::read(&path) {
            Err(error) if is_absent(&error) => Ok(None),
            other => other.map(Some).map_err(Error::io("read", &path)),
        }
    }

    /// The names of all files, sorted, without those that are being written.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        self.all_names().map(|mut names| {
            names.retain(|name| !name.starts_with(PART) && name != LOCK);
            names
        })
    }

    /// The names of files that a process did not finish.
    pub(super) fn parts(&self) -> Result<Vec<String>> {
        self.all_names().map(|mut names| {
            names.retain(|name| name.starts_with(PART));
            names
        })
    }

    fn all_names(&self) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let path = self.path(&folder);
            let entries = fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
            for entry in entries.map_err(Error::io("read", &path))? {
                let name = entry.file_name().to_string_lossy().into_owned();
                let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                match entry.file_type().is_ok_and(|own| own.is_dir()) {
                    true => folders.push(name),
                    false => found.push(name),
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(Error::io("remove", &path)),
        }
    }

    /// Joins the harvests of this folder, and waits while it is being tidied.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn share(&self) -> Result<FolderLock> {
        let (_, file) = self.lock_file()?;
        let is_first = file.try_lock().is_ok();
        // A file system without locks has no harvests that share a folder safely with `tidy`.
        let _ = file.lock_shared();
        Ok(FolderLock { _file: file, is_first })
    }

    /// Keeps harvests out.
    ///
    /// # Errors
    /// If a harvest is running, or if the folder cannot be written.
    pub(super) fn alone(&self) -> Result<FolderLock> {
        let (path, file) = self.lock_file()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let expected =
                    "a store into which no process is harvesting (wait until it is done)";
                Err(Error::format(&path, expected, "that one is"))
            }
            Ok(()) | Err(TryLockError::Error(_)) => Ok(FolderLock { _file: file, is_first: true }),
        }
    }

    fn lock_file(&self) -> Result<(PathBuf, File)> {
        let path = self.path(LOCK);
        let open = File::options().create(true).truncate(false).write(true).open(&path);
        let file = open.map_err(Error::io("write", &path))?;
        Ok((path, file))
    }
}

/// What is known of a file that was written.
#[derive(Debug, Clone)]
pub(super) struct WrittenFile {
    /// Its name in the store.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct NewFile {
    root: PathBuf,
    writer: BufWriter<Hashed>,
}

impl NewFile {
    /// Ends the file and names it `<start>-<first 8 characters of its sum>.<extension>`, so that two
    /// different files never have one name.
    ///
    /// # Errors
    /// If the disk is full or the folder cannot be written.
    pub(super) fn finish(self, start: &str, extension: &str) -> Result<WrittenFile> {
        let Self { root, writer } = self;
        let whole = || -> io::Result<WrittenFile> {
            let Hashed { file, hash, bytes } = writer.into_inner().map_err(|e| e.into_error())?;
            file.as_file().sync_all()?;
            let sha256 = in_hexadecimal(&hash.finalize());
            let name = format!("{start}-{}.{extension}", &sha256[..8]);
            let path = root.join(&name);
            let folder = path.parent().unwrap_or(&root);
            fs::create_dir_all(folder)?;
            file.persist(&path).map_err(|error| error.error)?;
            sync_folder(folder)?;
            Ok(WrittenFile { name, bytes, sha256 })
        };
        whole().map_err(Error::io("write", &root.join(start)))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[derive(Debug)]
struct Hashed {
    file: NamedTempFile,
    hash: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The SHA-256 sum of a file in hexadecimal, and its length.
pub(super) fn sum_of_file(path: &Path) -> Result<(String, u64)> {
    let sum = || -> io::Result<(String, u64)> {
        let mut hash = Sha256::new();
        let bytes =
            io::copy(&mut io::BufReader::with_capacity(1 << 20, File::open(path)?), &mut hash)?;
        Ok((in_hexadecimal(&hash.finalize()), bytes))
    };
    sum().map_err(Error::io("read", path))
}

pub(super) fn in_hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is not there, or its folder is none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Makes names that were given to files in a folder outlive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
