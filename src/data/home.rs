//! Where eigenlens keeps what it fetches.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder of everything eigenlens keeps on this machine; it need not exist yet.
///
/// It is `$EIGENLENS_HOME`; where that is not set, `eigenlens` in the user's cache folder:
/// `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`.
///
/// Fails with [`Error::NotFound`] where none of `EIGENLENS_HOME`, `XDG_CACHE_HOME` and `HOME` is
/// set.
pub fn home() -> Result<PathBuf> {
    home_from(variable)
}

/// The user's cache folder: `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`.
pub(crate) fn user_cache() -> Result<PathBuf> {
    cache_from(variable)
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Where a fetched data set lies: `data/<name>` in [`home`], as in `data/mnist`.
pub fn data_folder(name: &str) -> Result<PathBuf> {
    Ok(home()?.join("data").join(name))
}

fn home_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    if let Some(folder) = variable("EIGENLENS_HOME") {
        return Ok(folder.into());
    }
    Ok(cache_from(variable)?.join("eigenlens"))
}

fn cache_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        // The XDG specification asks to ignore relative paths.
        (Some(cache), _) if Path::new(&cache).is_absolute() => Ok(cache.into()),
        (_, Some(home)) => Ok(Path::new(&home).join(".cache")),
        _ => Err(Error::NotFound {
            what: "the user's cache folder".into(),
            hint: "Set EIGENLENS_HOME to a folder where eigenlens may keep its files.".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &'static [(&str, &str)]) -> Result<PathBuf> {
        home_from(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_most_explicit_variable_wins() {
        let all = with(&[("EIGENLENS_HOME", "/e"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(all.unwrap(), Path::new("/e"));
        let cache = with(&[("XDG_CACHE_HOME", "/x"), ("HOME", "/h")]);
        assert_eq!(cache.unwrap(), Path::new("/x/eigenlens"));
        let home = with(&[("HOME", "/h")]);
        assert_eq!(home.unwrap(), Path::new("/h/.cache/eigenlens"));
    }

    #[test]
    fn a_relative_cache_folder_is_ignored() {
        let relative = with(&[("XDG_CACHE_HOME", "x"), ("HOME", "/h")]);
        assert_eq!(relative.unwrap(), Path::new("/h/.cache/eigenlens"));
    }

    #[test]
    fn no_variable_at_all_is_an_error_that_names_the_one_to_set() {
        let error = with(&[]).unwrap_err().to_string();
        assert!(error.contains("EIGENLENS_HOME"), "{error}");
    }
}
