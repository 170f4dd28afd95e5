//! The kernel in the user's own Jupyter folder, where VS Code, nbconvert and every Jupyter look.
//!
//! Set-up writes there only if told to. It remembers where it did, so that later set-ups keep what
//! they find there up to date, and the program that it starts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::install::files::write_file;
use crate::install::kernelspec::{KERNEL, Kernelspec};
use crate::install::state::State;

/// What is at the place of the kernel in the user's Jupyter folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A kernel of the same name that eigenlens did not write.
    Foreign,
    /// The kernel, as an eigenlens wrote it.
    Ours(Kernelspec),
}

/// Where the kernelspec goes: `kernels/eigenlens` in the folder that `jupyter --data-dir` prints.
pub(crate) fn place(state: &State) -> Result<PathBuf> {
    place_from(state, |name| std::env::var_os(name).map(PathBuf::from))
}

fn place_from(state: &State, variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf> {
    let variable = |name| variable(name).filter(|value| !value.as_os_str().is_empty());
    // A terminal in the project's own JupyterLab has the project's own folder here.
    let named = variable("JUPYTER_DATA_DIR").filter(|folder| !folder.starts_with(state.home()));
    let data = match named {
        Some(folder) => folder,
        None => {
            let home = variable("HOME").context(
                "HOME is not set, so there is no Jupyter folder; set JUPYTER_DATA_DIR to one",
            )?;
            if cfg!(target_os = "macos") {
                home.join("Library/Jupyter")
            } else {
                variable("XDG_DATA_HOME").unwrap_or(home.join(".local/share")).join("jupyter")
            }
        }
    };
    let data = std::path::absolute(&data)
        .with_context(|| format!("{} is not a usable path", data.display()))?;
    Ok(data.join("kernels").join(KERNEL))
}

/// What is at a place.
pub(crate) fn found(place: &Path) -> Found {
    match Kernelspec::read(place) {
        Some(spec) if spec.is_ours() => Found::Ours(spec),
        // A damaged kernel.json may be anybody's.
        Some(_) => Found::Foreign,
        None if place.join("kernel.json").exists() => Found::Foreign,
        None => Found::Nothing,
    }
}

/// Writes a kernelspec to the user's Jupyter folder, and remembers that.
pub(crate) fn register(state: &State, spec: &Kernelspec) -> Result<PathBuf> {
    let place = place(state)?;
    if matches!(found(&place), Found::Foreign) {
        bail!(
            "{} is a kernel that eigenlens did not write, so it is left alone; move it away, or set \
             JUPYTER_DATA_DIR to another folder",
            place.display()
        );
    }
    spec.write(&place)?;
    let mut places = remembered(state);
    if !places.contains(&place) {
        places.push(place.clone());
        remember(state, &places)?;
    }
    Ok(place)
}

/// Brings registered kernelspecs of the same checkout and features up to date; returns how many
/// there are.
pub(crate) fn refresh(state: &State, spec: &Kernelspec) -> Result<usize> {
    let mut kin = 0;
    for place in remembered(state) {
        if let Found::Ours(old) = found(&place)
            && old.is_kin_of(spec)
        {
            spec.write(&place)?;
            kin += 1;
        }
    }
    Ok(kin)
}

/// Removes the kernel from the user's Jupyter folder; false if it was not there.
pub(crate) fn remove(state: &State, place: &Path) -> Result<bool> {
    if !matches!(found(place), Found::Ours(_)) {
        return Ok(false);
    }
    Kernelspec::remove(place)?;
    let mut places = remembered(state);
    places.retain(|other| other != place);
    remember(state, &places)?;
    Ok(true)
}

/// The user's Jupyter folder as it is now, and others where the kernel was registered.
pub(crate) fn places(state: &State) -> Result<Vec<PathBuf>> {
    let mut places = remembered(state);
    let usual = place(state)?;
    places.retain(|other| *other != usual);
    places.insert(0, usual);
    Ok(places)
}

/// Programs that registered kernelspecs start.
pub(crate) fn programs(state: &State) -> Vec<PathBuf> {
    let places = places(state).unwrap_or_else(|_| remembered(state));
    places.iter().filter_map(|place| Kernelspec::read(place)?.program()).collect()
}

fn record(state: &State) -> PathBuf {
    state.home().join("jupyter/registered.json")
}

fn remembered(state: &State) -> Vec<PathBuf> {
    let text = std::fs::read(record(state)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

fn remember(state: &State, places: &[PathBuf]) -> Result<()> {
    let record = record(state);
    if places.is_empty() && !record.exists() {
        return Ok(());
    }
    write_file(&record, &serde_json::to_vec_pretty(places)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(program: &str, checkout: &str) -> Result<Kernelspec> {
        let folder = std::env::temp_dir().join(format!("eigenlens-spec-{}", uuid::Uuid::new_v4()));
        let text = serde_json::json!({
            "argv": [program, "kernel"],
            "env": { "EIGENLENS_TEMPLATE": "/t" },
            "metadata": { "checkout": checkout },
        });
        write_file(&folder.join("kernel.json"), text.to_string().as_bytes())?;
        let spec = Kernelspec::read(&folder).context("it was written just now");
        std::fs::remove_dir_all(&folder)?;
        spec
    }

    #[test]
    fn the_folder_is_the_one_that_jupyter_says() -> Result<()> {
        let state = State::at(Path::new("/state"));
        let at = |pairs: &[(&str, &str)]| {
            place_from(&state, |name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| PathBuf::from(value))
            })
        };
        let named = at(&[("JUPYTER_DATA_DIR", "/d"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")])?;
        assert_eq!(named, Path::new("/d/kernels/eigenlens"));
        let own = at(&[("JUPYTER_DATA_DIR", "/state/jupyter/1/data"), ("HOME", "/h")])?;
        assert!(own.starts_with("/h"), "{own:?}");
        if cfg!(target_os = "linux") {
            let xdg = at(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")])?;
            assert_eq!(xdg, Path::new("/x/jupyter/kernels/eigenlens"));
            let plain = at(&[("XDG_DATA_HOME", ""), ("HOME", "/h")])?;
            assert_eq!(plain, Path::new("/h/.local/share/jupyter/kernels/eigenlens"));
        }
        assert!(at(&[]).is_err());
        Ok(())
    }

    #[test]
    fn registered_kernels_follow_their_checkout_and_no_other() -> Result<()> {
        let home = std::env::temp_dir().join(format!("eigenlens-user-{}", std::process::id()));
        let state = State::at(&home.join("state"));
        let place = home.join("data/kernels/eigenlens");
        spec("/bin/one", "/c")?.write(&place)?;
        remember(&state, std::slice::from_ref(&place))?;
        assert_eq!(refresh(&state, &spec("/bin/two", "/c")?)?, 1);
        assert!(programs(&state).contains(&PathBuf::from("/bin/two")));
        assert_eq!(refresh(&state, &spec("/bin/three", "/other")?)?, 0);
        assert!(programs(&state).contains(&PathBuf::from("/bin/two")));
        std::fs::remove_dir_all(&home)?;
        Ok(())
    }

    #[test]
    fn a_kernel_of_somebody_else_is_foreign() -> Result<()> {
        let home = std::env::temp_dir().join(format!("eigenlens-foreign-{}", std::process::id()));
        assert!(matches!(found(&home), Found::Nothing));
        write_file(&home.join("kernel.json"), br#"{"argv": ["evcxr_jupyter", "--control_file"]}"#)?;
        assert!(matches!(found(&home), Found::Foreign));
        std::fs::write(home.join("kernel.json"), "{")?;
        assert!(matches!(found(&home), Found::Foreign));
        std::fs::remove_dir_all(&home)?;
        Ok(())
    }
}
