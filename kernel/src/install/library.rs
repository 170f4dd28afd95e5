//! A copy of the library's sources inside each build folder.
//!
//! Cells link the library of their own build folder, so editing the checkout, or switching its
//! branch, does not change the ground under a running kernel; the next set-up takes the edits up.
//! The copy lies inside the cells' crate, where cargo names packages by relative path: a build
//! folder can then be copied elsewhere without being compiled anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::install::files::{hex, write_file};
use crate::install::state::Checkout;

/// What the library is compiled from. Whatever it includes at compile time has to lie here.
const SOURCES: [&str; 11] = [
    "Cargo.toml",
    "build.rs",
    "app/Cargo.toml",
    "app/page",
    "app/src",
    "src",
    "assets",
    "common/Cargo.toml",
    "common/src",
    "kernel/dylib/Cargo.toml",
    "kernel/dylib/src",
];
/// What its manifest may name, so that cargo wants to see it; a change here changes no cell.
const NAMED: [&str; 3] = ["examples", "benches", "tests"];

/// Hash of all that the library and its dependencies are compiled from.
pub(crate) fn fingerprint(checkout: &Checkout) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut files = sources(checkout.root(), &SOURCES)?;
    files.insert(PathBuf::from("Cargo.lock"));
    for file in files {
        let path = checkout.root().join(&file);
        let content =
            fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        hasher.update(file.as_os_str().as_encoded_bytes());
        hasher.update([0]);
        hasher.update((content.len() as u64).to_le_bytes());
        hasher.update(&content);
    }
    Ok(hex(&hasher.finalize()))
}

/// Makes `target` a copy of the library's sources. Unchanged files keep their time of
/// modification, so cargo compiles only what changed.
pub(crate) fn snapshot(checkout: &Checkout, target: &Path) -> Result<()> {
    let mut files = sources(checkout.root(), &SOURCES)?;
    files.extend(
        sources(checkout.root(), &NAMED)?
            .into_iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "rs")),
    );
    for file in &files {
        let path = checkout.root().join(file);
        let content =
            fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        write_file(&target.join(file), &content)?;
    }
    for stale in walk(target, Path::new(""))?.difference(&files) {
        let path = target.join(stale);
        fs::remove_file(&path).with_context(|| format!("could not remove {}", path.display()))?;
    }
    Ok(())
}

fn sources(root: &Path, names: &[&str]) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for name in names {
        let path = root.join(name);
        if path.is_file() {
            files.insert(PathBuf::from(name));
        } else if path.is_dir() {
            files.extend(walk(root, Path::new(name))?);
        }
    }
    Ok(files)
}

/// All files below `root/folder`, relative to `root`, without hidden ones.
fn walk(root: &Path, folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let path = root.join(folder);
    if !path.exists() {
        return Ok(files);
    }
    let entries =
        fs::read_dir(&path).with_context(|| format!("could not read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("could not read {}", path.display()))?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let name = folder.join(entry.file_name());
        if entry.path().is_dir() {
            files.extend(walk(root, &name)?);
        } else {
            files.insert(name);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshot_follows_the_checkout() -> Result<()> {
        let checkout = Checkout::find()?;
        let target =
            std::env::temp_dir().join(format!("eigenlens-snapshot-{}", std::process::id()));
        snapshot(&checkout, &target)?;
        let manifest = target.join("kernel/dylib/Cargo.toml");
        let before = fs::metadata(&manifest)?.modified()?;
        fs::write(target.join("src/stale.rs"), "")?;
        fs::write(target.join("src/lib.rs"), "edited")?;

        snapshot(&checkout, &target)?;
        assert!(!target.join("src/stale.rs").exists());
        assert_eq!(
            fs::read(target.join("src/lib.rs"))?,
            fs::read(checkout.root().join("src/lib.rs"))?
        );
        assert_eq!(fs::metadata(&manifest)?.modified()?, before);
        fs::remove_dir_all(&target)?;
        Ok(())
    }
}
