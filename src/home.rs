//! The folder in which eigenlens keeps what it fetches.

use std::path::PathBuf;

use eigenlens_common::home as rule;
pub(crate) use eigenlens_common::home::expand_home;

use crate::{Error, Result};

/// The folder of everything that eigenlens keeps on this machine; it need not exist yet.
///
/// It is `$EIGENLENS_HOME`; if that is not set, `eigenlens` in the user's cache folder, which is
/// `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`. A `~/` at the start of a variable
/// is the home folder, if no shell has replaced it.
///
/// # Errors
/// [`Error::NotFound`] if none of `EIGENLENS_HOME`, `XDG_CACHE_HOME` and `HOME` is set.
pub fn home() -> Result<PathBuf> {
    rule::home().map_err(not_found)
}

/// The folder of a fetched data set: `data/<name>` in [`home`], as in `data/mnist`.
///
/// # Errors
/// As [`home`].
pub fn data_folder(name: &str) -> Result<PathBuf> {
    Ok(home()?.join("data").join(name))
}

/// The user's cache folder: `$XDG_CACHE_HOME` if that is an absolute path, else `~/.cache`.
pub(crate) fn user_cache() -> Result<PathBuf> {
    rule::user_cache().map_err(not_found)
}

fn not_found(_: rule::NoCacheFolder) -> Error {
    Error::NotFound {
        what: "the user's cache folder".into(),
        hint: format!(
            "Set {} to a folder where eigenlens may keep its files.",
            rule::HOME_VARIABLE
        ),
    }
}
