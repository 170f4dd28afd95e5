//! Copying the files of a build folder: what compilers and linkers made by hard links, all else anew.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::install::layout::TOOLBOX;

/// Copies the files for which `wanted`, asked whether only cargo reads them, is true.
pub(crate) fn copy_parts(from: &Path, to: &Path, wanted: &dyn Fn(bool) -> bool) -> Result<()> {
    copy_folder(from, to, false, wanted).with_context(|| {
        format!("could not copy the build folder {} to {}", from.display(), to.display())
    })
}

fn copy_folder(
    from: &Path,
    to: &Path,
    later: bool,
    wanted: &dyn Fn(bool) -> bool,
) -> std::io::Result<()> {
    if wanted(later) {
        fs::create_dir_all(to)?;
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        let (source, target) = (entry.path(), to.join(&name));
        let later = later || is_for_cargo(&name);
        if kind.is_dir() {
            if !LEFT_OUT.iter().any(|folder| name == *folder) {
                copy_folder(&source, &target, later, wanted)?;
            }
        } else if wanted(later) && !is_cell_product(&source) {
            copy_file(&entry, &target)?;
        }
    }
    Ok(())
}

fn copy_file(entry: &fs::DirEntry, target: &Path) -> std::io::Result<()> {
    let source = entry.path();
    if entry.file_type()?.is_symlink() {
        return match std::os::unix::fs::symlink(fs::read_link(&source)?, target) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        };
    }
    let meta = entry.metadata()?;
    // Across file systems there are no hard links.
    if !is_shared(&source, &meta) || fs::hard_link(&source, target).is_err() {
        fs::copy(&source, target)?;
        // Cargo judges by time of modification what is up to date.
        File::options().write(true).open(target)?.set_modified(meta.modified()?)?;
    }
    Ok(())
}

/// Every kernel makes its own cargo home; what the compiler kept of earlier cells is of no use.
const LEFT_OUT: [&str; 2] = [TOOLBOX, "incremental"];

/// Whether a file or folder of that name in a build folder is read by cargo and nobody else.
fn is_for_cargo(name: &OsStr) -> bool {
    [".fingerprint", "build"].iter().any(|folder| name == *folder)
        || Path::new(name).extension().is_some_and(|extension| extension == "d")
}

/// Whether a file is a product of rustc or a linker.
fn is_shared(file: &Path, meta: &fs::Metadata) -> bool {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some(extension) => matches!(extension, "rlib" | "rmeta" | "so" | "dylib" | "o"),
        None => meta.permissions().mode() & 0o111 != 0,
    }
}

/// Loaded code of earlier cells, which nothing refers to any more.
fn is_cell_product(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcode_"))
}
