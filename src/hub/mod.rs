//! Files of a model or data set on the Hugging Face hub, through its local cache.
//!
//! A file that is in the cache is taken from there, without asking the network; any other is
//! fetched once. The cache has the layout of Python's `huggingface_hub` and can be shared with it:
//! `models--owner--name/{refs/<revision>, blobs/<etag>, snapshots/<commit>/<file>}`.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `HF_HUB_CACHE` | the cache; else `$HF_HOME/hub`, else `huggingface/hub` in the user's cache folder |
//! | `HF_ENDPOINT` | another hub, or a mirror |
//! | `HF_TOKEN` | opens private and gated repositories; else the file `$HF_TOKEN_PATH` or `$HF_HOME/token` |
//! | `HF_HUB_OFFLINE` | `1`, `on`, `yes` or `true`: take what is in the cache, and never ask the network |
//! | `HF_HUB_ETAG_TIMEOUT` | seconds until a hub that does not answer is given up (15) |
//! | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds without a byte until a download is given up (30) |
//! | `HTTPS_PROXY`, `NO_PROXY` | a proxy, and hosts that are reached without it |
//!
//! A download that was cut off goes on where it was, and one of the same file by another process is
//! waited for. Stop ends requests, downloads and waits.
//!
//! A [`Repository`] is looked for in more places: part of this library, a folder, then the hub.
//!
//! ```
//! use eigenlens::hub::Hub;
//!
//! # fn main() -> eigenlens::Result<()> {
//! let cache = std::env::temp_dir().join("eigenlens-empty-cache");
//! let hub = Hub::from_env()?.with_cache(cache).offline();
//! let error = hub.file("owner/name", "config.json").unwrap_err();
//! assert!(error.to_string().contains("not in the cache"));
//! # Ok(()) }
//! ```

mod cache;
mod client;
mod data_set;
mod download;
mod embedded;
mod locate;
mod names;
mod remote;
mod repository;
#[cfg(test)]
pub(crate) mod tests;

pub use crate::provenance::Source;
pub(crate) use embedded::embedded_name;
pub(crate) use locate::NOT_IN_THE_PACKAGE;
pub(crate) use names::similar;
pub(crate) use repository::Content;
pub use repository::Repository;

use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use self::cache::CacheFolder;
use self::names::{Repo, check_file_name};
use crate::home::expand_home;
use crate::http::Patience;
use crate::{Error, Result};

/// Where hub files come from: an endpoint and a cache.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    offline: bool,
    patience: Patience,
}

impl Hub {
    /// The hub that the environment variables of [this module](self) describe.
    ///
    /// Fails where no variable says where the user's cache folder is.
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from_variables(set: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let folder = |name: &str| set(name).map(|path| expand_home(path.as_ref()));
        let home = match folder("HF_HOME") {
            Some(folder) => folder,
            None => crate::home::user_cache()?.join("huggingface"),
        };
        let cache = folder("HF_HUB_CACHE").or_else(|| folder("HUGGINGFACE_HUB_CACHE"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = set("HF_TOKEN").or_else(|| set("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| fs::read_to_string(token_file).ok());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let is_true = |value: String| {
            ["1", "on", "yes", "true"].contains(&value.trim().to_lowercase().as_str())
        };
        let seconds = |name: &str| {
            let seconds = set(name).and_then(|text| text.trim().parse().ok());
            seconds.filter(|seconds| *seconds > 0).map(Duration::from_secs)
        };
        let usual = Patience::default();
        let patience = Patience {
            answer: seconds("HF_HUB_ETAG_TIMEOUT").unwrap_or(usual.answer),
            stall: seconds("HF_HUB_DOWNLOAD_TIMEOUT").unwrap_or(usual.stall),
            ..usual
        };
        Ok(Self {
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            cache: cache.unwrap_or_else(|| home.join("hub")),
            token: token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()),
            // Python's clients know the second name too.
            offline: set("HF_HUB_OFFLINE")
                .or_else(|| set("TRANSFORMERS_OFFLINE"))
                .is_some_and(is_true),
            patience,
        })
    }

    /// The same with another cache folder; `HF_HUB_CACHE`, or `hub` in `HF_HOME`, by default.
    #[must_use]
    pub fn with_cache(self, cache: impl Into<PathBuf>) -> Self {
        Self { cache: cache.into(), ..self }
    }

    /// The same with another endpoint: `https://host`. By default it is `HF_ENDPOINT`, or
    /// `https://huggingface.co`.
    #[must_use]
    pub fn with_endpoint(self, endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into().trim_end_matches('/').to_owned(), ..self }
    }

    /// The same, never asking the network; by default it does, unless `HF_HUB_OFFLINE` is 1.
    #[must_use]
    pub fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// The path of file `name` of `repo`, fetched first if it is not in the cache.
    ///
    /// `repo` is `owner/name` of a model, `datasets/owner/name` of a data set or
    /// `spaces/owner/name` of a web application; `@revision` after it chooses a branch, tag or commit other than `main`.
    ///
    /// Fails where the repository or the file does not exist or needs a token, where the network
    /// does, and where what arrives is not what was announced. Stop ends a download, and the wait
    /// for an answer or for another process that fetches the same file.
    pub fn file(&self, repo: &str, name: &str) -> Result<PathBuf> {
        Ok(self.find(repo, name)?.0)
    }

    /// The path of a file, and whether it was fetched.
    fn find(&self, repo: &str, name: &str) -> Result<(PathBuf, bool)> {
        let repo = Repo::parse(repo)?;
        check_file_name(name)?;
        let cached = self.folder(&repo);
        if let Some(path) = cached.find(name) {
            return Ok((path, false));
        }
        if self.offline {
            let place = self.cache.display();
            let hint = match cached.is_missing(name) {
                true => {
                    format!("The cache {place} has a note that the repository has no such file.")
                }
                false => format!(
                    "It is not in the cache {place}, and the network is switched off \
                     (HF_HUB_OFFLINE).{}",
                    others(&cached, name)
                ),
            };
            return Err(Error::NotFound { what: format!("{name} of {repo}"), hint });
        }
        Ok((download::fetch(self, &repo, name)?, true))
    }

    /// The paths of several files, in the order of `names`; see [`file`](Self::file).
    pub fn files(&self, repo: &str, names: &[&str]) -> Result<Vec<PathBuf>> {
        names.iter().map(|name| self.file(repo, name)).collect()
    }

    fn folder(&self, repo: &Repo) -> CacheFolder {
        CacheFolder::new(&self.cache, repo)
    }
}

/// What the cache has in the folder of the file `name`, as a sentence.
fn others(cached: &CacheFolder, name: &str) -> String {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    match cached.names(folder) {
        names if names.is_empty() => String::new(),
        names => format!(" Of the same folder it has {}.", names::some_of(&names)),
    }
}

impl fmt::Debug for Hub {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}
