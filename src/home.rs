//! Where eigenlens keeps what it fetches.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The folder of everything eigenlens keeps on this machine; it need not exist yet.
///
/// It is `$EIGENLENS_HOME`; where that is not set, `eigenlens` in the user's cache folder:
/// `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`. A `~/` at the start of a variable
/// is the home folder, where no shell has put that in its place.
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
        return Ok(expand(Path::new(&folder), variable("HOME")));
    }
    Ok(cache_from(variable)?.join("eigenlens"))
}

fn cache_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let home = variable("HOME");
    let cache = variable("XDG_CACHE_HOME").map(|cache| expand(Path::new(&cache), home.clone()));
    match (cache, home) {
        // The XDG specification asks to ignore relative paths.
        (Some(cache), _) if cache.is_absolute() => Ok(cache),
        (_, Some(home)) => Ok(Path::new(&home).join(".cache")),
        _ => Err(Error::NotFound {
            what: "the user's cache folder".into(),
            hint: "Set EIGENLENS_HOME to a folder where eigenlens may keep its files.".into(),
        }),
    }
}

/// The path with the home folder in place of a `~` at its start, as a shell would have it.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    expand(path, variable("HOME"))
}

fn expand(path: &Path, home: Option<OsString>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) if rest.as_os_str().is_empty() => home.into(),
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path.to_owned(),
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
    fn a_tilde_that_no_shell_has_replaced_is_the_home_folder() {
        let own = with(&[("EIGENLENS_HOME", "~/my lab"), ("HOME", "/h")]);
        assert_eq!(own.unwrap(), Path::new("/h/my lab"));
        let cache = with(&[("XDG_CACHE_HOME", "~/c"), ("HOME", "/h")]);
        assert_eq!(cache.unwrap(), Path::new("/h/c/eigenlens"));
        let home = || Some(OsString::from("/h"));
        for (path, expected) in [("~", "/h"), ("~/", "/h"), ("a/~", "a/~"), ("~u/x", "~u/x")] {
            assert_eq!(expand(Path::new(path), home()), Path::new(expected));
        }
    }

    #[test]
    fn no_variable_at_all_is_an_error_that_names_the_one_to_set() {
        let error = with(&[]).unwrap_err().to_string();
        assert!(error.contains("EIGENLENS_HOME"), "{error}");
    }
}
