//! The socket on which the relay reports.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The system allows a socket's path about this many bytes.
const LONGEST: usize = 100;

/// Listens in the kernel's build folder; where its path is too long, in one for temporary files.
pub(super) fn listen(folder: &Path) -> Result<(UnixListener, PathBuf)> {
    let socket = place(folder, &std::env::temp_dir());
    let listener = UnixListener::bind(&socket)
        .with_context(|| format!("could not open the socket {}", socket.display()))?;
    Ok((listener, socket))
}

fn place(folder: &Path, temporary: &Path) -> PathBuf {
    let near = folder.join("socket");
    if near.as_os_str().len() <= LONGEST {
        return near;
    }
    // Others may write to these folders too, so nobody may foresee the name.
    let name = format!("eigenlens-{}.socket", uuid::Uuid::new_v4().simple());
    let usual = temporary.join(&name);
    if usual.as_os_str().len() <= LONGEST { usual } else { Path::new("/tmp").join(&name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket() {
        assert_eq!(place(Path::new("/a b"), Path::new("/tmp")), Path::new("/a b/socket"));
        let long = PathBuf::from(format!("/{}", "long folder/".repeat(20)));
        assert!(place(&long, Path::new("/var/tmp")).starts_with("/var/tmp"));
        assert!(place(&long, &long).as_os_str().len() <= LONGEST);
    }

    #[test]
    fn a_socket_can_be_opened_below_any_path() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("it's ü {}", uuid::Uuid::new_v4()));
        let folder = folder.join("very long folder name ".repeat(8).trim());
        std::fs::create_dir_all(&folder)?;
        let (_listener, socket) = listen(&folder)?;
        std::os::unix::net::UnixStream::connect(&socket)?;
        std::fs::remove_file(&socket)?;
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    }
}
