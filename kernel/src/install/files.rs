//! Files that several processes share: written whole, locked, told apart by their content.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

/// SHA-256 over the parts with their lengths, as hexadecimal digits.
pub(crate) fn digest<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(&hasher.finalize())
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes a file, so that a reader sees all of it or none. A file that has the content already is left alone, with its time of modification.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))
        .and_then(|()| eigenlens_common::files::write(path, content))
        .with_context(|| format!("could not write {}", path.display()))
}

/// Takes the lock on a file (created if absent) and holds it until the returned handle is dropped,
/// or the process ends in any way. `waiting` is called once where another process holds it.
pub(crate) fn lock(path: &Path, waiting: impl FnOnce()) -> Result<File> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(fs::TryLockError::WouldBlock) => waiting(),
        Err(fs::TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("could not lock {}", path.display()));
        }
    }
    file.lock().with_context(|| format!("could not lock {}", path.display()))?;
    Ok(file)
}

/// Like [`lock`], together with other readers.
pub(crate) fn lock_shared(path: &Path) -> Result<File> {
    let file = open_lock(path)?;
    file.lock_shared().with_context(|| format!("could not lock {}", path.display()))?;
    Ok(file)
}

fn open_lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("could not create {}", folder.display()))?;
    }
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .with_context(|| format!("could not open the lock {}", path.display()))
}

/// Bytes free to this user on the disk that holds a folder.
pub(crate) fn free_bytes(folder: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(folder)
        .with_context(|| format!("could not ask for the free space of {}", folder.display()))?;
    Ok(disk.f_bavail * disk.f_frsize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_tells_parts_apart() {
        assert_ne!(digest([b"ab", b"c"]), digest([b"a".as_slice(), b"bc".as_slice()]));
        assert_eq!(digest([b"ab", b"c"]).len(), 64);
    }

    #[test]
    fn write_file_keeps_an_unchanged_file() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("eigenlens-write-{}", std::process::id()));
        let path = folder.join("a.txt");
        write_file(&path, b"one")?;
        let before = fs::metadata(&path)?.modified()?;
        std::thread::sleep(std::time::Duration::from_millis(20));
        write_file(&path, b"one")?;
        assert_eq!(fs::metadata(&path)?.modified()?, before);
        write_file(&path, b"two")?;
        assert_eq!(fs::read(&path)?, b"two");
        assert_eq!(fs::read_dir(&folder)?.count(), 1, "no temporary file is left");
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    #[test]
    fn disks_have_room() -> Result<()> {
        assert!(free_bytes(Path::new("/"))? > 0);
        assert!(free_bytes(Path::new("/no/such/folder")).is_err());
        Ok(())
    }
}
