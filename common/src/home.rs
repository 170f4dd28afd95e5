//! The folder of everything that eigenlens keeps on a machine: one rule for the library, the kernel
//! and the scripts in `tools/` (`registry.py` repeats it in Python).

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The environment variable that names the folder.
pub const HOME_VARIABLE: &str = "EIGENLENS_HOME";

/// No environment variable says where the user's cache folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoCacheFolder;

impl fmt::Display for NoCacheFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "there is no cache folder, because neither XDG_CACHE_HOME nor HOME is set; set \
             {HOME_VARIABLE} to a folder where eigenlens may keep its files"
        )
    }
}

impl std::error::Error for NoCacheFolder {}

/// The folder of everything that eigenlens keeps on this machine; it need not exist yet.
///
/// It is `$EIGENLENS_HOME`; if that is not set, `eigenlens` in the user's cache folder, which is
/// `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`, on every Unix. A `~/` at the start
/// of a variable is the home folder, if no shell has replaced it. A variable that is empty counts as
/// not set.
///
/// # Errors
/// If none of `EIGENLENS_HOME`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn home() -> Result<PathBuf, NoCacheFolder> {
    home_from(variable)
}

/// [`home()`] for other values of the environment variables.
///
/// # Errors
/// As [`home()`].
pub fn home_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoCacheFolder> {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable(HOME_VARIABLE) {
        return Ok(expand(Path::new(&folder), variable("HOME")));
    }
    Ok(cache_from(variable)?.join("eigenlens"))
}

/// The user's cache folder: `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`.
///
/// # Errors
/// If neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn user_cache() -> Result<PathBuf, NoCacheFolder> {
    cache_from(variable)
}

/// The path with the home folder in place of a `~` at its start, as a shell would have it.
pub fn expand_home(path: &Path) -> PathBuf {
    expand(path, variable("HOME"))
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn cache_from(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf, NoCacheFolder> {
    let home = variable("HOME");
    let cache = variable("XDG_CACHE_HOME").map(|cache| expand(Path::new(&cache), home.clone()));
    match (cache, home) {
        // The XDG specification asks to ignore relative paths.
        (Some(cache), _) if cache.is_absolute() => Ok(cache),
        (_, Some(home)) => Ok(Path::new(&home).join(".cache")),
        _ => Err(NoCacheFolder),
    }
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

    fn with(pairs: &'static [(&str, &str)]) -> Result<PathBuf, NoCacheFolder> {
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
        let empty = with(&[("EIGENLENS_HOME", ""), ("XDG_CACHE_HOME", ""), ("HOME", "/h")]);
        assert_eq!(empty.unwrap(), Path::new("/h/.cache/eigenlens"));
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
