//! A build folder for each kernel, made in a moment: hard links to a template's large files.
//!
//! evcxr allows one kernel a build folder. A copy shares what compilers and linkers made, which
//! they replace and never write in place, and has its own of everything else: manifests,
//! fingerprints, locks, what build scripts generated. What only cargo reads is most of the files and
//! none of the first cells' business: it is copied once the kernel is ready, or when cargo is called
//! (see `eval/compile`). A copy is removed with its kernel; what a killed kernel left is removed when
//! the next one starts.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};

use crate::install::files::lock;
use crate::install::state::State;
use crate::install::template::{Template, relocate_start};
use crate::install::tree::copy_parts;

/// There while a part of the copy is missing.
const PARTIAL: &str = "partial";
/// There when someone waits for that part.
const WANTED: &str = "wanted";
/// Held by the kernel whose folder it is.
const LOCK: &str = "lock";
/// How long cargo waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The build folder of one kernel; removed when dropped.
#[derive(Debug)]
pub(crate) struct KernelDir {
    folder: PathBuf,
    _lock: File,
}

impl KernelDir {
    /// The folder to give to [`crate::eval::context::start`].
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Copies into the folder what the first cells need of the template, after removing what killed
    /// kernels left. The rest is to be copied soon.
    pub(crate) fn fill(&self, state: &State, template: &Template) -> Result<Rest> {
        sweep(state)?;
        let lock = template.lock_shared()?;
        let rest =
            Rest { from: template.folder().to_owned(), to: self.folder.clone(), _template: lock };
        fs::write(self.folder.join(PARTIAL), "")
            .with_context(|| format!("could not write in {}", self.folder.display()))?;
        copy_parts(template.folder(), &self.folder, &|later| !later)?;
        relocate_start(&self.folder)?;
        Ok(rest)
    }
}

/// The part of a template that is not copied yet. The template cannot change before it is.
#[derive(Debug)]
pub(crate) struct Rest {
    from: PathBuf,
    to: PathBuf,
    _template: File,
}

impl Rest {
    /// Copies it as soon as `ready` is gone or cargo asks for it.
    pub(crate) fn copy_when(self, ready: &Receiver<()>) -> Result<()> {
        let wanted = self.to.join(WANTED);
        while !wanted.exists() {
            match ready.recv_timeout(Duration::from_millis(20)) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.copy()
    }

    fn copy(self) -> Result<()> {
        let partial = self.to.join(PARTIAL);
        let copied = copy_parts(&self.from, &self.to, &|later| later).and_then(|()| {
            fs::remove_file(&partial)
                .with_context(|| format!("could not remove {}", partial.display()))
        });
        // A kernel that has ended meanwhile has removed its folder.
        if self.to.join(LOCK).exists() { copied } else { Ok(()) }
    }
}

/// Waits until the build folder `folder` is a whole copy.
pub(crate) fn wait_for_rest(folder: &Path) -> Result<()> {
    let partial = folder.join(PARTIAL);
    let begin = Instant::now();
    while partial.exists() {
        fs::write(folder.join(WANTED), "")
            .with_context(|| format!("could not write in {}", folder.display()))?;
        if begin.elapsed() > PATIENCE {
            bail!("{} is still being copied; restart the kernel", folder.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Drop for KernelDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the next kernel starts.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A fresh build folder for this process, from a template that has been built.
pub(crate) fn clone_for_kernel(state: &State, template: &Template) -> Result<KernelDir> {
    let directory = reserve(state)?;
    directory.fill(state, template)?.copy()?;
    Ok(directory)
}

/// A folder for this process, empty as yet: a kernel answers before it has copied its template.
pub(crate) fn reserve(state: &State) -> Result<KernelDir> {
    let name = format!("{}-{:x}", std::process::id(), uuid::Uuid::new_v4().as_fields().0);
    let folder = state.kernels().join(name);
    let mut held = lock(&folder.join(LOCK), || ())?;
    let directory = KernelDir { folder, _lock: held.try_clone().context("could not keep a lock")? };
    let program = std::env::current_exe().unwrap_or_default();
    held.write_all(program.as_os_str().as_encoded_bytes())
        .with_context(|| format!("could not write in {}", directory.folder.display()))?;
    Ok(directory)
}

/// Kernel folders: those of running kernels, with the program each runs, and those left behind.
#[derive(Debug, Default)]
pub(crate) struct Kernels {
    /// Programs of running kernels.
    pub(crate) running: Vec<PathBuf>,
    /// Folders whose kernel is gone.
    pub(crate) left: Vec<PathBuf>,
}

/// Looks through the kernel folders.
pub(crate) fn kernels(state: &State) -> Result<Kernels> {
    let mut found = Kernels::default();
    let folder = state.kernels();
    if !folder.exists() {
        return Ok(found);
    }
    let entries =
        fs::read_dir(&folder).with_context(|| format!("could not read {}", folder.display()))?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        match File::open(path.join(LOCK)) {
            Ok(lock) if lock.try_lock().is_ok() => found.left.push(path),
            Ok(_) => {
                let program = fs::read_to_string(path.join(LOCK)).unwrap_or_default();
                found.running.push(PathBuf::from(program));
            }
            // A kernel that starts right now has a folder first and its lock a moment later.
            Err(_) if older_than(&path, Duration::from_secs(60)) => found.left.push(path),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Removes the folders of kernels that are gone; returns how many.
pub(crate) fn sweep(state: &State) -> Result<usize> {
    let left = kernels(state)?.left;
    for folder in &left {
        // Another kernel may be removing it at the same time.
        let _ = fs::remove_dir_all(folder);
    }
    Ok(left.len())
}

fn older_than(path: &Path, age: Duration) -> bool {
    fs::metadata(path)
        .and_then(|meta| meta.modified())
        .is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|old| old > age))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::template::{clone_tree, write_start};

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("eigenlens-{name}-{}", std::process::id()))
    }

    #[test]
    fn compiled_files_are_shared_and_others_are_not() -> Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let (from, to) = (scratch("from"), scratch("to"));
        fs::create_dir_all(from.join("cells/target/deps"))?;
        write_start(&from, "2")?;
        fs::write(from.join("cells/target/deps/libbig.rlib"), vec![0; 100_000])?;
        fs::write(from.join("cells/target/deps/libcode_1.so"), "old cell")?;
        fs::write(from.join("cells/Cargo.lock"), vec![b'#'; 100_000])?;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::options().write(true).open(from.join("cells/Cargo.lock"))?.set_modified(time)?;

        clone_tree(&from, &to)?;
        let inode = |path: PathBuf| fs::metadata(path).map(|meta| meta.ino());
        let big = "cells/target/deps/libbig.rlib";
        assert_eq!(inode(from.join(big))?, inode(to.join(big))?);
        assert_ne!(inode(from.join("cells/Cargo.lock"))?, inode(to.join("cells/Cargo.lock"))?);
        assert_eq!(fs::metadata(to.join("cells/Cargo.lock"))?.modified()?, time);
        assert!(!to.join("cells/target/deps/libcode_1.so").exists());
        let start = fs::read_to_string(to.join("start/evcxr.toml"))?;
        assert!(start.contains(&*to.join("cells").to_string_lossy()), "{start}");
        fs::remove_dir_all(&from)?;
        fs::remove_dir_all(&to)?;
        Ok(())
    }

    #[test]
    fn what_only_cargo_reads_comes_when_it_is_asked_for() -> Result<()> {
        let (from, to) = (scratch("whole"), scratch("parts"));
        fs::create_dir_all(from.join("cells/target/debug/.fingerprint/a-1"))?;
        fs::create_dir_all(from.join("cells/target/debug/incremental/ctx-1"))?;
        write_start(&from, "2")?;
        fs::write(from.join("cells/target/debug/.fingerprint/a-1/lib-a"), "1")?;
        fs::write(from.join("cells/target/debug/liba.d"), "a: a.rs")?;
        fs::write(from.join("cells/target/debug/liba.rlib"), "a")?;
        fs::create_dir_all(&to)?;
        fs::write(to.join(LOCK), "")?;
        fs::write(to.join(PARTIAL), "")?;
        copy_parts(&from, &to, &|later| !later)?;
        assert!(to.join("cells/target/debug/liba.rlib").exists());
        assert!(!to.join("cells/target/debug/liba.d").exists());
        assert!(!to.join("cells/target/debug/.fingerprint").exists());
        let rest = Rest {
            from: from.clone(),
            to: to.clone(),
            _template: lock(&from.join("lock"), || ())?,
        };
        let (_ready, never) = std::sync::mpsc::channel();
        let copying = std::thread::spawn(move || rest.copy_when(&never));
        wait_for_rest(&to)?;
        copying.join().expect("the copy ends")?;
        assert!(to.join("cells/target/debug/.fingerprint/a-1/lib-a").exists());
        assert!(to.join("cells/target/debug/liba.d").exists());
        assert!(!to.join("cells/target/debug/incremental").exists());
        fs::remove_dir_all(&from)?;
        fs::remove_dir_all(&to)?;
        Ok(())
    }

    #[test]
    fn a_kernel_that_ends_while_its_folder_is_copied_is_no_error() -> Result<()> {
        let (from, to) = (scratch("early"), scratch("ended"));
        fs::create_dir_all(from.join("cells/target/debug/.fingerprint/a-1"))?;
        fs::write(from.join("cells/target/debug/.fingerprint/a-1/lib-a"), "1")?;
        fs::create_dir_all(&to)?;
        let rest = Rest {
            from: from.clone(),
            to: to.clone(),
            _template: lock(&from.join("lock"), || ())?,
        };
        fs::remove_dir_all(&to)?;
        rest.copy()?;
        fs::remove_dir_all(&from)?;
        let _ = fs::remove_dir_all(&to);
        Ok(())
    }

    #[test]
    fn what_a_killed_kernel_left_is_removed() -> Result<()> {
        let home = scratch("sweep");
        let state = State::at(&home);
        let held = lock(&state.kernels().join("alive/lock"), || ())?;
        drop(lock(&state.kernels().join("killed/lock"), || ())?);
        fs::create_dir_all(state.kernels().join("starting"))?;
        assert_eq!(sweep(&state)?, 1);
        assert!(state.kernels().join("alive").exists());
        assert!(state.kernels().join("starting").exists());
        assert!(!state.kernels().join("killed").exists());
        drop(held);
        assert_eq!(sweep(&state)?, 1);
        fs::remove_dir_all(&home)?;
        Ok(())
    }
}
