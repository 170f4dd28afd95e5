//! Files that are written whole or not at all.

use std::fs;
use std::io;
use std::path::Path;

/// What a file may be opened for by whom, as far as the process's umask allows.
#[cfg(unix)]
const PERMISSIONS: u32 = 0o666;

/// Puts what `write` writes to the path that it is given in the place of `path`, or leaves
/// everything as it was.
///
/// The temporary file is in the same folder, which must exist, and is removed if anything fails.
///
/// # Errors
/// Those of `write` and of the system: no such folder, no right to write there, a full disk.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut part = tempfile::Builder::new();
    part.prefix(".part-");
    #[cfg(unix)]
    part.permissions(std::os::unix::fs::PermissionsExt::from_mode(PERMISSIONS));
    let part = part.tempfile_in(folder.unwrap_or(Path::new(".")))?.into_temp_path();
    write(&part)?;
    if path.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    part.persist(path).map_err(|error| error.error)
}

/// Makes `content` the content of `path`: [`replace`].
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    replace(path, |part| fs::write(part, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.txt");
        write(&path, "one")?;
        let failed = replace(&path, |part| {
            fs::write(part, "half")?;
            Err(io::Error::other("no space"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no space");
        assert_eq!(fs::read_to_string(&path)?, "one");
        write(&path, "two")?;
        assert_eq!(fs::read_to_string(&path)?, "two");
        assert!(write(folder.path(), "three").is_err());
        assert_eq!(fs::read_dir(&folder)?.count(), 1, "no temporary file is left");
        assert!(write(&folder.path().join("none/a.txt"), "four").is_err());
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn files_have_the_rights_of_any_new_file() -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir()?;
        let (plain, ours) = (folder.path().join("plain"), folder.path().join("ours"));
        fs::write(&plain, "")?;
        write(&ours, "")?;
        let mode = |path: &Path| Ok::<_, io::Error>(fs::metadata(path)?.permissions().mode());
        assert_eq!(mode(&ours)?, mode(&plain)?);
        Ok(())
    }
}
