//! The copy of this program that kernels run.
//!
//! Building anew replaces the program in `target/`; a kernel whose file is gone cannot start its
//! evaluation process again. So kernelspecs point at a copy, and a copy stays while a kernelspec
//! or a running kernel uses it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};

use crate::install::clone::kernels;
use crate::install::files::digest;
use crate::install::jupyter::kernelspec_in;
use crate::install::kernelspec::Kernelspec;
use crate::install::state::State;
use crate::install::user;

/// Path of the copy of this program, made where there is none yet.
pub(crate) fn install(state: &State) -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program does not know its own path")?;
    if own.starts_with(state.programs()) {
        return Ok(own);
    }
    let meta = own.metadata().with_context(|| {
        format!("{} was replaced while it ran; start the command again", own.display())
    })?;
    let modified = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let key = digest([
        own.as_os_str().as_encoded_bytes(),
        &meta.len().to_le_bytes(),
        &modified.to_le_bytes(),
    ]);
    let folder = state.programs().join(&key[..12]);
    let copy = folder.join("eigenlens");
    if !copy.is_file() {
        let copied = |part: &Path| fs::copy(&own, part).map(drop);
        fs::create_dir_all(&folder)
            .and_then(|()| eigenlens_common::files::replace(&copy, copied))
            .with_context(|| format!("could not copy this program to {}", copy.display()))?;
    }
    Ok(copy)
}

/// Removes copies that neither a kernelspec nor a running kernel uses.
pub(crate) fn prune(state: &State) -> Result<()> {
    let mut used: BTreeSet<PathBuf> = kernels(state)?.running.into_iter().collect();
    if let Ok(entries) = fs::read_dir(state.home().join("jupyter")) {
        used.extend(
            entries
                .flatten()
                .filter_map(|entry| Kernelspec::read(&kernelspec_in(&entry.path()))?.program()),
        );
    }
    used.extend(user::programs(state));
    if let Ok(entries) = fs::read_dir(state.programs()) {
        for folder in entries.flatten().map(|entry| entry.path()) {
            if !used.contains(&folder.join("eigenlens")) {
                // It takes room, nothing more; the next set-up tries again.
                let _ = fs::remove_dir_all(&folder);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copy_is_made_and_kept_while_in_use() -> Result<()> {
        let home = std::env::temp_dir().join(format!("eigenlens-program-{}", std::process::id()));
        let state = State::at(&home);
        let copy = install(&state)?;
        assert_eq!(install(&state)?, copy);
        let spec = home.join("jupyter/a/data/kernels/eigenlens/kernel.json");
        let text = serde_json::json!({ "argv": [copy] }).to_string();
        crate::install::files::write_file(&spec, text.as_bytes())?;
        prune(&state)?;
        assert!(copy.is_file());
        fs::remove_file(&spec)?;
        prune(&state)?;
        assert!(!copy.exists());
        fs::remove_dir_all(&home)?;
        Ok(())
    }
}
